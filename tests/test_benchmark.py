"""The benchmark: its arithmetic by hand, its counts, its turns, and what it says of errors."""

import json
import subprocess
import sys

import pytest
import tensorflow as tf

from blitznet import build_model
from blitznet.variables import variables_by_path
from tiny_run import MODEL
from tools.benchmark import network, timing
from tools.benchmark.__main__ import build_parser, main
from tools.flags.network import model_config

FAST = ["network", *MODEL, "--repeats", "6", "--warmup", "1"]
ENVIRONMENT = ["interpreter", "python", "tensorflow", "keras"]
ENVIRONMENT += ["device", "precision", "threads", "cpu"]


def measured(call_seconds, product_seconds=(0.5,), batch_size=2):
    """A measurement of a network of 3 GFLOP beside a product of 10 GFLOP."""
    return {
        "network": {
            "num_classes": 21,
            "trunk": "resnet50",
            "image_size": 300,
            "x4": True,
            "detect": True,
            "segment": False,
        },
        "graph": "trained",
        "precision": "float32",
        "batch_size": batch_size,
        "call_flop": 3 * 10**9,
        "call_seconds": list(call_seconds),
        "product_flop": 10**10,
        "product_seconds": list(product_seconds),
        "environment": dict.fromkeys(ENVIRONMENT, "?"),
    }


@pytest.fixture
def small_product(monkeypatch):
    monkeypatch.setattr(timing, "PRODUCT_SIDE", {"CPU": 32, "GPU": 32})


def test_summary_by_hand():
    # Calls of 0.1, 0.2, 0.3, 0.4 and 1.0 s; products of 0.2, 0.25 and 0.5 s.
    summary = network.summarise(
        [measured([0.4, 0.1], [0.5, 0.25]), measured([1.0, 0.2, 0.3], [0.2])]
    )
    assert summary == pytest.approx(
        {
            "images_per_second": 5,  # 2 pictures in 5 calls, 2 s
            "ms_mean": 400,
            "ms_p50": 300,
            "ms_p95": 880,  # rank 0.95 * 4 = 3.8: 0.4 + 0.8 * (1.0 - 0.4)
            "gflop_per_image": 1.5,
            "gflop_per_second": 10,  # 3 GFLOP in 0.3 s
            "limit_gflop_per_second": 40,  # 10 GFLOP in 0.25 s
            "share_of_limit": 0.25,
        }
    )


def test_ratio_is_that_of_the_median_times():
    """One call that something else held up changes neither ratio."""
    rounds = [
        (measured([0.1, 0.1, 0.1]), measured([0.2, 0.2, 9.0])),
        (measured([0.2, 0.2, 0.2]), measured([0.3, 0.3, 0.3])),
        (measured([0.2, 0.2, 7.0]), measured([0.3, 0.3, 0.3])),
    ]
    result = network.compare(rounds)
    assert result["ratio"] == pytest.approx(1.5)
    assert result["ratio_of_rounds"] == pytest.approx([2, 1.5, 1.5])
    assert [s["ms_p50"] for s in result["summaries"]] == pytest.approx([200, 300])
    table = network.comparison_table(result)
    assert table.endswith("B / A: 1.500 (within each of 3 rounds: 1.500 to 2.000)")
    (median,) = [line for line in table.splitlines() if line.startswith("ms a call, p50")]
    assert median.split()[-2:] == ["200.0", "300.0"]


def test_flop_of_a_toy_by_hand():
    """3x3 convolution, stride 2, 3 -> 5 channels, on 2 pictures of side 8; bias; product."""
    kernel, bias, weights = tf.ones([3, 3, 3, 5]), tf.ones([5]), tf.ones([5, 7])

    @tf.function(input_signature=[tf.TensorSpec([2, 8, 8, 3])])
    def toy(images):
        maps = tf.nn.bias_add(tf.nn.conv2d(images, kernel, 2, "SAME"), bias)
        return tf.reshape(maps, [32, 5]) @ weights

    convolution = 2 * (2 * 4 * 4) * 5 * (3 * 3 * 3)
    added = 2 * 4 * 4 * 5
    product = 2 * 32 * 5 * 7
    flop = timing.graph_flop(toy.get_concrete_function())
    assert flop == convolution + added + product


@pytest.mark.slow
@pytest.mark.parametrize(("x4", "gflop"), [(False, 19.88), (True, 32.28)])
def test_flop_of_blitznet300(x4, gflop):
    """The original's figures are of a graph with initialisers and weight decay.

    Those are 5 operations for each weight of a kernel: 2 draw it, 3 sum its square.
    """
    model = build_model(x4=x4)
    forward = tf.function(lambda images: model(images, training=False))
    images = tf.TensorSpec([1, 300, 300, 3])
    flop = timing.graph_flop(forward.get_concrete_function(images))
    named = variables_by_path(model).items()
    weights = sum(kernel.shape.num_elements() for path, kernel in named if "kernel" in path)
    # Keras 3 writes batch norm as products and sums, which count; Keras 2's does not.
    assert (flop + 5 * weights) / 1e9 == pytest.approx(gflop, rel=0.0025)


