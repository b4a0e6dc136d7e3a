"""Detections from class logits and offsets (spec section 11)."""

import tensorflow as tf

from blitznet import keys


def detections(confidence, location, coder, settings):
    """Class scores, decoding, top-k per class, NMS per class, top-k per picture.

    Args:
      confidence: `[B, P, C]` logits, class 0 the background.
      location: `[B, P, 4]` offsets.
      coder: the `PriorCoder` of the network's prior boxes.
      settings: a `DetectionSettings`.

    Returns:
      dict, K = `settings.top_k_post_nms`, by descending score, zeros after the last:
      `detection_boxes` `[B, K, 4]` `yxyx` in [0, 1], `detection_scores` `[B, K]`,
      `detection_classes` `[B, K]` int32 in 1..C-1, `num_detections` `[B]` int32.
    """
    scores = tf.transpose(coder.class_scores(confidence), [0, 2, 1])
    number = tf.minimum(settings.top_k_nms, tf.shape(scores)[2])
    best_scores, best = tf.math.top_k(scores, number)
    boxes = tf.gather(coder.decode(location), best, batch_dims=1)

    result = tf.image.combined_non_max_suppression(
        tf.transpose(boxes, [0, 2, 1, 3]),
        tf.transpose(best_scores, [0, 2, 1]),
        max_output_size_per_class=settings.top_k_after_nms,
        max_total_size=settings.top_k_post_nms,
        iou_threshold=settings.nms_thresh,
        score_threshold=settings.conf_thresh,
        clip_boxes=False,
    )
    place = tf.range(settings.top_k_post_nms)[None, :]
    kept = (place < result.valid_detections[:, None]) & (
        result.nmsed_scores >= settings.eval_min_conf
    )
    # A box that lies wholly beyond the right or lower edge comes out of decoding beyond 1.
    boxes = tf.clip_by_value(result.nmsed_boxes, 0.0, 1.0)
    return {
        keys.DETECTION_BOXES: tf.where(kept[..., None], boxes, 0.0),
        keys.DETECTION_SCORES: tf.where(kept, result.nmsed_scores, 0.0),
        # The background column was not given, so classes count from 0.
        keys.DETECTION_CLASSES: tf.where(kept, tf.cast(result.nmsed_classes, tf.int32) + 1, 0),
        keys.NUM_DETECTIONS: tf.reduce_sum(tf.cast(kept, tf.int32), axis=1),
    }
