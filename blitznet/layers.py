"""Layers and layer groups that trunks and models share."""

import contextlib
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tensorflow import keras

from blitznet.dropout import Dropout
from blitznet.imaging import MEAN_RGB, legacy_resize


@keras.utils.register_keras_serializable("blitznet")
class CaffeInput(keras.layers.Layer):
    """RGB pictures in [0, 1] -> BGR in 0..255 less the mean colour; `[B, H, W, 3]` both ways."""

    def call(self, images):
        # A slice by [::-1] takes three times as long.
        return tf.reverse(images * 255.0 - tf.constant(MEAN_RGB, images.dtype), [-1])


# Of a picture's colours on the scale 0..255, about.
_DEVIATION = 64.0


def first_initializer():
    """He's initializer for a first convolution without batch norm behind it, of `CaffeInput`.

    He's has inputs of variance 1 in mind. As they are, they would blow all maps of a plain
    network up by their deviation, and its first steps with them.
    """
    return keras.initializers.VarianceScaling(
        2.0 / _DEVIATION**2, mode="fan_in", distribution="truncated_normal"
    )


@keras.utils.register_keras_serializable("blitznet")
class LegacyResize(keras.layers.Layer):
    """Resize `[B, H, W, D]` to `[B, side, side, D]` by TensorFlow 1's sampling.

    The published weights were trained with it. `method` is "bilinear" or "nearest". A map
    that has the size already passes unchanged.

    Attributes:
      for_xla: whether "nearest" is made of operations that XLA has gradients of; they are slower.
    """

    def __init__(self, side, method="bilinear", **kwargs):
        super().__init__(**kwargs)
        self.side = side
        self.method = method
        self.for_xla = False

    def call(self, maps):
        if maps.shape[1] == self.side and maps.shape[2] == self.side:
            return maps
        if self.method == "nearest" and self.for_xla:
            rows, columns = (_nearest(maps.shape[axis], self.side) for axis in (1, 2))
            return tf.gather(tf.gather(maps, rows, axis=1), columns, axis=2)
        # Bilinear answers float32 whatever it is given, and XLA resizes nothing narrower.
        resized = legacy_resize(tf.cast(maps, tf.float32), (self.side, self.side), self.method)
        return tf.cast(resized, maps.dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.side, self.side, input_shape[3])

    def get_config(self):
        return {**super().get_config(), "side": self.side, "method": self.method}


def _nearest(side, target):
    """Which of `side` rows each of `target` rows shows by TensorFlow 1's sampling."""
    places = np.arange(target, dtype=np.float32) * (np.float32(side) / np.float32(target))
    return np.minimum(places.astype(np.int32), side - 1)


@keras.utils.register_keras_serializable("blitznet")
class SpatialL2Norm(keras.layers.Layer):
    """Every channel of `[B, H, W, D]` at L2 norm 1 over height and width, times a learned scale.

    SSD's own paper (arXiv 1512.02325, section 3.1) normalises over the channels; the original
    BlitzNet does this. `start` is the initial scale of all channels.
    """

    def __init__(self, start=20.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        self.scale = self.add_weight(
            name="scale",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.start),
        )
        super().build(input_shape)

    def call(self, maps):
        return tf.nn.l2_normalize(maps, axis=[1, 2], epsilon=1e-12) * self.scale

    def get_config(self):
        return {**super().get_config(), "start": self.start}


@keras.utils.register_keras_serializable("blitznet")
class BatchNorm(keras.layers.BatchNormalization):
    """Batch norm over `[B, H, W, D]` that trains by one operation on both Keras generations.

    Keras 3 writes it as a dozen element-wise ones, a fifth of a training step on a CPU. As in
    TensorFlow 1, the moving variance is fed with N / (N - 1) times the variance of a batch's N
    values of a channel. Inference and synchronised statistics are Keras' own.
    """

    def call(self, inputs, training=None):
        if not (training and self.trainable) or self.synchronized:
            return super().call(inputs, training=training)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.convert_to_tensor(self.gamma),
            tf.convert_to_tensor(self.beta),
            tf.convert_to_tensor(self.moving_mean),
            tf.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            exponential_avg_factor=1.0 - self.momentum,
        )
        self.moving_mean.assign(mean)
        self.moving_variance.assign(variance)
        return outputs


