"""DetNet-59: its table of stages, dilation and the forward pass a second way, BlitzNet on it."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import toy_detnet
from blitznet import archs, build_model, keys, runs
from blitznet.archs import segmentation_side
from blitznet.layers import Conv
from blitznet.models.blitznet import source_sides
from blitznet.trunks import NAMES, check_fits, get_trunk
from blitznet.trunks.resnet import bottleneck_unit
from blitznet.variables import variables_by_path
from helpers import run_python
from random_weights import give_random_weights

# arXiv 1804.06215 by way of the specification: units, depths of the 1x1 and 3x3 convolutions
# and of the last 1x1, dilation, stride of the map.
STAGES = {
    "block1": (3, 64, 256, 1, 4),
    "block2": (4, 128, 512, 1, 8),
    "block3": (6, 256, 1024, 1, 16),
    "block4": (3, 256, 1024, 2, 16),
    "block5": (3, 256, 1024, 2, 16),
}
SMALL = {"image_size": 64, "trunk": "detnet59", "top_fm": 16, "n_base_channels": 8}


@pytest.fixture
def small(monkeypatch):
    """Make `detnet59` the name of a narrow one."""
    toy_detnet.install(monkeypatch)


def trunk_model(side, *projection):
    """The trunk alone, answering its maps, and weights that are all random."""
    images = keras.Input((side, side, 3))
    model = keras.Model(images, get_trunk("detnet59", *projection).features(images, Conv()))
    give_random_weights(model)
    return model


@pytest.fixture(scope="module")
def detnet59():
    return trunk_model(96)


class TestStages:
    """The network of the paper's table, without computing anything."""

    def test_maps_are_of_stages_2_3_and_6(self, detnet59):
        shapes = {level: tuple(maps.shape) for level, maps in detnet59.output.items()}
        assert shapes == {
            "C2": (None, 24, 24, 256),
            "C3": (None, 12, 12, 512),
            "C4": (None, 6, 6, 1024),
        }
        ends = {"C2": "block1_unit3", "C3": "block2_unit4", "C4": "block5_unit3"}
        for level, unit in ends.items():
            assert detnet59.output[level] is detnet59.get_layer(f"{unit}_relu").output

    @pytest.mark.parametrize("block", STAGES)
    def test_units_depths_dilation_and_strides(self, detnet59, block):
        units, mid, depth, dilation, stride = STAGES[block]
        names = {layer.name for layer in detnet59.layers if layer.name.startswith(block)}
        assert {name.split("_")[1] for name in names} == {f"unit{i + 1}" for i in range(units)}
        for i in range(1, units + 1):
            one, three, last = (
                detnet59.get_layer(f"{block}_unit{i}_conv{number}") for number in (1, 2, 3)
            )
            assert [conv.kernel.shape[0] for conv in (one, three, last)] == [1, 3, 1]
            assert [conv.filters for conv in (one, three, last)] == [mid, mid, depth]
            assert [conv.dilation_rate[0] for conv in (one, three, last)] == [1, dilation, 1]
            halves = i == 1 and block in ("block2", "block3")
            assert [conv.strides[0] for conv in (one, three, last)] == [1 + halves, 1, 1]
            assert detnet59.get_layer(f"{block}_unit{i}_relu").output.shape[1] == 96 // stride

    def test_first_units_alone_have_projections(self, detnet59):
        """In the dilated stages these are the paper's B, A, A."""
        convolutions = {
            layer.name for layer in detnet59.layers if isinstance(layer, keras.layers.Conv2D)
        }
        shortcuts = {name for name in convolutions if name.endswith("_shortcut")}
        assert shortcuts == {f"block{i}_unit1_shortcut" for i in range(1, 6)}
        # The paper's 59 layers are these, without the shortcuts, and the classifier's.
        assert len(convolutions - shortcuts) + 1 == 59
        for block in ("block4", "block5"):
            layer = detnet59.get_layer(f"{block}_unit1_shortcut")
            assert layer.kernel.shape == (1, 1, 1024, 1024)
            assert layer.strides == (1, 1)

    def test_without_projections_nothing_else_changes(self, small):
        usual = variables_by_path(trunk_model(64))
        less = variables_by_path(trunk_model(64, "none"))
        gone = {path.split("/")[0] for path in usual.keys() - less.keys()}
        assert gone == {f"block{i}_unit1_shortcut{norm}" for i in (4, 5) for norm in ("", "_bn")}
        assert less.keys() < usual.keys()
        assert all(less[path].shape == usual[path].shape for path in less)


def interlaced(apply, maps):
    """What `apply` answers for every second row and column, for all four such, put together."""
    result = np.full(maps.shape, np.nan, np.float32)
    for i, j in itertools.product((0, 1), repeat=2):
        result[:, i::2, j::2] = apply(maps[:, i::2, j::2])
    return result


