"""The command `input` of the benchmark: its arithmetic by hand, what it times, what it says."""

import json

import pytest
import tensorflow as tf

from datasets import records
from tiny_run import MODEL
from tools.benchmark import input_pipeline
from tools.benchmark.__main__ import main


def _round(seconds, cpu_seconds, limit_seconds, limit_cpu_seconds):
    return {
        "input": {"seconds": seconds, "cpu_seconds": cpu_seconds},
        "decoding": {"seconds": limit_seconds, "cpu_seconds": limit_cpu_seconds},
    }


def test_summary_by_hand():
    """Three rounds of two batches of 8: 2.0, 3.0 and 7.0 s; decoding 0.5, 0.5 and 0.7 s."""
    rounds = [
        _round([0.5, 1.5], 3.0, [0.2, 0.3], 0.8),
        _round([1.0, 2.0], 4.0, [0.25, 0.25], 0.6),
        _round([2.0, 5.0], 5.0, [0.3, 0.4], 1.0),
    ]
    assert input_pipeline.summarise(rounds, 8) == pytest.approx(
        {
            "images_per_second": 4,  # 48 in 12 s
            "ms_mean": 2000,
            "ms_p50": 1750,  # of 0.5, 1, 1.5, 2, 2, 5
            "ms_p95": 4250,  # rank 0.95 * 5 = 4.75: 2 + 0.75 * 3
            "cpu_ms_per_image": 250,  # 12 s / 48
            "limit_images_per_second": 48 / 1.7,
            "limit_cpu_ms_per_image": 50,
            "share_of_limit": 0.5 / 3,  # of 0.25, 0.167 and 0.1
        }
    )


def test_warm_ups_do_not_count():
    dataset = tf.data.Dataset.range(5)
    assert len(input_pipeline.time_items(dataset, 2, 3)["seconds"]) == 3
    with pytest.raises(StopIteration):
        input_pipeline.time_items(dataset, 3, 3)


def test_the_limit_decodes_every_picture_over_and_over(tiny_data):
    info = records.read_json(tiny_data / "records" / "voc12-train-seg.json", "")
    raw = tf.data.TFRecordDataset(list(info.files))
    examples = [records.parse(record) for record in raw]
    sizes = sorted([int(e["height"]), int(e["width"]), 3] for e in examples)
    # As the pictures come in any order, those of an item may be of the next time through the set.
    times = 50
    (item,) = input_pipeline.bare_decoding([info], times * len(sizes)).take(1).as_numpy_iterator()
    assert sorted(item.tolist())[times // 2 :: times] == sizes


def test_the_command_prints_and_writes_the_same(tiny_data, tmp_path, capsys):
    report = tmp_path / "report.json"
    file = tiny_data / "records" / "voc12-train-seg.json"
    flags = ["--batch_size", "2", "--batches", "3", "--warmup", "1", "--rounds", "2", *MODEL]
    command = ["input", "--records", str(file), *flags, "--json", str(report)]
    assert main(command) == 0
    result = json.loads(report.read_text())
    assert [len(measured["input"]["seconds"]) for measured in result["rounds"]] == [3, 3]
    assert result["summary"] == input_pipeline.summarise(result["rounds"], 2)
    assert result["records"] == ["voc12-train-seg"]
    printed = [line for line in capsys.readouterr().out.splitlines() if line[0] != "-"]
    lines = dict(line.split("  ", 1) for line in printed)
    for name, value in input_pipeline.table_rows(result):
        assert lines[name].strip() == value


def test_records_that_do_not_exist_are_named(tmp_path, capsys):
    missing = str(tmp_path / "none.json")
    assert main(["input", "--records", missing]) == 1
    assert missing in capsys.readouterr().err
