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
    first, second = first[:, None], second[None]
    near = tf.maximum(first[..., :2], second[..., :2])
    far = tf.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    intersection = tf.reduce_prod(tf.maximum(far - near, 0.0), axis=-1)
    # w * h, not a product of corner differences: ties between prior boxes hang on the last bit.
    areas = tf.reduce_prod(first[..., 2:], axis=-1) + tf.reduce_prod(second[..., 2:], axis=-1)
    return tf.math.divide_no_nan(intersection, areas - intersection)
