"""Classes of a data set."""

import dataclasses
import pickle

import pytest

from datasets.info import VOC, BadExample, DatasetInfo, listed


def test_voc_classes_are_the_official_ones_in_alphabetical_order():
    assert VOC.num_classes == 21
    assert list(VOC.class_names) == sorted(VOC.class_names)
    # Ids of the development kit's documentation.
    ids = {name: i for i, name in enumerate(VOC.class_names, 1)}
    assert (ids["aeroplane"], ids["cat"], ids["person"], ids["tvmonitor"]) == (1, 8, 15, 20)


def test_category_ids_are_for_coco_alone():
    assert VOC.category_ids is None
    assert DatasetInfo("mine", ("cat", "dog"), category_ids=(3, 7)).category_ids == (3, 7)


def test_info_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        VOC.ignore_label = 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no class"),
        (("cat", "dog", "cat"), "repeats the class cat"),
        (tuple(map(str, range(255))), "below the ignored label 255"),
    ],
)
def test_impossible_classes_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        DatasetInfo("mine", names)


def test_254_classes_fit_below_the_ignored_label():
    assert DatasetInfo("mine", tuple(map(str, range(254)))).num_classes == 255


def test_classes_of_whole_pictures_have_no_background_and_no_mask_to_fit_in():
    names = tuple(map(str, range(1000)))
    assert DatasetInfo("imagenet", names, of_pictures=True).num_classes == 1000
    with pytest.raises(ValueError, match="repeats the class crane"):
        DatasetInfo("imagenet", ("crane", "drill", "crane"), of_pictures=True)


@pytest.mark.parametrize(
    ("names", "others", "expected"),
    [
        ("abc", "", "a, b, c"),
        ("abcdef", "", "6 classes (from number 1 on: a, b, c, ...)"),
        ("abcdef", "abdef", "6 classes (from number 3 on: c, d, e, ...)"),
        ("abdef", "abcdef", "5 classes (from number 3 on: d, e, f, ...)"),
        ("abcde", "abcde", "5 classes (from number 5 on: e, ...)"),
    ],
)
def test_long_lists_of_classes_are_told_from_where_they_differ(names, others, expected):
    assert listed(tuple(names), tuple(others), most=4) == expected


def test_bad_example_travels_between_processes():
    error = pickle.loads(pickle.dumps(BadExample("a.xml", "no box")))
    assert (error.file, error.reason, str(error)) == ("a.xml", "no box", "a.xml: no box")
