"""Segmentation scores against hand-computed fractions and a pixel-by-pixel count."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blitznet.metrics import ConfusionMatrix


def _matrix(labels, predictions, num_classes=3):
    matrix = ConfusionMatrix(num_classes)
    matrix.add(np.array(labels), np.array(predictions))
    return matrix


def test_scores_of_a_hand_counted_picture():
    # Class 0: 4 pixels, 3 found, 1 predicted elsewhere; class 1: 2 pixels, 1 found;
    # class 2: 1 pixel, found. One pixel is ignored.
    matrix = _matrix([[0, 0, 0, 0], [1, 1, 2, 255]], [[0, 0, 0, 1], [1, 2, 2, 2]])
    assert matrix.counts.tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert matrix.labelled_pixels == 7
    np.testing.assert_allclose(matrix.iou(), [3 / 4, 1 / 3, 1 / 2])
    np.testing.assert_allclose(matrix.accuracy(), [3 / 4, 1 / 2, 1])
    assert matrix.mean_iou() == pytest.approx((3 / 4 + 1 / 3 + 1 / 2) / 3)
    assert matrix.pixel_accuracy() == pytest.approx(5 / 7)
    assert matrix.mean_accuracy() == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    expected = (4 * 3 / 4 + 2 * 1 / 3 + 1 * 1 / 2) / 7
    assert matrix.frequency_weighted_iou() == pytest.approx(expected)


def test_class_absent_from_labels_and_predictions_is_left_out_of_the_means():
    matrix = _matrix([0, 0, 1, 1], [0, 0, 1, 0], num_classes=4)
    np.testing.assert_allclose(matrix.iou(), [2 / 3, 1 / 2, np.nan, np.nan])
    assert matrix.mean_iou() == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_class_only_predicted_counts_as_zero_in_the_mean_iou_but_not_in_the_mean_accuracy():
    matrix = _matrix([0, 0, 0, 0], [0, 0, 0, 2])
    np.testing.assert_allclose(matrix.iou(), [3 / 4, np.nan, 0])
    assert matrix.mean_iou() == pytest.approx(3 / 8)
    assert matrix.mean_accuracy() == pytest.approx(3 / 4)
    assert matrix.frequency_weighted_iou() == pytest.approx(3 / 4)


@pytest.mark.parametrize("labels", [[], [255, 255]])
def test_without_labelled_pixels_every_score_is_nan(labels):
    matrix = _matrix(np.array(labels, np.uint8), np.zeros(len(labels), np.uint8))
    assert matrix.labelled_pixels == 0
    assert np.isnan(matrix.iou()).all()
    for score in ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou"):
        assert math.isnan(getattr(matrix, score)())


def test_prediction_under_an_ignored_label_may_be_anything():
    assert _matrix([0, 255], [0, 255]).counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_uint8_maps_do_not_overflow():
    labels = np.full((2, 2), 199, np.uint8)
    matrix = ConfusionMatrix(200)
    matrix.add(labels, labels)
    assert matrix.counts[199, 199] == 4
    assert matrix.labelled_pixels == 4


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1], [0, 1, 2], r"labels have shape \[2\], predictions \[3\]"),
        ([0, 3], [0, 1], r"labels contain the class id 3: expected 0..2 or 255"),
        ([0, -1], [0, 1], r"labels contain the class id -1"),
        ([0, 1], [0, 255], r"predictions contain the class id 255: expected 0..2$"),
    ],
)
def test_bad_arrays_are_refused_and_nothing_is_counted(labels, predictions, message):
    matrix = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        matrix.add(np.array(labels), np.array(predictions))
    assert matrix.labelled_pixels == 0


def test_logits_in_place_of_class_ids_are_refused():
    with pytest.raises(TypeError, match="predictions are of type float64"):
        _matrix([0, 1], [0.0, 1.0])


def test_merging_matrices_of_other_settings_is_refused():
    with pytest.raises(ValueError, match=r"num_classes differ \(3 and 4\)"):
        ConfusionMatrix(3).merge(ConfusionMatrix(4))
    with pytest.raises(ValueError, match="ignore_label differ"):
        ConfusionMatrix(3).merge(ConfusionMatrix(3, ignore_label=0))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 255]), st.integers(0, 3)), max_size=60))
def test_equals_sets_of_pixels_and_merging_equals_one_pass(pixels):
    labels = np.array([label for label, _ in pixels], np.uint8)
    predictions = np.array([prediction for _, prediction in pixels], np.int64)
    whole = ConfusionMatrix(4)
    whole.add(labels, predictions)
    first, second = ConfusionMatrix(4), ConfusionMatrix(4)
    half = len(pixels) // 2
    first.add(labels[:half], predictions[:half])
    second.add(labels[half:], predictions[half:])
    first.merge(second)
    np.testing.assert_array_equal(first.counts, whole.counts)

    ious = []
    for c in range(4):
        truth = {i for i, (label, _) in enumerate(pixels) if label == c}
        found = {i for i, (label, p) in enumerate(pixels) if p == c and label != 255}
        ious.append(len(truth & found) / len(truth | found) if truth | found else math.nan)
    np.testing.assert_allclose(whole.iou(), ious)
    present = [iou for iou in ious if not math.isnan(iou)]
    expected = sum(present) / len(present) if present else math.nan
    np.testing.assert_allclose(whole.mean_iou(), expected)
