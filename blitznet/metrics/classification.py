"""Top-1 and top-5: whether a picture's class is among those that score highest."""

import numpy as np


class TopK:
    """Counts pictures by their class and by the rank that its score has among all classes.

    num_classes: N, no background.

    `counts` is int64 `[N, N]`, rows the labels, columns the ranks from 0, the highest score.
    A picture is a hit at k if its rank is below k (Russakovsky et al., "ImageNet Large Scale
    Visual Recognition Challenge", IJCV 2015, section 4.1: one minus its top-k error). From
    k = N on every picture is a hit. Of equal scores the lower class id ranks first, as argmax
    and sorting have it: a network that answers the same for every class names the classes
    0..k-1, and is right on these alone.

    Raises ValueError for fewer than one class.
    """

    def __init__(self, num_classes):
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}: expected at least 1")
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def add(self, label, scores):
        """Adds one picture.

        label: integer in 0..N-1. scores: numbers `[N]`, logits or probabilities.

        Raises ValueError for a label outside, another shape or NaN, TypeError for a label that
        is no integer.
        """
        label, scores = np.asarray(label), np.asarray(scores)
        if not np.issubdtype(label.dtype, np.integer):
            raise TypeError(f"the label is of type {label.dtype}: expected an integer")
        if label.shape != () or not 0 <= label < self.num_classes:
            raise ValueError(f"the label is {label}: expected one of 0..{self.num_classes - 1}")
        if scores.shape != (self.num_classes,):
            raise ValueError(
                f"scores have shape {list(scores.shape)}: expected [{self.num_classes}]"
            )
        if np.isnan(scores).any():
            raise ValueError("scores contain NaN")
        own = scores[label]
        self.counts[label, np.sum(scores > own) + np.sum(scores[:label] == own)] += 1

    @property
    def pictures(self):
        """Number of pictures counted; 0 means that no score can be computed."""
        return int(self.counts.sum())

    def accuracy(self, k):
        """Share of the pictures that are hits at k, in 0..1; NaN without pictures."""
        pictures = self.pictures
        return float(self.counts[:, :k].sum() / pictures) if pictures else float("nan")

    def accuracy_by_class(self, k):
        """Share of each class's pictures, float64 `[N]`; NaN for classes that have none."""
        pictures = self.counts.sum(axis=1)
        hits = self.counts[:, :k].sum(axis=1)
        return np.divide(hits, pictures, out=np.full(len(hits), np.nan), where=pictures > 0)
