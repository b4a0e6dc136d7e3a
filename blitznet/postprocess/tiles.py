"""Class maps at the size of a picture, which may be large, in little time and bounded memory."""

import numpy as np

from blitznet import keys

# Pixels that are sampled at once: a band of rows that stays in a processor's cache.
_PIXELS_AT_ONCE = 2**16


def tiled_class_map(logits, height, width):
    """`segmentation.class_map` of one picture's logits `[F, F, C]`: uint8 `[height, width]`.

    Band by band of rows, and in each without the classes that win nowhere in it: a picture shows
    few. At once, a photograph of 12 million pixels would take 4 GB for 81 classes. Logits of the
    picture's own size are not sampled.
    """
    logits = np.asarray(logits)
    if logits.shape[:2] == (height, width):
        return logits.argmax(axis=-1).astype(np.uint8)
    likely = _likely(logits)
    found = np.flatnonzero(likely.any(axis=0))
    planes = np.ascontiguousarray(np.moveaxis(logits[..., found], -1, 0))
    low, high, share = _places(logits.shape[1], width)
    planes = _between(planes[..., low], planes[..., high], share)
    low, high, share = _places(logits.shape[0], height)

    class_map = np.empty((height, width), np.uint8)
    for rows in _spans(height, max(1, _PIXELS_AT_ONCE // width)):
        in_band = np.flatnonzero(
            likely[low[rows.start] : low[rows.stop - 1] + 1, found].any(axis=0)
        )
        band = slice(rows.start, rows.stop)
        maps = (
            _between(planes[n][low[band]], planes[n][high[band]], share[band, None])
            for n in in_band
        )
        class_map[band] = _best(found[in_band], maps)
    return class_map


def nearest_class_map(class_map, height, width):
    """A class map `[S, S]` at another size: the nearest places of TensorFlow 1's sampling."""
    rows, columns = (
        np.minimum(np.rint(np.arange(size) * length / size).astype(int), length - 1)
        for size, length in zip((height, width), class_map.shape)
    )
    return class_map[rows[:, None], columns]


def answered_class_map(answer, height, width):
    """The class map of a picture of this size: uint8 `[height, width]`.

    Args:
      answer: what an export answers for the picture: `semantic_classes` `[S, S]`, or, with
        `semantic_sizes` `[2]` beside it, what its upper left part of that height and width shows.
    """
    class_map = np.asarray(answer[keys.SEMANTIC_CLASSES], np.uint8)
    if keys.SEMANTIC_SIZES in answer:
        rows, columns = answer[keys.SEMANTIC_SIZES]
        class_map = class_map[:rows, :columns]
    return nearest_class_map(class_map, height, width)


def _likely(logits):
    """bool `[F, C]`: the classes that may win in a row of cells, each between four logits.

    A sampled value lies between those four but for rounding, so a class cannot win in a cell where
    its greatest is below the least of another class by more than that.
    """
    padded = np.pad(logits, ((0, 1), (0, 1), (0, 0)), "edge")
    corners = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    most, least = np.maximum.reduce(corners), np.minimum.reduce(corners)
    rounding = 1e-5 * np.abs(logits).max()
    return (most >= least.max(axis=-1, keepdims=True) - rounding).any(axis=1)


def _best(classes, maps):
    """uint8 `[H, W]`: which of `classes` has the greatest value of its map, the first of equals."""
    best = ids = None
    if len(classes) == 1:
        return classes[0]
    for number, values in zip(classes, maps):
        if best is None:
            best, ids = values, np.full(values.shape, number, np.uint8)
        else:
            np.copyto(ids, np.uint8(number), where=values > best)
            np.maximum(best, values, out=best)
    return ids


def _spans(length, most):
    """`range(length)` as consecutive ranges of up to `most`."""
    return [range(start, min(start + most, length)) for start in range(0, length, most)]


def _places(length, size):
    """Where `imaging.legacy_resize` to `size` samples a side: the two neighbours, and the share.

    int `[size]` twice, float32 `[size]`: the share of the second neighbour.
    """
    at = np.arange(size, dtype=np.float32) * np.float32(length / size)
    low = np.minimum(at.astype(np.int32), length - 1)
    return low, np.minimum(low + 1, length - 1), at - low.astype(np.float32)


def _between(first, second, share):
    """`first + (second - first) * share`, in that order of rounding, as TensorFlow samples."""
    second = second - first
    second *= share
    second += first
    return second
