"""Trunks alone, and files of weights in the format of keras.applications."""

import h5py
import numpy as np
import tensorflow as tf
from tensorflow import keras

from blitznet.layers import Conv
from blitznet.trunks import get_trunk

# Of a side for which keras.applications' padding and TensorFlow's SAME agree at pool1.
SIDE = 65


def write_published(path, layers):
    """A file in the format of keras.applications': `layers` is name -> [(name, array), ...]."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{kind}:0".encode() for kind, _ in arrays]
            for kind, array in arrays:
                group[f"{name}/{kind}:0"] = array
    return path


def write_bundle(prefix, values):
    """A checkpoint of TensorFlow 1's second format."""
    names = list(values)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(values[name]) for name in names],
    )
    return prefix


def randomise(network):
    """Random values for every weight, so that none could be left out unseen."""
    rng = np.random.default_rng(5)

    def value(name, shape):
        if "kernel" in name:
            scale = np.sqrt(2 / np.prod(shape[:-1]))
            return rng.standard_normal(shape, np.float32) * np.float32(scale)
        low = 0.5 if "gamma" in name or "variance" in name else -0.3
        return rng.uniform(low, low + 0.8, shape)

    network.set_weights([value(v.name, tuple(v.shape)) for v in network.weights])


def weights_by_layer(network):
    return {
        layer.name: [
            (v.name.split("/")[-1].split(":")[0], a)
            for v, a in zip(layer.weights, layer.get_weights())
        ]
        for layer in network.layers
    }


def trunk_model(trunk, side=SIDE):
    """The trunk alone, answering its maps; of VGG-16, conv5_3 in the place of fc7."""
    images = keras.Input((side, side, 3))
    features = get_trunk(trunk).features(images, Conv())
    model = keras.Model(images, features)
    if trunk == "resnet50":
        return model, keras.Model(images, list(features.values()))
    ends = [model.get_layer(name).output for name in ("conv3_3", "conv4_3", "conv5_3")]
    return model, keras.Model(images, ends)


def assert_close(found, expected, tolerance=1e-4):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * expected.std())
