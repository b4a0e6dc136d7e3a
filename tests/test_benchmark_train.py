"""Benchmarks of the training step: their arithmetic by hand, their batch, their commands."""

import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest

from blitznet import keys
from datasets.records import read_json
from tiny_run import MODEL
from tools.benchmark import memory, steps, timing, train
from tools.benchmark.__main__ import build_parser, main
from tools.benchmark.apart import measure_apart
from toy_network import toy

FAST = ["train", *MODEL, "--repeats", "2", "--warmup", "1", "--batch_size", "2"]


@pytest.fixture
def small_product(monkeypatch):
    monkeypatch.setattr(timing, "PRODUCT_SIDE", {"CPU": 32, "GPU": 32})


def test_summary_by_hand():
    measured = {
        "batch_size": 4,
        "step_flop": 3 * 10**9,
        "step_seconds": [0.1, 0.2, 0.3, 0.4, 1.0],
        "wait_seconds": [0.1, 0.0, 0.3, 0.0, 0.1],
        "product_flop": 10**10,
        "product_seconds": [0.5, 0.25, 0.2],
    }
    assert train.summarise(measured) == pytest.approx(
        {
            "images_per_second": 8,  # 20 pictures in 2.0 + 0.5 s
            "ms_mean": 400,
            "ms_p50": 300,
            "ms_p95": 880,
            "gflop_per_second": 10,
            "limit_gflop_per_second": 40,
            "share_of_limit": 0.25,
            "share_waiting": 0.2,
        }
    )


def test_the_random_batch_has_targets_of_every_kind():
    model, coder = toy()
    batch = steps.random_batch(model, coder, 4, 8)
    labels = batch[keys.PRIOR_LABELS].numpy()
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert 0.5 < np.count_nonzero(labels) / (8 * steps._POSITIVES) < 2
    assert set(np.unique(batch[keys.MASK])) == {0, 1, 2, 3}
    assert batch[keys.IMAGE].shape == (8, 64, 64, 3)
    assert batch[keys.PRIOR_OFFSETS].shape == (*labels.shape, 4)


def test_the_command_prints_and_writes_the_same(small_product, eagerly, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert main([*FAST, "--accumulate", "2", "--json", str(report)]) == 0
    result = json.loads(report.read_text())
    assert len(result["step_seconds"]) == len(result["wait_seconds"]) == 2
    assert result["step"]["accumulate"] == 2 and result["input"] == "one random batch"
    assert result["summary"] == train.summarise(result)
    printed = capsys.readouterr().out
    for name, value in train.table_rows(result):
        assert any(line.split("  ")[0] == name and value in line for line in printed.splitlines())


def test_records_are_read_and_their_classes_count(small_product, eagerly, tiny_data, tmp_path):
    report = tmp_path / "report.json"
    records = tiny_data / "records" / "voc12-train-seg.json"
    flags = ["--records", str(records), "--num_classes", "5", "--json", str(report)]
    assert main([*FAST, *flags]) == 0
    result = json.loads(report.read_text())
    assert result["network"]["num_classes"] == 21
    assert result["input"] == str(records)
    assert len(result["product_seconds"]) == 2 * steps._PRODUCTS_OF_A_BLOCK


def _logged(log, by_turns):
    """What `time_steps` answers of a slow input, and a letter for each thing it does."""

    def batches():
        while True:
            log.append("b")
            time.sleep(0.02)
            yield None

    work = {"train_step": lambda batch: log.append("s"), "product": lambda: log.append("p")}
    return steps.time_steps(batches=batches(), warmup=1, repeats=3, by_turns=by_turns, **work)


def test_products_take_turns_with_steps_on_one_batch_and_leave_an_input_alone():
    turns, blocks = [], []
    by_turns = _logged(turns, by_turns=True)
    assert "".join(turns) == "p" + 4 * "bsp"
    assert len(by_turns["step_seconds"]) == len(by_turns["wait_seconds"]) == 3
    apart = _logged(blocks, by_turns=False)
    block = "p" * steps._PRODUCTS_OF_A_BLOCK
    assert "".join(blocks) == "p" + block + 4 * "bs" + block
    assert len(apart["product_seconds"]) == 2 * len(block)


def test_waiting_for_a_slow_input_is_told():
    """It sleeps 0.02 s for each batch, beside steps that do nothing."""
    seconds = _logged([], by_turns=False)
    measured = {"batch_size": 1, "step_flop": 1, "product_flop": 1, **seconds}
    assert min(seconds["wait_seconds"]) >= 0.02
    assert train.summarise(measured)["share_waiting"] > 0.5


def test_the_ignored_label_of_the_records_counts(tiny_data):
    """Pictures without masks are ignored where nothing of them is seen, by the set's own label."""
    info = read_json(tiny_data / "records" / "voc12-train.json", "")
    batches = steps._batches([replace(info, ignore_label=77)], *toy(), 8)
    masks = [batch[keys.MASK].numpy() for batch in batches.take(2)]
    assert 77 in np.unique(masks)


def test_parts_that_do_not_divide_the_batch_are_refused(capsys):
    assert main([*FAST, "--accumulate", "3"]) == 1
    assert "--accumulate 3 does not divide --batch_size 2" in capsys.readouterr().err


def test_memory_asks_a_process_for_each_cell_and_keeps_what_it_has(monkeypatch, tmp_path, capsys):
    asked = []

    def measure_apart(measure, network, step, batch_size):
        asked.append((network["image_size"], network["x4"], step["clip_norm"], batch_size))
        if len(asked) == 6:
            return {"error": "no memory"}
        where = {"device": "toaster", "threads": "three"}
        return {"peak_memory_bytes": len(asked) * 2**30, "environment": where}

    monkeypatch.setattr(memory, "measure_apart", measure_apart)
    report = tmp_path / "report.json"
    flags = ["--batch_sizes", "1", "2", "--json", str(report), "--", "--clip_norm", "7"]
    assert main(["memory", *flags]) == 1
    networks = [(300, False), (300, True), (512, False)]
    assert asked == [(*network, 7, size) for network in networks for size in (1, 2)]
    rows = json.loads(report.read_text())["memory"]
    assert [row.get("peak_memory_bytes") for row in rows] == [
        *(i * 2**30 for i in range(1, 6)),
        None,
    ]
    shown = capsys.readouterr()
    cells = {line.split("  ")[0]: line.split()[-2:] for line in shown.out.splitlines()}
    assert cells["BlitzNet300 --x4"] == ["3.00", "4.00"]
    assert cells["BlitzNet512"] == ["5.00", "failed"]
    assert "device toaster, threads three" in shown.out
    error = "error: 1 of 6 failed; BlitzNet512, batch 2: no memory"
    assert shown.err.splitlines()[-1] == error


@pytest.mark.slow
def test_a_process_tells_its_peak():
    parser = build_parser()
    args = parser.parse_args(FAST)
    setting = train.network_and_step(args, 1)
    found = measure_apart(memory._peak_of_steps, *setting, 1)
    assert 2**28 < found["peak_memory_bytes"] < 2**34
    assert found["environment"]["device"] == "CPU"


@pytest.mark.parametrize(
    ("work", "error"),
    [((os._exit, 9), "killed, for want of memory"), ((int, "x"), "ValueError: invalid literal")],
)
def test_a_process_that_fails_says_why(work, error):
    assert error in measure_apart(*work)["error"]
