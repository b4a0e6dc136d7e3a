"""Loss of a classifier of whole pictures."""

import tensorflow as tf

from blitznet import keys
from blitznet.distribution import sum_over_replicas


def classification_loss(logits, labels):
    """Softmax cross-entropy averaged over the pictures of the batch.

    Of several replicas each answers its part of the average over all of their pictures.

    Args:
      logits: `[B, N]`, of N classes without background.
      labels: `[B]` integers, 0..N-1. Another one is an error or makes the loss NaN, as
        TensorFlow's cross-entropy does on the device.

    Returns:
      dict with the scalar `classification`.
    """
    labels = tf.cast(labels, tf.int32)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    number = sum_over_replicas(tf.reduce_sum(tf.ones_like(entropy)))
    return {keys.LOSS_CLASSIFICATION: tf.reduce_sum(entropy) / number}
