"""ImageNet weights of keras.applications: where they are published, and what they are here.

Its networks end a convolution's input of 0..255 in BGR less another mean colour than this one's,
its ResNet-50 has biases before batch norm and adds another epsilon. All of that moves into the
values, so that the trunk answers what keras.applications' network answers. One thing cannot move:
zeros round a picture stand for the mean colour, here another by less than one step of 255, so
that conv1 differs by as much where its window leaves the picture.
"""

from dataclasses import dataclass

import numpy as np

from blitznet.imaging import MEAN_RGB

# Of Caffe's own VGG-16, too.
MEAN_RGB_THERE = (123.68, 116.779, 103.939)
_EPSILON, _EPSILON_THERE = 1e-5, 1.001e-5
_ROOT = "https://storage.googleapis.com/tensorflow/keras-applications/"
_FULL = "weights_tf_dim_ordering_tf_kernels.h5"
_NO_TOP = "weights_tf_dim_ordering_tf_kernels_notop.h5"
_TOP = "predictions"
_VGG_CONVOLUTIONS = (2, 2, 3, 3, 3)
_RESNET50_UNITS = (3, 4, 6, 3)


@dataclass(frozen=True)
class Published:
    """A file of weights, its place and its MD5 sum, as keras.applications names them."""

    name: str
    url: str
    md5: str


def _published(folder, name, md5):
    return Published(name, f"{_ROOT}{folder}/{name}", md5)


# Trunk -> files, the one with more of the trunk first: VGG-16's top holds fc6 and fc7.
PUBLISHED = {
    "resnet50": (
        _published("resnet", f"resnet50_{_NO_TOP}", "4d473c1dd8becc155b73f8504c6f6626"),
        _published("resnet", f"resnet50_{_FULL}", "2cb95161c43110f7111970584f804107"),
    ),
    "vgg16": (
        _published("vgg16", f"vgg16_{_FULL}", "64373286793e3c8b2b4e3219cbf3544b"),
        _published("vgg16", f"vgg16_{_NO_TOP}", "6d6bbae143d832006294945121d1f1fc"),
    ),
}


def _resnet50_names():
    names = {"conv1": "conv1"}
    for block, units in enumerate(_RESNET50_UNITS, start=1):
        for unit in range(1, units + 1):
            parts = ("shortcut", "conv1", "conv2", "conv3")
            for number, part in list(enumerate(parts))[unit > 1 :]:
                there = f"conv{block + 1}_block{unit}_{number}"
                names[f"block{block}_unit{unit}_{part}"] = there
    return names


def _vgg16_names():
    names = {
        f"conv{block}_{i}": f"block{block}_conv{i}"
        for block, count in enumerate(_VGG_CONVOLUTIONS, start=1)
        for i in range(1, count + 1)
    }
    return {**names, "fc6": "fc1", "fc7": "fc2"}


def layer_names(trunk):
    """Dict layer of a trunk here -> its name there, in ResNet-50 less `_conv` and `_bn`."""
    return {"resnet50": _resnet50_names, "vgg16": _vgg16_names}[trunk]()


def trunk_values(trunk, layers):
    """The values of a trunk's variables from the layers of keras.applications' network.

    Args:
      trunk: "resnet50" or "vgg16".
      layers: dict layer name -> its arrays in Keras' order, for every layer that has any.

    Returns:
      Dict variable path (`conv1_bn/gamma`) -> array. VGG-16's fc6 and fc7 are the convolutions
      that fc1 and fc2 are on its own pictures, `[7, 7, D, N]` and `[1, 1, N, M]`; without its
      top they are missing.

    Raises:
      ValueError: these are the layers of another network; names those that tell.
    """
    names = layer_names(trunk)
    if trunk == "resnet50":
        arrays = {"conv": 2, "bn": 4}
        counts = {f"{name}_{kind}": n for name in names.values() for kind, n in arrays.items()}
        _check(layers, counts)
        return _resnet50_values(names, layers)
    if "fc1" not in layers and "fc2" not in layers:
        del names["fc6"], names["fc7"]
    _check(layers, dict.fromkeys(names.values(), 2))
    return _vgg16_values(names, layers)


