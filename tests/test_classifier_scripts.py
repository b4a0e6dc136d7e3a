"""Classifiers from the command line, and what a detector takes over from one."""

import json

import numpy as np
import pytest

import test as evaluation_script
import training
from blitznet import checkpoints, runs
from tiny_run import tensors, train
from tools import classification_data, encode_folder

SMALL = ["--arch", "classifier", "--trunk", "resnet18_half", "--image_size", 64]


def run(main, *flags):
    return main([str(flag) for flag in flags])


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Folder with records of 24 + 12 drawn pictures of six classes."""
    folder = tmp_path_factory.mktemp("shapes")
    drawn, records = folder / "drawn", folder / "records"
    assert run(classification_data.main, "--output", drawn, "--train", 24, "--val", 12) == 0
    for split in ("train", "val"):
        flags = ["--root", drawn / split, "--name", f"shapes-{split}", "--records", records]
        assert run(encode_folder.main, *flags, "--workers", 1) == 0
    return records


def pre_train(shapes, archive, *flags):
    """Exit code of a classifier's training."""
    data = ["--dataset", "custom", "--train_records", shapes / "shapes-train.json"]
    rhythm = ["--batch_size", 8, "--learning_rate", 1e-3, "--summary_every", 1]
    named = ["--run_name", "c", "--archive", archive, "--random_trunk_init"]
    return run(training.main, *named, *data, *SMALL, *rhythm, *flags)


@pytest.fixture(scope="module")
def archive(shapes, tmp_path_factory):
    """Archive with a classifier of two steps, "c"."""
    folder = tmp_path_factory.mktemp("archive")
    assert pre_train(shapes, folder, "--max_iterations", 2) == 0
    return folder


def evaluate(archive, records, *flags):
    data = ["--dataset", "custom", "--eval_records", records]
    return run(evaluation_script.main, "--run_name", "c", "--archive", archive, *data, *flags)


def test_a_classifier_is_scored_by_top_1_and_top_5(shapes, archive, capsys):
    assert evaluate(archive, shapes / "shapes-val.json", "--save_first_n", 2) == 0
    content = json.loads((archive / "c" / "evaluation-shapes-val-2.json").read_text())
    scores = content["scores"]
    assert scores["images"] == 12
    assert 0 <= scores["top1"] <= scores["top5"] <= 1
    # Twelve pictures: a share of them.
    assert scores["top1"] * 12 == pytest.approx(round(scores["top1"] * 12))
    printed = capsys.readouterr().out
    assert "top-1" in printed and "top-5" in printed and "mAP" not in printed
    mark = json.loads((archive / "c" / "best-shapes-val.json").read_text())
    assert mark == {"step": 2, "by": "top1", "score": scores["top1"]}
    assert len(list((archive / "c" / "pictures-shapes-val-2").glob("*.png"))) == 2


def test_a_detector_takes_over_the_trunk_and_no_class(tiny_data, archive, tmp_path, capsys):
    source = archive / "c" / "model.ckpt-2"
    assert train(tiny_data, "--init_from", source, "--max_iterations", 1, archive=tmp_path) == 0
    trunk = [name for name in tensors(source) if name.startswith("net/") and "class_" not in name]
    printed = capsys.readouterr().out
    assert f"{source}: {len(trunk)} variables taken over" in printed
    model, _ = runs.build(runs.read_flags(tmp_path / "r"))
    loaded, skipped = checkpoints.init_from(source, model)
    assert {f"net/{path}" for path in loaded} == set(trunk)
    assert f"{source} is a classifier's: its trunk is taken over\n" in printed
    assert f"values of their own stay in {len(skipped)} beside the trunk\n" in printed


def test_each_kind_of_network_refuses_the_others_records(shapes, archive, tiny_data, capsys):
    boxes = tiny_data / "records" / "voc12-train-seg.json"
    data = ["--dataset", "custom", "--train_records"]
    named = ["--run_name", "x", "--archive", archive, "--random_trunk_init"]
    assert run(training.main, *named, *SMALL, *data, boxes) == 1
    assert "encode_folder" in capsys.readouterr().err
    assert run(training.main, *named, *data, shapes / "shapes-train.json") == 1
    assert "--arch classifier is for them" in capsys.readouterr().err
    assert evaluate(archive, boxes) == 1
    assert "have no class as a whole" in capsys.readouterr().err


@pytest.mark.slow
def test_a_classifier_learns_and_resumes_exactly(shapes, tmp_path):
    flags = ["--augmentation", "none", "--save_every", 15]
    for name, stops in (("whole", [30]), ("parts", [15, 30])):
        for steps in stops:
            assert pre_train(shapes, tmp_path / name, *flags, "--max_iterations", steps) == 0
    one, other = (tensors(tmp_path / name / "c" / "model.ckpt-30") for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)
    assert evaluate(tmp_path / "whole", shapes / "shapes-train.json") == 0
    report = tmp_path / "whole" / "c" / "evaluation-shapes-train-30.json"
    assert json.loads(report.read_text())["scores"]["top1"] > 1 / 6 + 0.2
