"""Text on pictures, with OpenCV: uint8 RGB `[H, W, 3]`, written in place."""

import numpy as np

from blitznet.opencv import cv2

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_HEIGHT_AT_SCALE_1 = 22
_DARK, _LIGHT = (0, 0, 0), (255, 255, 255)


def write(canvas, text, base, scale, ink):
    """Write `text` from the pixel `base` (x, y) of its base line on."""
    cv2.putText(canvas, text, base, _FONT, scale, ink, _thickness(scale), cv2.LINE_AA)


def capitals(scale):
    """Height of capitals in pixels at a font scale."""
    return _HEIGHT_AT_SCALE_1 * scale


def scale_to_fit(text, height, width):
    """Font scale for capitals of this height, less where the text would be wider than `width`."""
    scale = height / _HEIGHT_AT_SCALE_1
    text_width = cv2.getTextSize(text, _FONT, scale, _thickness(scale))[0][0]
    return scale * min(1.0, max(1, width) / max(1, text_width))


class Labels:
    """Texts on coloured bars, each placed where it covers little of those placed before."""

    def __init__(self, canvas):
        self._canvas = canvas
        self._placed = []

    def beside(self, text, corners, colour):
        """Place a text at a box, pixels x1, y1, x2, y2.

        Above the box, or else inside its top, below it, inside its bottom, farther off, or row by
        row down the box, on its left or right.
        """
        scale, size = self._size(text)
        left, top, right, bottom = corners
        above, below = top - size[1], bottom + 1
        rows = [above, top, below, below - size[1], above - size[1], below + size[1]]
        rows = [y for y in [*rows, *range(top, bottom, size[1])] if y >= 0]
        places = [(x, y) for y in rows for x in (left, right + 1 - size[0])]
        self._place(text, colour, scale, size, places)

    def upon(self, text, centre, colour):
        """Place a text with its middle on a pixel x, y, or up to three bars above or below."""
        scale, size = self._size(text)
        left, top = np.asarray(centre) - size // 2
        places = [(left, top + n * size[1]) for n in (0, -1, 1, -2, 2, -3, 3)]
        self._place(text, colour, scale, size, places)

    def write(self):
        """Write all of them, the first ones last, where there is no room for all."""
        for text, colour, scale, bar in self._placed[::-1]:
            _write_on_bar(self._canvas, text, scale, bar, colour)

    def _size(self, text):
        """Font scale, and width and height of the bar in pixels, `[2]`."""
        height, width = self._canvas.shape[:2]
        scale = scale_to_fit(text, np.clip(0.03 * min(height, width), 9, 40), 0.9 * width - 4)
        (text_width, text_height), drop = cv2.getTextSize(text, _FONT, scale, _thickness(scale))
        margin = _margin(text_height)
        return scale, np.array([text_width + 2 * margin, text_height + drop // 2 + 2 * margin])

    def _place(self, text, colour, scale, size, places):
        height, width = self._canvas.shape[:2]
        places = np.clip(places, 0, np.maximum([width, height] - size, 0))
        taken = [bar for *_, bar in self._placed]
        covered = [sum(_common_area((*place, *size), bar) for bar in taken) for place in places]
        # The first of the best, so that a text stays at its first place where it can.
        bar = (*places[int(np.argmin(covered))].tolist(), *size.tolist())
        self._placed.append((text, colour, scale, bar))


def _common_area(a, b):
    """Pixels that two bars x, y, width, height share."""
    sides = [min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    return max(0, sides[0]) * max(0, sides[1])


def _write_on_bar(canvas, text, scale, bar, colour):
    left, top, width, height = bar
    cv2.rectangle(canvas, (left, top), (left + width - 1, top + height - 1), colour, -1)
    text_height = cv2.getTextSize(text, _FONT, scale, _thickness(scale))[0][1]
    luminance = np.dot(colour, [0.299, 0.587, 0.114])
    margin = _margin(text_height)
    base = (left + margin, top + margin + text_height)
    write(canvas, text, base, scale, _DARK if luminance > 110 else _LIGHT)


def _margin(text_height):
    """Pixels of the bar around its text."""
    return max(2, round(0.3 * text_height))


def _thickness(scale):
    return max(1, round(1.6 * scale))
