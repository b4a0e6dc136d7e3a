"""Trunks with a classifier: counts of the published tables, logits a second way, a start."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import toy_detnet
from blitznet import build_model, checkpoints, inference, keys
from blitznet.layers import Conv
from blitznet.models.classifier import LOGITS_LAYER, build_classifier
from blitznet.trunks import get_trunk
from blitznet.variables import variables_by_path
from random_weights import give_random_weights

SMALL = {"num_classes": 5, "image_size": 32}
RESNET = {**SMALL, "trunk": "resnet18_half"}
DETNET = {**SMALL, "trunk": "detnet59"}


@pytest.fixture
def small(monkeypatch):
    """Make `detnet59` the name of a narrow one."""
    toy_detnet.install(monkeypatch)


def pictures(count, side=32):
    return np.random.default_rng(4).random((count, side, side, 3), np.float32)


def convolutions(model):
    """The layers that multiply; a dense one is a convolution of one cell."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    others = [layer for layer in model.layers if layer.weights and layer not in layers]
    assert all(isinstance(layer, keras.layers.BatchNormalization) for layer in others)
    return layers


def multiply_adds(model):
    """Of one picture: each kernel's weights are used once for every cell of the layer's map."""
    return sum(
        int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:3]))
        for layer in convolutions(model)
    )


def by_the_table(units, dilated, depth):
    """Parameters and multiply-adds at 224 x 224, counted from the paper's table alone.

    `units` of the stages from stride 4 on, that many of `dilated` ones behind, `depth` at the end.
    """
    parameters, products = 7 * 7 * 3 * 64 + 2 * 64, 7 * 7 * 3 * 64 * 112**2
    inputs, side = 64, 56

    def add(kernel, ins, outs):
        nonlocal parameters, products
        parameters += kernel**2 * ins * outs + 2 * outs
        products += kernel**2 * ins * outs * side**2

    stages = [(64 * 2**i, count, i > 0) for i, count in enumerate(units)]
    stages += [(stages[-1][0], count, False) for count in dilated]
    for mid, count, halves in stages:
        side = side // 2 if halves else side
        for unit in range(count):
            if unit == 0:
                add(1, inputs, 4 * mid)
            add(1, inputs, mid)
            add(3, mid, mid)
            add(1, mid, 4 * mid)
            inputs = 4 * mid
    assert inputs == depth
    return parameters + (depth + 1) * 1000, products + depth * 1000


@pytest.mark.parametrize(
    ("arguments", "parameters", "products", "published"),
    [
        ({"trunk": "detnet59"}, 18_372_648, 4_846_018_560, (18.373, 4.85)),
        ({"trunk": "resnet50"}, 25_557_032, 3_857_973_248, (25.557, 3.86)),
        # Without two kernels of 1024 x 1024 at 14 x 14 cells, and their batch norms.
        (
            {"trunk": "detnet59", "dilated_projection": "none"},
            18_372_648 - 2 * (1024**2 + 2 * 1024),
            4_846_018_560 - 2 * 1024**2 * 14**2,
            None,
        ),
    ],
    ids=["detnet59", "resnet50", "no projection"],
)
def test_counts_are_the_published_ones(arguments, parameters, products, published):
    """Parameters without batch norm's statistics, and multiply-adds at 224 x 224."""
    model = build_classifier(**arguments)
    found = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert (found, multiply_adds(model)) == (parameters, products)
    if published:
        assert (round(found / 1e6, 3), round(multiply_adds(model) / 1e9, 2)) == published
    moving = {path for path in variables_by_path(model) if "/moving_" in path}
    assert len(model.trainable_variables) + len(moving) == len(model.variables)
    assert tuple(model.output[keys.CLASS_LOGITS].shape) == (None, 1000)


def test_the_table_counts_the_same():
    assert by_the_table((3, 4, 6), (3, 3), 1024) == (18_372_648, 4_846_018_560)
    assert by_the_table((3, 4, 6, 3), (), 2048) == (25_557_032, 3_857_973_248)


