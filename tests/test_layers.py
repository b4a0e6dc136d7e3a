"""Shared layers: input preprocessing, resizing, convolutions with their penalties."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from blitznet.imaging import legacy_resize
from blitznet.layers import CaffeInput, Conv, LegacyResize, SpatialL2Norm, add_relu


def _maps(*shape):
    return np.random.default_rng(6).normal(size=shape).astype(np.float32)


def test_caffe_input_by_hand():
    pixels = CaffeInput()(np.float32([[[[1.0, 0.0, 0.5]]]]))
    expected = [127.5 - 103.062623801, 0 - 115.902882574, 255 - 123.151630838]
    np.testing.assert_allclose(pixels[0, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_resize_layer_samples_as_tensorflow_1(method):
    maps = _maps(2, 3, 3, 2)
    resized = LegacyResize(7, method)(maps)
    np.testing.assert_array_equal(resized, legacy_resize(maps, (7, 7), method))


def test_resize_layer_leaves_a_map_of_the_right_size_alone():
    maps = _maps(1, 5, 5, 2)
    np.testing.assert_array_equal(LegacyResize(5)(maps), maps)


def test_spatial_norm_by_hand():
    """Each channel of each picture by itself; a channel of zeros stays so."""
    maps = np.zeros((2, 2, 2, 3), np.float32)
    maps[0, :, :, 0] = [[3, 0], [0, 4]]
    maps[0, :, :, 1] = 7
    maps[1, :, :, 2] = [[0, 2], [0, 0]]
    layer = SpatialL2Norm(20.0)
    normed = layer(maps)
    layer.scale.assign([10.0, 20.0, 30.0])
    expected = np.zeros_like(maps)
    expected[0, :, :, 0] = [[12, 0], [0, 16]]
    expected[0, :, :, 1] = 10
    expected[1, :, :, 2] = [[0, 20], [0, 0]]
    np.testing.assert_allclose(normed, expected, rtol=1e-6)
    np.testing.assert_allclose(layer(maps), expected * [0.5, 1, 1.5], rtol=1e-6)


def test_spatial_norm_of_zeros_has_a_finite_gradient():
    layer, maps = SpatialL2Norm(20.0), tf.zeros((1, 2, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        total = tf.reduce_sum(layer(maps))
    assert np.all(np.isfinite(tape.gradient(total, maps)))


@pytest.mark.parametrize(
    "layer", [CaffeInput(), LegacyResize(4, "nearest"), LegacyResize(9), SpatialL2Norm(5.0)]
)
def test_layers_survive_serialization(layer):
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    maps = _maps(2, 6, 6, 3)
    np.testing.assert_array_equal(copy(maps), layer(maps))


def test_layers_know_their_shape_in_a_graph():
    maps = keras.Input((6, 6, 3))
    assert tuple(CaffeInput()(maps).shape) == (None, 6, 6, 3)
    assert tuple(LegacyResize(9)(maps).shape) == (None, 9, 9, 3)
    assert LegacyResize(9).compute_output_shape((2, 6, 6, 3)) == (2, 9, 9, 3)


def test_normed_convolution_by_hand():
    image = keras.Input((2, 2, 1))
    conv = Conv(bn_decay=0.75)
    outputs = [
        conv.norm(image, 1, 1, "conv"),
        conv.norm(image, 1, 1, "linear", relu=False),
        conv.norm(image, 1, 1, "half", stride=2, relu=False),
    ]
    model = keras.Model(image, outputs)
    pixels = np.float32([[1, -2], [3, 4]]).reshape(1, 2, 2, 1)
    for name in ("conv", "linear", "half"):
        assert len(model.get_layer(name).weights) == 1  # a kernel, no bias
        model.get_layer(name).set_weights([np.full((1, 1, 1, 1), 2.0)])
        # gamma, beta, moving mean, moving variance
        values = [np.array([value]) for value in (3.0, 0.5, 1.0, 4.0 - 1e-5)]
        model.get_layer(f"{name}_bn").set_weights(values)
    rectified, linear, half = model(pixels, training=False)
    expected = 3 * (2 * pixels - 1) / 2 + 0.5
    np.testing.assert_allclose(linear, expected, rtol=1e-6)
    np.testing.assert_allclose(rectified, np.maximum(expected, 0), rtol=1e-6)
    np.testing.assert_allclose(half, expected[:, :1, :1], rtol=1e-6)

    model(pixels, training=True)
    moving_mean = model.get_layer("conv_bn").get_weights()[2]
    np.testing.assert_allclose(moving_mean, 0.75 * 1.0 + 0.25 * 2 * pixels.mean(), rtol=1e-6)


def test_further_arguments_shape_a_plain_convolution():
    """Every second pixel less its neighbour at distance 2: stride, padding, dilation."""
    line = np.float32([5, 1, 2, 0, 4, 7, 1]).reshape(1, 7, 1, 1)
    strided = Conv().plain(1, (2, 1), "strided", padding="valid", strides=(2, 1))
    dilated = Conv().plain(1, (2, 1), "dilated", padding="valid", dilation_rate=(2, 1))
    kernel = np.float32([1, -1]).reshape(2, 1, 1, 1)
    for layer, expected in ((strided, [4, 2, -3]), (dilated, [3, 1, -2, -7, 3])):
        layer.build((1, 7, 1, 1))
        layer.set_weights([kernel, np.zeros(1, np.float32)])
        np.testing.assert_array_equal(layer(line)[0, :, 0, 0], expected)


def test_kernels_alone_are_penalised():
    image = keras.Input((4, 4, 2))
    conv = Conv(weight_decay=0.5)
    x = conv.norm(image, 3, 3, "normed")
    model = keras.Model(image, conv.plain(2, 1, "plain")(x))
    model.get_layer("plain").set_weights([np.full((1, 1, 3, 2), 2.0), np.full(2, 100.0)])
    kernel = model.get_layer("normed").get_weights()[0]
    expected = 0.5 * (np.sum(kernel**2) + 6 * 2.0**2) / 2
    assert sum(map(float, model.losses)) == pytest.approx(expected, rel=1e-5)


def test_without_weight_decay_there_is_no_penalty():
    image = keras.Input((4, 4, 2))
    assert not keras.Model(image, Conv().norm(image, 3, 3, "conv")).losses


def test_initial_kernels_have_the_variance_of_a_rectified_layer():
    image = keras.Input((4, 4, 64))
    model = keras.Model(image, Conv().norm(image, 64, 3, "conv"))
    kernel = model.get_layer("conv").get_weights()[0]
    assert kernel.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


def test_add_relu_by_hand():
    inputs = [keras.Input((3,)), keras.Input((3,))]
    model = keras.Model(inputs, add_relu(*inputs, "unit"))
    answer = model([np.float32([[1, -2, 0]]), np.float32([[1, 1, -1]])])
    np.testing.assert_array_equal(answer, [[2, 0, 0]])
