"""The network that is rebuilt for inference, against the trained one."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import toy_detnet
import toy_vgg
from blitznet import build_model, inference
from blitznet.archs import segmentation_side
from blitznet.models.blitznet import source_sides
from blitznet.variables import variables_by_path
from random_weights import give_random_weights

SMALL = {"num_classes": 6, "image_size": 64, "trunk": "resnet18_half", "top_fm": 16}
VGG = {"num_classes": 3, "image_size": 272, "trunk": "vgg16", "n_base_channels": 8}
SHAPES = {
    "plain": SMALL,
    "x4, nearest": {**SMALL, "x4": True, "resize": "nearest"},
    "shared": {**SMALL, "head": "shared", "det_kernel": 1},
    "large cells": {**SMALL, "seg_filter_size": 3, "n_base_channels": 5},
    "detection": {**SMALL, "segment": False, "class_loss": "focal"},
    "segmentation": {**SMALL, "detect": False},
    "vgg16": VGG,
    "detnet59": {**SMALL, "trunk": "detnet59"},
    "detnet59, no projection": {**SMALL, "trunk": "detnet59", "dilated_projection": "none"},
}


@pytest.fixture(autouse=True)
def small_trunks(monkeypatch):
    """Make `vgg16` and `detnet59` the names of narrow ones."""
    toy_vgg.install(monkeypatch)
    toy_detnet.install(monkeypatch)


def trained(shape, seed=0):
    """A network whose weights, batch-norm statistics too, are all random, the same for a seed."""
    model = build_model(**shape)
    give_random_weights(model, seed)
    return model


def answers(model):
    images = tf.random.stateless_uniform((2, *model.input_shape[1:]), seed=(0, 0))
    return {name: value.numpy() for name, value in model(images, training=False).items()}


def check_same(expected, found, tolerance):
    """Within `tolerance` of each output's standard deviation."""
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        limit = tolerance * value.std()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=limit, err_msg=name)


