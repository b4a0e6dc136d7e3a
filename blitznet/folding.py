"""A trained network for export: batch norm inside the convolutions, weights in fewer bits."""

import numpy as np
import tensorflow as tf
from tensorflow import keras

STORAGE = ("float32", "float16", "bfloat16")
_NORM = "_bn"


class StoredConv2D(keras.layers.Layer):
    """A convolution with a bias whose kernel is stored as `storage` and used as float32.

    Args:
      conv: the `keras.layers.Conv2D` that it stands for; `[B, H, W, D]` as there.
      storage: one of `STORAGE`.

    Attributes:
      kernel, bias: the variables.
      given_kernel: a tensor that is used in place of `kernel`, for graphs whose weights are
        inputs; None otherwise.
    """

    def __init__(self, conv, storage, **kwargs):
        super().__init__(**kwargs)
        self._kernel_shape = tuple(conv.kernel.shape)
        self._storage = storage
        self._arguments = {
            "strides": conv.strides,
            "padding": conv.padding.upper(),
            "dilations": conv.dilation_rate,
        }
        self._activation = conv.activation
        self.given_kernel = None

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=self._kernel_shape, dtype=self._storage, trainable=False
        )
        self.bias = self.add_weight(name="bias", shape=self._kernel_shape[-1:], trainable=False)
        super().build(input_shape)

    def call(self, maps):
        kernel = self.kernel if self.given_kernel is None else self.given_kernel
        maps = tf.nn.conv2d(maps, tf.cast(kernel, maps.dtype), **self._arguments)
        # Not "+": converters and TensorFlow make one operation of a convolution and this.
        return self._activation(tf.nn.bias_add(maps, tf.convert_to_tensor(self.bias)))


class PassOn(keras.layers.Layer):
    """Stands where a batch norm was: answers what it is given."""

    def call(self, maps, training=None, mask=None):
        return maps


def fold(model, storage="float32"):
    """A network for inference alone that answers as `model` does.

    Each batch norm, which by its moving statistics is a factor and a shift of every channel,
    goes into the kernel and the bias of the convolution before it.

    Args:
      model: a network of `models.blitznet.build_model`, where the batch norm behind the
        convolution `x` is called `x_bn`.
      storage: type of the kernels' variables, one of `STORAGE`; all else stays float32.

    Raises:
      ValueError: a folded kernel is not finite, or too large for `storage`, or a batch norm
        stands behind no convolution; names the layer.
    """

    def clone(layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            return PassOn(name=layer.name)
        if isinstance(layer, keras.layers.Conv2D):
            return StoredConv2D(layer, storage, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    folded = keras.models.clone_model(model, clone_function=clone)
    norms = {
        layer.name: layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    for layer in folded.layers:
        source = model.get_layer(layer.name)
        if isinstance(layer, StoredConv2D):
            kernel, bias = folded_weights(source, norms.pop(layer.name + _NORM, None))
            layer.kernel.assign(rounded(layer.name, kernel, storage))
            layer.bias.assign(rounded(layer.name, bias, "float32"))
        elif layer.get_weights():
            layer.set_weights(source.get_weights())
    if norms:
        raise ValueError(f"batch norms behind no convolution: {', '.join(sorted(norms))}")
    return folded


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
