"""Files of Caffe's weights in both of its formats."""

import numpy as np

from blitznet.caffemodel import NetParameter


def write_caffemodel(path, blobs, kinds=None):
    """A file of the current format; `blobs` is `LAYER/INDEX` -> array, `kinds` LAYER -> type."""
    net = NetParameter(name="net")
    net.layer.add(name="data", type="Python")
    for layer, arrays in _by_layer(blobs).items():
        message = net.layer.add(name=layer, type=(kinds or {}).get(layer, "Convolution"))
        for array in arrays:
            blob = message.blobs.add(data=[np.asarray(array, "<f4").tobytes()])
            blob.shape.dim.extend(array.shape)
    path.write_bytes(net.SerializeToString())
    return path


def write_v1_caffemodel(path, blobs):
    """A file of the older format, all of whose arrays have four dimensions."""
    net = NetParameter(name="net")
    net.layers.add(name="data")
    for layer, arrays in _by_layer(blobs).items():
        message = net.layers.add(name=layer)
        for array in arrays:
            num, channels, height, width = (1,) * (4 - array.ndim) + array.shape
            sides = {"num": num, "channels": channels, "height": height, "width": width}
            message.blobs.add(data=[np.asarray(array, "<f4").tobytes()], **sides)
    path.write_bytes(net.SerializeToString())
    return path


def _by_layer(blobs):
    layers = {}
    for name, array in blobs.items():
        layers.setdefault(name.split("/")[0], []).append(array)
    return layers
