"""Random weights that leave nothing of a network at 0 or 1, to tell right from nearly right by."""

import numpy as np
from tensorflow import keras

from blitznet.layers import SpatialL2Norm
from blitznet.upsampling import Upscore


def give_random_weights(model, seed=0):
    """Make all weights of a network random, batch-norm statistics too, the same for a seed."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            layer.gamma.assign(random.uniform(0.5, 2.0, size))
            layer.moving_variance.assign(random.uniform(0.5, 2.0, size))
            layer.beta.assign(random.normal(0, 0.1, size))
            layer.moving_mean.assign(random.normal(0, 0.1, size))
        elif isinstance(layer, keras.layers.Conv2D):
            inputs = np.prod(layer.kernel.shape[:-1])
            kernel = random.normal(0, np.sqrt(2 / inputs), layer.kernel.shape)
            if layer.name.startswith("score_"):
                # An FCN scores what ReLU lets through, not below 0: the class of most weight
                # would win everywhere.
                kernel -= kernel.mean(axis=-2, keepdims=True)
            layer.kernel.assign(kernel)
            if layer.use_bias:
                layer.bias.assign(random.normal(0, 0.1, layer.bias.shape))
        elif isinstance(layer, Upscore) and layer.trainable_weights:
            noise = random.normal(0, 0.1, layer.kernel.shape)
            layer.kernel.assign(np.asarray(layer.kernel) + noise)
        elif isinstance(layer, SpatialL2Norm):
            layer.scale.assign(random.uniform(2, 30, layer.scale.shape))
        else:
            # A dropout counts its calls.
            assert not layer.trainable_weights, layer.name