@pytest.mark.parametrize(("shape", "last"), [(RESNET, "C5"), (DETNET, "C4")])
def test_logits_are_a_dense_layer_of_the_last_maps_means(small, shape, last):
    model = build_classifier(**{**shape, "image_size": 72})
    give_random_weights(model)
    trunk = keras.Model(model.input, model.get_layer("pool5").input)
    expected_side = {"C5": 3, "C4": 5}[last]
    images = pictures(2, 72)
    maps = trunk(images, training=False).numpy().astype(np.float64)
    assert maps.shape[1:3] == (expected_side, expected_side)
    kernel, bias = model.get_layer(LOGITS_LAYER).get_weights()
    expected = maps.sum(axis=(1, 2)) / expected_side**2 @ kernel[0, 0] + bias
    found = model(images, training=False)
    assert set(found) == {keys.CLASS_LOGITS}
    tolerance = 1e-5 * expected.std()
    np.testing.assert_allclose(found[keys.CLASS_LOGITS], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("trunk", ["resnet18_half", "detnet59"])
def test_layers_of_the_trunk_are_called_as_in_a_detector(small, trunk, tmp_path):
    """So a detector starts from the trunk, all of it and nothing else."""
    classifier = build_classifier(**{**SMALL, "trunk": trunk})
    give_random_weights(classifier)
    checkpoints.save(tmp_path, 3, classifier)
    shape = {"image_size": 64, "top_fm": 16, "n_base_channels": 8, "segment": False}
    detector = build_model(**shape, trunk=trunk)
    loaded, _ = checkpoints.init_from(checkpoints.prefix(tmp_path, 3), detector)
    values = variables_by_path(classifier)
    assert set(loaded) == {path for path in values if not path.startswith(LOGITS_LAYER)}
    found = variables_by_path(detector)
    for path in loaded:
        np.testing.assert_array_equal(found[path], values[path], err_msg=path)
    images = keras.Input((64, 64, 3))
    alone = keras.Model(images, get_trunk(trunk).features(images, Conv()))
    assert set(loaded) == variables_by_path(alone).keys()


@pytest.mark.parametrize("shape", [RESNET, DETNET])
def test_rebuilt_for_inference_it_answers_the_same(small, shape):
    model = build_classifier(**shape)
    give_random_weights(model)
    images = pictures(3)
    expected = model(images, training=False)[keys.CLASS_LOGITS].numpy()
    for constants in (False, True):
        described = {"arch": "classifier", **shape}
        network, _ = inference.build(model, described, constants=constants)
        found = network(images)[keys.CLASS_LOGITS]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.std())
        assert (not network.variables) == constants
        made = [layer for layer in network.layers if layer.weights]
        assert all(isinstance(layer, inference.InferenceConv2D) for layer in made)


def test_narrow_numbers_answer_float32_nearly_the_same():
    exact = build_classifier(**RESNET)
    give_random_weights(exact)
    narrow = build_classifier(**RESNET, precision="bfloat16")
    narrow.set_weights(exact.get_weights())
    assert narrow.get_layer(LOGITS_LAYER).compute_dtype == "bfloat16"
    assert narrow.get_layer("pool5").compute_dtype == "float32"
    found, expected = (model(pictures(3))[keys.CLASS_LOGITS] for model in (narrow, exact))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.1 * np.std(expected))


def test_training_arguments_reach_every_layer(small):
    model = build_classifier(**DETNET, weight_decay=0.5, bn_decay=0.25, sync_batch_norm=True)
    kernels = [layer.kernel for layer in convolutions(model)]
    expected = 0.5 * sum(float(tf.reduce_sum(kernel**2)) / 2 for kernel in kernels)
    assert float(tf.add_n(model.losses)) == pytest.approx(expected, rel=1e-5)
    norms = [e for e in model.layers if isinstance(e, keras.layers.BatchNormalization)]
    assert {(norm.momentum, norm.synchronized) for norm in norms} == {(0.25, True)}
    assert build_classifier(**DETNET, weight_decay=0.0).losses == []


def test_training_reaches_every_weight(small):
    keras.utils.set_random_seed(3)
    model = build_classifier(**DETNET, weight_decay=0.0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(pictures(4), training=True)[keys.CLASS_LOGITS] ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients):
        assert np.all(np.isfinite(gradient)), variable.name
        assert np.any(gradient), variable.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"trunk": "vgg16"},
            "vgg16 has no classifier here: choose one of resnet50, resnet18, resnet18_half, detnet",
        ),
        ({"trunk": "resnet51"}, "resnet51 has no classifier here: choose one of resnet50"),
        ({"image_size": 31}, "image_size is at least 32 pixels, got 31"),
        ({"num_classes": 1}, "num_classes is at least 2, got 1"),
        ({"precision": "float64"}, "float32, bfloat16, float16"),
        ({"dilated_projection": "none"}, "dilated_projection can only be conv, got none"),
    ],
)
def test_invalid_arguments_say_what_is_valid(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_classifier(**{**RESNET, **arguments})
