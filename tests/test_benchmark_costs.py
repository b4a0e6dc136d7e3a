"""The benchmarks of evaluation, encoding and cost: arithmetic by hand, and small real runs."""

import functools
import io
import json
import os
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from blitznet.evaluation import Evaluation
from coco_fixture import SIZE, annotation, crowd, image, write_coco, write_json, write_picture
from datasets import coco, records, voc
from datasets.info import VOC
from tiny_run import MODEL
from tools.benchmark import cost, cost_row, encode, evaluate, timing
from tools.benchmark.__main__ import main
from turns import tell


def test_figures_of_evaluation_by_hand():
    seconds = {"network": [1.0, 3.0, 2.0], "evaluation": [2.0, 4.0, 4.0]}
    seconds.update(after_last_picture=[0.1, 0.3, 0.2], product=[0.5, 0.5, 0.5])
    found = evaluate.summarise(seconds, pictures=8, flop=4e9, product_flop=5e9)
    assert found["limit_gflop_per_second"] == 10
    # 4 GFLOP in 2 s and in 4 s, where the product does 10 a second.
    assert found["network"]["share_of_limit"] == pytest.approx(0.2)
    assert found["evaluation"]["share_of_limit"] == pytest.approx(0.1)
    assert found["network"]["mean"] == found["network"]["p50"] == 4
    assert found["network"]["p95"] == pytest.approx(8 / 2.9)
    # Turn by turn 1 / 2, 3 / 4, 2 / 4.
    assert found["ratio"] == 0.5
    assert found["seconds_after_last_picture"] == pytest.approx(0.2)


def test_figures_of_encoding_by_hand():
    seconds = {"encode": [2.0, 4.0, 3.0], "limit": [1.0, 3.0, 2.0], "pillow": [2.0, 4.0, 6.0]}
    found = encode.summarise(seconds, workers=2, pictures=6)
    assert found["workers"] == 2
    assert found["mean"] == found["p50"] == 4 and found["limit"] == 6
    assert found["p95"] == pytest.approx(12 / 3.9)
    assert found["share"] == pytest.approx(2 / 3) and found["pillow_share"] == 1


def test_evaluation_is_measured_end_to_end(tiny_data, tmp_path, monkeypatch, capsys):
    """Every turn adds every picture and sums up each time through the set, which takes its time."""
    counted = {"add": 0, "scores": 0}

    def count(name, seconds):
        plain = getattr(Evaluation, name)

        def counting(meter, *arguments):
            counted[name] += 1
            time.sleep(seconds)
            return plain(meter, *arguments)

        monkeypatch.setattr(Evaluation, name, counting)

    count("add", 0)
    count("scores", 0.3)
    report = tmp_path / "report.json"
    path = next(iter(sorted((tiny_data / "records").glob("*-seg.json"))))
    flags = ["--copies", "2", "--rounds", "2", "--batch_size", "4", "--json", str(report)]
    assert main(["evaluate", "--records", str(path), *flags, *MODEL]) == 0
    found = json.loads(report.read_text())
    assert found["pictures"] == 2 * records.read_json(path, "").images
    assert counted == {"add": found["pictures"] * (2 + 1), "scores": 2 * (2 + 1)}
    seconds = found["seconds"]
    assert len(seconds["network"]) == len(seconds["evaluation"]) == 2
    assert min(seconds["after_last_picture"]) >= 0.3 and min(seconds["evaluation"]) >= 0.6
    shown = capsys.readouterr().out
    assert "resnet18_half 64, detect and segment, 21 classes" in shown and str(path) in shown


