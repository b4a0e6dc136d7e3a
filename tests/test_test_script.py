"""test.py from its command line, one checkpoint: scores by hand, files, pictures, refusals."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from blitznet import keys
from blitznet.examples import decode_mask
from evaluated_run import best, result, truthful
from tiny_run import evaluate, read_events, write_data


def test_the_truth_scores_one_and_everything_says_so(tiny_data, run_at, predict_by, capsys):
    """Pictures 6 and 7 (without objects) have masks; the second object of 6 is difficult."""
    folder = run_at(10)
    predict_by(truthful)
    assert evaluate(tiny_data, archive=folder.parent) == 0
    content = result(folder)
    scores, protocol = content["scores"], content["protocol"]
    assert (scores["map"], scores["miou"], scores["pixel_accuracy"]) == (1.0, 1.0, 1.0)
    assert {name: ap for name, ap in scores["ap"].items() if ap is not None} == {"horse": 1.0}
    present = {name for name, iou in scores["iou"].items() if iou is not None}
    assert present == {"background", "horse", "motorbike"}
    assert (scores["images"], scores["images_with_masks"]) == (2, 2)

    expected = {
        "dataset": "voc12",
        "split": "val",
        "records": "voc12-val-seg",
        "images": 2,
        "ap_rule": "voc12",
        "iou_above": 0.5,
        "conf_thresh": 0.01,
        "top_k_nms": 400,
        "nms_thresh": 0.45,
        "top_k_after_nms": 50,
        "top_k_post_nms": 200,
        "eval_min_conf": 0.0,
        "checkpoint": str(folder / "model.ckpt-10"),
    }
    assert {name: protocol[name] for name in expected} == expected
    assert "commit" in protocol
    printed = capsys.readouterr().out
    (line,) = [row for row in printed.splitlines() if row.startswith("protocol: ")]
    assert all(f"{name} {value}" in line for name, value in expected.items())
    assert "| horse       | 1.000 |" in printed and "| mean        | 1.000 |" in printed
    lines = (folder / "1evaluations.txt").read_text()
    assert lines == "0.01\t100.00% mAP\t100.00% mIoU\tvoc12-val-seg\n"
    scalars, _ = read_events(folder / "eval-voc12-val-seg")
    assert scalars == {
        "PascalBoxes_Precision/mAP@0.5IOU": [(10, 1.0)],
        "PascalBoxes_PerformanceByCategory/AP@0.5IOU/horse": [(10, 1.0)],
        "segmentation/pixel_accuracy": [(10, 1.0)],
        "segmentation/mean_accuracy": [(10, 1.0)],
        "segmentation/mIoU": [(10, 1.0)],
        "segmentation/frequency_weighted_IoU": [(10, 1.0)],
    }
    assert best(folder) == {"step": 10, "by": "mAP", "score": 1.0}
    assert "best so far: 100.00% mAP at step 10" in printed
    assert not list(folder.glob("results-*")), "VOC has no such file"


def test_a_wrong_box_and_a_wrong_map_cost_what_they_should(tiny_data, run_at, predict_by):
    """A surer miss before the hit halves the precision, so AP is 1/2; all maps say horse."""

    def answer(example):
        right = truthful(example)
        miss = np.array([[0.9, 0.9, 1.0, 1.0]], np.float32)
        horse = 13
        return {
            keys.DETECTION_BOXES: np.concatenate([miss, right[keys.DETECTION_BOXES]])[:2],
            keys.DETECTION_SCORES: np.array([0.95, *right[keys.DETECTION_SCORES]])[:2],
            keys.DETECTION_CLASSES: np.array([horse, *right[keys.DETECTION_CLASSES]])[:2],
            keys.SEMANTIC_CLASSES: np.full_like(right[keys.SEMANTIC_CLASSES], horse),
        }

    folder = run_at(10)
    predict_by(answer)
    masks = []
    predict_by(lambda example: masks.append(decode_mask(example)) or answer(example))
    assert evaluate(tiny_data, archive=folder.parent) == 0
    scores = result(folder)["scores"]
    # The misses in both pictures come before the hit.
    assert scores["ap"]["horse"] == pytest.approx(1 / 3)
    labelled = np.concatenate([mask[mask != 255] for mask in masks])
    share = np.mean(labelled == 13)
    assert scores["iou"]["horse"] == pytest.approx(share)
    assert scores["miou"] == pytest.approx(share / len(np.unique(labelled)))


def test_scores_do_not_hang_on_the_batch_size(tiny_data, run_at):
    folder = run_at(10)
    found = []
    for batch_size in (1, 2, 5):
        flags = ["--split", "train", "--batch_size", batch_size, "--conf_thresh", 0]
        assert evaluate(tiny_data, *flags, archive=folder.parent) == 0
        found.append(result(folder, records="voc12-train-seg-conf_thresh0")["scores"])
    assert found[0]["images"] == 5 and found[0]["miou"] > 0
    assert found[0] == found[1] == found[2]
    assert len((folder / "1evaluations.txt").read_text().splitlines()) == 3


def no_masks(folder, capsys, records):
    assert "mIoU: not computed: no masks" in capsys.readouterr().out
    assert result(folder, records=records)["scores"]["miou"] is None
    (line,) = (folder / "1evaluations.txt").read_text().splitlines()
    assert line.split("\t")[2:] == ["no mIoU", records]


def test_pictures_without_masks_have_no_miou(tiny_data, run_at, predict_by, capsys, tmp_path):
    folder, records = run_at(10), tmp_path / "records"
    records.mkdir()
    for file in (tiny_data / "records").glob("voc12-val[-.]*"):
        if "seg" not in file.name:
            shutil.copy(file, records)
    predict_by(truthful)
    assert evaluate(tiny_data, "--records", records, archive=folder.parent) == 0
    no_masks(folder, capsys, "voc12-val")


def test_masks_can_be_left_out_of_account(tiny_data, run_at, predict_by, capsys):
    folder = run_at(10)
    predict_by(truthful)
    assert evaluate(tiny_data, "--no_seg_gt", archive=folder.parent) == 0
    no_masks(folder, capsys, "voc12-val-seg-no_seg_gt")
    assert evaluate(tiny_data, "--segment", "--no_seg_gt", archive=folder.parent) == 1
    assert "no ground truth for what is to be evaluated" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "records", "columns"),
    [
        ("--detect", "voc12-val-detect", ["100.00% mAP", "no mIoU"]),
        ("--segment", "voc12-val-seg-segment", ["no mAP", "100.00% mIoU"]),
    ],
)
def test_one_task_of_the_run_alone(tiny_data, run_at, predict_by, flag, records, columns):
    """Detection alone takes the Main list, the larger one, where there is a choice."""
    folder = run_at(10)
    predict_by(truthful)
    assert evaluate(tiny_data, flag, archive=folder.parent) == 0
    content = result(folder, records=records)
    assert ("map" in content["scores"], "miou" in content["scores"]) == (
        flag == "--detect",
        flag == "--segment",
    )
    assert ("ap_rule" in content["protocol"]) == (flag == "--detect")
    line = (folder / "1evaluations.txt").read_text().rstrip("\n")
    assert line.split("\t") == ["0.01", *columns, records]


def test_pictures_of_the_first_n(tiny_data, run_at, predict_by):
    folder = run_at(10)
    predict_by(truthful)
    flags = ["--split", "train", "--save_first_n", 2]
    assert evaluate(tiny_data, *flags, archive=folder.parent) == 0
    pictures = folder / "pictures-voc12-train-seg-10"
    names = ["2007_000001", "2007_000002"]
    endings = ("-classes.png", "-true-classes.png", ".png")
    assert sorted(path.name for path in pictures.iterdir()) == sorted(
        n + e for n in names for e in endings
    )
    for name in names:
        maps = [Image.open(pictures / (name + ending)) for ending in endings[:2]]
        assert [class_map.mode for class_map in maps] == ["P", "P"]
        predicted, true = map(np.asarray, maps)
        np.testing.assert_array_equal(predicted, np.where(true == 255, 7, true))
    for path in (pictures / f"{name}.png" for name in names):
        picture = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
        middle = picture.shape[1] // 2
        assert len(np.unique(picture[:, :middle].reshape(-1, 3), axis=0)) > 100
        assert picture.shape[2] == 3


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--image_size", 300], ["--image_size 300", "the run has 64"]),
        (["--x4"], ["--x4 True", "the run has False"]),
        (["--ckpt", 7], ["no checkpoint of step 7000", "there: 5, 10"]),
        (["--dataset", "coco14"], ["'coco14'", "voc07, voc12"]),
        (["--split", "dev"], ["voc12-dev-seg", "there: voc12-train, voc12-train-seg, voc12-val"]),
        (["--dataset", "voc12-train"], ["--split val has no say in --dataset voc12-train"]),
        (["--split", "test"], ["python -m tools.encode_voc --year 12 --split test"]),
        (["--ckpt", 1, "--batch_eval"], ["--ckpt", "--batch_eval"]),
        (["--run_name", "none"], ["no run in", "none", "training.py"]),
    ],
)
def test_what_cannot_be_evaluated_is_said(tiny_data, run_at, capsys, flags, expected):
    folder = run_at(5, 10)
    assert evaluate(tiny_data, *flags, archive=folder.parent) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and all(text in error for text in expected)
    assert not (folder / "1evaluations.txt").exists()


def test_records_of_other_classes_are_refused(tmp_path, run_at, capsys):
    data = write_data(tmp_path / "two", pictures=4, class_names=("cat", "dog"))
    assert evaluate(data, archive=run_at(10).parent) == 1
    error = capsys.readouterr().err
    assert "has 2 classes (cat, dog)" in error and "the run has 20 classes (aeroplane, " in error


def test_damaged_records_are_named(tiny_data, run_at, tmp_path, capsys):
    copied = tmp_path / "records"
    shutil.copytree(tiny_data / "records", copied)
    (shard,) = copied.glob("voc12-val-seg-*.tfrecord")
    shard.write_bytes(shard.read_bytes()[:-10])
    folder = run_at(10)
    assert evaluate(tiny_data, "--records", copied, archive=folder.parent) == 1
    assert f"damaged records: {shard}" in capsys.readouterr().err
    assert not (folder / "1evaluations.txt").exists()
