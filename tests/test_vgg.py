"""VGG-16: the forward pass a second way, its heads, prior boxes, limits and checkpoints."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import config
import golden
import toy_vgg
from blitznet import build_model, keys, runs
from blitznet.archs import segmentation_side
from blitznet.convert.tf1_blitznet import assign
from blitznet.models.blitznet import source_sides
from blitznet.variables import variables_by_path
from tools.flags.network import model_config

SOURCES = ("conv4_3", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")


@pytest.fixture
def small(monkeypatch):
    """Make `vgg16` the name of a VGG-16 with an eighth of the channels."""
    toy_vgg.install(monkeypatch)


def convolve(maps, weights, scope, stride=1, rate=1, pad=True):
    """Convolution as a sum of shifted products; `pad` is TensorFlow's SAME."""
    kernel = weights[f"{scope}/weights"].astype(np.float64)
    side, reach = maps.shape[0], (kernel.shape[0] - 1) * rate
    total = max((-(-side // stride) - 1) * stride + reach + 1 - side, 0) if pad else 0
    maps = np.pad(maps, [(total // 2, total - total // 2)] * 2 + [(0, 0)])
    last = len(maps) - reach
    taps = (
        maps[rate * i : rate * i + last : stride, rate * j : rate * j + last : stride]
        @ kernel[i, j]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    )
    return sum(taps) + weights[f"{scope}/biases"]


def halve(maps):
    """Maximum over 2x2 cells; what is left over at the end counts for nothing."""
    side = len(maps) // 2
    cells = maps[: 2 * side, : 2 * side].reshape(side, 2, side, 2, -1)
    return cells.max(axis=(1, 3))


def neighbourhood_maximum(maps):
    side = len(maps)
    padded = np.pad(maps, [(1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    shifts = [padded[i : i + side, j : j + side] for i in range(3) for j in range(3)]
    return np.max(shifts, axis=0)


def specified_sources(image, weights):
    """What the heads read, from the words of spec section 6 and checkpoint names; NumPy."""

    def layer(x, name, **geometry):
        scope = f"vgg_16/{name.split('_')[0]}/{name}" if "_" in name else f"vgg_16/{name}"
        return np.maximum(convolve(x, weights, scope, **geometry), 0)

    mean_bgr = [103.062623801, 115.902882574, 123.151630838]
    x = image[..., ::-1].astype(np.float64) * 255 - mean_bgr
    for block, count in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
        for i in range(1, count + 1):
            x = layer(x, f"conv{block}_{i}")
        if block == 4:
            norms = np.sqrt((x**2).sum(axis=(0, 1)))
            conv4_3 = x / np.maximum(norms, 1e-6) * weights["ssd/conv4_3_scale_mult"]
        x = halve(x) if block < 5 else neighbourhood_maximum(x)
    fc7 = layer(layer(x, "fc6", rate=6), "fc7")
    conv6 = layer(layer(fc7, "conv6_1"), "conv6_2", stride=2)
    conv7 = layer(layer(conv6, "conv7_1"), "conv7_2", stride=2)
    conv8 = layer(layer(conv7, "conv8_1"), "conv8_2", pad=False)
    conv9 = layer(layer(conv8, "conv9_1"), "conv9_2", pad=False)
    return dict(zip(SOURCES, (conv4_3, fc7, conv6, conv7, conv8, conv9)))


def test_outputs_are_those_that_the_specification_says(small):
    model = build_model(trunk="vgg16", segment=False)
    weights = golden.recipe_weights(model)
    assign(model, dict(weights))
    image = golden.image()
    outputs = model(image, training=False)

    sources = specified_sources(image[0], weights)
    assert [len(maps) for maps in sources.values()] == [37, 18, 9, 5, 3, 1]
    for task, width in ((keys.CONFIDENCE, 21), (keys.LOCATION, 4)):
        expected = []
        for name, maps in sources.items():
            scope = f"{name.split('_')[0]}/{name}" if "_" in name else name
            head = convolve(maps, weights, f"ssd/vgg_16/{scope}/{task}")
            expected.append(head.reshape(-1, width))
            assert head.std() > 1e-3
        expected = np.concatenate(expected)
        tolerance = 1e-4 * expected.std()
        np.testing.assert_allclose(outputs[task][0], expected, rtol=0, atol=tolerance)


def test_each_source_has_a_head_of_its_own_ratios(small):
    model = build_model(trunk="vgg16", num_classes=81)
    shapes = {path: tuple(v.shape) for path, v in variables_by_path(model).items()}
    for source, count in zip(SOURCES, (4, 6, 6, 6, 4, 4)):
        assert shapes[f"location_{source}/bias"] == (4 * count,)
        assert shapes[f"confidence_{source}/bias"] == (81 * count,)
        assert shapes[f"confidence_{source}/kernel"][:2] == (3, 3)
    assert source_sides(model) == (37, 18, 9, 5, 3, 1)
    assert len(runs.make_coder(model, {"trunk": "vgg16"}).priors) == 8096
    assert model.output[keys.CONFIDENCE].shape[1] == 8096


def test_the_scale_starts_at_20_and_heads_as_xavier_says(small):
    model = build_model(trunk="vgg16")
    np.testing.assert_array_equal(model.get_layer("conv4_3_norm").scale, np.full(64, 20.0))
    kernel = model.get_layer("confidence_fc7").kernel.numpy()
    limit = (6 / (9 * (128 + 6 * 21))) ** 0.5
    assert np.abs(kernel).max() == pytest.approx(limit, rel=1e-3)
    assert kernel.std() == pytest.approx(limit / 3**0.5, rel=0.02)
    assert not model.get_layer("confidence_fc7").bias.numpy().any()


def test_segmentation_reads_the_sources_at_the_side_of_the_first(small):
    model = build_model(trunk="vgg16", image_size=272, detect=False, n_base_channels=8)
    assert segmentation_side(model) == 34
    logits = model(np.zeros((1, 272, 272, 3), np.float32))[keys.SEGMENTATION]
    assert logits.shape == (1, 34, 34, 21)
    joined = model.get_layer("seg_concat").input
    assert [maps.shape[-1] for maps in joined] == [8] * len(SOURCES)
    # What the heads read of conv4_3 is normalised, not the map that the trunk goes on with.
    assert model.get_layer("seg_conv4_3").input is model.get_layer("conv4_3_norm").output


@pytest.mark.parametrize(
    ("image_size", "sides"),
    [(272, (34, 17, 9, 5, 3, 1)), (511, (63, 31, 16, 8, 6, 4))],
)
def test_image_sizes_from_least_to_most(small, image_size, sides):
    model = build_model(trunk="vgg16", image_size=image_size, segment=False)
    assert source_sides(model) == sides


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--image_size", "271"], "image_size is 272 to 511 pixels, got 271"),
        (["--image_size", "512"], "image_size is 272 to 511 pixels, got 512"),
        (["--x4"], "x4 can only be False, got True"),
        (["--head", "shared"], "head can only be nonshared, got shared"),
        (["--det_kernel", "1"], "det_kernel can only be 3, got 1"),
    ],
)
def test_what_the_original_has_not_is_refused_by_flags_and_by_the_model(flags, message):
    message = f"with trunk vgg16, {message}"
    parser = config.training_parser()
    args = parser.parse_args(["--run_name", "r", "--trunk", "vgg16", *flags])
    with pytest.raises(ValueError, match=message):
        config.training_config(args)
    with pytest.raises(ValueError, match=message):
        build_model(**dataclasses.asdict(model_config(args)))


def test_training_reaches_every_weight(small):
    """In a compiled function, as the engine runs it: dilation has a gradient there too."""
    # Of so few channels all may be dead behind ReLU in a map of one cell.
    keras.utils.set_random_seed(3)
    model = build_model(trunk="vgg16", image_size=272, n_base_channels=8)
    noise = np.random.default_rng(3).random((2, 272, 272, 3), np.float32)
    images = tf.constant(noise)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = tf.add_n([tf.reduce_mean(maps**2) for maps in outputs.values()])
        return tape.gradient(loss, model.trainable_variables)

    for variable, gradient in zip(model.trainable_variables, gradients()):
        assert np.all(np.isfinite(gradient)), variable.name
        assert np.any(gradient), variable.name


def test_a_segmentation_head_has_no_name_in_a_checkpoint_of_the_original(small):
    model = build_model(trunk="vgg16", image_size=272)
    with pytest.raises(ValueError, match="no layer seg_.*vgg16 with --detect"):
        assign(model, {})
