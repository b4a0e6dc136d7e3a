"""Scores of a set by hand, the tables, the file of lines, and which checkpoints are due."""

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from blitznet import evaluation, keys

CAT_BOX, DOG_BOX = [0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]


def png(array):
    file = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8)).save(file, "PNG")
    return file.getvalue()


def example(boxes, labels, difficult=None, mask=None, padding=2):
    """As `engine.predictions` gives it: padded with label 0 to the batch's longest list."""
    count = len(labels)
    return {
        keys.BOXES: np.concatenate([np.reshape(boxes, (-1, 4)), np.zeros((padding, 4))]),
        keys.LABELS: np.array([*labels, *[0] * padding]),
        keys.DIFFICULT: np.array([*(difficult or [False] * count), *[False] * padding]),
        keys.HAS_MASK: mask is not None,
        keys.ENCODED_MASK: b"" if mask is None else png(mask),
        keys.ENCODED_IMAGE: png(np.zeros((2, 2, 3))),
    }


def prediction(boxes=(), scores=(), classes=(), class_map=None):
    return {
        keys.DETECTION_BOXES: np.reshape(boxes, (-1, 4)),
        keys.DETECTION_SCORES: np.array(scores, float),
        keys.DETECTION_CLASSES: np.array(classes, int),
        keys.SEMANTIC_CLASSES: np.zeros((2, 2), np.uint8) if class_map is None else class_map,
    }


def scored(pairs, rule="voc12", segment=True):
    meter = evaluation.Evaluation(("cat", "dog"), rule, 0.5, segment)
    for pair in pairs:
        meter.add(*pair)
    return meter.scores()


def test_scores_of_two_pictures_by_hand():
    """Cat: a hit at 0.9, a miss at 0.8, one of two found: AP 1/2. Dog: found, AP 1.

    IoU: background 1 of 2 (one pixel is called cat), cat 1 of 2, dog 1 of 1; a pixel of 255
    does not count.
    """
    first = example([CAT_BOX, DOG_BOX], [1, 2], mask=[[0, 0], [1, 255]])
    second = example([CAT_BOX], [1], mask=[[2, 2], [2, 2]])
    found = scored(
        [
            (first, prediction([CAT_BOX, DOG_BOX], [0.9, 0.7], [1, 2], np.array([[0, 1], [1, 0]]))),
            (second, prediction([DOG_BOX], [0.8], [1], np.full((2, 2), 2))),
        ]
    )
    assert found["ap"] == {"cat": 0.5, "dog": 1.0}
    assert found["map"] == 0.75
    assert found["iou"] == {"background": 0.5, "cat": 0.5, "dog": 1.0}
    assert found["miou"] == pytest.approx(2 / 3)
    assert found["pixel_accuracy"] == pytest.approx(6 / 7)
    assert (found["images"], found["images_with_masks"]) == (2, 2)


@pytest.mark.parametrize("found_it", [True, False])
def test_a_difficult_object_neither_helps_nor_hurts(found_it):
    picture = example([CAT_BOX, DOG_BOX], [1, 1], difficult=[False, True])
    boxes = [CAT_BOX, DOG_BOX] if found_it else [CAT_BOX]
    scores = [0.5, 0.9][: len(boxes)]
    assert scored([(picture, prediction(boxes, scores, [1] * len(boxes)))])["map"] == 1.0


def test_without_masks_there_is_no_miou_anywhere():
    found = scored([(example([CAT_BOX], [1]), prediction([CAT_BOX], [1.0], [1]))])
    assert found["miou"] is None and found["pixel_accuracy"] is None
    assert "mIoU: not computed: no masks" in evaluation.tables(found)
    assert evaluation.summary_line(2500, found, "r") == "2.5\t100.00% mAP\tno mIoU\tr"
    json.dumps(found, allow_nan=False)


def test_pictures_without_mask_do_not_count_among_others():
    masked = (example([], [], mask=np.ones((2, 2))), prediction(class_map=np.ones((2, 2), int)))
    found = scored([masked, (example([], []), prediction(class_map=np.full((2, 2), 2)))])
    assert (found["miou"], found["images"], found["images_with_masks"]) == (1.0, 2, 1)
    assert found["map"] is None, "no object: no average precision"
    assert evaluation.summary_line(1000, found, "r") == "1\tno mAP\t100.00% mIoU\tr"


@pytest.mark.parametrize(("rule", "segment"), [(None, True), ("voc07", False)])
def test_one_task_alone_has_its_scores_alone(rule, segment):
    found = scored([(example([CAT_BOX], [1], mask=np.zeros((2, 2))), prediction())], rule, segment)
    assert ("map" in found, "miou" in found) == (bool(rule), segment)
    text = evaluation.tables(found)
    assert ("AP" in text, "IoU" in text) == (bool(rule), segment)


