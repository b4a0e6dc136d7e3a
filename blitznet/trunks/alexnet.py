"""AlexNet as Caffe's reference net has it (A. Krizhevsky et al., NIPS 2012), convolutional
throughout as FCNs have it: fc6 and fc7 are convolutions.
"""

from functools import partial

import tensorflow as tf
from tensorflow import keras

from blitznet.grids import Grid
from blitznet.layers import CaffeInput, first_initializer
from blitznet.trunks import FcnTrunk

# Depths in units of the root.
_DEPTHS = {"conv1": 3, "conv2": 8, "conv3": 12, "conv4": 12, "conv5": 8, "fc6": 128, "fc7": 128}


@keras.utils.register_keras_serializable("blitznet")
class LocalResponseNorm(keras.layers.Layer):
    """`x / (1 + 1e-4 / 5 * sum of x ** 2) ** 0.75`, the sum over five neighbouring channels.

    Caffe's LRN layer of local_size 5, alpha 1e-4, beta 0.75, k 1. `[B, H, W, D]` both ways.
    """

    def call(self, maps):
        # TensorFlow's alpha is that of one summand.
        return tf.nn.local_response_normalization(maps, 2, bias=1.0, alpha=1e-4 / 5, beta=0.75)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.utils.register_keras_serializable("blitznet")
class Halves(keras.layers.Layer):
    """`[B, H, W, D]` -> the first and the second half of the channels, a list."""

    def call(self, maps):
        return tf.split(maps, 2, axis=-1)

    def compute_output_shape(self, input_shape):
        return [(*input_shape[:-1], input_shape[-1] // 2)] * 2


def _features(images, conv, geometry, root):
    """pool1, pool2 and fc7."""
    depths = {name: depth * root for name, depth in _DEPTHS.items()}

    def relu_conv(x, name, kernel, **arguments):
        depth = depths[name.split("_")[0]] // (2 if "group" in name else 1)
        start = first_initializer() if name == "conv1" else "he_normal"
        return conv.plain(depth, kernel, name, start, activation="relu", **arguments)(x)

    def in_groups(x, name, kernel):
        halves = enumerate(Halves(name=f"{name}_halves")(x), start=1)
        parts = [relu_conv(part, f"{name}_group{i}", kernel) for i, part in halves]
        return keras.layers.Concatenate(name=name)(parts)

    def pool(x, name):
        # Zeros do as padding, since what comes from a ReLU is not below them.
        before = geometry.padding(3)
        sides = ((before, 1), (before, 1))
        x = keras.layers.ZeroPadding2D(sides, name=f"{name}_pad")(x)
        return keras.layers.MaxPooling2D(3, 2, name=name)(x)

    def norm(x, name):
        return LocalResponseNorm(name=name, dtype="float32")(x)

    x = CaffeInput(name="caffe_input", dtype="float32")(images)
    x = keras.layers.ZeroPadding2D(geometry.first_padding(11), name="conv1_pad")(x)
    x = relu_conv(x, "conv1", 11, strides=4, padding="valid")
    pool1 = pool(x, "pool1")
    pool2 = pool(in_groups(norm(pool1, "norm1"), "conv2", 5), "pool2")
    x = relu_conv(norm(pool2, "norm2"), "conv3", 3)
    x = in_groups(in_groups(x, "conv4", 3), "conv5", 3)
    x = relu_conv(pool(x, "pool5"), "fc6", 6, padding="same" if geometry.same else "valid")
    x = relu_conv(conv.dropout(x, 0.5, "drop6"), "fc7", 1)
    return {"pool1": pool1, "pool2": pool2, "fc7": conv.dropout(x, 0.5, "drop7")}


def _grids(geometry):
    grid, grids = Grid().after(11, 4, geometry.first_padding(11)), {}
    for name in ("pool1", "pool2", "pool5"):
        grids[name] = grid = grid.after(3, 2, geometry.padding(3))
    return {**grids, "fc7": grid.after(6, 1, geometry.padding(6))}


def alexnet_trunk(root):
    """An AlexNet whose first convolution has `3 * root` channels, and all others in proportion."""
    return FcnTrunk(
        features=partial(_features, root=root),
        grids=_grids,
        skips=("pool2", "pool1"),
        kernel=lambda factor: 2 * factor - 1,
    )


ALEXNET = alexnet_trunk(32)
