"""Enlarging score maps by transposed convolutions, and cropping them to one another."""

import numpy as np
import tensorflow as tf
from tensorflow import keras


def bilinear_filter(kernel):
    """The weights `[kernel]` of bilinear interpolation by a factor of `(kernel + 1) // 2`.

    A tent round the middle of the kernel: 1/4 3/4 3/4 1/4 for 4, 1/2 1 1/2 for 3.
    """
    factor = (kernel + 1) // 2
    distance = np.abs(np.arange(kernel) - (kernel - 1) / 2)
    return (1 - distance / factor).astype(np.float32)


@keras.utils.register_keras_serializable("blitznet")
class Bilinear(keras.initializers.Initializer):
    """Kernels `[K, K, ...]` of bilinear interpolation, the same for every further index."""

    def __call__(self, shape, dtype=None, **kwargs):
        rows, columns = (bilinear_filter(side) for side in shape[:2])
        kernel = np.outer(rows, columns).reshape(*shape[:2], *[1] * (len(shape) - 2))
        return tf.cast(tf.broadcast_to(kernel, shape), dtype or tf.float32)


@keras.utils.register_keras_serializable("blitznet")
class Upscore(keras.layers.Layer):
    """Every channel of `[B, H, W, C]` enlarged by itself, by a transposed convolution.

    Nothing is cropped: `[B, factor * (H - 1) + kernel, factor * (W - 1) + kernel, C]`. Of the
    [kernel, kernel, C, C] numbers of a transposed convolution over all channels (FCN, arXiv
    1411.4038, section 3.3, as released) only the C diagonal ones exist.

    Args:
      factor: stride of the transposed convolution.
      kernel: its side.
      learned: whether the kernels `[kernel, kernel, C]` are weights that start bilinear; else all
        are bilinear, and the layer has no weights.
    """

    def __init__(self, factor, kernel, learned=False, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.kernel_size = kernel
        self.learned = learned

    def build(self, input_shape):
        if self.learned:
            self.kernel = self.add_weight(
                name="kernel",
                shape=(self.kernel_size, self.kernel_size, input_shape[-1]),
                initializer=Bilinear(),
            )
        super().build(input_shape)

    def call(self, maps):
        return self._transposed(maps) if self.learned else self._interpolated(maps)

    def _transposed(self, maps):
        # These enlarge small maps, and twice only: the zeros beside the diagonal cost little.
        kernels = tf.cast(tf.convert_to_tensor(self.kernel), maps.dtype)
        # Not tf.linalg.diag, which OpenVINO does not know.
        kernels = kernels[..., tf.newaxis] * np.eye(maps.shape[-1], dtype=maps.dtype.as_numpy_dtype)
        sides = [self._grown(side) for side in sides_of(maps)]
        shape = tf.stack([tf.shape(maps)[0], *sides, maps.shape[-1]])
        return tf.nn.conv2d_transpose(maps, kernels, shape, self.factor, "VALID")

    def _interpolated(self, maps):
        # The kernel is a product of a row and a column, the same for all channels: a matrix for
        # each axis takes a tenth of the time of a transposed convolution with channels as batch.
        height, width = sides_of(maps)
        columns = tf.reshape(maps, (-1, height, width * maps.shape[-1]))
        rows = tf.matmul(self._tents(height, maps.dtype), columns)
        rows = tf.reshape(rows, (-1, self._grown(height), width, maps.shape[-1]))
        return tf.matmul(self._tents(width, maps.dtype), rows)

    def _tents(self, side, dtype):
        """`[factor * (side - 1) + kernel, side]`: what every cell adds to every enlarged one."""
        enlarged = tf.range(self._grown(side), dtype=tf.float32)[:, tf.newaxis]
        middles = self.factor * tf.range(side, dtype=tf.float32) + (self.kernel_size - 1) / 2
        distance = tf.abs(enlarged - middles) / ((self.kernel_size + 1) // 2)
        return tf.cast(tf.nn.relu(1 - distance), dtype)

    def _grown(self, side):
        return side if side is None else self.factor * (side - 1) + self.kernel_size

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return (batch, *map(self._grown, sides), channels)

    def get_config(self):
        own = {"factor": self.factor, "kernel": self.kernel_size, "learned": self.learned}
        return {**super().get_config(), **own}


@keras.utils.register_keras_serializable("blitznet")
class CropLike(keras.layers.Layer):
    """`[maps [B, H, W, C], reference [B, h, w, ...]]` -> `[B, h, w, C]` of the maps.

    The first `offset` rows and columns are left out, and what is beyond the reference's size.
    """

    def __init__(self, offset, **kwargs):
        super().__init__(**kwargs)
        self.offset = offset

    def call(self, maps_and_reference):
        maps, reference = maps_and_reference
        height, width = sides_of(reference)
        first = self.offset
        return maps[:, first : first + height, first : first + width]

    def compute_output_shape(self, input_shapes):
        (batch, _, _, channels), (_, height, width, _) = input_shapes
        return (batch, height, width, channels)

    def get_config(self):
        return {**super().get_config(), "offset": self.offset}


def sides_of(maps):
    """Height and width: numbers where the graph knows them, for converters' sake, else tensors."""
    dynamic = tf.shape(maps)
    return [dynamic[axis] if maps.shape[axis] is None else maps.shape[axis] for axis in (1, 2)]