def test_the_tables_have_a_row_for_each_class_and_the_mean():
    found = scored([(example([CAT_BOX], [1]), prediction([CAT_BOX], [1.0], [1]))], segment=False)
    assert evaluation.tables(found).splitlines() == [
        "| class   |    AP |",
        "|---------+-------|",
        "| cat     | 1.000 |",
        "| dog     | -     |",
        "| mean    | 1.000 |",
    ]


def test_lines_are_read_back_for_their_records_only(tmp_path):
    path = tmp_path / "1evaluations.txt"
    assert evaluation.evaluated_steps(path, "a") == set()
    scores = {"map": 0.791, "miou": 0.728}
    rows = [evaluation.summary_line(s, scores, r) for s, r in [(65000, "a"), (500, "a"), (7, "b")]]
    assert rows[0] == "65\t79.10% mAP\t72.80% mIoU\ta"
    path.write_text("\n".join([*rows, "", "a note by hand"]) + "\n")
    assert evaluation.evaluated_steps(path, "a") == {65000, 500}
    assert evaluation.evaluated_steps(path, "b") == {7}


def test_a_line_that_does_not_read_is_named(tmp_path):
    path = tmp_path / "1evaluations.txt"
    path.write_text("1\t1% mAP\ta\nbest\t2% mAP\ta\n")
    with pytest.raises(ValueError, match=r"1evaluations\.txt, line 2: .*'best'"):
        evaluation.evaluated_steps(path, "a")


@given(st.integers(1, 10**6))
def test_a_step_survives_its_line(step):
    line = evaluation.summary_line(step, {}, "r")
    assert round(float(line.split("\t")[0]) * 1000) == step


@pytest.mark.parametrize(
    ("steps", "evaluated", "first", "distance", "expected"),
    [
        ([1, 2, 3, 4, 5], [], 0, 1, [1, 2, 3, 4, 5]),
        ([1, 2, 3, 4, 5], [], 0, 0, [1, 2, 3, 4, 5]),
        ([1, 2, 3, 4, 5], [], 3, 1, [3, 4, 5]),
        ([1, 2, 3, 4, 5], [], 0, 2, [1, 3, 5]),
        ([1, 2, 3, 4, 5, 6], [], 0, 2, [2, 4, 6]),
        ([1, 2, 3, 4, 5, 6], [5], 0, 2, [1, 3, 6]),
        ([1, 2, 3, 4, 5, 6], [6], 0, 2, [2, 4]),
        ([1, 2, 3], [1, 2, 3], 0, 1, []),
        ([], [], 0, 1, []),
        ([1, 2, 3], [], 9, 1, []),
    ],
)
def test_which_checkpoints_are_due(steps, evaluated, first, distance, expected):
    assert evaluation.choose_steps(steps, evaluated, first, distance) == expected


@given(
    st.sets(st.integers(1, 60)),
    st.sets(st.integers(1, 60)),
    st.integers(0, 60),
    st.integers(0, 10),
)
def test_chosen_checkpoints_keep_their_distance(steps, evaluated, first, distance):
    chosen = evaluation.choose_steps(sorted(steps), evaluated, first, distance)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= {s for s in steps - evaluated if s >= first}
    apart = (b - a for a, b in zip(chosen, chosen[1:]))
    assert min(apart, default=math.inf) >= distance
    due = [s for s in steps if s >= first]
    if due and max(due) not in evaluated:
        assert max(due) in chosen
    # A second call finds nothing more: a night's evaluation ends.
    assert evaluation.choose_steps(sorted(steps), evaluated | set(chosen), first, distance) == []


def test_the_picture_shows_truth_and_prediction_side_by_side():
    picture = {
        **example([CAT_BOX], [1], mask=np.zeros((40, 60))),
        keys.ENCODED_IMAGE: png(np.full((40, 60, 3), 90)),
    }
    unsure = prediction([CAT_BOX], [0.2], [1], np.zeros((40, 60), np.uint8))
    sure = prediction([CAT_BOX], [0.9], [1], np.zeros((40, 60), np.uint8))
    drawn = [evaluation.draw(picture, p, ("cat", "dog")) for p in (unsure, sure)]
    width = drawn[0].shape[1]
    np.testing.assert_array_equal(drawn[0][:, : width // 2], drawn[1][:, : width // 2])
    assert np.any(drawn[0][:, width // 2 :] != drawn[1][:, width // 2 :])
