"""The input pipeline's heavy parts by their plain formulas, to compare with to the last bit."""

import tensorflow as tf

from blitznet import keys
from blitznet.boxes import pairwise_iou
from blitznet.coding import PriorCoder
from datasets import augment


class PlainCoder(PriorCoder):
    """Matches over the matrix `[P, N]` of all overlaps."""

    def _match(self, boxes):
        number = tf.shape(boxes)[0]
        # A column of zeros stands for "no box", so that N = 0 needs no branch.
        iou = tf.pad(pairwise_iou(self.priors, boxes), [[0, 0], [0, 1]])
        best = tf.argmax(iou, axis=1, output_type=tf.int32)
        matched = tf.where(tf.reduce_max(iou, axis=1) >= self._iou_threshold, best, -1)
        claims = tf.argmax(iou[:, :-1], axis=0, output_type=tf.int32)
        claimant = tf.math.unsorted_segment_min(tf.range(number), claims, tf.shape(iou)[0])
        return tf.where(claimant < number, claimant, matched)


def keep(example, chosen):
    """As `augment.keep`, a mask for each list."""
    objects = {keys.BOXES, keys.LABELS, keys.DIFFICULT, keys.IS_CROWD, keys.AREA} & example.keys()
    return {**example, **{key: tf.boolean_mask(example[key], chosen) for key in objects}}


def random_flip(example, seed):
    """As `augment.random_flip`, but the pixels are mirrored at once."""
    flip = tf.random.stateless_uniform([], seed) < 0.5

    def mirrored(key):
        if key in (keys.IMAGE, keys.MASK):
            return tf.reverse(example[key], axis=[1])
        ymin, xmin, ymax, xmax = tf.unstack(example[key], axis=-1)
        return tf.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=-1)

    moved = {keys.IMAGE, keys.MASK, keys.BOXES, augment.WINDOW} & example.keys()
    chosen = {key: tf.where(flip, mirrored(key), example[key]) for key in moved}
    return {**example, **chosen}


def sample_bilinear(image, window, side, fill, mirrored=False):
    """As `augment.sample_bilinear`, every sample computed and then chosen or not."""
    image = tf.where(mirrored, tf.reverse(image, axis=[1]), image)
    rows, row_inside = _positions(window[0], window[2], tf.shape(image)[0], side)
    columns, column_inside = _positions(window[1], window[3], tf.shape(image)[1], side)
    sampled = _interpolate(_interpolate(image, rows, axis=0), columns, axis=1)
    return tf.where((row_inside[:, None] & column_inside)[..., None], sampled, fill)


def sample_nearest(mask, window, side, fill, mirrored=False):
    """As `augment.sample_nearest`, of a mask that is mirrored itself."""
    mask = tf.where(mirrored, tf.reverse(mask, axis=[1]), mask)
    rows, row_inside = _positions(window[0], window[2], tf.shape(mask)[0], side)
    columns, column_inside = _positions(window[1], window[3], tf.shape(mask)[1], side)
    for axis, positions in enumerate((rows, columns)):
        mask = tf.gather(mask, tf.cast(positions, tf.int32), axis=axis)
    return tf.where(row_inside[:, None] & column_inside, mask, fill)


def _positions(low, high, length, side):
    length = tf.cast(length, tf.float32)
    at = low * length + tf.range(side, dtype=tf.float32) * ((high - low) * length / side)
    return tf.clip_by_value(at, 0.0, length - 1 / 1024), (at >= 0) & (at < length)


def _interpolate(image, at, axis):
    lower = tf.cast(at, tf.int32)
    upper = tf.minimum(lower + 1, tf.shape(image)[axis] - 1)
    weight = tf.reshape(at - tf.cast(lower, tf.float32), [-1, 1, 1] if axis == 0 else [-1, 1])
    low, high = tf.gather(image, lower, axis=axis), tf.gather(image, upper, axis=axis)
    return low + (high - low) * weight
