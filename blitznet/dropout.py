"""Dropout whose masks follow from what a checkpoint holds."""

import zlib

import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable("blitznet")
class Dropout(keras.layers.Layer):
    """Zeros for a share `rate` of all numbers in training, the others divided by `1 - rate`.

    Both Keras generations draw their masks from state that a checkpoint of weights lacks. Here
    the mask follows from the layer's `seed`, from how often it has been called in training, a
    weight, and from the replica: a run that goes on from a checkpoint drops what it would have
    dropped without a break. XLA draws other masks, likewise. Computes in the type that it is given.

    Args:
      rate: 0 or more, less than 1.
      seed: an integer of 31 bits; without, one that follows from the layer's name.
    """

    def __init__(self, rate, seed=None, **kwargs):
        # The count is no number to be rounded to what the layer computes in.
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.rate = rate
        self.seed = zlib.crc32(self.name.encode()) >> 1 if seed is None else seed

    def build(self, input_shape):
        # Not an integer: over several replicas the mean of all non-trainable weights is kept.
        self.calls = self.add_weight(
            name="calls", shape=(), dtype="float32", initializer="zeros", trainable=False
        )
        super().build(input_shape)

    def call(self, maps, training=None):
        if not training or not self.rate:
            return maps
        # That mean may be off by a unit in the last place.
        calls = tf.round(tf.convert_to_tensor(self.calls))
        self.calls.assign(calls + 1.0)
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group if context else 0, tf.int64)
        seed = tf.stack([self.seed + replica * 2**32, tf.cast(calls, tf.int64)])
        kept = tf.random.stateless_uniform(tf.shape(maps), seed) >= self.rate
        return tf.where(kept, maps / tf.cast(1 - self.rate, maps.dtype), tf.zeros_like(maps))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
