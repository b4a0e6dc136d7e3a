"""What training reports: by hand, and as the original reported it."""

import numpy as np
import pytest
import tensorflow as tf

from blitznet.boxes import xywh_to_yxyx
from blitznet.coding import PriorCoder
from blitznet.monitor import class_counts, pixel_counts, prior_counts, scores
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


def test_pictures_classified_by_hand():
    logits = np.float32(
        [
            [9, 8, 7, 6, 5, 4, 3],  # the label is the likeliest class
            [9, 8, 7, 6, 5, 4, 3],  # the fifth
            [9, 8, 7, 6, 5, 4, 3],  # the sixth
            [3, 4, 5, 6, 7, 8, 9],  # the last
            [3, 4, 5, 6, 7, 8, 9],  # the second
        ]
    )
    counts = class_counts(logits, np.int32([0, 4, 5, 0, 5]))
    assert {name: float(count) for name, count in counts.items()} == {
        "classified": 5,
        "in_top1": 1,
        "in_top5": 3,
    }
    assert _scores(counts) == pytest.approx({"top1": 1 / 5, "top5": 3 / 5})


def test_of_equal_logits_the_lower_class_comes_first():
    """A network that says nothing is right for one class of seven, and in top-5 for five."""
    counts = class_counts(np.zeros((7, 7), np.float32), np.arange(7))
    assert _scores(counts) == pytest.approx({"top1": 1 / 7, "top5": 5 / 7})
    # Classes 1, 3 and 4 share the first place, 0, 2 and 5 the fourth, of which two are in.
    logits = np.float32([[1, 2, 1, 2, 2, 1, 0]] * 7)
    right = [float(class_counts(logits[:1], [label])["in_top5"]) for label in range(7)]
    assert right == [1, 1, 1, 1, 1, 0, 0]
    assert float(class_counts(logits, np.arange(7))["in_top1"]) == 1


def test_with_fewer_than_five_classes_all_are_in_top_5():
    counts = class_counts(_logits([0, 1, 2], classes=3), np.int32([0, 0, 0]))
    assert _scores(counts) == pytest.approx({"top1": 1 / 3, "top5": 1})


def test_a_picture_without_class_is_never_right():
    counts = class_counts(_logits([0, 1], classes=2), np.int32([-1, 1]))
    assert _scores(counts) == {"top1": 0.5, "top5": 0.5}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_counts_of_parts_add_up_in_a_graph_too(jit_compile):
    random = np.random.default_rng(3)
    logits = random.normal(size=(50, 20)).astype(np.float32)
    labels = random.integers(0, 20, 50).astype(np.int32)
    compiled = tf.function(class_counts, jit_compile=jit_compile)
    parts = [compiled(logits[rows], labels[rows]) for rows in (slice(9), slice(9, 50))]
    counts = {name: float(parts[0][name] + parts[1][name]) for name in parts[0]}
    order = np.argsort(-logits, axis=1)
    assert counts == {
        "classified": 50,
        "in_top1": (order[:, 0] == labels).sum(),
        "in_top5": (order[:, :5] == labels[:, None]).sum(),
    }
    assert 0 < counts["in_top1"] < counts["in_top5"] < 50
