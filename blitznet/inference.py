"""A trained network rebuilt to answer fast: the same numbers but for rounding, no training."""

import functools
from dataclasses import dataclass
from typing import Callable

import numpy as np
import tensorflow as tf
from tensorflow import keras

from blitznet import archs
from blitznet.layers import Conv, LegacyResize

STORAGE = ("float32", "float16", "bfloat16")


def build(
    trained, shape, precision="float32", constants=False, storage="float32", one_to_one=False
):
    """The network of a trained one's weights, for inference.

    Batch norm is part of the convolutions; the two detection convolutions of a source are one;
    a 1x1 convolution of a grown map is computed before it grows; depths are filled up to whole
    vectors.

    Args:
      trained: what `archs.build` made.
      shape: what it was made of, without the arguments for training.
      precision: what the convolutions compute in, one of `choices.PRECISIONS`.
      constants: whether the convolutions' weights are constants of the graph instead of variables
        (other layers', such as the scale of vgg16's conv4_3, stay variables): convolutions are
        faster for small batches, since their layout is chosen once; the first call takes seconds
        longer, and weights cannot be loaded anew.
      storage: type of the kernels' variables, one of `STORAGE`.
      one_to_one: whether each convolution stays by itself, as it was trained, but for batch norm.

    Returns:
      `(network, refresh)`: a `keras.Model` with the inputs and outputs of `trained`; a function
      that loads the weights which `trained` then has.

    Raises:
      ValueError: a weight is not finite, or too large for `storage`, or `trained` lacks a layer;
        names the layer. Or `storage` is given for constants, which are float32.
    """
    if constants and storage != "float32":
        raise ValueError(f"constants are float32: leave out storage {storage}")
    convs = (OneToOne if one_to_one else FoldedConv)(trained, constants, storage)
    network = archs.build(shape, precision=precision, conv=convs)
    others = [
        layer
        for layer in network.layers
        if layer.weights and not isinstance(layer, InferenceConv2D)
    ]

    def copy_others():
        for layer in others:
            weights = trained.get_layer(layer.name).get_weights()
            layer.set_weights([rounded(layer.name, each, "float32") for each in weights])

    def refresh():
        convs.refresh()
        copy_others()

    copy_others()
    return network, refresh


class FoldedConv:
    """Makes convolutions as `layers.Conv` does, with the weights of a trained network.

    Attributes:
      vector: depths are filled up to a multiple of it.
    """

    # A processor's vector holds that many float32 (AVX-512); a convolution of 21 channels takes
    # as long as one of 32, or longer.
    vector = 16

    def __init__(self, trained, constants, storage):
        self._trained = trained
        self._constants, self._storage = constants, storage
        self._made = []

    def plain(self, filters, kernel, name, *start, activation=None, **arguments):
        """What applies the trained convolution of this name."""
        make = functools.partial(self._stand_in, [name], relu=activation == "relu")
        return _Plain(name, functools.cache(make))

    def norm(self, x, filters, kernel, name, stride=1, relu=True, padding="same", dilation=1):
        """The trained convolution of this name and the batch norm behind it, applied to `x`."""
        return self._stand_in([name], f"{name}_bn", relu=relu)(x)

    def dropout(self, x, rate, name):
        """`x`, since nothing is left out after training."""
        return x

    def side_by_side(self, maps, layers, name):
        """What each of several convolutions without activation answers for `maps`, as a list."""
        return self._stand_in([layer.name for layer in layers], name=name)(maps)

    def norm_of_joined(self, small, grown, skip, filters, name, method):
        """1x1 convolution, batch norm and ReLU of the concatenation of `grown` and `skip`.

        `grown` is `small` resized, which is a weighted mean of neighbours: after the convolution
        it is the same as before, of fewer cells and channels.
        """
        depth, norm = small.shape[-1], f"{name}_bn"
        part = self._stand_in([name], norm, slice(None, depth), bias=False, name=f"{name}_grown")
        part = LegacyResize(skip.shape[1], method, name=f"{name}_up")(part(small))
        rest = self._stand_in([name], norm, slice(depth, None), name=f"{name}_skip")(skip)
        return keras.layers.ReLU(name=f"{name}_relu")(
            keras.layers.Add(name=f"{name}_sum")([rest, part])
        )

    def refresh(self):
        """Load the weights that the trained network has."""
        for layer, of in self._made:
            layer.load(*self._weights(*of))

    def _stand_in(self, names, norm=None, rows=slice(None), bias=True, relu=False, name=None):
        of = names, norm, rows, bias
        kernel, offsets = self._weights(*of)
        convs = [self._trained.get_layer(each) for each in names]
        layer = InferenceConv2D(
            kernel,
            offsets,
            depths=[conv.filters for conv in convs],
            strides=convs[0].strides,
            padding=convs[0].padding.upper(),
            dilations=convs[0].dilation_rate,
            relu=relu,
            constants=self._constants,
            name=name or names[0],
        )
        self._made.append((layer, of))
        return layer

    def _weights(self, names, norm, rows, bias):
        """Kernel as `storage`, bias as float32, of convolutions side by side.

        Zeros fill them up to whole vectors. `norm`: name of the batch norm behind them, or None.
        """
        norm = norm and self._trained.get_layer(norm)
        kernels, biases = [], []
        for name in names:
            kernel, offsets = folded_weights(self._trained.get_layer(name), norm)
            kernels.append(rounded(name, kernel[:, :, rows], self._storage))
            biases.append(rounded(name, offsets * bias, "float32"))
        kernel, offsets = np.concatenate(kernels, axis=-1), np.concatenate(biases)
        more = -len(offsets) % self.vector
        return np.pad(kernel, [(0, 0)] * 3 + [(0, more)]), np.pad(offsets, (0, more))


