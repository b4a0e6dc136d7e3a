"""Detections by hand and against NumPy; class maps against TensorFlow 1's resizing."""

import numpy as np
import pytest
import tensorflow as tf

from blitznet import keys
from blitznet.coding import PriorCoder
from blitznet.postprocess.detection import detections
from blitznet.postprocess.segmentation import class_map
from blitznet.postprocess.settings import DetectionSettings
from blitznet.priors import prior_boxes, prior_scales

# x, y, w, h of four boxes: the second is the upper half of the first, the others lie apart.
BOXES = [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.25], [0.5, 0.5, 0.25, 0.25], [0.75, 0, 0.25, 0.25]]


def _detect(scores, **settings):
    """Detections of one picture whose prior boxes are BOXES, with scores `[P][C-1]`."""
    scores = np.array(scores, np.float32)
    background = 1 - scores.sum(axis=1, keepdims=True)
    confidence = np.log(np.concatenate([background, scores], axis=1))[None]
    coder = PriorCoder(np.array(BOXES[: len(scores)], np.float32))
    location = np.zeros((1, len(scores), 4), np.float32)
    settings = DetectionSettings(**{"top_k_post_nms": 6, **settings})
    answer = detections(confidence, location, coder, settings)
    return {name: value[0].numpy() for name, value in answer.items()}


def _found(answer):
    """Rows (class, index in BOXES) of the detections, best first."""
    corners = [[y, x, y + h, x + w] for x, y, w, h in BOXES]
    count = answer[keys.NUM_DETECTIONS]
    boxes = [corners.index(list(map(float, box))) for box in answer[keys.DETECTION_BOXES][:count]]
    return list(zip(answer[keys.DETECTION_CLASSES][:count].tolist(), boxes))


def test_classes_scores_boxes_and_padding_by_hand():
    answer = _detect([[0.5, 0.125], [0.0625, 0.0625], [0.0625, 0.75]], conf_thresh=0.1)
    assert answer[keys.NUM_DETECTIONS] == 3
    assert answer[keys.DETECTION_CLASSES].tolist() == [2, 1, 2, 0, 0, 0]
    expected = [0.75, 0.5, 0.125, 0, 0, 0]
    np.testing.assert_allclose(answer[keys.DETECTION_SCORES], expected, rtol=1e-6)
    expected = [[0.5, 0.5, 0.75, 0.75], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]] + [[0] * 4] * 3
    np.testing.assert_array_equal(answer[keys.DETECTION_BOXES], expected)


def test_box_goes_where_the_iou_exceeds_the_threshold():
    scores = [[0.9], [0.8], [0.7], [0.6]]  # boxes 0 and 1 overlap by exactly 1/2
    assert _found(_detect(scores, nms_thresh=0.5)) == [(1, 0), (1, 1), (1, 2), (1, 3)]
    assert _found(_detect(scores, nms_thresh=0.49)) == [(1, 0), (1, 2), (1, 3)]


def test_box_of_another_class_suppresses_nothing():
    assert _found(_detect([[0.5, 0.01], [0.01, 0.4]], conf_thresh=0.1)) == [(1, 0), (2, 1)]


def test_score_must_exceed_conf_thresh():
    scores = [[0.5], [0.01], [0.25]]
    limit = float(_detect(scores)[keys.DETECTION_SCORES][1])
    assert limit == pytest.approx(0.25)
    assert _found(_detect(scores, conf_thresh=limit)) == [(1, 0)]
    # Both of float32: with a plain 0, NumPy 1 steps in float64, too little to tell in float32.
    below = np.nextafter(np.float32(limit), np.float32(0))
    assert _found(_detect(scores, conf_thresh=below)) == [(1, 0), (1, 2)]


def test_best_boxes_of_each_class_are_taken_before_nms():
    # Class 1: boxes 0 and 1 are best, and one suppresses the other. Class 2: boxes 2 and 3.
    scores = [[0.6, 0.02], [0.5, 0.03], [0.4, 0.3], [0.3, 0.2]]
    assert _found(_detect(scores, top_k_nms=2)) == [(1, 0), (2, 2), (2, 3)]
    assert _found(_detect(scores, top_k_nms=3)) == [(1, 0), (1, 2), (2, 2), (2, 3), (2, 1)]


def test_no_more_than_top_k_after_nms_of_a_class_and_top_k_post_nms_of_a_picture():
    scores = [[0.6, 0.02], [0.01, 0.01], [0.5, 0.3], [0.4, 0.2]]
    found = [(1, 0), (1, 2), (1, 3), (2, 2), (2, 3)]
    assert _found(_detect(scores, conf_thresh=0.1)) == found
    per_class = _detect(scores, conf_thresh=0.1, top_k_after_nms=2)
    assert _found(per_class) == [(1, 0), (1, 2), (2, 2), (2, 3)]
    of_all = _detect(scores, conf_thresh=0.1, top_k_post_nms=2)
    assert _found(of_all) == found[:2]
    assert of_all[keys.DETECTION_BOXES].shape == (2, 4)


