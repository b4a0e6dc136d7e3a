"""Detections for converters, beside those of TensorFlow's combined NMS."""

from dataclasses import replace

import numpy as np
import pytest

from blitznet import keys
from blitznet.postprocess.detection import detections
from blitznet.postprocess.portable import portable_detections, raw_detections
from detection_cases import CASES, PRIORS, SETTINGS, assert_same_detections, coder, raw


@pytest.mark.parametrize("classes", [2, 4, 81])
@pytest.mark.parametrize("name", CASES)
def test_the_detections_are_those_of_the_combined_nms(name, classes):
    confidence, location = raw(name, classes)
    expected = detections(confidence, location, coder(), SETTINGS)
    assert (int(expected[keys.NUM_DETECTIONS][0]) == 0) == (name == "nothing")
    found = portable_detections(confidence, location, coder(), SETTINGS)
    assert_same_detections(found, expected, name, tolerance=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"top_k_nms": 400},
        {"top_k_nms": 5},
        {"top_k_after_nms": 1},
        {"top_k_post_nms": 200},
        {"top_k_post_nms": 1},
        {"nms_thresh": 0.0},
        {"nms_thresh": 1.0},
        {"conf_thresh": 0.5},
        {"conf_thresh": 0.0, "eval_min_conf": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize("class_loss", ["softmax", "focal"])
def test_every_setting_means_the_same(changes, class_loss):
    settings = replace(SETTINGS, **changes)
    confidence, location = raw("ordinary", 4)
    expected = detections(confidence, location, coder(class_loss), settings)
    assert expected[keys.NUM_DETECTIONS][0] > 0
    found = portable_detections(confidence, location, coder(class_loss), settings)
    assert_same_detections(found, expected, "ordinary", tolerance=1e-6)


def test_of_equal_scores_in_one_place_the_first_prior_box_wins():
    confidence, location = raw("one place and score", 2)
    # Each box a little smaller than the one before, so that it can be told which is left.
    location[0, :, 2:] = np.linspace(11, 10, PRIORS)[:, None]
    found = portable_detections(confidence, location, coder(), SETTINGS)
    assert found[keys.NUM_DETECTIONS].numpy().tolist() == [1]
    first = coder().decode(location)[0, 0]
    np.testing.assert_allclose(found[keys.DETECTION_BOXES][0, 0], np.clip(first, 0, 1))


def test_without_nms_there_are_scores_and_boxes_by_hand():
    confidence = np.log(np.array([[[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]], np.float32))
    confidence, location = np.repeat(confidence, PRIORS // 2, 1), np.zeros((1, PRIORS, 4))
    location[0, 0, 0] = 100
    found = raw_detections(confidence, location.astype(np.float32), coder())
    assert {name: value.shape.as_list() for name, value in found.items()} == {
        "class_scores": [1, PRIORS, 2],
        "decoded_boxes": [1, PRIORS, 4],
    }
    np.testing.assert_allclose(found["class_scores"][0, -1], [0.125, 0.75], rtol=1e-6)
    x, y, width, height = coder().priors[1].numpy()
    expected = [y, x, y + height, x + width]
    np.testing.assert_allclose(found["decoded_boxes"][0, 1], expected, rtol=1e-5)
    # It lies wholly beyond the right edge.
    assert found["decoded_boxes"][0, 0, 1::2].numpy().tolist() == [1, 1]
