"""What training reports of a batch beside its losses; TensorFlow scalars.

Counts of parts of a batch, and of replicas, add up to the batch's: scores are made at the end.
"""

import tensorflow as tf


def prior_counts(predicted, prior_labels):
    """Counts of prior boxes that `scores` makes precision, recall and accuracy of.

    Args:
      predicted: `[B, P]` int32, the likeliest class of each prior box.
      prior_labels: `[B, P]` int, 0 for negatives.

    Returns:
      dict of float32 scalars: `positive` and `predicted` as some object, `found` (both), `right`
      (the positives whose likeliest class is their label) and `pictures`.
    """
    positive = prior_labels > 0
    return {
        "positive": _count(positive),
        "predicted": _count(predicted > 0),
        "found": _count(positive & (predicted > 0)),
        "right": _count(positive & (predicted == prior_labels)),
        "pictures": tf.cast(tf.shape(prior_labels)[0], tf.float32),
    }


def pixel_counts(logits, labels, ignore_label=255):
    """Counts of `pixels` not ignored, and of `pixels_right`, whose best class is their label.

    `logits` `[B, F, F, C]`, `labels` `[B, F, F]` integers; a dict of float32 scalars.
    """
    labels = tf.cast(labels, tf.int32)
    counted = labels != ignore_label
    right = tf.argmax(logits, axis=-1, output_type=tf.int32) == labels
    return {"pixels": _count(counted), "pixels_right": _count(right & counted)}


def class_counts(logits, labels):
    """Counts of pictures `classified`, and of those whose label is the likeliest class, `in_top1`,
    or one of the five likeliest, `in_top5`.

    Of equal logits the lower class comes first, as in an arg max; a label that is no class, as -1,
    is never right.

    Args:
      logits: `[B, N]`; N is known, and may be below 5.
      labels: `[B]` integers.

    Returns:
      dict of float32 scalars.
    """
    best = tf.math.top_k(logits, min(5, logits.shape[-1])).indices
    right = best == tf.cast(labels, tf.int32)[:, None]
    return {
        "classified": tf.cast(tf.shape(logits)[0], tf.float32),
        "in_top1": _count(right[:, 0]),
        "in_top5": _count(right),
    }


def scores(counts):
    """How well prior boxes are told from the background, and boxes, pixels, pictures classified.

    Args:
      counts: what `prior_counts`, `pixel_counts`, `class_counts` or several answered, summed over
        parts.

    Returns:
      dict of float32 scalars. A prior box is found if it is positive and its likeliest class
      is some object: `precision` (found / predicted as some object) and `recall` (found /
      positive), as the original reports them; `accuracy`, the share of the positives whose
      best class is their label; `positives` for each picture; `pixel_accuracy`, the share of
      pixels classified as labelled; `top1` and `top5`, the shares of pictures whose label is
      among as many likeliest classes. 0 / 0 is 0.
    """
    ratios = {
        "precision": ("found", "predicted"),
        "recall": ("found", "positive"),
        "accuracy": ("right", "positive"),
        "positives": ("positive", "pictures"),
        "pixel_accuracy": ("pixels_right", "pixels"),
        "top1": ("in_top1", "classified"),
        "top5": ("in_top5", "classified"),
    }
    return {
        name: tf.math.divide_no_nan(counts[part], counts[whole])
        for name, (part, whole) in ratios.items()
        if part in counts
    }


def _count(chosen):
    return tf.reduce_sum(tf.cast(chosen, tf.float32))
