"""Per-pixel classification loss."""

import tensorflow as tf

from blitznet import keys
from blitznet.distribution import sum_over_replicas


def segmentation_loss(logits, labels, ignore_label=255):
    """Softmax cross-entropy averaged over the batch's pixels that are not ignored.

    Of several replicas each answers its part of the average over all of their pixels.

    Args:
      logits: `[B, H, W, C]`.
      labels: `[B, H, W]` integers, class ids or `ignore_label`.
      ignore_label: pixels with this label do not count.

    Returns:
      dict with the scalar `segmentation`; 0 where every pixel is ignored.
    """
    total, number = _total(logits, labels, ignore_label)
    return {keys.LOSS_SEGMENTATION: tf.math.divide_no_nan(total, sum_over_replicas(number))}


def segmentation_loss_sum(logits, labels, ignore_label=255):
    """The same summed over the pixels of each picture, and averaged over the batch's pictures.

    So FCN's authors trained, one picture at a time (arXiv 1411.4038, and their program's
    unnormalised loss): a large picture counts for more than a small one.
    """
    total, _ = _total(logits, labels, ignore_label)
    pictures = sum_over_replicas(tf.cast(tf.shape(labels)[0], total.dtype))
    return {keys.LOSS_SEGMENTATION: total / pictures}


LOSSES = {"mean": segmentation_loss, "sum": segmentation_loss_sum}


def _total(logits, labels, ignore_label):
    """Cross-entropy summed over the pixels that count, and their number."""
    labels = tf.cast(labels, tf.int32)
    counted = labels != ignore_label
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(counted, labels, 0), logits)
    return (
        tf.reduce_sum(tf.where(counted, entropy, 0.0)),
        tf.reduce_sum(tf.cast(counted, entropy.dtype)),
    )