def test_products_run_between_the_calls_and_warm_ups_do_not_count():
    log = []
    calls, products = timing.time_alternately(
        lambda: log.append("c"), lambda: log.append("p"), warmup=2, repeats=12
    )
    assert "".join(log) == "cpcp" + "cccccp" + "cccccp" + "ccp"
    assert (len(calls), len(products)) == (12, 3)
    assert min(calls + products) >= 0


def test_the_command_prints_and_writes_the_same(small_product, tmp_path, capsys):
    report = tmp_path / "made" / "report.json"
    assert main([*FAST, "--batch_size", "3", "--json", str(report)]) == 0
    result = json.loads(report.read_text())
    assert len(result["call_seconds"]) == 6
    assert len(result["product_seconds"]) == 2
    assert result["product_flop"] == 2 * 32**3
    assert result["network"]["detect"] and result["network"]["segment"]
    assert result["environment"]["tensorflow"] == tf.__version__
    assert result["summary"] == network.summarise([result])
    lines = dict(
        line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if line[0] != "-"
    )
    for name, value in network.table_rows(result["summary"], result):
        assert lines[name].strip() == value
    assert [path.name for path in report.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--x4", "--detect", "--num_classes", "5", "--batch_size", "8", "--repeats", "7"],
        ["--segment", "--trunk", "resnet18", "--resize", "nearest", "--warmup", "2"],
    ],
)
def test_another_process_is_asked_to_measure_the_same(flags):
    parser = build_parser()
    args = parser.parse_args(["network", *flags, "--against", "python", "--json", "x"])
    again = parser.parse_args(["network", *network.measured_flags(args)])
    assert model_config(again) == model_config(args)
    for name in ("num_classes", "batch_size", "repeats", "warmup"):
        assert getattr(again, name) == getattr(args, name)
    assert again.against is again.json is None


def test_interpreters_take_turns(monkeypatch, capsys):
    asked = []

    def run_once(python, flags):
        asked.append(python)
        return measured([0.1 * len(asked)])

    monkeypatch.setattr(network, "run_once", run_once)
    pairs = network.run_rounds(["one", "other"], ["--x4"], 2)
    assert asked == ["one", "other", "one", "other"]
    seconds = [[m["call_seconds"][0] for m in pair] for pair in pairs]
    assert seconds == [pytest.approx([0.1, 0.2]), pytest.approx([0.3, 0.4])]
    assert "round 2 of 2, B: other" in capsys.readouterr().err


def test_an_interpreter_that_does_not_exist_is_named(tmp_path, capsys):
    missing = tmp_path / "bin" / "python"
    assert main([*FAST, "--against", str(missing)]) == 1
    error = capsys.readouterr().err
    assert f"--against {missing}: there is no such interpreter" in error
    assert "make setup-addons" in error


def test_an_interpreter_without_tensorflow_is_named(tmp_path, capsys):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    assert main([*FAST, "--against", str(bare)]) == 1
    error = capsys.readouterr().err
    assert f"--against {bare}: it has no TensorFlow" in error
    assert "make setup-addons" in error


def test_an_interpreter_that_fails_ends_it_with_its_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(network, "find_interpreter", lambda python: python)
    failed = subprocess.CompletedProcess([], returncode=3)
    monkeypatch.setattr(network.subprocess, "run", lambda *words, **settings: failed)
    assert main([*FAST, "--against", "other"]) == 1
    assert f"{sys.executable} failed with exit code 3" in capsys.readouterr().err


def test_flags_that_the_network_refuses_are_an_error(capsys):
    assert main(["network", "--top_fm", "6"]) == 1
    assert "top_fm" in capsys.readouterr().err


@pytest.mark.slow
def test_two_interpreters_are_compared(tmp_path, capsys):
    """This one with itself, in processes of their own."""
    report = tmp_path / "report.json"
    against = ["--against", sys.executable, "--rounds", "1", "--json", str(report)]
    assert main([*FAST, *against]) == 0
    result = json.loads(report.read_text())
    ((one, other),) = result["rounds"]
    assert one["environment"] == other["environment"]
    assert one["call_flop"] == other["call_flop"]
    medians = [summary["ms_p50"] for summary in result["summaries"]]
    assert result["ratio"] == pytest.approx(medians[1] / medians[0])
    assert "median time of B / A" in capsys.readouterr().out
