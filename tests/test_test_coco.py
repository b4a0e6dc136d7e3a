"""test.py by COCO's rule, and on records without ground truth or with masks alone."""

import json
import shutil

import pytest

from blitznet import keys
from evaluated_run import best, relabel, result, truthful
from tiny_run import evaluate, read_events


@pytest.fixture
def coco_records(tiny_data, tmp_path):
    """Function: a folder with the records voc12-val-seg, scored by COCO's rule; `changes` to
    their JSON.
    """

    def copy(**changes):
        folder = tmp_path / "coco_records"
        folder.mkdir()
        for file in (tiny_data / "records").glob("voc12-val-seg*"):
            shutil.copy(file, folder)
        path = folder / "voc12-val-seg.json"
        content = json.loads(path.read_text())
        ids = [3 * i + 2 for i in range(len(content["classes"]))]
        content.update({"ap_rule": "coco", "category_ids": ids, **changes})
        path.write_text(json.dumps(content))
        return folder

    return copy


def coco_results(folder, step=10):
    return json.loads((folder / f"results-voc12-val-seg-{step}.json").read_text())


def test_by_cocos_rule(tiny_data, run_at, predict_by, coco_records, capsys):
    """COCO knows nothing of difficult: that object, a motorbike, is missed; the horse is found."""
    folder, given = run_at(10), []
    predict_by(lambda example: given.append(example) or truthful(example))
    flags = ["--records", coco_records()]
    assert evaluate(tiny_data, *flags, archive=folder.parent) == 0
    printed = capsys.readouterr().out
    scores, protocol = (result(folder)[name] for name in ("scores", "protocol"))
    assert protocol["ap_rule"] == "coco" and protocol["iou_from"] == "0.50:0.05:0.95"
    assert "iou_above" not in protocol
    assert "ap_rule coco, iou_from 0.50:0.05:0.95" in printed
    assert scores["miou"] == 1.0 and scores["coco"]["AP"] == scores["map"] == pytest.approx(0.5)
    present = {name: ap for name, ap in scores["ap"].items() if ap is not None}
    assert present == pytest.approx({"horse": 1, "motorbike": 0})
    line = (folder / "1evaluations.txt").read_text()
    assert line.split("\t")[1:3] == [f"{100 * scores['map']:.2f}% mAP", "100.00% mIoU"]

    with_objects = [example for example in given if (example[keys.LABELS] > 0).any()]
    (example,) = with_objects
    (found,) = coco_results(folder)
    box, label = truthful(example)[keys.DETECTION_BOXES][0], 13
    height, width = example[keys.HEIGHT], example[keys.WIDTH]
    x, y = box[1] * width, box[0] * height
    assert found["bbox"] == pytest.approx(
        [x, y, box[3] * width - x, box[2] * height - y], abs=0.006
    )
    assert found["category_id"] == 3 * (label - 1) + 2
    assert found["image_id"] == example[keys.SOURCE_ID].decode()
    scalars, _ = read_events(folder / "eval-voc12-val-seg")
    assert scalars["DetectionBoxes_Precision/mAP"] == [(10, pytest.approx(scores["map"]))]
    assert best(folder)["score"] == scores["map"]
    assert evaluate(tiny_data, *flags, "--voc_iou_thresh", 0.7, archive=folder.parent) == 1
    assert "--voc_iou_thresh has no effect on voc12-val-seg" in capsys.readouterr().err


def test_without_ground_truth_there_are_results_alone(
    tiny_data, run_at, predict_by, coco_records, capsys
):
    folder = run_at(1000, 2000)
    relabel(folder)
    predict_by(truthful)
    records = coco_records(has_boxes=False, images_with_masks=0)
    flags = ["--batch_eval", "--records", records]
    assert evaluate(tiny_data, *flags, archive=folder.parent) == 0
    assert "voc12-val-seg has no ground truth" in capsys.readouterr().out
    assert len(coco_results(folder, 1000)) == len(coco_results(folder, 2000)) == 1
    made = {path.name.split("-")[0] for path in folder.iterdir()}
    assert made == {"flags.json", "model.ckpt", "results"}
    assert evaluate(tiny_data, *flags, archive=folder.parent) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert evaluate(tiny_data, "--segment", "--records", records, archive=folder.parent) == 1
    assert "no ground truth for what is to be evaluated" in capsys.readouterr().err


def test_records_of_ones_own_are_scored_by_their_own_rule(
    tiny_data, run_at, predict_by, coco_records
):
    folder, file = run_at(10), coco_records() / "voc12-val-seg.json"
    predict_by(truthful)
    flags = ["--dataset", "custom", "--eval_records", file]
    assert evaluate(tiny_data, *flags, archive=folder.parent) == 0
    protocol = result(folder)["protocol"]
    assert (protocol["dataset"], protocol["ap_rule"]) == ("custom", "coco")


def test_masks_alone_are_scored_without_detection(
    tiny_data, run_at, predict_by, coco_records, capsys
):
    folder, records = run_at(10), coco_records(has_boxes=False, ap_rule="voc12")
    predict_by(truthful)
    assert evaluate(tiny_data, "--records", records, archive=folder.parent) == 0
    scores = result(folder)["scores"]
    assert "map" not in scores and scores["miou"] == 1.0
    assert best(folder) == {"step": 10, "by": "mIoU", "score": 1.0}
    assert "masks alone: detection is left out" in capsys.readouterr().err
    assert evaluate(tiny_data, "--detect", "--records", records, archive=folder.parent) == 1