def test_a_run_is_measured_on_records_of_its_classes_alone(
    tiny_data, tiny_archive, tmp_path, capsys
):
    run, folder, report = tiny_archive / "r", tmp_path / "records", tmp_path / "report.json"
    shutil.copytree(tiny_data / "records", folder)
    (path,) = folder.glob("*-val-seg.json")
    flags = ["evaluate", "--run", str(run), "--records", str(path), "--rounds", "1"]
    assert main([*flags, "--copies", "1", "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["network"] == json.loads((run / "flags.json").read_text())["model"]
    assert found["pictures"] == records.read_json(path, "").images
    assert found["seconds"]["after_last_picture"] == [
        found["summary"]["seconds_after_last_picture"]
    ]

    text = path.read_text()
    assert '"dog"' in text
    path.write_text(text.replace('"dog"', '"wolf"'))
    assert main(flags) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {run} is a run of aeroplane, ")
    assert f"but {path} has aeroplane, " in error and "wolf" in error


def written(works, folder):
    """The records that `encode` writes, and what `limit` does."""
    for name in ("encode", "limit"):
        begin, end = works[name](folder)
        assert begin <= end
    encoded = [r.numpy() for r in tf.data.TFRecordDataset(str(folder / "encoded"))]
    return encoded, (folder / "copied").read_bytes()


def test_pillows_copy_has_the_same_masks(tiny_data, tmp_path):
    works = encode.voc_works(tiny_data, "val", 1)
    _, copied = written(works, tmp_path)
    works["pillow"](tmp_path)
    other = (tmp_path / "copied").read_bytes()
    assert other != copied
    masks = [np.asarray(Image.open(io.BytesIO(b[b.index(b"\x89PNG") :]))) for b in (copied, other)]
    np.testing.assert_array_equal(*masks)


def test_what_is_timed_writes_vocs_records_and_its_limit_the_same_bytes(tiny_data, tmp_path):
    names = voc.read_list(tiny_data / "VOCdevkit" / "VOC2012", "Segmentation/val")
    works = encode.voc_works(tiny_data, "val", len(names) + 1)
    encoded, copied = written(works, tmp_path)
    voc_dir = tiny_data / "VOCdevkit" / "VOC2012"
    names.append(names[0])
    examples = [voc.read_example(voc_dir, name, VOC, "SegmentationClass") for name in names]
    assert encoded == [records.serialize(example, VOC.class_names) for example in examples]
    parts = (
        (e["encoded_image"], (voc_dir / "Annotations" / f"{n}.xml").read_bytes(), e["encoded_mask"])
        for n, e in zip(names, examples)
    )
    assert copied == b"".join(b"".join(part) for part in parts)


def test_what_is_timed_writes_cocos_records_and_its_limit_picture_and_map(tmp_path):
    region = np.zeros(SIZE[::-1], bool)
    region[30:40, 40:60] = True
    objects = [annotation(1, 7, (4, 6, 20, 10), 3), crowd(2, 7, region, 5)]
    picture = write_picture(tmp_path / "coco" / "val2017" / image(7)["file_name"])
    write_json(tmp_path / "coco/annotations/instances_val2017.json", [image(7)], objects)
    encoded, copied = written(encode.coco_works(tmp_path, "val2017", 2), tmp_path)
    entry = {**image(7), "objects": objects}
    place = {"folder": picture.parent, "annotations": "", "info": coco.COCO}
    example = coco.read_example(picture.name, entry, **place, segmentation=True)
    assert encoded == [records.serialize(example, coco.COCO.class_names)] * 2
    half = len(copied) // 2
    assert copied[:half] == copied[half:] and copied.startswith(picture.read_bytes())
    ids = np.asarray(Image.open(io.BytesIO(copied[picture.stat().st_size : half])))
    expected = np.zeros(SIZE[::-1], np.uint8)
    expected[6:16, 4:24], expected[region] = 3, 5
    np.testing.assert_array_equal(ids, expected)


def test_encoding_is_measured_in_processes(tmp_path, capsys):
    write_coco(tmp_path, "val2017", ids=(1,))
    report = tmp_path / "report.json"
    flags = ["--split", "val2017", "--workers", "2", "--pictures", "2", "--rounds", "1"]
    command = ["encode", "--dataset", "coco", "--data_root", str(tmp_path), *flags]
    assert main([*command, "--json", str(report)]) == 0
    assert "coco, CPU" in capsys.readouterr().out
    found = json.loads(report.read_text())
    (row,) = found["of"]
    (encoding,), (limit,) = row["seconds"]["encode"], row["seconds"]["limit"]
    assert (found["dataset"], row["summary"]["workers"]) == ("coco", 2)
    assert row["summary"]["share"] == limit / encoding


def test_every_worker_takes_part_in_every_turn(tmp_path):
    """The turn that does not count among them, in which each loads what it needs."""
    work = functools.partial(tell, tmp_path)
    works = dict.fromkeys(("encode", "limit", "pillow"), work)
    found = encode.measure(works, 5, workers=2, rounds=3)
    told = {int(path.name): path.read_text().splitlines() for path in tmp_path.iterdir()}
    assert len(told) == 2 and os.getpid() not in told
    assert [len(set(folders)) for folders in told.values()] == [len(works) * (3 + 1)] * 2
    assert [len(seconds) for seconds in found["seconds"].values()] == [3] * len(works)


def test_rows_of_the_cost_table_change_settings_that_there_are():
    for row in cost.ROWS.values():
        assert row.keys() <= cost.BASE.keys()


def test_a_row_that_fails_is_told_and_the_others_are_shown(tmp_path, capsys, monkeypatch):
    def measure_apart(measure, setting, repeats):
        if setting["num_classes"] == 1203:
            return {"error": "killed"}
        if setting["image_size"] == 512:
            return {"error": "ValueError: wrong"}
        return {"network_ms": 41.5}

    monkeypatch.setattr(cost, "measure_apart", measure_apart)
    report = tmp_path / "report.json"
    rows = ["1203 classes", "512", "x4"]
    assert main(["cost", "--rows", *rows, "--json", str(report)]) == 1
    shown = capsys.readouterr()
    error = "error: 2 of 3 failed; 1203 classes: killed; 512: ValueError: wrong"
    assert shown.err.splitlines()[-1] == error
    table = {line.split("  ")[0]: line for line in shown.out.splitlines()}
    assert "killed" in table["1203 classes"] and "wrong" in table["512"] and "41.5" in table["x4"]
    written = json.loads(report.read_text())["rows"]
    assert [row.get("network_ms") for row in written] == [None, None, 41.5]
    assert ["error" in row for row in written] == [True, True, False]


def test_objects_of_the_cost_table_have_area_and_a_class():
    boxes, labels = cost_row._objects(2, 300, 21)
    assert boxes.shape == (2, 300, 4) and np.all(boxes[..., 2:] > boxes[..., :2])
    assert set(np.unique(labels)) == set(range(1, 21))


@pytest.mark.slow
def test_a_row_of_the_cost_table_is_measured(monkeypatch):
    made, plain = [], timing.matrix_product
    monkeypatch.setattr(timing, "matrix_product", lambda side: made.append(side) or plain(32))
    monkeypatch.setattr(timing, "peak_memory", lambda: 2e6 if made else 1e6)
    found = cost_row.measure(64, False, 1, 4, 2, 1)
    assert (found["image_size"], found["num_classes"], found["objects"]) == (64, 4, 2)
    assert min(found[f"{part}_ms"] for part in ("network", "nms", "matching", "losses")) > 0
    # The matrices of the product are none of the network's memory.
    assert found["inference_mb"] == found["peak_mb"] == 1
    assert made == [timing.PRODUCT_SIDE["CPU"]]
