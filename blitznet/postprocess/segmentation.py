"""Class maps from segmentation logits."""

import tensorflow as tf

from blitznet.imaging import legacy_resize


def class_map(logits, size):
    """Logits `[B, F, F, C]` -> uint8 class ids `[B, H, W]` at `size` = (H, W).

    Logits are resized by legacy bilinear sampling, then the best class is taken.
    """
    return tf.cast(tf.argmax(legacy_resize(logits, size), axis=-1), tf.uint8)
