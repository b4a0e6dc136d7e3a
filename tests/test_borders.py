"""Pixels near borders: by hand, and by the distances between all pairs of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blitznet.metrics import near_border


def rows(labels, radius):
    """The answer as text, # for the pixels near a border."""
    near = near_border(np.array(labels, np.uint8), radius)
    return ["".join(".#"[pixel] for pixel in row) for row in near.astype(int)]


@pytest.mark.parametrize(
    ("radius", "expected"), [(1, "..##...."), (2, ".####..."), (3, "######.."), (9, "########")]
)
def test_a_straight_border_has_the_radius_on_either_side(radius, expected):
    assert rows([[4, 4, 4, 7, 7, 7, 7, 7]] * 2, radius) == [expected] * 2


@pytest.mark.parametrize(
    ("radius", "expected"),
    [
        (1, [".......", ".......", "...#...", "..###..", "...#...", ".......", "......."]),
        (2, [".......", "...#...", "..###..", ".#####.", "..###..", "...#...", "......."]),
        (3, ["...#...", ".#####.", ".#####.", "#######", ".#####.", ".#####.", "...#..."]),
    ],
)
def test_around_one_pixel_lies_a_disk(radius, expected):
    """Corners are sqrt(2) away, (1, 2) is sqrt(5), (2, 2) is sqrt(8), (1, 3) is sqrt(10)."""
    labels = np.zeros((7, 7), int)
    labels[3, 3] = 1
    assert rows(labels, radius) == expected


def test_a_pixel_at_exactly_the_radius_is_near():
    labels = np.zeros((20, 20), int)
    labels[0, 0] = 1
    assert near_border(labels, 5)[3, 4] and near_border(labels, 5)[4, 3]
    assert not near_border(labels, 5)[1, 5], "sqrt(26)"
    assert near_border(labels, 13)[12, 5] and not near_border(labels, 13)[11, 7]


def test_the_ignored_band_is_another_label_and_borders_on_both():
    assert rows([[0, 0, 0, 255, 255, 255, 1, 1, 1]], 1) == ["..##.##.."]
    assert rows([[0, 0, 0, 255, 255, 255, 1, 1, 1]], 2) == [".#######."]


@pytest.mark.parametrize("label", [0, 3, 255])
def test_a_mask_of_one_label_has_no_border_not_even_its_edge(label):
    assert rows(np.full((2, 4), label), 100) == ["....", "...."]


def test_an_empty_mask_has_no_pixels():
    assert near_border(np.zeros((0, 4), np.uint8), 1).shape == (0, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@given(data=st.data())
def test_equals_the_least_distance_to_another_label(dtype, data):
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    labels = data.draw(arrays.arrays(dtype, shape, elements=st.sampled_from([0, 0, 0, 1, 255])))
    radius = data.draw(st.integers(1, 12))
    places = np.argwhere(np.ones(shape))
    squares = np.sum((places[:, None] - places[None]) ** 2, axis=-1)
    other = labels.reshape(-1, 1) != labels.reshape(1, -1)
    expected = np.any(other & (squares <= radius**2), axis=1).reshape(shape)
    np.testing.assert_array_equal(near_border(labels, radius), expected)


def test_a_wide_picture_equals_distances_from_its_one_border():
    """Far from the border OpenCV's distances are rounded."""
    labels = np.zeros((40, 3000), np.uint8)
    labels[20, 0] = 1
    y, x = np.mgrid[:40, :3000]
    squares = (y - 20) ** 2 + x**2
    squares[20, 0] = 1
    for radius in (1, 5, 250, 1000):
        np.testing.assert_array_equal(near_border(labels, radius), squares <= radius**2)


@pytest.mark.parametrize("radius", [0, -1, 0.5, float("nan")])
def test_a_radius_is_a_whole_number_from_one(radius):
    with pytest.raises(ValueError, match="expected a whole number of pixels from 1"):
        near_border(np.zeros((2, 2), int), radius)


def test_other_arrays_are_refused():
    with pytest.raises(ValueError, match=r"shape \[1, 2, 2\]: expected \[H, W\]"):
        near_border(np.zeros((1, 2, 2), int), 1)
    with pytest.raises(TypeError, match="labels are of type float64"):
        near_border(np.zeros((2, 2)), 1)
