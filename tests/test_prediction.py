"""A prediction of two detections and a class map, by hand."""

import json

import numpy as np
import pytest

from blitznet import visualize
from blitznet.prediction import Prediction

CLASS_MAP = np.zeros((40, 50), np.uint8)
CLASS_MAP[10:20, 10:30] = 2
FOUND = Prediction(
    boxes=np.array([[0.25, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 0.5]], np.float32),
    scores=np.array([0.75, 0.25], np.float32),
    classes=np.array([2, 1], np.int32),
    names=("dog", "cat"),
    class_map=CLASS_MAP,
    height=40,
    width=50,
    class_names=("cat", "dog"),
)


def test_a_prediction_as_json():
    expected = {
        "height": 40,
        "width": 50,
        "detections": [
            {
                "name": "dog",
                "class": 2,
                "score": 0.75,
                "box": [0.25, 0.2, 0.5, 0.6],
                "pixels": [10.0, 10.0, 30.0, 20.0],
            },
            {
                "name": "cat",
                "class": 1,
                "score": 0.25,
                "box": [0.0, 0.0, 1.0, 0.5],
                "pixels": [0.0, 0.0, 25.0, 40.0],
            },
        ],
        "class_shares": {"background": 0.9, "dog": 0.1},
    }
    assert json.loads(json.dumps(FOUND.to_dict())) == expected


def test_detections_of_at_least_a_score():
    sure = FOUND.at_least(0.5)
    assert (sure.names, sure.classes.tolist(), sure.scores.tolist()) == (("dog",), [2], [0.75])
    np.testing.assert_array_equal(sure.boxes, FOUND.boxes[:1])
    assert len(FOUND.at_least(0.25).names) == 2, "the score itself is enough"
    assert FOUND.at_least(0.9).names == () and len(FOUND.names) == 2


def test_drawing_is_classes_under_boxes():
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    for score, kept in ((0.9, 0), (0.5, 1), (0.0, 2)):
        found = FOUND.boxes[:kept], FOUND.classes[:kept], FOUND.scores[:kept]
        expected = visualize.draw(picture, CLASS_MAP, *found, ("cat", "dog"), opacity=0.25)
        drawn = FOUND.draw(picture, min_score=score, opacity=0.25)
        np.testing.assert_array_equal(drawn, expected)
    with pytest.raises(ValueError, match="class map has shape"):
        FOUND.draw(picture.transpose(1, 0, 2))