def test_scores_below_eval_min_conf_are_left_out_at_the_end():
    scores = [[0.5], [0.01], [0.25], [0.125]]
    limit = float(_detect(scores)[keys.DETECTION_SCORES][1])
    answer = _detect(scores, eval_min_conf=limit)
    assert _found(answer) == [(1, 0), (1, 2)]  # the limit itself stays
    for name in (keys.DETECTION_BOXES, keys.DETECTION_SCORES, keys.DETECTION_CLASSES):
        assert not answer[name][2:].any()


def test_nothing_found():
    answer = _detect([[0.001], [0.002]])
    assert not any(value.any() for value in answer.values())


def _nms(boxes, scores, threshold, most):
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        near = np.maximum(boxes[i, :2], boxes[kept, :2])
        far = np.minimum(boxes[i, 2:], boxes[kept, 2:])
        common = np.prod(np.maximum(far - near, 0), axis=1)
        areas = np.prod(boxes[kept, 2:] - boxes[kept, :2], axis=1)
        union = np.prod(boxes[i, 2:] - boxes[i, :2]) + areas - common
        if (common / union <= threshold).all() and len(kept) < most:
            kept.append(i)
    return kept


def _slow_detections(confidence, boxes, settings):
    """Rows (score, class, box) of one picture, best first; spec section 11."""
    powers = np.exp(confidence - confidence.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    rows = []
    for c in range(1, confidence.shape[1]):
        scores = probabilities[:, c]
        best = np.argsort(-scores)[: settings.top_k_nms]
        best = best[scores[best] > settings.conf_thresh]
        kept = _nms(boxes[best], scores[best], settings.nms_thresh, settings.top_k_after_nms)
        rows += [(scores[best[k]], c, *boxes[best[k]]) for k in kept]
    rows = sorted(rows, reverse=True)[: settings.top_k_post_nms]
    return np.array([row for row in rows if row[0] >= settings.eval_min_conf])


@pytest.mark.parametrize(
    "settings",
    [
        DetectionSettings(),
        DetectionSettings(top_k_nms=20, top_k_post_nms=30),
        DetectionSettings(conf_thresh=0.3, nms_thresh=0.2, top_k_after_nms=4),
        DetectionSettings(nms_thresh=0.7, eval_min_conf=0.4),
    ],
)
def test_detections_equal_a_second_implementation(settings):
    rng = np.random.default_rng(8)
    coder = PriorCoder(prior_boxes((8, 4, 2, 1), prior_scales(64, False)))
    count = len(coder.priors)
    confidence = rng.normal(0, 2, (2, count, 5)).astype(np.float32)
    location = rng.normal(0, 1, (2, count, 4)).astype(np.float32)
    answer = tf.function(detections)(confidence, location, coder, settings)
    boxes = coder.decode(location).numpy().astype(np.float64)
    for i in range(2):
        expected = _slow_detections(confidence[i].astype(np.float64), boxes[i], settings)
        number = int(answer[keys.NUM_DETECTIONS][i])
        assert number == len(expected) > 0
        np.testing.assert_array_equal(answer[keys.DETECTION_CLASSES][i, :number], expected[:, 1])
        np.testing.assert_allclose(
            answer[keys.DETECTION_SCORES][i, :number], expected[:, 0], rtol=1e-5
        )
        np.testing.assert_allclose(
            answer[keys.DETECTION_BOXES][i, :number], expected[:, 2:], atol=1e-6
        )


def test_class_map_by_hand():
    # Class 1 leads by 2 on the left and lags by 2.5 on the right. Legacy sampling takes the map's
    # columns from 0, 1/2, 1 and the clamped 3/2 of the logits'.
    logits = np.float32([[[[0, 2, -9], [0, -2.5, -9]]]])
    assert class_map(logits, (1, 4)).numpy().tolist() == [[[1, 0, 0, 0]]]
    assert class_map(-logits, (2, 4)).numpy().tolist() == [[[2, 2, 2, 2]] * 2]


@pytest.mark.parametrize("size", [(33, 47), (50, 37), (7, 5), (1, 1), (19, 19)])
def test_class_map_is_the_argmax_of_tensorflow_1_resizing(size):
    logits = np.random.default_rng(4).normal(size=(2, 19, 19, 6)).astype(np.float32)
    expected = np.argmax(tf.compat.v1.image.resize_bilinear(logits, size), axis=-1)
    answer = class_map(logits, size)
    assert answer.dtype == tf.uint8
    np.testing.assert_array_equal(answer, expected)
