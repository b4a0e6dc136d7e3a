"""The pages of `tools.check_data`: sheets of pictures with boxes and masks drawn on them."""

import numpy as np

from blitznet import keys
from blitznet.opencv import cv2
from blitznet.visualize import (
    IGNORED,
    contact_sheet,
    draw_detections,
    overlay_classes,
    side_by_side,
)

_SIDE = 440
_COLUMNS = 4


class Gallery:
    """Small drawings of pictures spread evenly over a set, and of the first that are faulty."""

    def __init__(self, class_names, ignore_label, count, most):
        """`count` pictures are to come, of which at most `most` go on each sheet."""
        self._names, self._ignore_label = class_names, ignore_label
        self._chosen = {i * count // most for i in range(most)} if most else set()
        self._most = most
        self._samples, self._faulty = [], []

    def offer(self, number, example, image, mask, faults):
        """Keep a drawing of picture `number`, from 0, if it belongs on a sheet.

        image: uint8 `[H, W, 3]`; mask: uint8 `[H, W]` or None; faults: kinds of
        `statistics.FAULTS`.
        """
        if number in self._chosen:
            self._samples.append(self._drawn(example, image, mask, example[keys.FILENAME]))
        if faults and len(self._faulty) < self._most:
            title = f"{example[keys.FILENAME]}: {', '.join(faults).replace('_', ' ')}"
            self._faulty.append(self._drawn(example, image, mask, title))

    def sheets(self):
        """`{file name: PNG bytes}` of `samples.png` and, if anything is wrong, `wrong.png`."""
        sheets = {"samples.png": self._samples, "wrong.png": self._faulty}
        return {
            name: _png(contact_sheet(drawings, _COLUMNS))
            for name, drawings in sheets.items()
            if drawings
        }

    def _drawn(self, example, image, mask, title):
        """The picture at most 440 pixels wide and high; crowd regions have no box."""
        height, width = image.shape[:2]
        scale = min(1, _SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        if mask is not None:
            mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
            nothing = (mask > len(self._names)) | (mask == self._ignore_label)
            mask = np.where(nothing, IGNORED, mask)
            small = overlay_classes(small, mask, len(self._names) + 1)
        boxes, labels = example[keys.BOXES], example[keys.LABELS]
        shown = np.isfinite(boxes).all(axis=1) & ~example[keys.IS_CROWD]
        shown &= (labels >= 1) & (labels <= len(self._names))
        boxes = np.clip(boxes[shown], 0, 1)
        return side_by_side(
            [draw_detections(small, boxes, labels[shown], None, self._names)], [title], gap=2
        )


def _png(picture):
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
