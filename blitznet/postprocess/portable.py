"""Detections by operations that converters know; the numbers are those of `detection`."""

import tensorflow as tf

from blitznet import keys

# What `raw_detections` answers.
CLASS_SCORES = "class_scores"
DECODED_BOXES = "decoded_boxes"
# The least that float32 can tell from 0 when added to a coordinate up to 1, and then some.
_HAIR = 2e-7


def raw_detections(confidence, location, coder):
    """What NMS takes, for NMS elsewhere.

    Args:
      confidence: `[B, P, C]` logits, class 0 the background.
      location: `[B, P, 4]` offsets.
      coder: the `PriorCoder` of the network's prior boxes.

    Returns:
      dict: `class_scores` `[B, P, C-1]` of the classes 1..C-1 in [0, 1]; `decoded_boxes`
      `[B, P, 4]`, the decoded box of each prior, `yxyx` in [0, 1].
    """
    return {
        CLASS_SCORES: coder.class_scores(confidence),
        DECODED_BOXES: tf.clip_by_value(coder.decode(location), 0.0, 1.0),
    }


def portable_detections(confidence, location, coder, settings):
    """`detection.detections` for one picture, without the combined NMS of TensorFlow.

    A NonMaxSuppressionV4 for each class, which LiteRT, ONNX and OpenVINO have. Of boxes with
    the same score, which the combined NMS takes in no order, the first of the prior boxes wins.

    Args:
      confidence: `[1, P, C]` logits, class 0 the background.
      location: `[1, P, 4]` offsets.
      coder: the `PriorCoder` of the network's prior boxes.
      settings: a `DetectionSettings`.

    Returns:
      As `detection.detections`, B = 1.
    """
    scores = tf.transpose(coder.class_scores(confidence)[0])
    best_scores, best = tf.math.top_k(scores, min(settings.top_k_nms, scores.shape[1]))
    best_boxes = tf.gather(_with_area(coder.decode(location)[0]), best)
    of_classes = [
        _of_one_class(boxes, scores, settings)
        for boxes, scores in zip(tf.unstack(best_boxes), tf.unstack(best_scores))
    ]
    boxes, scores = (tf.concat(parts, axis=0) for parts in zip(*of_classes))
    classes = tf.repeat(tf.range(1, len(of_classes) + 1), settings.top_k_after_nms)
    return _best_of_all(boxes, scores, classes, settings)


def _with_area(boxes):
    """Boxes `[P, 4]`, flat ones a hair larger: for those LiteRT's NMS answers index 0 each time."""
    near, far = tf.split(boxes, 2, axis=-1)
    return tf.concat([near, far + _HAIR * tf.cast(near == far, tf.float32)], axis=-1)


def _of_one_class(boxes, scores, settings):
    """Boxes `[M, 4]` and scores `[M]` that NMS leaves, M = top_k_after_nms; beyond them score 0."""
    most = settings.top_k_after_nms
    kept, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes,
        scores=scores,
        max_output_size=most,
        iou_threshold=settings.nms_thresh,
        score_threshold=settings.conf_thresh,
        pad_to_max_output_size=True,
    )
    # Padding repeats index 0, and with it the score there.
    real = tf.cast(tf.range(most) < count, tf.float32)
    return tf.gather(boxes, kept), tf.gather(scores, kept) * real


def _best_of_all(boxes, scores, classes, settings):
    """The entries of `detections` from what is left of all classes, score 0 for nothing."""
    missing = max(settings.top_k_post_nms - scores.shape[0], 0)
    scores = tf.pad(scores, [[0, missing]])
    scores, best = tf.math.top_k(scores, settings.top_k_post_nms)
    boxes = tf.clip_by_value(tf.gather(tf.pad(boxes, [[0, missing], [0, 0]]), best), 0.0, 1.0)
    classes = tf.gather(tf.pad(classes, [[0, missing]]), best)
    kept = tf.cast((scores > 0.0) & (scores >= settings.eval_min_conf), tf.float32)
    whole = tf.cast(kept, tf.int32)
    return {
        keys.DETECTION_BOXES: (boxes * kept[:, None])[None],
        keys.DETECTION_SCORES: (scores * kept)[None],
        keys.DETECTION_CLASSES: (classes * whole)[None],
        keys.NUM_DETECTIONS: tf.reduce_sum(whole)[None],
    }
