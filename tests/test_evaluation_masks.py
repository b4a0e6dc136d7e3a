"""Scores of class maps: the four of FCN's paper, near borders, and what has no mask."""

import json

import numpy as np
import pytest

from blitznet import evaluation, evaluation_tables
from evaluation_cases import CAT_BOX, example, prediction, scored


def test_without_masks_there_is_no_miou_anywhere():
    found = scored([(example([CAT_BOX], [1]), prediction([CAT_BOX], [1.0], [1]))])
    names = ("pixel_accuracy", "mean_accuracy", "miou", "frequency_weighted_iou")
    assert [found[name] for name in names] == [None] * 4
    assert "mIoU: not computed: no masks" in evaluation_tables.tables(found)
    json.dumps(found, allow_nan=False)


def test_pictures_without_mask_do_not_count_among_others():
    masked = (example([], [], mask=np.ones((2, 2))), prediction(class_map=np.ones((2, 2), int)))
    found = scored([masked, (example([], []), prediction(class_map=np.full((2, 2), 2)))])
    assert (found["miou"], found["images"], found["images_with_masks"]) == (1.0, 2, 1)
    assert found["map"] is None, "no object: no average precision"


def test_the_four_scores_of_segmentation_stand_below_the_classes():
    """3 of 4 pixels are right; IoU: background 2 of 3, cat 1 of 2, a dog in neither."""
    pair = (
        example([], [], mask=[[0, 0], [1, 1]]),
        prediction(class_map=np.array([[0, 0], [0, 1]])),
    )
    found = scored([pair], rule=None)
    assert evaluation_tables.tables(found).splitlines() == [
        "| class      |   IoU |",
        "|------------+-------|",
        "| background | 0.667 |",
        "| cat        | 0.500 |",
        "| dog        | -     |",
        "| mean       | 0.583 |",
        "",
        "| segmentation           |   score |",
        "|------------------------+---------|",
        "| pixel accuracy         |   0.750 |",
        "| mean accuracy          |   0.750 |",
        "| mean IoU               |   0.583 |",
        "| frequency-weighted IoU |   0.583 |",
    ]
    assert evaluation_tables.scalars(found, 0.5) == {
        "segmentation/pixel_accuracy": 0.75,
        "segmentation/mean_accuracy": 0.75,
        "segmentation/mIoU": pytest.approx(7 / 12),
        "segmentation/frequency_weighted_IoU": pytest.approx((2 * 2 / 3 + 2 * 1 / 2) / 4),
    }


def bordered(pairs, border):
    return scored(pairs, rule=None, border=border)


def test_near_borders_only_their_pixels_count():
    """In each row the cat's pixel at the border is called background."""
    truth = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 2, axis=0)
    found = np.repeat([[0, 0, 0, 0, 0, 1, 1, 1]], 2, axis=0)
    whole = prediction(class_map=np.full((2, 8), 2)), prediction(class_map=found)
    pairs = list(
        zip((example([], [], mask=np.full((2, 8), 2)), example([], [], mask=truth)), whole)
    )
    near, wide = bordered(pairs, 1), bordered(pairs, 3)
    assert near["border_iou"] == {"background": 0.5, "cat": 0.0, "dog": None}
    assert (near["border"], near["border_miou"]) == (1, 0.25)
    assert wide["border_iou"] == {"background": 3 / 4, "cat": 2 / 3, "dog": None}
    assert near["iou"] == wide["iou"] == {"background": 4 / 5, "cat": 3 / 4, "dog": 1.0}
    last = evaluation_tables.tables(near).splitlines()[-1]
    assert last == "| mean IoU within 1 px of borders |   0.250 |"
    assert evaluation_tables.scalars(wide, 0.5)["segmentation/border_mIoU@3px"] == pytest.approx(
        17 / 24
    )


def test_the_ignored_band_makes_borders_and_does_not_count():
    """At 1 px of VOC's band count the background's pixel beside it and the cat's, both wrong."""
    mask, found = [[0, 0, 255, 255, 1, 1]], np.array([[0, 2, 0, 0, 2, 1]])
    scores = bordered([(example([], [], mask=mask), prediction(class_map=found))], 1)
    assert scores["border_iou"] == {"background": 0.0, "cat": 0.0, "dog": 0.0}
    assert scores["iou"] == {"background": 0.5, "cat": 0.5, "dog": 0.0}


def test_masks_without_borders_have_no_score_near_them():
    pair = (example([], [], mask=np.ones((2, 2))), prediction(class_map=np.ones((2, 2), int)))
    scores = bordered([pair], 5)
    assert (scores["border_miou"], scores["miou"]) == (None, 1.0)
    assert evaluation_tables.tables(scores).splitlines()[-1].split("|")[2].strip() == "-"
    assert "segmentation/border_mIoU@5px" not in evaluation_tables.scalars(scores, 0.5)
    assert bordered([], 5)["border_miou"] is None and "border" not in bordered([pair], 0)


def test_a_border_needs_class_maps_and_whole_pixels():
    with pytest.raises(ValueError, match="border is 5, and no class maps are compared"):
        evaluation.Evaluation(("cat",), "voc12", 0.5, False, border=5)
    with pytest.raises(ValueError, match=r"radius is -1: expected a whole number"):
        evaluation.Evaluation(("cat",), None, 0.5, True, border=-1)
