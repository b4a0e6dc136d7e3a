"""FCNs: the forward pass a second way, sizes, alignment, numbers of parameters."""

import numpy as np
import pytest
import tensorflow as tf

import toy_fcn
from blitznet import choices, keys
from blitznet.layers import Conv
from blitznet.models.fcn import build_fcn
from blitznet.trunks.alexnet import LocalResponseNorm
from blitznet.upsampling import CropLike
from blitznet.variables import variables_by_path
from toy_fcn import (
    CROPS,
    EVERY,
    SKIPS,
    TRUNKS,
    bilinear,
    logits,
    pictures,
    planar,
    plane_over,
    trained,
)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    toy_fcn.install(monkeypatch)


def convolve(maps, weights, name, stride=1, pad=0, more=0):
    """A convolution of `[H, W, D]` padded by `pad` zeros all round and `more` behind. NumPy."""
    kernel = weights[f"{name}/kernel"].astype(np.float64)
    maps = np.pad(maps, [(pad, pad + more)] * 2 + [(0, 0)])
    side = kernel.shape[0]
    rows, columns = (n - side + 1 for n in maps.shape[:2])
    taps = (
        maps[i : i + rows : stride, j : j + columns : stride] @ kernel[i, j]
        for i in range(side)
        for j in range(side)
    )
    return sum(taps) + weights[f"{name}/bias"]


