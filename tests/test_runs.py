"""A run's folder: flags.json round trips, differences, and the network that it describes."""

import subprocess

import numpy as np
import pytest

import config
from blitznet import checkpoints, runs
from blitznet.label_map import read_label_map
from blitznet.models.blitznet import source_sides
from tools.flags.network import tasks_of

SHAPE = {
    "arch": "blitznet",
    "dilated_projection": "conv",
    "image_size": 64,
    "trunk": "resnet18_half",
    "x4": False,
    "detect": True,
    "segment": True,
    "head": "nonshared",
    "resize": "bilinear",
    "top_fm": 16,
    "det_kernel": 3,
    "n_base_channels": 8,
    "seg_filter_size": 1,
    "class_loss": "softmax",
}
NAMES = ("cat", "dog")


def description(names=NAMES, **changes):
    return runs.describe({**SHAPE, **changes}, names, {"seed": 3})


def test_flags_come_back_as_they_were_written(tmp_path):
    written = description()
    runs.write_flags(tmp_path / "deep" / "run", written)
    assert runs.read_flags(tmp_path / "deep" / "run") == written
    assert written["model"] == {"num_classes": 3, **SHAPE}
    assert (written["class_names"], written["flags"]) == (["cat", "dog"], {"seed": 3})
    names = sorted(p.name for p in (tmp_path / "deep" / "run").iterdir())
    assert names == ["flags.json", "label_map.pbtxt"]
    assert read_label_map(tmp_path / "deep" / "run" / "label_map.pbtxt") == NAMES


def test_a_failed_write_leaves_what_was_there(tmp_path):
    runs.write_flags(tmp_path, description())
    with pytest.raises(TypeError):
        runs.write_flags(tmp_path, {"model": object()})
    assert runs.read_flags(tmp_path) == description()


def test_no_run_names_the_folder_and_what_makes_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run in .*/none .*training\.py"):
        runs.read_flags(tmp_path / "none")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"model": {"num_classes": 5}, "class_names": ["cat"]}']
)
def test_flags_that_describe_no_run_are_named(tmp_path, text):
    (tmp_path / "flags.json").write_text(text)
    with pytest.raises(ValueError, match=r"flags\.json does not describe a run"):
        runs.read_flags(tmp_path)


def test_differences_are_those_of_network_and_classes_alone():
    assert runs.differences(description(), {**description(), "flags": {}, "commit": "x"}) == {}
    assert runs.differences(description(), description(top_fm=32, x4=True)) == {
        "top_fm": (16, 32),
        "x4": (False, True),
    }
    other = runs.differences(description(), description(names=("cat", "cow", "dog")))
    assert other == {
        "num_classes": (3, 4),
        "class_names": (["cat", "dog"], ["cat", "cow", "dog"]),
    }


def test_a_run_loads_with_its_weights_and_prior_boxes(tmp_path):
    model, coder = runs.build(description())
    assert len(coder.priors) == 6 * sum(side**2 for side in source_sides(model))
    runs.write_flags(tmp_path, description())
    checkpoints.save(tmp_path, 7, model)
    loaded, _, read, step = runs.load(tmp_path)
    assert (read, step) == (description(), 7)
    for old, new in zip(model.variables, loaded.variables):
        np.testing.assert_array_equal(old.numpy(), new.numpy())


def test_segmentation_alone_has_no_prior_boxes():
    assert runs.build(description(detect=False))[1] is None


def test_the_commit_is_that_of_the_checkout_or_none(monkeypatch):
    commit = runs.git_commit()
    assert commit is None or len(commit.split("-")[0]) == 12

    def no_git(*args, **kwargs):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert runs.git_commit() is None


def write_older(folder):
    """`flags.json` of a program that knew neither `class_loss` nor other architectures."""
    older = description()
    for name in ("class_loss", "arch", "dilated_projection"):
        del older["model"][name]
    runs.write_flags(folder, older)


def test_what_a_description_leaves_out_is_as_by_default(tmp_path):
    write_older(tmp_path)
    older = runs.read_flags(tmp_path)
    assert older == description()
    assert runs.differences(older, description(class_loss="focal")) == {
        "class_loss": ("softmax", "focal")
    }
    _, coder = runs.build(older)
    assert coder.class_loss == "softmax"


