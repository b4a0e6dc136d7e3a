"""Files of weights that Caffe wrote, `.caffemodel`: a binary `NetParameter` of its caffe.proto."""

from math import prod
from pathlib import Path

import numpy as np

from blitznet.protobuf import BYTES, INT32, INT64, STRING, message_class

# Numbers are declared as the bytes that they are packed to, since a network has 10 ** 8 of them.
NetParameter = message_class(
    {
        "BlobShape": [("dim", 1, [INT64])],
        "BlobProto": [
            ("num", 1, INT32),
            ("channels", 2, INT32),
            ("height", 3, INT32),
            ("width", 4, INT32),
            ("data", 5, [BYTES]),
            ("shape", 7, "BlobShape"),
            ("double_data", 8, [BYTES]),
        ],
        "V1LayerParameter": [("name", 4, STRING), ("blobs", 6, ["BlobProto"])],
        "LayerParameter": [
            ("name", 1, STRING),
            ("type", 2, STRING),
            ("blobs", 7, ["BlobProto"]),
        ],
        "NetParameter": [
            ("name", 1, STRING),
            ("layers", 2, ["V1LayerParameter"]),
            ("layer", 100, ["LayerParameter"]),
        ],
    },
    "NetParameter",
)


def read(file):
    """The weights of a Caffe network, of either of the formats that Caffe still reads.

    Returns:
      Dict `LAYER/INDEX` (`conv1_1/0`, a kernel; `conv1_1/1`, its biases) -> float32 array of the
      shape that the file gives it: `[out, in, height, width]` of convolutions. The older format
      has four dimensions in any case, `[1, 1, 1, out]` of biases.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or no such file; names it.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"there is no Caffe model {file}")
    content = Path(file).read_bytes()
    try:
        net = NetParameter.FromString(content)
    except Exception as error:  # the errors of protobuf's implementations share no other class
        raise ValueError(f"{file} is damaged, or not a Caffe model: {error}") from None
    try:
        arrays = _arrays([*net.layer, *net.layers])
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    if not arrays:
        raise ValueError(f"{file} holds no weights: expected a .caffemodel of a trained network")
    return arrays


def _arrays(layers):
    arrays = {}
    for layer in layers:
        for index, blob in enumerate(layer.blobs):
            name = f"{layer.name}/{index}"
            if name in arrays:
                raise ValueError(f"two layers are called {layer.name}")
            arrays[name] = _array(blob, name)
    return arrays


def _array(blob, name):
    shape = (blob.num, blob.channels, blob.height, blob.width)
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    data, dtype = (blob.double_data, "<f8") if blob.double_data else (blob.data, "<f4")
    content = b"".join(data)
    expected = prod(shape) * np.dtype(dtype).itemsize
    if len(content) != expected:
        raise ValueError(f"{name} of shape {shape} has {len(content)} bytes, expected {expected}")
    return np.frombuffer(content, dtype).reshape(shape).astype(np.float32, copy=False)
