"""Trunks alone, and files of weights in the format of keras.applications."""

import h5py
import numpy as np
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