def pool(maps, kernel, pad=0):
    """Maxima of windows at a stride of 2; as Caffe counts, part of a window is one too. NumPy."""
    cells = [-(-n // 2) if pad else -(-(n - kernel) // 2) + 1 for n in maps.shape[:2]]
    maps = np.pad(maps, [(pad, kernel)] * 2 + [(0, 0)], constant_values=-np.inf)
    windows = [
        maps[i : i + 2 * cells[0] : 2, j : j + 2 * cells[1] : 2]
        for i in range(kernel)
        for j in range(kernel)
    ]
    return np.max(windows, axis=0)


def normalise(maps):
    """Local response normalisation over five channels, channel by channel."""
    answer = np.empty_like(maps)
    for c in range(maps.shape[-1]):
        near = maps[..., max(c - 2, 0) : c + 3]
        answer[..., c] = maps[..., c] / (1 + 1e-4 * (near**2).sum(-1) / 5) ** 0.75
    return answer


def vgg_maps(x, weights, reference):
    def layer(x, name, **geometry):
        return np.maximum(convolve(x, weights, name, **geometry), 0)

    maps = {}
    for block, count in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
        for i in range(1, count + 1):
            first = reference and block == i == 1
            x = layer(x, f"conv{block}_{i}", pad=100 if first else 1)
        maps[f"pool{block}"] = x = pool(x, 2)
    x = layer(x, "fc6", pad=0 if reference else 3)
    return {**maps, "fc7": layer(x, "fc7")}


def alexnet_maps(x, weights, reference):
    def layer(x, name, **geometry):
        return np.maximum(convolve(x, weights, name, **geometry), 0)

    def in_groups(x, name, pad):
        half = x.shape[-1] // 2
        parts = (x[..., :half], x[..., half:])
        parts = [layer(p, f"{name}_group{i}", pad=pad) for i, p in enumerate(parts, 1)]
        return np.concatenate(parts, axis=-1)

    pad = 0 if reference else 1
    pool1 = pool(layer(x, "conv1", stride=4, pad=100 if reference else 5), 3, pad)
    pool2 = pool(in_groups(normalise(pool1), "conv2", 2), 3, pad)
    x = layer(normalise(pool2), "conv3", pad=1)
    x = pool(in_groups(in_groups(x, "conv4", 1), "conv5", 1), 3, pad)
    x = layer(x, "fc6") if reference else layer(x, "fc6", pad=2, more=1)
    return {"pool1": pool1, "pool2": pool2, "fc7": layer(x, "fc7")}


def enlarge(maps, kernels, factor):
    """Transposed convolution: every cell lays down the kernels `[K, K, C]`. NumPy."""
    side = len(kernels)
    answer = np.zeros((*(factor * (n - 1) + side for n in maps.shape[:2]), maps.shape[2]))
    for i in range(maps.shape[0]):
        for j in range(maps.shape[1]):
            place = np.s_[factor * i : factor * i + side, factor * j : factor * j + side]
            answer[place] += maps[i, j] * kernels
    return answer


def specified_logits(image, weights, trunk, geometry, arch):
    """What an FCN answers for `[H, W, 3]`, from the words of the specification; NumPy."""
    reference = geometry == "reference"
    mean_bgr = [103.062623801, 115.902882574, 123.151630838]
    x = image[..., ::-1].astype(np.float64) * 255 - mean_bgr
    maps = {"vgg16": vgg_maps, "alexnet": alexnet_maps}[trunk](x, weights, reference)
    *crops, last = CROPS[trunk, geometry, arch.removesuffix("-atonce")]
    x, layer = convolve(maps["fc7"], weights, "score_fr"), "upscore2"
    for skip, crop, scale in zip(SKIPS[trunk], crops, (0.01, 0.0001)):
        x = enlarge(x, weights[f"{layer}/kernel"], 2)
        skipped = maps[skip] * (scale if arch == "fcn8s-atonce" else 1)
        skipped = convolve(skipped, weights, f"score_{skip}")
        height, width = x.shape[:2] if reference else skipped.shape[:2]
        x = x[max(-crop, 0) :, max(-crop, 0) :][:height, :width]
        x = x + skipped[max(crop, 0) :, max(crop, 0) :][:height, :width]
        layer = f"upscore_{skip}"
    factor = 32 // 2 ** len(crops)
    x = enlarge(x, bilinear(2 * factor - (trunk == "alexnet")), factor)
    return x[last:, last:][: image.shape[0], : image.shape[1]]


def check_against_specification(trunk, geometry, arch):
    model = trained(arch, trunk, geometry)
    images = pictures(43, 71)
    weights = {path: v.numpy() for path, v in variables_by_path(model).items()}
    found = logits(model, images)
    assert found.shape == (2, 43, 71, 4) and found.dtype == np.float32
    for image, answer in zip(images, found):
        expected = specified_logits(image, weights, trunk, geometry, arch)
        assert expected.std() > 1e-2
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-4 * expected.std())


@pytest.mark.parametrize(("trunk", "geometry", "arch"), EVERY)
def test_logits_are_those_that_the_specification_says(trunk, geometry, arch):
    check_against_specification(trunk, geometry, arch)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_at_once_the_finer_maps_are_scaled_before_their_scores(trunk):
    check_against_specification(trunk, "same", "fcn8s-atonce")


@pytest.mark.parametrize(("trunk", "geometry", "arch"), EVERY)
def test_crops_are_those_of_the_released_networks(trunk, geometry, arch):
    model = build_fcn(3, trunk=trunk, geometry=geometry, arch=arch)
    found = {layer.name: layer.offset for layer in model.layers if isinstance(layer, CropLike)}
    expected, enlarged = {}, "upscore2"
    *crops, last = CROPS[trunk, geometry, arch]
    for skip, crop in zip(SKIPS[trunk], crops):
        expected[f"score_{skip}_crop" if crop > 0 else f"{enlarged}_crop"] = abs(crop)
        enlarged = f"upscore_{skip}"
    assert found == {**expected, keys.SEGMENTATION: last}


@pytest.mark.parametrize(("trunk", "geometry", "arch"), EVERY)
def test_every_size_has_logits_for_each_of_its_pixels(trunk, geometry, arch):
    model = build_fcn(3, trunk=trunk, geometry=geometry, arch=arch)
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for size in [(1, 1), (33, 31), (64, 65), (95, 129)]:
        answer = graph(np.zeros((1, *size, 3), np.float32))[keys.SEGMENTATION]
        assert answer.shape == (1, *size, 3)


@pytest.mark.parametrize("arch", choices.FCNS)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_fixed_size_is_known_in_the_graph_and_answers_the_same(trunk, arch):
    one, fixed = (trained(arch, trunk, image_size=size) for size in (None, 75))
    assert fixed.output[keys.SEGMENTATION].shape == (None, 75, 75, 4)
    assert all(None not in layer.output.shape[1:] for layer in fixed.layers if layer.weights)
    expected = logits(one, pictures(75, 75))
    np.testing.assert_allclose(
        logits(fixed, pictures(75, 75)), expected, rtol=0, atol=1e-5 * expected.std()
    )


@pytest.mark.parametrize("size", [(257, 199), (223, 256)])
@pytest.mark.parametrize(("trunk", "geometry", "arch"), EVERY)
def test_planes_of_scores_are_planes_over_the_picture_at_odd_sizes(trunk, geometry, arch, size):
    """Every sum is of maps that say the same of the same pixel: n maps, n planes."""
    model = planar(trunk, geometry, arch)
    found = logits(model, np.zeros((1, *size, 3), np.float32))[0]
    expected = len(CROPS[trunk, geometry, arch]) * plane_over(*size)
    inside = np.s_[40:-60, 40:-60]
    for channel in range(2):
        np.testing.assert_allclose(found[inside][..., channel], expected[inside], rtol=1e-5)


class Zeros(Conv):
    """A `Conv` of kernels that take no time to draw."""

    def plain(self, filters, kernel, name, initializer=None, **arguments):
        return super().plain(filters, kernel, name, "zeros", **arguments)


# Convolutions and scores at 21 classes; 16s and 8s add scores of a skip, and kernels of 4 or 3.
PINS = {
    ("vgg16", "fcn32s"): 134_346_581,
    ("vgg16", "fcn16s"): 134_346_581 + 21 * (512 + 1) + 21 * 16,
    ("vgg16", "fcn8s"): 134_346_581 + 21 * (512 + 1) + 21 * (256 + 1) + 2 * 21 * 16,
    ("vgg16_quarter", "fcn32s"): 8_415_461,
    ("alexnet", "fcn32s"): 56_954_261,
    ("alexnet", "fcn16s"): 56_954_261 + 21 * (256 + 1) + 21 * 9,
    ("alexnet", "fcn8s"): 56_954_261 + 21 * (256 + 1) + 21 * (96 + 1) + 2 * 21 * 9,
}


@pytest.mark.parametrize(("trunk", "arch"), PINS)
def test_numbers_of_parameters(trunk, arch, monkeypatch):
    monkeypatch.undo()
    expected, archs = PINS[trunk, arch], [arch]
    if arch == "fcn8s":
        archs.append("fcn8s-atonce")
    for each in archs:
        model = build_fcn(trunk=trunk, arch=each, conv=Zeros())
        assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == expected
        counts = [v for v in model.non_trainable_variables]
        assert [tuple(v.shape) for v in counts] == [(), ()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "at least 2, got 1"),
        ({"image_size": 0}, "at least 1 pixel, or None for any, got 0"),
        ({"trunk": "resnet50"}, "unknown trunk of an FCN 'resnet50': choose one of vgg16"),
        ({"arch": "blitznet"}, "unknown arch 'blitznet': choose one of fcn32s"),
        ({"geometry": "valid"}, "unknown geometry 'valid': choose one of same, reference"),
        ({"precision": "int8"}, "unknown precision 'int8'"),
    ],
)
def test_what_it_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_fcn(**arguments)


def test_alexnet_normalises_over_five_channels():
    """Of ones: 3, 4, 5, ... of them are summed, times a fifth of 1e-4."""
    found = LocalResponseNorm()(np.full((1, 1, 1, 6), 100.0, np.float32))[0, 0, 0]
    summed = np.array([3, 4, 5, 5, 4, 3]) * 100.0**2
    np.testing.assert_allclose(found, 100 / (1 + 1e-4 / 5 * summed) ** 0.75, rtol=1e-5)
