"""test.py from its command line: scores by hand, files, refusals, a night of checkpoints."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from blitznet import engine, keys
from blitznet.evaluation import decode_mask, ground_truth
from tiny_run import evaluate, write_data


@pytest.fixture
def run_at(tiny_archive, tmp_path):
    """Function: a run with copies of the ten-step checkpoint as the given steps; its folder."""

    def copy(*steps):
        folder = tmp_path / "archive" / "r"
        folder.mkdir(parents=True)
        shutil.copy(tiny_archive / "r" / "flags.json", folder)
        for step in steps:
            for file in (tiny_archive / "r").glob("model.ckpt-10.*"):
                shutil.copy(file, folder / file.name.replace("10", str(step), 1))
        return folder

    return copy


def truthful(example):
    """The prediction that says what the ground truth says, difficult objects left out."""
    boxes, labels, difficult = ground_truth(example)
    size = (example[keys.HEIGHT], example[keys.WIDTH])
    mask = decode_mask(example) if example[keys.HAS_MASK] else np.zeros(size, np.uint8)
    return {
        keys.DETECTION_BOXES: boxes[~difficult],
        keys.DETECTION_SCORES: np.full(np.sum(~difficult), 0.9, np.float32),
        keys.DETECTION_CLASSES: labels[~difficult],
        keys.SEMANTIC_CLASSES: np.where(mask == 255, 7, mask),
    }


@pytest.fixture
def predict_by(monkeypatch):
    """Function: let the network answer what a function of the example says."""

    def replace(answer):
        def predictions(predict, batches):
            for batch in batches:
                for i in range(len(batch[keys.FILENAME])):
                    example = {
                        name: value.numpy()[i]
                        for name, value in batch.items()
                        if name != keys.IMAGE
                    }
                    yield example, answer(example)

        monkeypatch.setattr(engine, "predictions", predictions)

    return replace


def result(folder, step=10, records="voc12-val-seg"):
    return json.loads((folder / f"evaluation-{records}-{step}.json").read_text())


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
        found.append(result(folder, records="voc12-train-seg")["scores"])
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
    no_masks(folder, capsys, "voc12-val-seg")


@pytest.mark.parametrize(
    ("flag", "records", "columns"),
    [
        ("--detect", "voc12-val", ["100.00% mAP", "no mIoU"]),
        ("--segment", "voc12-val-seg", ["no mAP", "100.00% mIoU"]),
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
    drawn = sorted((folder / "pictures-voc12-train-seg-10").iterdir())
    assert [path.name for path in drawn] == ["2007_000001.png", "2007_000002.png"]
    for path in drawn:
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
    assert "has the classes cat, dog" in error and "the run has aeroplane" in error


def steps_in(folder):
    rows = (folder / "1evaluations.txt").read_text().splitlines()
    return [round(float(row.split("\t")[0]) * 1000) for row in rows]


def test_all_checkpoints_of_a_run(tiny_data, run_at, predict_by, capsys):
    folder = run_at(10, 2000, 3000, 3500, 4000)
    for index in folder.glob("*.index"):
        assert index.is_file()
    predict_by(truthful)
    # The checkpoints are copies, so that all hold the step 10.
    relabel(folder)
    where = {"archive": folder.parent}
    assert evaluate(tiny_data, "--ckpt", 2, **where) == 0
    assert evaluate(tiny_data, "--batch_eval", "--min_ckpt", 1, **where) == 0
    assert steps_in(folder) == [2000, 3000, 4000]
    capsys.readouterr()
    assert evaluate(tiny_data, "--batch_eval", "--min_ckpt", 1, **where) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert evaluate(tiny_data, "--batch_eval", "--step", 0.5, **where) == 0
    assert steps_in(folder) == [2000, 3000, 4000, 10, 3500]


def relabel(folder):
    """Give every checkpoint of a run the step of its name."""
    from blitznet import checkpoints, runs

    model, _ = runs.build(runs.read_flags(folder))
    for step in checkpoints.steps(folder):
        checkpoints.restore(checkpoints.prefix(folder, step), model)
        checkpoints.save(folder, step, model)


def test_a_bad_checkpoint_costs_the_others_nothing(tiny_data, run_at, predict_by, capsys):
    folder = run_at(1000, 2000, 3000)
    relabel(folder)
    data = folder / "model.ckpt-2000.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    predict_by(truthful)
    assert evaluate(tiny_data, "--batch_eval", archive=folder.parent) == 1
    assert steps_in(folder) == [1000, 3000]
    error = capsys.readouterr().err
    assert "model.ckpt-2000 is damaged" in error
    assert "1 of 3 checkpoints could not be evaluated: model.ckpt-2000" in error


def test_damaged_records_are_named(tiny_data, run_at, tmp_path, capsys):
    copied = tmp_path / "records"
    shutil.copytree(tiny_data / "records", copied)
    (shard,) = copied.glob("voc12-val-seg-*.tfrecord")
    shard.write_bytes(shard.read_bytes()[:-10])
    folder = run_at(10)
    assert evaluate(tiny_data, "--records", copied, archive=folder.parent) == 1
    assert f"damaged records: {shard}" in capsys.readouterr().err
    assert not (folder / "1evaluations.txt").exists()
