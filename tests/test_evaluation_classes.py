"""Scores of whole pictures' classes, their tables, the pictures drawn."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from blitznet import evaluation, evaluation_pictures, evaluation_tables, keys
from evaluation_cases import png

NAMES = ("cat", "dog", "emu", "fox", "gnu", "hen")


def example(label, image=None):
    return {
        keys.FILENAME: b"cat.jpg",
        keys.CLASS_LABEL: np.int32(label),
        keys.ENCODED_IMAGE: png(np.full((40, 60, 3), 90) if image is None else image),
    }


def prediction(*logits):
    return {keys.CLASS_LOGITS: np.array(logits, np.float32)}


def scored(pairs, names=NAMES):
    meter = evaluation.Evaluation(names, None, 0.5, False, classify=True)
    for pair in pairs:
        meter.add(*pair)
    return meter.scores()


def test_scores_tables_and_scalars_by_hand():
    """The true class comes first, second and last of six."""
    found = scored(
        [
            (example(0), prediction(3, 1, 1, 0, 0, 0)),
            (example(0), prediction(2, 3, 1, 0, 0, 0)),
            (example(5), prediction(9, 8, 7, 6, 5, -4)),
        ]
    )
    by_class = {"cat": 0.5, **dict.fromkeys(NAMES[1:5]), "hen": 0.0}
    counts, scores = {"images": 3, "images_with_masks": 0}, {"top1": 1 / 3, "top5": 2 / 3}
    assert found == {**counts, **scores, "top1_by_class": by_class}
    json.dumps(found, allow_nan=False)
    assert evaluation_tables.tables(found).splitlines() == [
        "| class   |   top-1 |",
        "|---------+---------|",
        "| cat     |   0.500 |",
        "| dog     |   -     |",
        "| emu     |   -     |",
        "| fox     |   -     |",
        "| gnu     |   -     |",
        "| hen     |   0.000 |",
        "",
        "| classification   |   score |",
        "|------------------+---------|",
        "| top-1            |   0.333 |",
        "| top-5            |   0.667 |",
    ]
    assert evaluation_tables.scalars(found, 0.5) == pytest.approx(
        {"classification/top1": 1 / 3, "classification/top5": 2 / 3}
    )


def test_of_fewer_than_five_classes_each_is_among_the_first_five():
    found = scored([(example(1), prediction(1, 0))], ("cat", "dog"))
    assert (found["top1"], found["top5"]) == (0.0, 1.0)


def test_without_pictures_there_is_no_score():
    found = scored([])
    assert (found["top1"], found["top5"]) == (None, None)
    assert evaluation_tables.scalars(found, 0.5) == {}
    assert "| top-1            | -       |" in evaluation_tables.tables(found)


def test_a_picture_that_cannot_be_scored_is_named():
    with pytest.raises(ValueError, match=r"cat\.jpg: the label is 6: expected one of 0\.\.5"):
        scored([(example(6), prediction(1, 0, 0, 0, 0, 0))])


@pytest.mark.parametrize("task", [("voc12", False), (None, True)])
def test_classes_with_a_background_are_another_task(task):
    rule, segment = task
    with pytest.raises(ValueError, match="classified alone"):
        evaluation.Evaluation(NAMES, rule, 0.5, segment, classify=True)


def test_the_picture_has_its_name_and_the_likeliest_ones_beside_it():
    pair = example(1), prediction(0, 5, 4, 0, 0, 0)
    files = evaluation_pictures.pictures(*pair, NAMES)
    assert list(files) == [".png"]
    drawn = np.asarray(Image.open(io.BytesIO(files[".png"])))
    np.testing.assert_array_equal(drawn, evaluation_pictures.draw(*pair, NAMES))
    middle = drawn.shape[1] * 60 // 100
    other_name = evaluation_pictures.draw(example(0), pair[1], NAMES)
    other_answer = evaluation_pictures.draw(pair[0], prediction(0, 5, 3, 0, 0, 0), NAMES)
    assert drawn.shape == other_name.shape == other_answer.shape
    np.testing.assert_array_equal(drawn[:, middle:], other_name[:, middle:])
    assert np.any(drawn[:, :middle] != other_name[:, :middle])
    np.testing.assert_array_equal(drawn[:, :middle], other_answer[:, :middle])
    assert np.any(drawn[:, middle:] != other_answer[:, middle:])


def test_any_logits_become_the_likelihoods_that_are_written():
    """2 / 3 and 1 / 3, whatever is added to all logits."""
    drawn = [
        evaluation_pictures.draw(example(0), prediction(shift + np.log(2), shift), ("cat", "dog"))
        for shift in (0, 80)
    ]
    np.testing.assert_array_equal(*drawn)
