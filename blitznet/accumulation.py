"""A batch in parts, one after the other, whose losses and gradients are those of the whole."""

import tensorflow as tf

from blitznet import keys


def sum_over_parts(compute, batch, parts):
    """What `compute` answers for the parts of a batch, summed.

    The whole batch's losses and gradients but for two things: batch norm normalises each part by
    its own mean and variance, and the loss that mines hard negatives mines them in each part,
    three for each of its positives.

    Args:
      compute: `(part, shares) -> tensors` in any nesting; `shares` as `loss_shares` gives them,
        None where the part is the whole.
      batch: dict of tensors `[B, ...]`.
      parts: how many; they divide B, which must be known.

    Raises:
      ValueError: they do not divide B.
    """
    if parts == 1:
        return compute(batch, None)
    size, rest = divmod(batch[keys.IMAGE].shape[0], parts)
    if rest:
        raise ValueError(f"{parts} parts do not divide a batch of {size * parts + rest} pictures")

    def compute_part(i):
        part = {name: value[i] for name, value in divided.items()}
        return compute(part, loss_shares(part, batch, parts))

    def add_part(i, total):
        return i + 1, tf.nest.map_structure(tf.add, total, compute_part(i))

    divided = {
        name: tf.reshape(value, (parts, size, *value.shape[1:])) for name, value in batch.items()
    }
    # A loop of the graph: a graph of all parts would compute them at once, with all their memory.
    _, total = tf.while_loop(
        lambda i, _: i < parts, add_part, (1, compute_part(0)), parallel_iterations=1
    )
    return total


def loss_shares(part, whole, parts, ignore_label=255):
    """What the loss terms of a part count for, so that those of all parts add up to the whole's.

    Losses of prior boxes are means over positives (over 1 without any), segmentation's over the
    pixels that are not `ignore_label`; weight decay is in every part.

    Args:
      part, whole: batches.
      parts: how many there are.

    Returns:
      dict loss key -> scalar.
    """
    shares = {keys.LOSS_WEIGHT_DECAY: 1 / parts}
    if keys.PRIOR_LABELS in whole:
        positives, all_positives = (
            tf.maximum(_count(batch[keys.PRIOR_LABELS] > 0), 1.0) for batch in (part, whole)
        )
        shares[keys.LOSS_CLASS] = shares[keys.LOSS_BOX] = positives / all_positives
    if keys.MASK in whole:
        pixels, all_pixels = (
            _count(tf.cast(batch[keys.MASK], tf.int32) != ignore_label) for batch in (part, whole)
        )
        shares[keys.LOSS_SEGMENTATION] = tf.math.divide_no_nan(pixels, all_pixels)
    return shares


def _count(chosen):
    return tf.reduce_sum(tf.cast(chosen, tf.float32))