class OneToOne(FoldedConv):
    """The same with every convolution by itself: what a quantiser sees of one is not mixed."""

    vector = 1
    side_by_side = Conv.side_by_side
    norm_of_joined = Conv.norm_of_joined


@dataclass(frozen=True)
class _Plain:
    """A convolution that is made when it is first applied: some are then made side by side."""

    name: str
    make: Callable

    def __call__(self, maps):
        return self.make()(maps)


class InferenceConv2D(keras.layers.Layer):
    """A convolution of `[B, H, W, D]` with given weights; a list where it stands for several.

    Args:
      kernel, bias: `[K, K, D, N]`, stored in its type and used in the layer's, and `[N]`.
      depths: channels of each convolution that it stands for; what is left of N is dropped.
      strides, padding, dilations: as for `tf.nn.conv2d`.
      relu: whether a ReLU follows.
      constants: whether the weights are constants of the graphs that are made, not variables.

    Attributes:
      given_kernel: a tensor that is used in place of `kernel`, for graphs whose weights are
        inputs; None otherwise.
    """

    def __init__(
        self, kernel, bias, depths, strides, padding, dilations, relu, constants, **kwargs
    ):
        super().__init__(**kwargs)
        self._depths, self._relu, self._constants = tuple(depths), relu, constants
        self._arguments = {"strides": strides, "padding": padding, "dilations": dilations}
        self.kernel, self.bias = kernel, bias
        self.given_kernel = None

    def build(self, input_shape):
        kernel, bias = self.kernel, self.bias
        if not self._constants:
            # Not before: Keras 2 names variables after the layer here alone.
            self.kernel = self.add_weight(
                name="kernel", shape=kernel.shape, dtype=kernel.dtype.name, trainable=False
            )
            self.bias = self.add_weight(name="bias", shape=bias.shape, trainable=False)
            self.load(kernel, bias)
        super().build(input_shape)

    def load(self, kernel, bias):
        """Take other weights; of constants, only graphs that are made later have them."""
        if self._constants:
            self.kernel, self.bias = kernel, bias
        else:
            self.kernel.assign(kernel)
            self.bias.assign(bias)

    def call(self, maps):
        kernel = self.kernel if self.given_kernel is None else self.given_kernel
        kernel, bias = (tf.cast(weights, maps.dtype) for weights in (kernel, self.bias))
        maps = tf.nn.conv2d(maps, kernel, **self._arguments)
        # Not "+": converters and TensorFlow make one operation of a convolution and this.
        maps = tf.nn.bias_add(maps, bias)
        if self._relu:
            maps = tf.nn.relu(maps)
        if sum(self._depths) < maps.shape[-1]:
            maps = maps[..., : sum(self._depths)]
        return maps if len(self._depths) == 1 else tf.split(maps, self._depths, axis=-1)


def folded_weights(conv, norm):
    """Kernel and bias, float64, of a convolution and the batch norm behind it (None for none)."""
    kernel = np.asarray(conv.kernel, np.float64)
    bias = np.asarray(conv.bias, np.float64) if conv.use_bias else np.zeros(kernel.shape[-1])
    if norm is None:
        return kernel, bias
    statistics = (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    gamma, beta, mean, variance = (np.asarray(each, np.float64) for each in statistics)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return kernel * factor, (bias - mean) * factor + beta


def rounded(name, values, storage):
    """The weights `values` of the layer called `name` as an array of the type `storage`.

    Raises:
      ValueError: one of them is not finite then; names the layer.
    """
    with np.errstate(over="ignore"):
        stored = np.asarray(values, np.float32).astype(tf.as_dtype(storage).as_numpy_dtype)
    if not np.all(np.isfinite(stored)):
        raise ValueError(f"{name}: a weight is not a finite {storage}")
    return stored
