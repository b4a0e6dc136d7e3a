"""Names of data sets -> sets of records -> lists, masks and commands."""

import contextlib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    assert [s.name for s in training_sets(dataset, "train", True)] == names.split()


@pytest.mark.parametrize(
    ("split", "listed"),
    [("train", "train"), ("VAL", "val"), ("TrainVal", "trainval"), ("Mine", "Mine")],
)
def test_voc12_trains_on_the_segmentation_list_or_without_segmentation_on_main(split, listed):
    (masked,), (boxes_only,) = (training_sets("voc12", split, segment) for segment in (True, False))
    assert masked.image_list == f"Segmentation/{listed}"
    assert boxes_only.image_list == f"Main/{listed}"


@pytest.mark.parametrize(
    ("dataset", "segment", "names"),
    [
        ("voc07", False, "voc07-test voc07-test-seg"),
        ("VOC12", True, "voc12-test-seg voc12-test"),
    ],
)
def test_evaluation_prefers_masks_only_if_they_are_scored(dataset, segment, names):
    assert [s.name for s in evaluation_sets(dataset, "Test", segment)] == names.split()


@pytest.mark.parametrize("segment", [True, False])
def test_names_of_the_original_keep_their_meaning_at_evaluation(segment):
    (val,), (train,) = (evaluation_sets(f"voc12-{s}", "train", segment) for s in ("val", "train"))
    assert (val.name, train.name) == ("voc12-val-seg", "voc12-train-segaug")


@pytest.mark.parametrize("lookup", [training_sets, evaluation_sets])
@pytest.mark.parametrize(
    "name", ["voc12-val-segaug", "voc12-Mine-seg", "voc07-trainval", "voc12-cat_train", "voc12-seg"]
)
def test_any_set_of_records_is_a_data_set(lookup, name):
    assert [s.name for s in lookup(name, "train", True)] == [name]


@pytest.mark.parametrize("lookup", [training_sets, evaluation_sets])
@pytest.mark.parametrize("name", ["voc13", "voc13-val-seg", "coco14", "voc12-", "voc12val", ""])
def test_unknown_names_list_the_valid_ones(lookup, name):
    with pytest.raises(ValueError, match=f"data set {name!r}; valid: .*voc12-val, .*-mine-seg"):
        lookup(name, "train", True)


def test_names_of_several_sets_do_not_evaluate():
    for name in ("voc12-trainval", "voc07+12"):
        with pytest.raises(ValueError, match="unknown evaluation data set"):
            evaluation_sets(name, "train", True)


@pytest.mark.parametrize(
    ("lookup", "dataset", "meant"),
    [
        (training_sets, "voc07", "trainval"),
        (training_sets, "VOC07+12", "trainval"),
        (training_sets, "voc12-trainval", "trainval"),
        (evaluation_sets, "voc12-val", "val"),
        (evaluation_sets, "voc12-mine-seg", "mine"),
    ],
)
def test_names_that_fix_their_split_refuse_another(lookup, dataset, meant):
    assert lookup(dataset, meant, True) == lookup(dataset, "train", True)
    with pytest.raises(ValueError, match="--split test has no say in --dataset .*, which is voc"):
        lookup(dataset, "test", True)


@given(
    st.builds(
        lambda year, split, masks: (year, split, masks > 0, masks > 1),
        st.sampled_from(["07", "12"]),
        st.text(st.sampled_from("aA-_ seg.ug+\n"), min_size=1) | st.text(min_size=1),
        st.sampled_from([0, 1, 2]),
    )
)
def test_from_name_is_the_inverse_of_name(arguments):
    try:
        record_set = RecordSet(*arguments)
    except ValueError:  # not a name of a list
        return
    assert RecordSet.from_name(record_set.name) == record_set


@pytest.mark.parametrize(
    "arguments",
    [
        ("2012", "train"),
        ("12", ""),
        ("12", "../x"),
        ("12", "Train"),
        ("12", "mine-seg"),
        ("12", "mine-segaug", True),
        ("12", "t", False, True),
    ],
)
def test_record_set_refuses_what_the_layout_lacks(arguments):
    with pytest.raises(ValueError):
        RecordSet(*arguments)


def _every_record_set():
    sets = {s for d in catalog.TRAINING_DATASETS for s in training_sets(d, "train", True)}
    for dataset in catalog.EVALUATION_DATASETS:
        for split in ("train", "val", "trainval", "test", "my own"):
            with contextlib.suppress(ValueError):  # names that fix another split
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
