"""Classification and box regression losses over prior boxes."""

import tensorflow as tf

from blitznet import keys


def detection_loss(confidence, location, prior_labels, prior_offsets, negative_ratio=3):
    """Softmax cross-entropy with hard negatives and smooth L1 (SSD, section 2.2).

    Negatives are mined over the whole batch, not per picture: with N positives in the batch,
    the `max(1, min(3 N, P - N))` negatives of highest cross-entropy are kept (spec section 9).

    Args:
      confidence: `[B, P, C]` logits.
      location: `[B, P, 4]` predicted offsets.
      prior_labels: `[B, P]` int, 0 for negatives.
      prior_offsets: `[B, P, 4]` target offsets.
      negative_ratio: negatives for each positive.

    Returns:
      dict of scalars `class` and `box`; both 0 for a batch without positives. `class` is NaN
      where the cross-entropy of any prior box, kept or not, is not finite.
    """
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(prior_labels, confidence)
    positive = prior_labels > 0
    count = tf.reduce_sum(tf.cast(positive, tf.int32))
    at_least_one = tf.cast(tf.maximum(count, 1), entropy.dtype)

    wanted = tf.minimum(negative_ratio * count, tf.shape(prior_labels)[1] - count)
    # Cross-entropy is never negative, so positives at -1 are taken last.
    candidates = tf.reshape(tf.where(positive, -1.0, entropy), [-1])
    hardest = tf.math.top_k(candidates, tf.maximum(wanted, 1), sorted=False).values
    negatives = tf.where(wanted > 0, tf.reduce_sum(hardest), 0.0)
    positives = tf.reduce_sum(tf.where(positive, entropy, 0.0))
    # top_k takes NaN last, which would hide it.
    sound = tf.reduce_all(tf.math.is_finite(entropy))

    distance = tf.reduce_sum(_smooth_l1(location - prior_offsets), axis=-1)
    return {
        keys.LOSS_CLASS: tf.where(sound, (positives + negatives) / at_least_one, float("nan")),
        keys.LOSS_BOX: tf.reduce_sum(tf.where(positive, distance, 0.0)) / at_least_one,
    }


def _smooth_l1(difference):
    size = tf.abs(difference)
    return tf.where(size < 1.0, 0.5 * size**2, size - 0.5)
