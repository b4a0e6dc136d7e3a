"""How two answers of exports are told apart."""

import numpy as np
import pytest

from blitznet.postprocess.settings import DetectionSettings
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
        (changed("num_detections", 0, 1), 1),
        (changed("num_detections", 0, 0), 1),
        (changed("semantic_classes", (0, 0, 0), 1), 1),
        ({**ANSWER, "semantic_classes": np.zeros((1, 10, 10), np.int32)}, 1),
        ({k: v for k, v in ANSWER.items() if k != "semantic_classes"}, 1),
    ],
)
def test_differences_of_two_answers(other, wrong):
    assert len(differences(ANSWER, other)) == wrong
    assert len(differences(other, ANSWER)) == wrong


def answer_of(scores, room=4, class_id=1):
    """An answer with detections of these scores in boxes of their own."""
    found, boxes = np.zeros((1, room)), np.zeros((1, room, 4))
    found[0, : len(scores)] = scores
    boxes[0, : len(scores)] = np.arange(len(scores))[:, None] / 10
    classes = np.where(found > 0, class_id, 0)
    return {
        "detection_boxes": boxes,
        "detection_scores": found,
        "detection_classes": classes,
        "num_detections": np.array([len(scores)]),
    }


@pytest.mark.parametrize(
    ("scores", "others", "settings", "wrong"),
    [
        ([0.9], [], {}, 1),
        ([], [0.9], {}, 1),
        ([0.24, 0.2, 0.1, 0.05], [], {}, 1),
        # The end of a full list, a threshold, the most of a class.
        ([0.9, 0.8, 0.7, 0.00005], [0.9, 0.8, 0.7], {}, 0),
        ([0.9, 0.8, 0.01005], [0.9, 0.8], {"conf_thresh": 0.01}, 0),
        ([0.9, 0.8, 0.2], [0.9, 0.8], {"conf_thresh": 0.01}, 1),
        ([0.9, 0.8], [0.9], {"top_k_after_nms": 2}, 0),
        ([0.9, 0.8], [0.9, 0.8, 0.7], {"top_k_after_nms": 3}, 0),
    ],
)
def test_rounding_drops_detections_only_at_a_cut(scores, others, settings, wrong):
    settings = DetectionSettings(**settings) if settings else None
    assert len(differences(answer_of(scores), answer_of(others), settings=settings)) == wrong
    int8 = Limits(0.25, 0.5, 0.3, 0.02)
    if not others or not scores:
        assert len(differences(answer_of(scores), answer_of(others), int8)) == 1


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


def test_differences_between_answers_of_several_sizes():
    """By hand: 6 + 2 pixels are the pictures', the rest fills up."""
    classes = np.full((2, 2, 4), 255, np.uint8)
    classes[0, :, :3] = 1
    classes[1, :1, :2] = 2
    answer = {
        "semantic_classes": classes,
        "semantic_sizes": np.array([[2, 3], [1, 2]], np.int32),
    }
    assert differences(answer, answer) == []
    one_apart = classes.copy()
    one_apart[1, 0, 1] = 3
    found = {**answer, "semantic_classes": one_apart}
    assert differences(answer, found, Limits(pixels=1 / 8)) == []
    (told,) = differences(answer, found, Limits(pixels=0.12))
    assert told == "semantic_classes differ in 12.5% of the pixels"
    found = {**answer, "semantic_sizes": np.array([[2, 3], [2, 2]], np.int32)}
    (told,) = differences(answer, found)
    assert told == "semantic_sizes are [[2, 3], [2, 2]] instead of [[2, 3], [1, 2]]"
