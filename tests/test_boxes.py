"""Conversions and IoU, by hand and against exact fractions."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blitznet.boxes import pairwise_iou, xywh_to_yxyx, yxyx_to_xywh

# Multiples of 1/64 are exact in float32, and so are their sums and products here.
GRID = 64
sides = st.integers(0, GRID)
grid_boxes = st.lists(st.tuples(sides, sides, sides, sides), max_size=4)


def _floats(boxes):
    return np.array(boxes, np.float32).reshape(-1, 4) / GRID


def _exact_iou(first, second):
    """IoU of two xywh boxes of integers; 0 if both are empty."""
    (x1, y1, w1, h1), (x2, y2, w2, h2) = first, second
    width = max(0, min(x1 + w1, x2 + w2) - max(x1, x2))
    height = max(0, min(y1 + h1, y2 + h2) - max(y1, y2))
    union = w1 * h1 + w2 * h2 - width * height
    return Fraction(width * height, union) if union else Fraction(0)


def test_conversions_of_a_box_by_hand():
    xywh, yxyx = [[0.125, 0.25, 0.5, 0.0625]], [[0.25, 0.125, 0.3125, 0.625]]
    np.testing.assert_array_equal(xywh_to_yxyx(np.float32(xywh)), yxyx)
    np.testing.assert_array_equal(yxyx_to_xywh(np.float32(yxyx)), xywh)


@given(grid_boxes)
def test_conversions_undo_each_other(boxes):
    boxes = _floats(boxes)
    np.testing.assert_array_equal(yxyx_to_xywh(xywh_to_yxyx(boxes)), boxes)


def test_conversions_take_leading_dimensions():
    boxes = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    expected = [[xywh_to_yxyx(box) for box in picture] for picture in boxes]
    np.testing.assert_array_equal(xywh_to_yxyx(boxes), expected)


def test_iou_by_hand():
    square = [[0.0, 0.0, 0.5, 0.5]]
    others = [
        [0.0, 0.0, 0.5, 0.5],  # itself
        [0.25, 0.0, 0.5, 0.5],  # half of each: 1/8 over 3/8
        [0.25, 0.25, 0.5, 0.5],  # a quarter of each: 1/16 over 7/16
        [0.125, 0.125, 0.25, 0.25],  # inside, a quarter of the area
        [0.5, 0.0, 0.5, 0.5],  # touches
        [0.75, 0.75, 0.25, 0.25],  # apart on both axes: two negative sides make no area
        [0.25, 0.25, 0.0, 0.0],  # empty
    ]
    iou = pairwise_iou(np.float32(square), np.float32(others))
    np.testing.assert_allclose(iou, [[1, 1 / 3, 1 / 7, 1 / 4, 0, 0, 0]], rtol=1e-6)


def test_iou_of_empty_boxes_is_zero_not_nan():
    point = np.float32([[0.5, 0.5, 0.0, 0.0]])
    np.testing.assert_array_equal(pairwise_iou(point, point), [[0.0]])


@given(grid_boxes, grid_boxes)
def test_iou_equals_exact_fractions(first, second):
    iou = pairwise_iou(_floats(first), _floats(second)).numpy()
    expected = [[float(_exact_iou(a, b)) for b in second] for a in first]
    np.testing.assert_allclose(
        iou, np.array(expected).reshape(len(first), len(second)), rtol=1e-6, atol=0
    )