class TestDilation:
    """A dilated convolution sees every second cell, as a strided network between the others."""

    def test_taps_lie_two_cells_apart(self):
        image = keras.Input((7, 7, 1))
        model = keras.Model(image, Conv().norm(image, 1, 3, "conv", relu=False, dilation=2))
        kernel = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
        model.get_layer("conv").set_weights([kernel[:, :, None, None]])
        statistics = [np.array([value]) for value in (1.0, 0.0, 0.0, 1.0 - 1e-5)]
        model.get_layer("conv_bn").set_weights(statistics)
        impulse = np.zeros((1, 7, 7, 1), np.float32)
        impulse[0, 3, 2] = 1
        expected = np.zeros((7, 7))
        # Of the left column of the kernel, its right one comes to lie on the picture first.
        expected[1:6:2, 0:5:2] = kernel[::-1, ::-1]
        np.testing.assert_allclose(model(impulse)[0, :, :, 0], expected, atol=1e-6)

    @pytest.mark.parametrize("shape", [(2, 8, 8, 6), (1, 9, 12, 6), (1, 3, 3, 6)])
    @pytest.mark.parametrize("part", ["convolution", "unit A", "unit B"])
    def test_it_is_the_plain_one_of_four_interlaced_maps(self, part, shape):
        def model(dilation):
            maps = keras.Input((None, None, 6))
            if part == "convolution":
                answer = Conv().norm(maps, 6, 3, "x", relu=False, dilation=dilation)
            else:
                arguments = {"dilation": dilation, "project": part == "unit B"}
                answer = bottleneck_unit(maps, Conv(), 1, "x", depth=6, mid=4, **arguments)
            return keras.Model(maps, answer)

        dilated, plain = model(2), model(1)
        give_random_weights(dilated)
        plain.set_weights(dilated.get_weights())
        assert any("shortcut" in layer.name for layer in plain.layers) == (part == "unit B")
        maps = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        found, expected = dilated(maps).numpy(), interlaced(plain, maps)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.std())
        assert np.abs(found - plain(maps)).max() > 0.1 * expected.std()


