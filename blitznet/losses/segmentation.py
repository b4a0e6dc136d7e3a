"""Per-pixel classification loss."""

import tensorflow as tf

from blitznet import keys
from blitznet.distribution import sum_over_replicas


def segmentation_loss(logits, labels, ignore_label=255):
    """Softmax cross-entropy averaged over the batch's pixels that are not ignored.

    Of several replicas each answers its part of the average over all of their pixels.

    Args:
      logits: `[B, F, F, C]`.
      labels: `[B, F, F]` integers, class ids or `ignore_label`.
      ignore_label: pixels with this label do not count.

    Returns:
      dict with the scalar `segmentation`; 0 where every pixel is ignored.
    """
    labels = tf.cast(labels, tf.int32)
    counted = labels != ignore_label
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(counted, labels, 0), logits)
    total = tf.reduce_sum(tf.where(counted, entropy, 0.0))
    number = sum_over_replicas(tf.reduce_sum(tf.cast(counted, entropy.dtype)))
    return {keys.LOSS_SEGMENTATION: tf.math.divide_no_nan(total, number)}
