"""How two answers of exports are told apart."""

import numpy as np
import pytest

from tools.export_check import Limits, VerificationError, check_labels, differences

ANSWER = {
    "detection_boxes": np.array([[[0.0, 0, 1, 1], [0, 0, 0.5, 0.5], [0, 0, 0, 0]]]),
    "detection_scores": np.array([[0.9, 0.5, 0.0]]),
    "detection_classes": np.array([[1, 2, 0]]),
    "num_detections": np.array([2]),
    "semantic_classes": np.zeros((1, 10, 10), np.uint8),
}


def changed(name, index, value):
    array = ANSWER[name].copy()
    array[index] = value
    return {**ANSWER, name: array}


@pytest.mark.parametrize(
    ("other", "wrong"),
    [
        (ANSWER, 0),
        (changed("detection_scores", (0, 0), 0.90001), 0),
        (changed("detection_scores", (0, 0), 0.8), 2),
        (changed("detection_classes", (0, 0), 3), 2),
        (changed("detection_boxes", (0, 0, 2), 0.9), 2),
        (changed("num_detections", 0, 1), 0),
        (changed("semantic_classes", (0, 0, 0), 1), 1),
        ({**ANSWER, "semantic_classes": np.zeros((1, 10, 10), np.int32)}, 1),
        ({k: v for k, v in ANSWER.items() if k != "semantic_classes"}, 1),
    ],
)
def test_differences_of_two_answers(other, wrong):
    """The detection of the lowest score stands at the cut, where rounding may drop it."""
    assert len(differences(ANSWER, other)) == wrong


RAW = {"class_scores": np.zeros((1, 4, 5)), "decoded_boxes": np.zeros((1, 4, 4))}


def with_entries(name, value, count):
    array = RAW[name].copy()
    array.flat[:count] = value
    return {**RAW, name: array}


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [("class_scores", 9e-5, 0), ("class_scores", 2e-4, 1), ("decoded_boxes", np.nan, 1)],
)
def test_differences_without_nms(name, value, wrong):
    found = list(differences(RAW, with_entries(name, value, 1)))
    assert len(found) == wrong
    assert all(name in sentence for sentence in found)


def test_limits_say_how_much_may_differ():
    half = Limits(tolerance=0.1, detections=0.5, pixels=0.02)
    assert differences(RAW, with_entries("class_scores", 0.09, 20), half) == []
    assert differences(RAW, with_entries("class_scores", 0.2, 10), half) == []
    assert len(differences(RAW, with_entries("class_scores", 0.2, 11), half)) == 1
    assert differences(ANSWER, changed("detection_scores", (0, 0), 0.85), half) == []
    assert differences(ANSWER, changed("detection_classes", (0, 0), 3), half) == []
    assert differences(ANSWER, changed("semantic_classes", (0, 0, slice(2)), 1), half) == []
    assert len(differences(ANSWER, changed("semantic_classes", (0, 0, slice(3)), 1), half)) == 1


def test_other_labels_are_told():
    check_labels(["background", "cat"], ("cat",))
    with pytest.raises(VerificationError, match="has the labels .'cat'"):
        check_labels(["cat"], ("cat",))
