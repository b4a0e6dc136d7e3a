"""The folded network: batch norm by hand, the same answers, weights in fewer bits."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import toy_vgg
from blitznet import build_model
from blitznet.folding import StoredConv2D, fold
from blitznet.variables import variables_by_path

TOY = {"image_size": 64, "top_fm": 16, "n_base_channels": 8, "num_classes": 4}


def trained_looking(model):
    """`model` with statistics and factors of batch norm that are not 0 and 1."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            values = [rng.uniform(0.5, 1.5, gamma.shape), rng.normal(0, 0.2, beta.shape)]
            values += [rng.normal(0, 0.2, mean.shape), rng.uniform(0.5, 1.5, variance.shape)]
            layer.set_weights(values)
    return model


def one_convolution(kernel, **arguments):
    """A network of one 1 x 1 convolution of one channel, `x`, and its batch norm, `x_bn`."""
    inputs = keras.Input((2, 2, 1), name="images")
    maps = keras.layers.Conv2D(1, 1, name="x", **arguments)(inputs)
    # Statistics that make the root of variance + epsilon 1.
    maps = keras.layers.BatchNormalization(epsilon=0.75, name="x_bn")(maps)
    model = keras.Model(inputs, maps)
    model.get_layer("x_bn").set_weights([np.array([v]) for v in (3.0, 1.0, 4.0, 0.25)])
    bias = [np.array([5.0])] if arguments.get("use_bias", True) else []
    model.get_layer("x").set_weights([np.full((1, 1, 1, 1), kernel), *bias])
    return model


@pytest.mark.parametrize(("use_bias", "bias"), [(False, -4 * 3 + 1), (True, (5 - 4) * 3 + 1)])
def test_a_batch_norm_by_hand(use_bias, bias):
    conv = fold(one_convolution(2.0, use_bias=use_bias)).get_layer("x")
    assert np.asarray(conv.kernel).tolist() == [[[[2.0 * 3]]]]
    assert np.asarray(conv.bias).tolist() == [bias]


@pytest.mark.parametrize(
    "arguments",
    [
        {"trunk": "resnet18_half", "x4": True},
        {"trunk": "resnet50", "detect": False},
        {"trunk": "vgg16", "segment": False, "image_size": 300},
    ],
    ids=lambda arguments: arguments["trunk"],
)
def test_the_folded_network_answers_as_the_network(arguments, monkeypatch):
    toy_vgg.install(monkeypatch)
    model = trained_looking(build_model(**{**TOY, **arguments}))
    folded = fold(model)
    shape = (2, *model.input_shape[1:])
    images = np.random.default_rng(1).uniform(0, 1, shape).astype(np.float32)
    expected, found = model(images, training=False), folded(images, training=False)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = np.abs(found[name] - value).max()
        assert 0 < error <= 1e-4 * np.std(value), name


def test_norms_are_gone_and_nothing_but_kernels_and_biases_is_left():
    folded = fold(build_model(**TOY, trunk="resnet18_half"))
    assert not any(isinstance(each, keras.layers.BatchNormalization) for each in folded.layers)
    convs = [each for each in folded.layers if isinstance(each, StoredConv2D)]
    assert len(variables_by_path(folded)) == 2 * len(convs)


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_kernels_are_rounded_to_their_storage_and_used_as_float32(storage):
    model = trained_looking(build_model(**TOY, trunk="resnet18_half"))
    exact, rounded = fold(model), fold(model, storage)
    for conv in (each for each in exact.layers if isinstance(each, StoredConv2D)):
        other = rounded.get_layer(conv.name)
        kernel = variables_by_path(rounded)[f"{conv.name}/kernel"]
        assert kernel.dtype == tf.as_dtype(storage), conv.name
        expected = tf.cast(tf.cast(tf.convert_to_tensor(conv.kernel), storage), tf.float32)
        np.testing.assert_array_equal(tf.cast(kernel, tf.float32), expected)
        np.testing.assert_array_equal(conv.bias, other.bias)
    images = np.random.default_rng(1).uniform(0, 1, (1, 64, 64, 3)).astype(np.float32)
    outputs = rounded(images, training=False)
    assert {tf.as_dtype(value.dtype) for value in outputs.values()} == {tf.float32}


def test_a_kernel_that_the_storage_cannot_hold_is_named():
    model = one_convolution(70000.0, use_bias=False)
    with pytest.raises(ValueError, match="x: a weight is not a finite float16"):
        fold(model, "float16")
    kernel = np.asarray(fold(model, "bfloat16").get_layer("x").kernel, np.float64)
    np.testing.assert_allclose(kernel, 3 * 70000.0, rtol=2**-8)


def test_a_batch_norm_behind_no_convolution_is_named():
    inputs = keras.Input((8, 8, 3), name="images")
    maps = keras.layers.Conv2D(2, 3, name="x")(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="alone_bn")(maps))
    with pytest.raises(ValueError, match="behind no convolution: alone_bn"):
        fold(model)