def _check(layers, counts):
    """ValueError unless the layers of `counts` (name -> number of arrays) and the top are all."""
    problems = [f"missing: {name}" for name in counts if name not in layers]
    problems += [f"left over: {name}" for name in layers if name not in {*counts, _TOP}]
    problems += [
        f"{name} has {len(layers[name])} arrays, expected {count}"
        for name, count in counts.items()
        if name in layers and len(layers[name]) != count
    ]
    if problems:
        shown = "\n  ".join(problems[:8])
        raise ValueError(f"other layers than expected, {len(problems)} differences:\n  {shown}")


def _resnet50_values(names, layers):
    values = {}
    for layer, name in names.items():
        kernel, bias = layers[f"{name}_conv"]
        gamma, beta, mean, variance = layers[f"{name}_bn"]
        values[f"{layer}/kernel"] = kernel
        values[f"{layer}_bn/gamma"] = gamma
        values[f"{layer}_bn/beta"] = beta
        values[f"{layer}_bn/moving_mean"] = mean - bias
        values[f"{layer}_bn/moving_variance"] = variance + (_EPSILON_THERE - _EPSILON)
    return of_other_mean(values, MEAN_RGB_THERE)


def _vgg16_values(names, layers):
    values = {}
    for layer, name in names.items():
        kernel, bias = layers[name]
        if layer == "fc6":
            depth = values["conv5_3/bias"].size
            if len(kernel) != 7 * 7 * depth:
                raise ValueError(
                    f"fc1 has {len(kernel)} inputs, expected 7 x 7 x {depth}, "
                    "as for pictures of 224 pixels"
                )
            kernel = kernel.reshape(7, 7, depth, -1)
        elif layer == "fc7":
            kernel = kernel[None, None]
        values[f"{layer}/kernel"], values[f"{layer}/bias"] = kernel, bias
    return of_other_mean(values, MEAN_RGB_THERE)


def of_other_mean(values, mean_rgb):
    """The values of a trunk whose pictures lost `mean_rgb`, for pictures that lose `MEAN_RGB`.

    `values` are those of all the trunk's variables by path; exact but for zero padding.
    """
    values = dict(values)
    layer = "conv1" if "conv1/kernel" in values else "conv1_1"
    kernel = values[f"{layer}/kernel"]
    shift_bgr = np.subtract(MEAN_RGB, mean_rgb)[::-1]
    bias = np.einsum("hwcd,c->d", kernel.astype(np.float64), shift_bgr).astype(kernel.dtype)
    if "conv1_bn/moving_mean" in values:
        values["conv1_bn/moving_mean"] = values["conv1_bn/moving_mean"] - bias
    else:
        values[f"{layer}/bias"] = values[f"{layer}/bias"] + bias
    return values


def of_rgb(values, mean_rgb):
    """The values of a trunk that reads RGB less `mean_rgb`, as TensorFlow's slim trained them."""
    layer = "conv1" if "conv1/kernel" in values else "conv1_1"
    flipped = {f"{layer}/kernel": values[f"{layer}/kernel"][:, :, ::-1]}
    return of_other_mean({**values, **flipped}, mean_rgb)


def subsample_fully_connected(values):
    """VGG-16's fully connected layers as the smaller convolutions that SSD makes of them.

    `fc6/kernel` `[7, 7, D, N]` becomes `[3, 3, D, N / 4]`: every third row and column, every
    fourth output. `fc7/kernel` `[1, 1, N, M]` keeps the inputs that are left and every fourth
    output. Layers that are small already stay. Source: W. Liu et al., arXiv 1512.02325,
    section 3.1, and "fc_reduced" of its program.

    Args:
      values: dict variable path -> array; those of fc6 and fc7 may be missing.
    """
    values = dict(values)
    if "fc6/kernel" in values and values["fc6/kernel"].shape[:2] == (7, 7):
        values["fc6/kernel"] = values["fc6/kernel"][::3, ::3, :, ::4]
        values["fc7/kernel"] = values["fc7/kernel"][:, :, ::4, ::4]
        for layer in ("fc6", "fc7"):
            values[f"{layer}/bias"] = values[f"{layer}/bias"][::4]
    return values
