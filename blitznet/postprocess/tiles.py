"""Class maps at the size of people's pictures, which may be large, within bounded memory."""

import numpy as np
import tensorflow as tf

_COLUMNS_AT_ONCE, _LOGITS_AT_ONCE = 4096, 2**24


def tiled_class_map(logits, height, width):
    """`segmentation.class_map` of one picture's logits `[F, F, C]`: uint8 `[height, width]`.

    At once, a photograph of 12 million pixels would take 4 GB for 81 classes.
    """
    class_map = np.empty((height, width), np.uint8)
    for columns in _spans(width, _COLUMNS_AT_ONCE):
        part = _sample(logits, 1, width, columns)
        most = max(1, _LOGITS_AT_ONCE // (len(columns) * logits.shape[-1]))
        for rows in _spans(height, most):
            tile = tf.argmax(_sample(part, 0, height, rows), axis=-1)
            class_map[rows.start : rows.stop, columns.start : columns.stop] = tile.numpy()
    return class_map


def nearest_class_map(class_map, height, width):
    """A class map `[S, S]` at another size: the nearest places of TensorFlow 1's sampling."""
    rows, columns = (
        np.minimum(np.rint(np.arange(size) * length / size).astype(int), length - 1)
        for size, length in zip((height, width), class_map.shape)
    )
    return class_map[rows[:, None], columns]


def _spans(length, most):
    """`range(length)` as consecutive ranges of up to `most`."""
    return [range(start, min(start + most, length)) for start in range(0, length, most)]


def _sample(maps, axis, size, places):
    """Those `places` along `axis` that `imaging.legacy_resize` to `size` would give."""
    length = maps.shape[axis]
    at = np.arange(places.start, places.stop, dtype=np.float32) * np.float32(length / size)
    low = np.minimum(at.astype(np.int32), length - 1)
    share = tf.reshape(at - low, [-1 if n == axis else 1 for n in range(3)])
    lower = tf.gather(maps, low, axis=axis)
    upper = tf.gather(maps, np.minimum(low + 1, length - 1), axis=axis)
    return lower + (upper - lower) * tf.cast(share, tf.float32)
