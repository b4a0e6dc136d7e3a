"""What training reports of a batch beside its losses; TensorFlow scalars.

Within replicas they are those of the batch of all replicas.
"""

import tensorflow as tf

from blitznet.distribution import sum_over_replicas


def prior_scores(predicted, prior_labels):
    """How well prior boxes are told from the background, and how well classified.

    Args:
      predicted: `[B, P]` int32, the likeliest class of each prior box.
      prior_labels: `[B, P]` int, 0 for negatives.

    Returns:
      dict of float32 scalars. A prior box is found if it is positive and its likeliest class
      is some object: `precision` (found / predicted as some object) and `recall` (found /
      positive), as the original reports them; `accuracy`, the share of the positives whose
      best class is their label; `positives` for each picture. 0 / 0 is 0.
    """
    positive = prior_labels > 0
    found = _count(positive & (predicted > 0))
    right = _count(positive & (predicted == prior_labels))
    pictures = sum_over_replicas(tf.cast(tf.shape(prior_labels)[0], tf.float32))
    return {
        "precision": tf.math.divide_no_nan(found, _count(predicted > 0)),
        "recall": tf.math.divide_no_nan(found, _count(positive)),
        "accuracy": tf.math.divide_no_nan(right, _count(positive)),
        "positives": _count(positive) / pictures,
    }


def pixel_accuracy(logits, labels, ignore_label=255):
    """Share of the pixels not ignored whose best class is their label; 0 without any.

    `logits` `[B, F, F, C]`, `labels` `[B, F, F]` integers; a float32 scalar.
    """
    labels = tf.cast(labels, tf.int32)
    counted = labels != ignore_label
    right = tf.argmax(logits, axis=-1, output_type=tf.int32) == labels
    return tf.math.divide_no_nan(_count(right & counted), _count(counted))


def _count(chosen):
    return sum_over_replicas(tf.reduce_sum(tf.cast(chosen, tf.float32)))
