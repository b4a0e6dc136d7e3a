"""Classification and box regression losses over prior boxes."""

import functools

import tensorflow as tf

from blitznet import addons, choices, keys
from blitznet.distribution import sum_of_largest, sum_over_replicas


def make_detection_loss(class_loss, box_loss, coder, fixed_shapes=False):
    """`detection_loss` with the losses of these names.

    Args:
      class_loss: "softmax" (`hard_negative_softmax`) or "focal" (`addons.focal_loss`).
      box_loss: "smooth_l1" or "giou" (`addons.giou_loss`).
      coder: the `PriorCoder` of the network's prior boxes.
      fixed_shapes: whether hard negatives are mined as XLA needs it, which takes longer.

    Raises:
      ValueError: there is no loss of this name; names the choices.
      ImportError: the loss needs tensorflow-addons; says what to run.
    """
    choices.check("class_loss", class_loss, choices.CLASS_LOSSES)
    choices.check("box_loss", box_loss, choices.BOX_LOSSES)
    softmax = functools.partial(hard_negative_softmax, fixed_shapes=fixed_shapes)
    classes = {"softmax": softmax, "focal": addons.focal_loss}[class_loss]
    boxes = addons.giou_loss(coder) if box_loss == "giou" else smooth_l1
    return functools.partial(detection_loss, class_loss=classes, box_loss=boxes)


def hard_negative_softmax(confidence, prior_labels, negative_ratio=3, fixed_shapes=False):
    """Softmax cross-entropy over positives and hard negatives (SSD, section 2.2), summed.

    Negatives are mined over the whole batch, not per picture: with N positives in the batch,
    the `min(3 N, P - N)` negatives of highest cross-entropy are kept (spec section 9), none
    where that is not above 0.
    The batch is that of all replicas, and each sums up its own prior boxes among those kept.

    Args:
      confidence: `[B, P, C]` logits.
      prior_labels: `[B, P]` int, 0 for negatives.
      negative_ratio: negatives for each positive.
      fixed_shapes: as for `distribution.sum_of_largest`.

    Returns:
      A scalar; NaN where the cross-entropy of any prior box, kept or not, is not finite.
    """
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(prior_labels, confidence)
    positive = prior_labels > 0
    count = sum_over_replicas(tf.reduce_sum(tf.cast(positive, tf.int32)))
    wanted = tf.minimum(negative_ratio * count, tf.shape(prior_labels)[1] - count)
    # Cross-entropy is never negative, so positives at -1 are taken last.
    candidates = tf.reshape(tf.where(positive, -1.0, entropy), [-1])
    hardest = sum_of_largest(candidates, tf.maximum(wanted, 1), fixed_shapes)
    negatives = tf.where(wanted > 0, hardest, 0.0)
    positives = tf.reduce_sum(tf.where(positive, entropy, 0.0))
    # top_k takes NaN last, which would hide it.
    return _nan_unless_finite(entropy, positives + negatives)


def smooth_l1(location, prior_offsets):
    """Smooth L1 of beta 1, summed over the four offsets: `[B, P, 4]` twice -> `[B, P]`."""
    size = tf.abs(location - prior_offsets)
    return tf.reduce_sum(tf.where(size < 1.0, 0.5 * size**2, size - 0.5), axis=-1)


def detection_loss(
    confidence,
    location,
    prior_labels,
    prior_offsets,
    class_loss=hard_negative_softmax,
    box_loss=smooth_l1,
):
    """Class loss and box loss for each positive prior box of the batch.

    Of several replicas each answers its part: the divisor counts the positives of all.

    Args:
      confidence: `[B, P, C]` logits.
      location: `[B, P, 4]` predicted offsets.
      prior_labels: `[B, P]` int, 0 for negatives.
      prior_offsets: `[B, P, 4]` target offsets.
      class_loss: `(confidence, prior_labels) -> scalar`, summed over prior boxes.
      box_loss: `(location, prior_offsets) -> [B, P]`; only positives count.

    Returns:
      dict of scalars `class` and `box`: the sums, divided by the number of positives (by 1
      without any). `box` is NaN where any offset, of a positive or not, is not finite.
    """
    positive = prior_labels > 0
    count = sum_over_replicas(tf.reduce_sum(tf.cast(positive, confidence.dtype)))
    at_least_one = tf.maximum(count, 1.0)
    # Negatives get their target, so that a wild offset of theirs costs no NaN in the gradient.
    distance = box_loss(tf.where(positive[..., None], location, prior_offsets), prior_offsets)
    box = tf.reduce_sum(tf.where(positive, distance, 0.0)) / at_least_one
    return {
        keys.LOSS_CLASS: class_loss(confidence, prior_labels) / at_least_one,
        keys.LOSS_BOX: _nan_unless_finite(location, box),
    }


def _nan_unless_finite(tensor, loss):
    """The scalar `loss`, NaN where any number of `tensor` is not finite."""
    sound = tf.reduce_all(tf.math.is_finite(tensor))
    return tf.where(sound, loss, float("nan"))
