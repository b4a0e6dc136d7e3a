"""DetNet-59 from the command line: trained, evaluated and exported as any other trunk."""

import json
import shutil

import numpy as np
import pytest

import toy_detnet
from blitznet import checkpoints, export, runs
from blitznet.postprocess.settings import DetectionSettings
from evaluated_run import result, truthful
from tiny_run import evaluate, read_events, tensors, train
from tools import export_check, export_saved_model, saved_model_outputs

SIZES = ("all", "small", "medium", "large")
# The columns of the paper's tables 3 and 4.
IOUS = ("0.50", "0.60", "0.70", "0.80", "0.85")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Make `detnet59` the name of a narrow one."""
    toy_detnet.install(monkeypatch)


def train_detnet(data, *flags, **where):
    """Exit code of a run on `detnet59`."""
    return train(data, "--trunk", "detnet59", *flags, **where)


@pytest.mark.slow
def test_a_run_is_trained_evaluated_and_exported(tiny_data, tmp_path):
    archive, output = tmp_path / "archive", tmp_path / "exported"
    flags = ["--max_iterations", 30, "--summary_every", 1, "--batch_size", 4]
    flags += ["--learning_rate", 3e-3, "--augmentation", "none"]
    assert train_detnet(tiny_data, *flags, archive=archive) == 0
    losses, _ = read_events(archive / "r")
    total = [loss for _, loss in losses["loss/total"]]
    assert np.mean(total[-5:]) < 0.8 * np.mean(total[:5])

    assert evaluate(tiny_data, "--split", "train", archive=archive) == 0
    scores = result(archive / "r", 30, "voc12-train-seg")["scores"]
    assert 0 <= scores["map"] <= 1 and 0 < scores["miou"] <= 1

    flags = ["--run_name", "r", "--archive", archive, "--output", output, "--conf_thresh", 0]
    assert export_saved_model.main([str(flag) for flag in flags]) == 0
    model, coder, _, _ = runs.load(archive / "r")
    live = export.ServingFunctions(model, coder, DetectionSettings(conf_thresh=0.0))
    images = np.random.default_rng(1).integers(0, 256, (2, 50, 70, 3)).astype(np.uint8)
    found = saved_model_outputs.by_python(str(output / "30"), "images", images)
    expected = {name: value.numpy() for name, value in live.from_images(images).items()}
    assert not export_check.differences(expected, found)
    assert found["num_detections"].min() > 0


@pytest.mark.slow
def test_the_ablation_is_a_network_of_its_own(tiny_data, tmp_path, capsys, eagerly):
    ablation = ["--detect", "--dilated_projection", "none"]
    for run_name, flags in {"usual": ["--detect"], "ablation": ablation}.items():
        where = {"run_name": run_name, "archive": tmp_path}
        assert train_detnet(tiny_data, *flags, "--max_iterations", 1, **where) == 0
        shape = json.loads((tmp_path / run_name / "flags.json").read_text())["model"]
        chosen = "none" if run_name == "ablation" else "conv"
        assert (shape["trunk"], shape["dilated_projection"]) == ("detnet59", chosen)
        names = tensors(checkpoints.find(tmp_path / run_name))
        projected = any("block5_unit1_shortcut/kernel" in name for name in names)
        assert projected == (chosen == "conv")

    flags = [*ablation, "--max_iterations", 2]
    assert train_detnet(tiny_data, *flags, run_name="usual", archive=tmp_path) == 1
    assert "dilated_projection: was conv, is none" in capsys.readouterr().err
    assert train(tiny_data, *flags, run_name="resnet", archive=tmp_path) == 1
    told = "with trunk resnet18_half, dilated_projection can only be conv, got none"
    assert told in capsys.readouterr().err


def test_ap_and_ar_by_size_and_iou_are_reported(tiny_data, run_at, predict_by, tmp_path, capsys):
    """As in the paper's tables 3 and 4: one object of two is found, at every IoU."""
    records, folder = tmp_path / "records", run_at(10)
    records.mkdir()
    for file in (tiny_data / "records").glob("voc12-val-seg*"):
        shutil.copy(file, records)
    content = json.loads((records / "voc12-val-seg.json").read_text())
    content.update(ap_rule="coco", category_ids=list(range(1, 21)))
    (records / "voc12-val-seg.json").write_text(json.dumps(content))
    predict_by(truthful)
    assert evaluate(tiny_data, "--records", records, archive=folder.parent) == 0

    by_size = result(folder)["scores"]["by_size"]
    assert (set(by_size), set(by_size["AP"])) == ({"AP", "AR"}, set(SIZES))
    for kind in ("AP", "AR"):
        assert [by_size[kind]["all"][iou] for iou in IOUS] == pytest.approx([0.5] * 5)
        assert all(set(IOUS) < set(by_size[kind][size]) for size in SIZES)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (levels,) = [words[1:] for words in cells if words[-1] == "95"]
    assert {"50", "60", "70", "80", "85"} < set(levels)
    rows = {words[0]: words[1:] for words in cells}
    for kind in ("AP", "AR"):
        assert rows[f"{kind} all"] == ["0.500"] * len(levels)
        assert all(len(rows[f"{kind} {size}"]) == len(levels) for size in SIZES)
