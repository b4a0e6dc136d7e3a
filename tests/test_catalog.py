"""Names of data sets -> sets of records -> lists, masks and commands."""

import shlex

import pytest

from datasets import catalog
from datasets.catalog import RecordSet, evaluation_sets, training_sets


@pytest.mark.parametrize(
    ("record_set", "name", "image_list", "mask_folder", "flags"),
    [
        (RecordSet("07", "trainval"), "voc07-trainval", "Main/trainval", None, ""),
        (
            RecordSet("12", "val", True),
            "voc12-val-seg",
            "Segmentation/val",
            "SegmentationClass",
            " --segmentation",
        ),
        (
            RecordSet("12", "train", True, True),
            "voc12-train-segaug",
            "SegmentationAug/train",
            "SegmentationClassAug",
            " --segmentation --augmented",
        ),
    ],
)
def test_record_set_says_its_files_and_its_command(
    record_set, name, image_list, mask_folder, flags
):
    assert record_set.name == name
    assert record_set.image_list == image_list
    assert record_set.mask_folder == mask_folder
    split = record_set.split
    assert record_set.command == (
        f"python -m tools.encode_voc --year {record_set.year} --split {split}{flags}"
    )


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ("voc07", "voc07-trainval"),
        ("voc12-train", "voc12-train-segaug"),
        ("voc12-val", "voc12-val-seg"),
        ("voc12-trainval", "voc12-train-segaug voc12-val-seg"),
        ("voc07+12", "voc07-trainval voc12-train voc12-val"),
        ("voc07+12-segmentation", "voc07-trainval voc12-train-segaug"),
        ("VOC07+12-SegFull", "voc07-trainval voc12-train-segaug voc12-val-seg"),
        ("voc12", "voc12-train-seg"),
    ],
)
def test_training_names_mean_the_sets_of_the_original_program(dataset, names):
    assert [s.name for s in training_sets(dataset, "train")] == names.split()


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_voc12_trains_on_the_official_segmentation_list_of_the_split(split):
    assert training_sets("voc12", split.upper()) == (RecordSet("12", split, segmentation=True),)


@pytest.mark.parametrize(
    ("dataset", "segment", "names"),
    [
        ("voc07", False, "voc07-test voc07-test-seg"),
        ("VOC12", True, "voc12-test-seg voc12-test"),
        ("voc12-val", False, "voc12-val-seg"),
        ("voc12-train", True, "voc12-train-segaug"),
    ],
)
def test_evaluation_prefers_masks_only_if_they_are_scored(dataset, segment, names):
    assert [s.name for s in evaluation_sets(dataset, "test", segment)] == names.split()


@pytest.mark.parametrize("lookup", [training_sets, lambda d, s: evaluation_sets(d, s, True)])
def test_unknown_names_list_the_valid_ones(lookup):
    with pytest.raises(ValueError, match="'voc13'.*voc07, .*voc12-val"):
        lookup("voc13", "train")
    with pytest.raises(ValueError, match="'minival'.*train, val, trainval"):
        lookup("voc12", "minival")


@pytest.mark.parametrize("arguments", [("2012", "train"), ("12", "../x"), ("12", "t", False, True)])
def test_record_set_refuses_what_the_layout_lacks(arguments):
    with pytest.raises(ValueError):
        RecordSet(*arguments)


def _every_record_set():
    sets = {s for d in catalog.TRAINING_DATASETS for s in training_sets(d, "train")}
    for dataset in catalog.EVALUATION_DATASETS:
        for split in ("train", "val", "trainval", "test"):
            sets.update(evaluation_sets(dataset, split, True))
    return sorted(sets, key=lambda s: s.name)


def test_different_sets_have_different_names():
    names = [s.name for s in _every_record_set()]
    assert len(set(names)) == len(names) > 15


@pytest.mark.parametrize("record_set", _every_record_set(), ids=lambda s: s.name)
def test_the_command_of_a_set_encodes_that_set(record_set):
    from tools.encode_voc import build_parser, record_set_of

    words = shlex.split(record_set.command)
    assert words[:3] == ["python", "-m", "tools.encode_voc"]
    assert record_set_of(build_parser().parse_args(words[3:])) == record_set