def convolve(maps, kernel, stride=1, dilation=1, pad=True):
    """Convolution as a sum of shifted products; `pad` is TensorFlow's SAME."""
    side, reach = len(maps), (len(kernel) - 1) * dilation
    total = max((-(-side // stride) - 1) * stride + reach + 1 - side, 0) if pad else 0
    maps = np.pad(maps, [(total // 2, total - total // 2)] * 2 + [(0, 0)])
    last = len(maps) - reach
    return sum(
        maps[i * dilation : i * dilation + last : stride, j * dilation :][:, :last:stride]
        @ kernel[i, j]
        for i, j in itertools.product(range(len(kernel)), repeat=2)
    )


def specified_maps(image, weights, projections):
    """The toy's three maps from the words of the specification, float64 NumPy.

    One unit in each of stages 2 and 3, two in stage 4, B, A, A in stage 5 and B in stage 6.
    """

    def normed(x, name, **geometry):
        x = convolve(x, weights[f"{name}/kernel"], **geometry)
        gamma, beta, mean, variance = (
            weights[f"{name}_bn/{kind}"]
            for kind in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    def unit(x, name, shortcut, stride=1, dilation=1):
        inner = np.maximum(normed(x, f"{name}_conv1", stride=stride), 0)
        inner = np.maximum(normed(inner, f"{name}_conv2", dilation=dilation), 0)
        inner = normed(inner, f"{name}_conv3")
        if shortcut:
            x = normed(x, f"{name}_shortcut", stride=stride)
        return np.maximum(x + inner, 0)

    mean_bgr = [103.062623801, 115.902882574, 123.151630838]
    x = image[..., ::-1].astype(np.float64) * 255 - mean_bgr
    x = np.pad(x, [(3, 3), (3, 3), (0, 0)])
    x = np.maximum(normed(x, "conv1", stride=2, pad=False), 0)
    side = len(x)
    shifted = np.pad(x, [(0, 2), (0, 2), (0, 0)], constant_values=-np.inf)
    windows = [
        shifted[i : i + side : 2, j : j + side : 2]
        for i, j in itertools.product(range(3), repeat=2)
    ]
    c2 = unit(np.max(windows, axis=0), "block1_unit1", shortcut=True)
    c3 = unit(c2, "block2_unit1", shortcut=True, stride=2)
    x = unit(c3, "block3_unit1", shortcut=True, stride=2)
    x = unit(x, "block3_unit2", shortcut=False)
    for name in ("block4_unit1", "block4_unit2", "block4_unit3", "block5_unit1"):
        x = unit(x, name, shortcut=projections and name.endswith("unit1"), dilation=2)
    return {"C2": c2, "C3": c3, "C4": x}


@pytest.mark.parametrize("projection", ["conv", "none"])
def test_maps_are_those_that_the_specification_says(small, projection):
    model = trunk_model(72, projection)
    weights = {path: v.numpy().astype(float) for path, v in variables_by_path(model).items()}
    image = np.random.default_rng(2).random((72, 72, 3), np.float32)
    found = model(image[None], training=False)
    expected = specified_maps(image, weights, projections=projection == "conv")
    assert [maps.shape for maps in expected.values()] == [(18, 18, 32), (9, 9, 64), (5, 5, 128)]
    assert found.keys() == expected.keys()
    for level, maps in expected.items():
        assert maps.std() > 0.1
        tolerance = 1e-4 * maps.std()
        np.testing.assert_allclose(found[level][0], maps, rtol=0, atol=tolerance, err_msg=level)


class TestBlitzNet:
    """BlitzNet on DetNet: sources and prior boxes as on ResNet-50, its blocks after the trunk's."""

    @pytest.mark.parametrize(
        ("image_size", "x4", "sides", "priors"),
        [
            (300, False, (38, 19, 10, 5, 3, 1), 11_640),
            (300, True, (75, 38, 19, 10, 5, 3, 1), 45_390),
            (512, True, (128, 64, 32, 16, 8, 4, 2, 1), 131_070),
            (64, False, (8, 4, 2, 1), 510),
            (32, True, (8, 4, 2, 1), 510),
        ],
    )
    def test_sources_and_priors_are_those_of_a_resnet(self, small, image_size, x4, sides, priors):
        shape = {**SMALL, "image_size": image_size, "x4": x4}
        model = build_model(**shape)
        assert source_sides(model) == sides
        assert segmentation_side(model) == sides[0]
        assert model.output[keys.LOCATION].shape == (None, priors, 4)
        resnet = {**shape, "trunk": "resnet18_half"}
        found = runs.make_coder(model, shape).priors
        expected = runs.make_coder(build_model(**resnet), resnet).priors
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize(
        ("trunk", "numbers"), [("detnet59", (6, 7, 8, 9)), ("resnet18_half", (5, 6, 7))]
    )
    def test_the_downscale_stream_counts_on_after_the_trunk(self, small, trunk, numbers):
        arguments = {"top_fm": 16, "n_base_channels": 8, "trunk": trunk}
        model = build_model(**arguments)
        images = keras.Input((300, 300, 3))
        features = get_trunk(trunk).features(images, Conv())
        of_trunk = {layer.name for layer in keras.Model(images, features).layers}
        rest = {layer.name for layer in model.layers} - of_trunk
        blocks = {name.split("_")[0] for name in rest if name.startswith("block")}
        assert blocks == {f"block{number}" for number in numbers}
        for number in numbers:
            first = model.get_layer(f"block{number}_unit1_conv1")
            second = model.get_layer(f"block{number}_unit2_conv1")
            assert (first.strides, second.strides) == ((2, 2), (1, 1))
            three = model.get_layer(f"block{number}_unit1_conv2")
            assert three.dilation_rate == (1, 1)
        assert model.get_layer(f"block{numbers[-1]}_unit2_relu").output.shape[1] == 2

    def test_training_reaches_every_weight(self, small):
        """In a compiled function, as the engine runs it: dilation has a gradient there too."""
        keras.utils.set_random_seed(3)
        model = build_model(**SMALL)
        images = tf.constant(np.random.default_rng(3).random((4, 64, 64, 3), np.float32))

        @tf.function
        def gradients():
            with tf.GradientTape() as tape:
                outputs = model(images, training=True)
                loss = tf.add_n([tf.reduce_mean(maps**2) for maps in outputs.values()])
            return tape.gradient(loss, model.trainable_variables)

        for variable, gradient in zip(model.trainable_variables, gradients()):
            assert np.all(np.isfinite(gradient)), variable.name
            assert np.any(gradient), variable.name

    def test_the_projection_is_part_of_a_runs_description(self, small):
        """A run of a program that did not know it had none to leave out."""
        assert archs.full_shape({"trunk": "resnet50"})["dilated_projection"] == "conv"
        description = {"model": {**SMALL, "num_classes": 4, "dilated_projection": "none"}}
        description["model"] = archs.full_shape(description["model"])
        model, _ = runs.build(description)
        names = {layer.name for layer in model.layers}
        assert "block3_unit1_shortcut" in names
        assert not {"block4_unit1_shortcut", "block5_unit1_shortcut"} & names


class TestRefusals:
    """What has no dilated units has no projections of them to leave out."""

    @pytest.mark.parametrize("trunk", sorted(set(NAMES) - {"detnet59"}))
    def test_the_ablation_is_of_detnet_alone(self, trunk):
        told = f"with trunk {trunk}, dilated_projection can only be conv, got none: .*detnet59"
        with pytest.raises(ValueError, match=told):
            build_model(trunk=trunk, dilated_projection="none")
        with pytest.raises(ValueError, match=told):
            check_fits(
                trunk, 300, dilated_projection="none", x4=False, head="nonshared", det_kernel=3
            )

    def test_the_choices_are_named(self):
        with pytest.raises(ValueError, match="dilated_projection 'some': choose one of conv, none"):
            build_model(trunk="detnet59", dilated_projection="some")

    def test_flags_are_checked_without_tensorflow(self):
        lines = [
            "import sys",
            "from blitznet.trunks import check_classifies, check_fits",
            "check_classifies('detnet59')",
            "check_fits('detnet59', 300, dilated_projection='none', x4=True, head='shared')",
            "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))",
        ]
        assert run_python("-c", "\n".join(lines)).strip() == "[]"
