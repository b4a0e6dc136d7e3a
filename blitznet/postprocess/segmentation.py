"""Class maps from segmentation logits."""

import tensorflow as tf

from blitznet.imaging import legacy_resize


def class_map(logits, size=None):
    """Logits `[B, F, F, C]` -> uint8 class ids `[B, H, W]` at `size` = (H, W), None for their own.

    Logits are resized by legacy bilinear sampling, then the best class is taken.
    """
    if size is not None and tuple(logits.shape[1:3]) != tuple(size):
        logits = legacy_resize(logits, size)
    return tf.cast(tf.argmax(logits, axis=-1), tf.uint8)
