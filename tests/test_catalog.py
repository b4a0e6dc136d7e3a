"""Names of data sets -> sets of records -> lists, masks and commands."""

import contextlib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import catalog
from datasets.catalog import evaluation_sets, training_sets
from datasets.record_sets import CocoSet, OwnCocoSet, OwnFolderSet, OwnVocSet, VocSet
from tools import encode_coco, encode_folder, encode_voc


@pytest.mark.parametrize(
    ("record_set", "name", "image_list", "mask_folder", "flags"),
    [
        (VocSet("07", "trainval"), "voc07-trainval", "Main/trainval", None, ""),
        (
            VocSet("12", "val", True),
            "voc12-val-seg",
            "Segmentation/val",
            "SegmentationClass",
            " --segmentation",
        ),
        (
            VocSet("12", "train", True, True),
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
        ("COCO", "coco-train2014 coco-valminusminival2014"),
        ("Coco-Seg", "coco-train2014-seg coco-valminusminival2014-seg"),
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
def test_a_split_of_coco_means_itself_alone(segment):
    def names(lookup, dataset, split):
        return [s.name for s in lookup(dataset, split, segment)]

    assert names(training_sets, "coco", "Train2017") == ["coco-train2017"]
    assert names(training_sets, "coco-seg", "train2017") == ["coco-train2017-seg"]
    pair = ["coco-minival2014-seg", "coco-minival2014"]
    assert names(evaluation_sets, "coco", "Minival2014") == (pair if segment else pair[::-1])
    assert names(evaluation_sets, "coco-seg", "val2017") == ["coco-val2017-seg"]
    assert names(evaluation_sets, "coco", "test-dev2017") == ["coco-test-dev2017"]


@pytest.mark.parametrize(
    ("lookup", "dataset", "split", "message"),
    [
        (training_sets, "coco", "val", "COCO has no split 'val'; valid: train2014, .*test-dev2017"),
        (training_sets, "coco-seg", "test2015", "test2015 has no ground truth, so no masks"),
        (evaluation_sets, "coco-seg", "test2015", "test2015 has no ground truth, so no masks"),
        (evaluation_sets, "coco", "train", "--dataset coco needs --split: train2014, "),
    ],
)
def test_splits_that_coco_has_not_are_told(lookup, dataset, split, message):
    with pytest.raises(ValueError, match=message):
        lookup(dataset, split, True)


@pytest.mark.parametrize(
    ("split", "image_list", "folder", "has_boxes"),
    [
        ("train2017", "instances_train2017", "train2017", True),
        ("minival2014", "instances_minival2014", "val2014", True),
        ("valminusminival2014", "instances_valminusminival2014", "val2014", True),
        ("test-dev2015", "image_info_test-dev2015", "test2015", False),
        ("test-dev2017", "image_info_test-dev2017", "test2017", False),
    ],
)
def test_a_split_of_coco_says_its_files(split, image_list, folder, has_boxes):
    record_set = CocoSet(split)
    assert record_set.image_list == image_list
    assert record_set.image_folder == folder
    assert record_set.has_boxes == has_boxes
    assert CocoSet.from_name(record_set.name) == record_set


def test_sets_say_by_which_rule_detections_are_scored():
    own = ("/a", "mine", "/a/l.pbtxt", "train")
    sets = [VocSet("07", "test"), VocSet("12", "val"), CocoSet("val2017"), OwnVocSet(*own)]
    sets.append(OwnCocoSet("mine", "/a/b.json", "/a"))
    assert [s.ap_rule for s in sets] == ["voc07", "voc12", "coco", "voc12", "coco"]


def test_a_list_of_ones_own_may_name_pictures_without_mask():
    required = {s: VocSet("07", s, True).masks_required for s in ("trainval", "test", "mine")}
    assert required == {"trainval": True, "test": True, "mine": False}


@pytest.mark.parametrize("segment", [True, False])
def test_names_of_the_original_keep_their_meaning_at_evaluation(segment):
    (val,), (train,) = (evaluation_sets(f"voc12-{s}", "train", segment) for s in ("val", "train"))
    assert (val.name, train.name) == ("voc12-val-seg", "voc12-train-segaug")


@pytest.mark.parametrize("lookup", [training_sets, evaluation_sets])
@pytest.mark.parametrize(
    "name",
    [
        *("voc12-val-segaug", "voc12-Mine-seg", "voc07-trainval", "voc12-cat_train", "voc12-seg"),
        *("coco-train2017", "coco-val2014-seg", "coco-test-dev2015"),
    ],
)
def test_any_set_of_records_is_a_data_set(lookup, name):
    assert [s.name for s in lookup(name, "train", True)] == [name]


@pytest.mark.parametrize("name", ["VOC12-Val-SegAug", "Voc07-TrainVal", "COCO-Val2014-Seg"])
def test_case_of_official_sets_does_not_matter(name):
    assert [s.name for s in training_sets(name, "train", True)] == [name.lower()]


@pytest.mark.parametrize("lookup", [training_sets, evaluation_sets])
@pytest.mark.parametrize(
    "name",
    [
        "voc13",
        "voc13-val-seg",
        "coco14",
        "coco-mine",
        "coco-train2017-segaug",
        "voc12-",
        "voc12val",
        "",
    ],
)
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
        record_set = VocSet(*arguments)
    except ValueError:  # not a name of a list
        return
    assert VocSet.from_name(record_set.name) == record_set


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
        VocSet(*arguments)


def _every_record_set():
    sets = {s for d in catalog.TRAINING_DATASETS for s in training_sets(d, "train", True)}
    for dataset in catalog.EVALUATION_DATASETS:
        for split in ("train", "val", "trainval", "test", "my own", "val2017", "test-dev2017"):
            with contextlib.suppress(ValueError):  # names that fix another split
                sets.update(evaluation_sets(dataset, split, True))
    return sorted(sets, key=lambda s: s.name)


def test_different_sets_have_different_names():
    names = [s.name for s in _every_record_set()]
    assert len(set(names)) == len(names) > 22


OWN_SETS = [
    OwnVocSet("/my data", "my data", "/a/l.pbtxt", "train"),
    OwnVocSet("/d", "mine", "/a/l.pbtxt", "its own", True, True),
    OwnCocoSet("it's mine", "/my data/a.json", "/b"),
    OwnCocoSet("mine", "/a.json", "/b", "/l.pbtxt", segmentation=True),
    OwnFolderSet("it's mine", "/my data/train"),
    OwnFolderSet("mine", "/a", "/l.pbtxt"),
]


@pytest.mark.parametrize("record_set", _every_record_set() + OWN_SETS, ids=lambda s: s.name)
def test_the_command_of_a_set_encodes_that_set(record_set):
    words = shlex.split(record_set.command)
    tools = {tool.__name__: tool for tool in (encode_voc, encode_coco, encode_folder)}
    assert words[:2] == ["python", "-m"]
    tool = tools[words[2]]
    assert tool.record_set_of(tool.build_parser().parse_args(words[3:])) == record_set


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("voc12-train", "--name voc12-train is the name of an official set"),
        ("coco-val2017-seg", "is the name of an official set"),
        ("a/b", "without folder: 'a/b'"),
        ("", "is the name of a set of records"),
    ],
)
def test_own_sets_keep_off_the_names_of_others(name, message):
    for kind in (lambda: OwnCocoSet(name, "/a.json", "/b"), lambda: OwnFolderSet(name, "/a")):
        with pytest.raises(ValueError, match=message):
            kind()


def test_own_voc_sets_keep_off_the_names_of_others():
    with pytest.raises(ValueError, match="--name voc12-train is the name of an official set"):
        OwnVocSet("/d", "voc12", "/l.pbtxt", "train")
    assert OwnVocSet("/d", "mine", "/l.pbtxt", "val", True).name == "mine-val-seg"
