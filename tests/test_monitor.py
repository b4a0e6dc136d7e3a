"""What training reports: by hand, and as the original reported it."""

import numpy as np
import pytest

from blitznet.boxes import xywh_to_yxyx
from blitznet.coding import PriorCoder
from blitznet.monitor import pixel_counts, prior_counts, scores
from blitznet.priors import prior_boxes, prior_scales


def _scores(counts):
    return {name: float(value) for name, value in scores(counts).items()}


def _logits(best, classes=4):
    """Logits whose best classes are `best`."""
    return np.eye(classes, dtype=np.float32)[np.array(best)]


def test_prior_scores_by_hand():
    labels = np.int32([[1, 2, 0, 0, 3], [0, 0, 0, 0, 0]])
    best = [[1, 3, 0, 1, 0], [0, 0, 2, 0, 0]]
    # Three positives: two are taken for objects, one of them for the right one. Two negatives
    # are taken for objects.
    expected = {"precision": 2 / 4, "recall": 2 / 3, "accuracy": 1 / 3, "positives": 3 / 2}
    assert _scores(prior_counts(np.int32(best), labels)) == pytest.approx(expected)


def test_scores_without_anything_to_find_are_zero():
    found = _scores(prior_counts(np.int32([[0, 0]]), np.zeros((1, 2), np.int32)))
    assert found == dict.fromkeys(("precision", "recall", "accuracy", "positives"), 0)


def test_precision_and_recall_are_those_of_the_original():
    priors = prior_boxes((38, 19, 10, 5, 3, 1), prior_scales(300, False))
    rng = np.random.Generator(np.random.PCG64(11))
    rng.standard_normal((3, len(priors), 4))  # the recipe draws locations first
    confidence = rng.standard_normal((3, len(priors), 21))
    confidence[..., 0] += 2
    ground_truth = [  # x, y, w, h and classes
        ([[0.1, 0.1, 0.5, 0.6], [0.55, 0.3, 0.3, 0.4]], [12, 15]),
        (np.zeros((0, 4)), []),
        ([[0.02, 0.05, 0.9, 0.9], [0.3, 0.3, 0.1, 0.12], [0.6, 0.6, 0.2, 0.1]], [7, 15, 9]),
    ]
    coder = PriorCoder(priors)
    labels = [
        coder.encode(xywh_to_yxyx(np.float32(boxes)), np.int32(classes))[0]
        for boxes, classes in ground_truth
    ]
    found = _scores(prior_counts(np.argmax(confidence, -1).astype(np.int32), np.stack(labels)))
    assert found["precision"] == pytest.approx(0.0014018989, rel=1e-6)
    assert found["recall"] == pytest.approx(0.354838699, rel=1e-6)
    assert found["accuracy"] == 0
    assert found["positives"] == pytest.approx(62 / 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_pixel_accuracy_by_hand(dtype):
    logits = _logits([[[0, 1], [2, 3]]])
    labels = np.array([[[0, 1], [3, 255]]], dtype)
    assert _scores(pixel_counts(logits, labels)) == pytest.approx({"pixel_accuracy": 2 / 3})
    assert _scores(pixel_counts(logits, np.full_like(labels, 255))) == {"pixel_accuracy": 0}
