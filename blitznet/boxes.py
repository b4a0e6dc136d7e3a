"""Boxes as tensors: conversions and intersection over union.

`yxyx` is `ymin, xmin, ymax, xmax`; `xywh` is the top-left corner, width and height.
"""

import tensorflow as tf


def xywh_to_yxyx(boxes):
    """`[..., 4]` x, y, w, h -> ymin, xmin, ymax, xmax."""
    x, y, w, h = tf.unstack(boxes, axis=-1)
    return tf.stack([y, x, y + h, x + w], axis=-1)


def yxyx_to_xywh(boxes):
    """`[..., 4]` ymin, xmin, ymax, xmax -> x, y, w, h."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=-1)


def pairwise_iou(first, second):
    """IoU `[N, M]` of every `xywh` box of `first` `[N, 4]` with every one of `second` `[M, 4]`.

    Widths and heights are not negative. 0 where the union is empty.
    """
    sides = (side[:, None] for side in tf.unstack(first, axis=1))
    return iou_of_sides(sides, tf.unstack(second, axis=1))


def iou_of_sides(first, second):
    """IoU of boxes of which each is given as its `x, y, w, h`, tensors that broadcast.

    As `pairwise_iou`, for who has taken the sides apart already.
    """
    (x1, y1, w1, h1), (x2, y2, w2, h2) = first, second
    width = tf.minimum(x1 + w1, x2 + w2) - tf.maximum(x1, x2)
    height = tf.minimum(y1 + h1, y2 + h2) - tf.maximum(y1, y2)
    intersection = tf.maximum(width, 0.0) * tf.maximum(height, 0.0)
    # w * h, not a product of corner differences: ties between prior boxes hang on the last bit.
    return tf.math.divide_no_nan(intersection, w1 * h1 + w2 * h2 - intersection)
