"""Which pixels of a mask lie near the border between two labels."""

import numpy as np

from blitznet.opencv import cv2


def near_border(labels, radius):
    """Bool `[H, W]`: pixels within `radius` of a border between two labels.

    Distances are Euclidean, in pixels, between the centres of pixels. A pixel is within the
    radius if some pixel of another label is at most so far: radius 1 takes those that have a
    side in common with another label, so that a straight border has r pixels on either side.
    The edge of the picture is no border. Every value counts as a label, the ignored one too:
    around VOC's objects the ignored band itself is what others border on. Who scores leaves
    the ignored pixels out, and has the r pixels beyond the band, on both sides.

    Counting these pixels alone is the trimap measure of Kohli, Ladicky and Torr, "Robust Higher
    Order Potentials for Enforcing Label Consistency" (IJCV 2009); DeepLab measures so around
    VOC's ignored band (Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and
    Fully Connected CRFs", ICLR 2015, section 5). How distances are taken is our choice.

    Args:
      labels: integers `[H, W]`.
      radius: a whole number from 1.

    Raises ValueError for another shape or radius, TypeError for labels that are no integers.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise ValueError(f"labels have shape {list(labels.shape)}: expected [H, W]")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels are of type {labels.dtype}: expected integers")
    check_radius(radius)
    near = np.zeros(labels.shape, bool)
    for label in np.unique(labels):
        own = labels == label
        # To the nearest pixel of another label; beyond any radius where there is none.
        distance = cv2.distanceTransform(own.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # Squares of distances are whole numbers: half a one more takes no other pixel in, and
        # no rounding takes one out.
        near |= own & (distance < np.sqrt(radius**2 + 0.5))
    return near


def check_radius(radius):
    """Raises ValueError unless `radius` is a whole number from 1."""
    if radius < 1 or radius % 1 != 0:
        raise ValueError(f"the radius is {radius}: expected a whole number of pixels from 1")
