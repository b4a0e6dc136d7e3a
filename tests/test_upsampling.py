"""Bilinear kernels, transposed convolutions channel by channel, crops."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from blitznet.upsampling import Bilinear, CropLike, Upscore, bilinear_filter
from blitznet.variables import tf_variable


def maps(*shape):
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def transposed(values, kernels, factor):
    """Transposed convolution from its definition: every cell lays down its kernel. NumPy."""
    batch, height, width, channels = values.shape
    side = kernels.shape[0]
    sides = [factor * (n - 1) + side for n in (height, width)]
    answer = np.zeros((batch, *sides, channels))
    for i in range(height):
        for j in range(width):
            patch = values[:, i, j, None, None] * kernels
            answer[:, factor * i : factor * i + side, factor * j : factor * j + side] += patch
    return answer


def bilinear_kernels(side, channels):
    return np.repeat(Bilinear()((side, side, 1)).numpy(), channels, axis=-1)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (1, [1]),
        (2, [0.5, 0.5]),
        (3, [0.5, 1, 0.5]),
        (4, [0.25, 0.75, 0.75, 0.25]),
        (5, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
        (8, [0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125]),
    ],
)
def test_filters_by_hand(kernel, expected):
    np.testing.assert_allclose(bilinear_filter(kernel), expected, rtol=1e-6)


def test_kernels_are_products_of_rows_and_columns_for_every_class():
    kernels = Bilinear()((4, 4, 3)).numpy()
    row = np.array([1, 3, 3, 1]) / 4
    for channel in range(3):
        np.testing.assert_array_equal(kernels[..., channel], np.outer(row, row))


@pytest.mark.parametrize("learned", [False, True], ids=["fixed", "learned"])
@pytest.mark.parametrize(("factor", "kernel"), [(2, 4), (2, 3), (8, 16), (8, 15), (32, 64)])
def test_enlarging_from_the_definition(factor, kernel, learned):
    values = maps(2, 3, 4, 5)
    found = Upscore(factor, kernel, learned)(values)
    expected = transposed(values, bilinear_kernels(kernel, 5), factor)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_learned_kernels_are_one_for_each_class():
    layer, values, kernels = Upscore(2, 4, True), maps(2, 3, 5, 3), maps(4, 4, 3)
    layer.build(values.shape)
    assert [tuple(weight.shape) for weight in layer.trainable_weights] == [(4, 4, 3)]
    layer.set_weights([kernels])
    np.testing.assert_allclose(layer(values), transposed(values, kernels, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("learned", [False, True], ids=["fixed", "learned"])
def test_gradients_reach_learned_kernels_and_what_is_enlarged(learned):
    """Of the sum of all: each kernel's weight multiplies every cell, each cell every weight."""
    layer, values = Upscore(2, 4, learned), tf.constant(maps(1, 3, 3, 2))
    layer.build(values.shape)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(layer(values))
    slope, *of_kernels = tape.gradient(total, [values, *map(tf_variable, layer.weights)])
    np.testing.assert_allclose(slope, np.full((1, 3, 3, 2), 4.0), rtol=1e-5)
    assert len(of_kernels) == learned
    for found in of_kernels:
        expected = np.broadcast_to(values.numpy().sum((1, 2)), (4, 4, 2))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("learned", [False, True], ids=["fixed", "learned"])
def test_maps_of_any_size_in_a_graph(learned):
    layer, values = Upscore(4, 8, learned), maps(2, 5, 3, 6)
    signature = [tf.TensorSpec((None, None, None, 6))]
    graph = tf.function(lambda x: layer(x), input_signature=signature)
    np.testing.assert_allclose(graph(values), layer(values), rtol=0, atol=1e-6)
    found = layer(keras.Input((5, 3, 6))).shape, layer(keras.Input((None, None, 6))).shape
    assert [tuple(shape) for shape in found] == [(None, 24, 16, 6), (None, None, None, 6)]


def test_a_crop_begins_at_its_offset_and_has_the_size_of_the_other_map():
    values, other = np.arange(42, dtype=np.float32).reshape(1, 6, 7, 1), maps(1, 3, 2, 5)
    found = CropLike(2)([values, other])
    np.testing.assert_array_equal(found[0, ..., 0], [[16, 17], [23, 24], [30, 31]])
    graph = tf.function(
        lambda *pair: CropLike(2)(list(pair)),
        input_signature=[tf.TensorSpec((None, None, None, n)) for n in (1, 5)],
    )
    np.testing.assert_array_equal(graph(values, other), found)


@pytest.mark.parametrize("layer", [Upscore(2, 3), Upscore(4, 8, learned=True)])
def test_layers_survive_serialization(layer):
    copy, values = keras.layers.deserialize(keras.layers.serialize(layer)), maps(1, 3, 3, 2)
    np.testing.assert_array_equal(copy(values), layer(values))
    crop = keras.layers.deserialize(keras.layers.serialize(CropLike(3)))
    assert crop.offset == 3