@keras.utils.register_keras_serializable("blitznet")
class WeightDecay(keras.regularizers.Regularizer):
    """The penalty `rate * sum(w ** 2) / 2` of a kernel.

    Keras' own L2 squares, sums and scales in an operation each, forth and back: with a network's
    35 million weights that is 5% of a training step on a CPU.
    """

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, kernel):
        return self.rate * tf.nn.l2_loss(tf.convert_to_tensor(kernel))

    def get_config(self):
        return {"rate": self.rate}


@dataclass(frozen=True)
class Conv:
    """Makes convolutions with one network's batch-norm decay and weight decay.

    Attributes:
      bn_decay: momentum of the moving batch-norm statistics.
      weight_decay: the kernels' penalty is `weight_decay * sum(w ** 2) / 2`; 0 for none.
      sync_batch_norm: whether batch norm takes mean and variance over all replicas' pictures.
    """

    bn_decay: float = 0.9
    weight_decay: float = 0.0
    sync_batch_norm: bool = False

    def plain(
        self,
        filters,
        kernel,
        name,
        initializer="glorot_uniform",
        bias=0.0,
        activation=None,
        padding="same",
        **arguments,
    ):
        """A convolution layer with a bias that starts at `bias`, no batch norm.

        `arguments` are further ones of `keras.layers.Conv2D`, such as `strides`.
        """
        return keras.layers.Conv2D(
            filters,
            kernel,
            padding=padding,
            activation=activation,
            kernel_initializer=initializer,
            bias_initializer=keras.initializers.Constant(bias),
            kernel_regularizer=self._regularizer(),
            name=name,
            **arguments,
        )

    def norm(self, x, filters, kernel, name, stride=1, relu=True, padding="same", dilation=1):
        """Convolution without bias, batch norm, ReLU unless told otherwise, applied to `x`."""
        x = keras.layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding=padding,
            dilation_rate=dilation,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, mode="fan_in", distribution="truncated_normal"
            ),
            kernel_regularizer=self._regularizer(),
            name=name,
        )(x)
        x = BatchNorm(
            momentum=self.bn_decay,
            epsilon=1e-5,
            synchronized=self.sync_batch_norm,
            name=f"{name}_bn",
        )(x)
        return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x

    def dropout(self, x, rate, name):
        """`x`, in training without a share `rate` of its numbers."""
        return Dropout(rate, name=name)(x)

    def side_by_side(self, maps, layers, name):
        """What each of several layers, convolutions without activation, answers for `maps`.

        `name`: of a layer that computes all of them at once, where there is one.
        """
        return [layer(maps) for layer in layers]

    def norm_of_joined(self, small, grown, skip, filters, name, method):
        """1x1 convolution, batch norm and ReLU of the concatenation of `grown` and `skip`.

        `grown` is `small` at the size of `skip`, by `LegacyResize` of `method`.
        """
        joined = keras.layers.Concatenate(name=f"{name}_concat")([grown, skip])
        return self.norm(joined, filters, 1, name)

    def _regularizer(self):
        return WeightDecay(self.weight_decay) if self.weight_decay else None


@contextlib.contextmanager
def precision(name):
    """Inside, layers that are made compute in "float32", "bfloat16" or "float16".

    Variables are float32 in any case. Layers with a `dtype` of their own keep to it.
    """
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name if name == "float32" else f"mixed_{name}")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def as_float32(x, name):
    """`x` in float32: itself, or through a layer of this name."""
    if tf.as_dtype(x.dtype) == tf.float32:
        return x
    return keras.layers.Activation("linear", dtype="float32", name=name)(x)


def add_relu(shortcut, residual, name):
    """The end of a residual unit: ReLU of the sum of two maps of one shape."""
    x = keras.layers.Add(name=f"{name}_add")([shortcut, residual])
    return keras.layers.ReLU(name=f"{name}_relu")(x)
