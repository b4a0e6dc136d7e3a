"""Loss of a classifier of whole pictures."""

import tensorflow as tf

from blitznet import keys
from blitznet.distribution import sum_over_replicas


def classification_loss(logits, labels, label_smoothing=0.0):
    """Softmax cross-entropy averaged over the pictures of the batch.

    Of several replicas each answers its part of the average over all of their pictures.

    Args:
      logits: `[B, N]`, of N classes without background.
      labels: `[B]` integers, 0..N-1. Another one is an error or makes the loss NaN, as
        TensorFlow's cross-entropy does on the device.
      label_smoothing: share of the target, from 0 to below 1, that is spread over all N classes
        evenly, the labelled one included (C. Szegedy et al., "Rethinking the Inception
        Architecture for Computer Vision", CVPR 2016, section 7).

    Returns:
      dict with the scalar `classification`.

    Raises:
      ValueError: `label_smoothing` is out of its range.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}: expected 0 to below 1")
    labels = tf.cast(labels, tf.int32)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if label_smoothing:
        # Of the even target; a one-hot target in its place would pass over a wrong label.
        even = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        entropy = (1 - label_smoothing) * entropy + label_smoothing * even
    number = sum_over_replicas(tf.reduce_sum(tf.ones_like(entropy)))
    return {keys.LOSS_CLASSIFICATION: tf.reduce_sum(entropy) / number}