@pytest.mark.parametrize("one_to_one", [False, True], ids=["", "one to one"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_same_answers(shape, one_to_one):
    model = trained(shape)
    network, _ = inference.build(model, shape, one_to_one=one_to_one)
    check_same(answers(model), answers(network), 1e-4)
    assert source_sides(network) == source_sides(model)
    assert segmentation_side(network) == segmentation_side(model)


@pytest.mark.parametrize(("shape", "left"), [(SMALL, []), (VGG, ["conv4_3_norm/scale"])])
def test_constants_are_no_variables_and_answer_the_same(shape, left):
    model = trained(shape)
    network, _ = inference.build(model, shape, constants=True)
    assert list(variables_by_path(network)) == left
    check_same(answers(model), answers(network), 1e-4)


@pytest.mark.parametrize("shape", [SMALL, VGG], ids=["resnet18_half", "vgg16"])
def test_weights_of_another_checkpoint_are_loaded_anew(shape):
    model = trained(shape)
    network, refresh = inference.build(model, shape)
    before = answers(network)
    give_random_weights(model, seed=1)
    check_same(before, answers(network), 0)
    refresh()
    check_same(answers(model), answers(network), 1e-4)


def test_variables_are_called_after_their_layers():
    network, _ = inference.build(trained(SMALL), SMALL)
    layers = [layer.name for layer in network.layers if layer.weights]
    expected = {f"{name}/{part}" for name in layers for part in ("kernel", "bias")}
    assert variables_by_path(network).keys() == expected


def test_convolutions_of_one_map_are_one_and_fill_vectors():
    network, _ = inference.build(trained(SMALL), SMALL)
    kernels = {layer.name: layer.kernel.shape for layer in network.layers if layer.weights}
    assert not [name for name in kernels if name.startswith(("confidence", "location"))]
    assert all(kernel[-1] % 16 == 0 for kernel in kernels.values())


@pytest.mark.parametrize("head", ["nonshared", "shared"])
def test_one_to_one_has_the_trained_convolutions_without_batch_norm(head):
    shape = {**SMALL, "head": head}
    model = trained(shape)
    network, _ = inference.build(model, shape, one_to_one=True)
    found = {layer.name: layer.kernel.shape for layer in network.layers if layer.weights}
    expected = {
        layer.name: layer.kernel.shape
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    }
    assert list(found.items()) == list(expected.items())
    assert len(network.variables) == 2 * len(expected)


def test_narrow_numbers_answer_float32_nearly_the_same():
    model = trained(SMALL)
    network, _ = inference.build(model, SMALL, "bfloat16")
    assert {layer.compute_dtype for layer in network.layers if layer.weights} == {"bfloat16"}
    found = answers(network)
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
    # Eight bits of precision, through two dozen layers.
    check_same(answers(model), found, 0.2)


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_kernels_are_rounded_to_their_storage_and_used_as_float32(storage):
    model = trained(SMALL)
    exact, rounded = (inference.build(model, SMALL, storage=s)[0] for s in ("float32", storage))
    for layer in (each for each in exact.layers if each.weights):
        kernel = tf.convert_to_tensor(rounded.get_layer(layer.name).kernel)
        assert kernel.dtype == tf.as_dtype(storage)
        expected = tf.cast(tf.convert_to_tensor(layer.kernel), storage)
        np.testing.assert_array_equal(tf.cast(kernel, tf.float32), tf.cast(expected, tf.float32))
    check_same(answers(exact), answers(rounded), 0.05)


@pytest.mark.parametrize(
    ("layer", "value", "arguments", "told"),
    [
        ("conv1", 7e4, {"storage": "float16"}, "conv1: a weight is not a finite float16"),
        ("conv1", np.nan, {}, "conv1: a weight is not a finite float32"),
        ("confidence_fc7", np.inf, {"constants": True}, "confidence_fc7: a weight is not a finite"),
        ("conv4_3_norm", np.nan, {"constants": True}, "conv4_3_norm: a weight is not a finite"),
    ],
)
def test_a_weight_that_cannot_be_held_is_named(layer, value, arguments, told):
    shape = SMALL if layer == "conv1" else {**VGG, "segment": False}
    model = trained(shape)
    weights = model.get_layer(layer).get_weights()
    model.get_layer(layer).set_weights([np.full_like(weights[0], value), *weights[1:]])
    with pytest.raises(ValueError, match=told):
        inference.build(model, shape, **arguments)


def test_constants_of_another_type_are_refused():
    with pytest.raises(ValueError, match="constants are float32: leave out storage bfloat16"):
        inference.build(None, SMALL, constants=True, storage="bfloat16")


@pytest.mark.parametrize(("use_bias", "bias"), [(False, -4 * 3 + 1), (True, (5 - 4) * 3 + 1)])
def test_a_batch_norm_by_hand(use_bias, bias):
    conv = keras.layers.Conv2D(1, 1, use_bias=use_bias)
    conv.build((None, 2, 2, 1))
    conv.set_weights([np.full((1, 1, 1, 1), 2.0), *([np.array([5.0])] if use_bias else [])])
    # The root of variance + epsilon is 1.
    norm = keras.layers.BatchNormalization(epsilon=0.75)
    norm.build((None, 2, 2, 1))
    norm.set_weights([np.array([v]) for v in (3.0, 1.0, 4.0, 0.25)])
    kernel, offsets = inference.folded_weights(conv, norm)
    assert kernel.tolist() == [[[[2.0 * 3]]]]
    assert offsets.tolist() == [bias]


def test_a_convolution_that_lacks_its_batch_norm_is_named():
    images = keras.Input((8, 8, 3))
    alone = keras.Model(images, keras.layers.Conv2D(2, 3, name="x")(images))
    convs = inference.FoldedConv(alone, constants=False, storage="float32")
    with pytest.raises(ValueError, match="No such layer: x_bn"):
        convs.norm(images, 2, 3, "x")