@pytest.mark.parametrize("flags", [[], ["--class_loss", "softmax"]])
def test_an_older_run_is_evaluated_with_flags_that_it_did_not_know(tmp_path, flags):
    write_older(tmp_path)
    args = config.evaluation_parser().parse_args(["--run_name", "r", *flags])
    tasks = tasks_of(args, runs.read_flags(tmp_path)["model"])
    assert tasks == {"detect": True, "segment": True, "classify": False}
    args.class_loss = "focal"
    with pytest.raises(ValueError, match="--class_loss focal, but the run has softmax"):
        tasks_of(args, runs.read_flags(tmp_path)["model"])


@pytest.mark.parametrize(("class_loss", "unfit"), [("softmax", ()), ("focal", ("confidence_",))])
def test_class_logits_of_another_loss_do_not_fit(tmp_path, class_loss, unfit):
    checkpoint, target = tmp_path / "model.ckpt-5", description(class_loss=class_loss)
    assert runs.unfit_layers(checkpoint, target) == (), "nothing is known of it"
    write_older(tmp_path)
    assert runs.unfit_layers(checkpoint, target) == unfit


def test_class_logits_of_other_classes_do_not_fit(tmp_path):
    write_older(tmp_path)
    target = {**runs.read_flags(tmp_path), "class_names": ["other"]}
    unfit = runs.unfit_layers(tmp_path / "model.ckpt-5", target)
    assert unfit == ("confidence_", "segmentation/")


@pytest.mark.parametrize(
    ("arch", "trunk", "unfit"),
    [
        ("fcn16s", "vgg16_quarter", ("score_", "upscore")),
        ("classifier", "resnet18_half", ("class_logits",)),
    ],
)
def test_layers_of_other_classes_are_those_of_the_architecture(tmp_path, arch, trunk, unfit):
    write_older(tmp_path)
    shape = {"arch": arch, "trunk": trunk, "image_size": 64}
    target = runs.describe(shape, ("other",), {})
    assert runs.unfit_layers(tmp_path / "model.ckpt-5", target) == unfit


def test_a_classifier_has_no_background(tmp_path):
    shape = {"arch": "classifier", "trunk": "resnet18_half", "image_size": 64}
    written = runs.describe(shape, NAMES, {})
    assert written["model"]["num_classes"] == 2
    runs.write_flags(tmp_path, written)
    model, coder = runs.build(runs.read_flags(tmp_path))
    assert tuple(model.output["class_logits"].shape) == (None, 2)
    assert coder is None


def test_a_checkpoint_of_another_trunk_is_told(tmp_path):
    checkpoint = tmp_path / "model.ckpt-5"
    runs.check_same_trunk(checkpoint, description(trunk="detnet59"))  # nothing is known of it
    write_older(tmp_path)
    runs.check_same_trunk(checkpoint, description())
    with pytest.raises(ValueError, match="model.ckpt-5 is of --trunk .*, this run of --trunk detn"):
        runs.check_same_trunk(checkpoint, description(trunk="detnet59"))


def test_another_version_of_a_trunk_is_told(tmp_path):
    fcn = {"arch": "fcn32s", "geometry": "same"}
    checkpoint = tmp_path / "model.ckpt-5"
    here = runs.describe({**fcn, "arch": "fcn16s", "geometry": "reference"}, NAMES, {})
    assert runs.other_versions(checkpoint, here) == [], "nothing is known of it"
    runs.write_flags(tmp_path, runs.describe(fcn, NAMES, {}))
    assert runs.other_versions(checkpoint, here) == [("geometry", "same", "reference")]
    same = runs.describe({**fcn, "arch": "fcn16s"}, NAMES, {})
    assert runs.other_versions(checkpoint, same) == []


def test_a_classifier_pretrains_detectors_and_not_itself(tmp_path):
    shape = {"arch": "classifier", "trunk": "detnet59", "dilated_projection": "none"}
    checkpoint = tmp_path / "model.ckpt-5"
    assert not runs.pretrains(checkpoint, description(trunk="detnet59"))
    runs.write_flags(tmp_path, runs.describe(shape, NAMES, {}))
    detector = description(trunk="detnet59")
    assert runs.pretrains(checkpoint, detector)
    assert runs.other_versions(checkpoint, detector) == [("dilated_projection", "none", "conv")]
    assert not runs.pretrains(checkpoint, runs.describe(shape, NAMES, {}))
