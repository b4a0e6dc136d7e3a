"""The benchmark of detection: its arithmetic by hand, a small run of each graph."""

import json

import numpy as np
import pytest
import tensorflow as tf

from blitznet import runs
from tiny_run import MODEL
from tools.benchmark import detect, timing
from tools.benchmark.__main__ import main
from tools.benchmark.flags import GRAPHS

FLAGS = ["detect", *MODEL, "--repeats", "2", "--warmup", "1", "--batch_size", "2"]


@pytest.fixture(autouse=True)
def small_product(monkeypatch):
    monkeypatch.setattr(timing, "PRODUCT_SIDE", {"CPU": 32, "GPU": 32})


def test_figures_by_hand():
    seconds = {"network": [0.2, 0.4, 0.3], "nms": [0.02, 0.06, 0.05]}
    seconds.update(class_maps=[0.02, 0.06, 0.05], product=[0.5, 0.5, 0.1])
    found = detect.summarise(
        {"seconds": seconds, "call_flop": 3e9, "product_flop": 10e9, "batch_size": 2}
    )
    # Calls of 0.24, 0.52 and 0.4 s.
    assert found["images_per_second"] == pytest.approx(6 / 1.16)
    assert found["ms"]["all"]["p50"] == pytest.approx(400)
    assert found["ms"]["nms"]["mean"] == pytest.approx(130 / 3)
    # 0.04 / 0.2, 0.12 / 0.4, 0.1 / 0.3.
    assert found["after_network"] == pytest.approx(0.3)
    # 3 GFLOP in 0.3 s, where the product does 20 a second.
    assert found["share_of_limit"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--graph", "constants"], {"network", "nms", "class_maps"}),
        (["--detect", "--precision", "bfloat16"], {"network", "nms"}),
        (["--segment", "--graph", "trained"], {"network", "class_maps"}),
    ],
)
def test_parts_of_the_tasks_are_measured(tmp_path, flags, parts):
    report = tmp_path / "report.json"
    assert main([*FLAGS, *flags, "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["seconds"].keys() == {*parts, "product"}
    assert all(len(seconds) == 2 for seconds in found["seconds"].values())


@pytest.mark.parametrize("graph", GRAPHS)
def test_what_is_timed_answers_as_the_run(tiny_archive, graph):
    """Every graph of a run's network, within what folding batch norm may change."""
    model, _, description, _ = runs.load(tiny_archive / "r")
    shape, input_shape = description["model"], (2, *model.input_shape[1:])
    forward, _ = timing.network_and_flop(model, shape, input_shape, graph, "float32")
    images = tf.random.stateless_uniform(input_shape, (1, 2))
    found, expected = forward(images), model(images, training=False)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4 * np.std(value))


def test_all_graphs_are_counted_as_the_trained_one(tmp_path):
    counted = set()
    for graph in GRAPHS:
        report = tmp_path / f"{graph}.json"
        assert main([*FLAGS, "--graph", graph, "--json", str(report)]) == 0
        counted.add(json.loads(report.read_text())["call_flop"])
    assert len(counted) == 1


def test_a_run_is_measured(tiny_archive, capsys):
    run = tiny_archive / "r"
    assert main(["detect", "--run", str(run), "--repeats", "1"]) == 0
    assert "resnet18_half 64" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["detect"], ["evaluate", "--records", "RECORDS"]])
def test_flags_that_a_runs_own_network_would_pass_over_are_refused(
    command, tiny_data, tiny_archive, capsys
):
    records = str(tiny_data / "records" / "voc12-val-seg.json")
    flags = [records if word == "RECORDS" else word for word in command]
    given = ["--x4", "--detect", "--trunk", "resnet18"]
    assert main([*flags, "--run", str(tiny_archive / "r"), *given]) == 1
    assert "error: --trunk, --x4, --detect: " in capsys.readouterr().err


def test_the_trained_graph_has_one_precision(capsys):
    assert main([*FLAGS, "--graph", "trained", "--precision", "bfloat16"]) == 1
    assert "needs --graph inference or constants" in capsys.readouterr().err
