"""TensorFlow 1's resizing by hand and against TensorFlow's own compatibility functions."""

import numpy as np
import pytest
import tensorflow as tf

from blitznet.imaging import MEAN_RGB, legacy_resize

SQUARE = [[0.0, 8.0], [16.0, 24.0]]


def _resize(rows, size, method="bilinear", dtype=np.float32):
    maps = np.array(rows, dtype)[None, ..., None]
    return legacy_resize(maps, size, method)[0, ..., 0].numpy()


def test_bilinear_doubling_by_hand():
    # Sampled at 0, 1/2, 1 and the clamped 3/2; half-pixel centres would begin at -1/4.
    expected = [[0, 4, 8, 8], [8, 12, 16, 16], [16, 20, 24, 24], [16, 20, 24, 24]]
    np.testing.assert_array_equal(_resize(SQUARE, (4, 4)), expected)


def test_nearest_doubling_by_hand():
    expected = [[0, 0, 8, 8], [0, 0, 8, 8], [16, 16, 24, 24], [16, 16, 24, 24]]
    np.testing.assert_array_equal(_resize(SQUARE, (4, 4), "nearest"), expected)


@pytest.mark.parametrize(
    ("method", "expected"), [("bilinear", [0, 5 / 3, 10 / 3]), ("nearest", [0, 1, 3])]
)
def test_shrinking_five_to_three_by_hand(method, expected):
    # Sampled at 0, 5/3, 10/3: the value there, or at the floor of it.
    row = _resize([[0, 1, 2, 3, 4]], (1, 3), method)
    np.testing.assert_allclose(row, [expected], rtol=1e-6)


def test_height_comes_first():
    assert _resize(np.zeros((2, 3)), (5, 4)).shape == (5, 4)


def test_nearest_keeps_the_dtype_and_the_class_ids():
    ids = _resize([[0, 255], [15, 3]], (3, 5), "nearest", np.uint8)
    assert ids.dtype == np.uint8
    assert set(ids.flat) == {0, 255, 15, 3}


def test_bilinear_answers_floats_for_bytes():
    resized = _resize([[0, 255]], (1, 4), dtype=np.uint8)
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized, [[0, 127.5, 255, 255]])


@pytest.mark.parametrize("size", [(1, 1), (13, 7), (24, 40)])
def test_resizing_equals_tensorflow_1(size):
    maps = np.random.default_rng(0).random((2, 13, 7, 3), np.float32)
    for method, original in (
        ("bilinear", tf.compat.v1.image.resize_bilinear),
        ("nearest", tf.compat.v1.image.resize_nearest_neighbor),
    ):
        np.testing.assert_array_equal(legacy_resize(maps, size, method), original(maps, size))


def test_size_may_be_a_tensor_inside_a_graph():
    resize = tf.function(legacy_resize)
    maps = np.float32(SQUARE)[None, ..., None]
    np.testing.assert_array_equal(
        resize(maps, tf.constant([4, 4])), legacy_resize(maps, (4, 4), "bilinear")
    )


def test_mean_colour_is_the_original_one_as_rgb():
    assert MEAN_RGB == (123.151630838, 115.902882574, 103.062623801)
