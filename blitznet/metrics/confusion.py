"""Segmentation scores from a confusion matrix of pixels."""

import numpy as np


class ConfusionMatrix:
    """Counts pixels by (label, prediction) and derives the usual segmentation scores.

    num_classes: C, background included. ignore_label: pixels with this label are left out.

    `counts` is int64 `[C, C]`, rows the labels, columns the predictions. The scores are
    those of Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic
    Segmentation" (CVPR 2015), section 5, in 0..1. With no labelled pixel they are NaN:
    see `labelled_pixels`.
    """

    def __init__(self, num_classes, ignore_label=255):
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}: expected at least 1")
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def add(self, labels, predictions):
        """Adds the pixels of integer arrays of one shape (any), such as `[H, W]` or `[B, H, W]`.

        labels: 0..C-1 or the ignored label. predictions: 0..C-1 wherever the label is not
        the ignored one.

        Raises ValueError for different shapes or ids outside, TypeError for arrays that
        are not of integers; nothing is counted then.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        if labels.shape != predictions.shape:
            raise ValueError(
                f"labels have shape {list(labels.shape)}, predictions "
                f"{list(predictions.shape)}: expected the same"
            )
        counted = labels != self.ignore_label
        rows = self._ids("labels", labels, counted)
        columns = self._ids("predictions", predictions, counted)
        pairs = rows.astype(np.intp)
        pairs *= self.num_classes
        pairs += columns.astype(np.intp, copy=False)
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def merge(self, other):
        """Adds the counts of another matrix; ValueError if its classes or ignored label differ."""
        for name in ("num_classes", "ignore_label"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"cannot merge: {name} differ ({mine} and {theirs})")
        self.counts += other.counts

    @property
    def labelled_pixels(self):
        """Number of pixels counted; 0 means that no score can be computed."""
        return int(self.counts.sum())

    def iou(self):
        """Intersection over union, float64 `[C]`; NaN for classes in no label or prediction."""
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - np.diag(self.counts)
        return _ratio(np.diag(self.counts), union)

    def accuracy(self):
        """Share of each class's pixels found, float64 `[C]`; NaN for classes in no label."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=1))

    def mean_iou(self):
        """Mean of `iou()` over the classes present in labels or predictions."""
        return _mean(self.iou())

    def mean_accuracy(self):
        """Mean of `accuracy()` over the classes present in labels."""
        return _mean(self.accuracy())

    def pixel_accuracy(self):
        """Share of all labelled pixels that is right."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    def frequency_weighted_iou(self):
        """Mean of `iou()` weighted by each class's share of the labelled pixels."""
        pixels = self.counts.sum(axis=1)
        present = pixels > 0
        return float(_ratio(np.sum(pixels[present] * self.iou()[present]), pixels.sum()))

    def _ids(self, what, array, counted):
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"{what} are of type {array.dtype}: expected integers")
        ids = array[counted]
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_classes):
            wrong = ids[(ids < 0) | (ids >= self.num_classes)]
            raise ValueError(
                f"{what} contain the class id {wrong[0]}: expected 0..{self.num_classes - 1}"
                + (f" or {self.ignore_label} (ignored)" if what == "labels" else "")
            )
        return ids


def _ratio(part, whole):
    """part / whole as float64, NaN where the whole is 0."""
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def _mean(values):
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
