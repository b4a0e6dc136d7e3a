"""The released FCNs (github.com/shelhamer/fcn.berkeleyvision.org) as `build_fcn`'s networks.

Layers have one name in both: voc-fcn32s, 16s, 8s, 8s-atonce and voc-fcn-alexnet, and their
likes with other classes. Zeros round a picture stand for the mean colour, here another by less
than one step of 255, so that the first layer differs by as much where its window leaves the
picture.
"""

import numpy as np
from tensorflow import keras

from blitznet.convert import caffe
from blitznet.convert.keras_applications import of_other_mean
from blitznet.upsampling import Upscore, bilinear_filter
from blitznet.variables import variables_by_path


def assign(model, blobs):
    """Put a released FCN's weights into the network of the same architecture.

    Args:
      model: what `build_fcn` returned; with geometry "reference" it computes what Caffe's does.
      blobs: dict `LAYER/INDEX` -> array in Caffe's layout, of `blitznet.caffemodel.read`.

    Raises:
      ValueError: a blob is missing, left over or of another shape, an upsampling layer mixes
        channels, or one that is fixed here holds other numbers. All such are named, and the model
        is unchanged.
    """
    variables = variables_by_path(model)
    shapes = {path: tuple(variable.shape) for path, variable in variables.items()}
    blobs = caffe.Blobs(blobs)
    convolutions = {layer.name for layer in _layers(model, keras.layers.Conv2D)}
    values = caffe.convolutions(
        {p: shape for p, shape in shapes.items() if p.split("/")[0] in convolutions}, blobs
    )
    for layer in _layers(model, Upscore):
        kernels = _diagonal(layer, shapes["score_fr/bias"][0], blobs)
        if layer.learned:
            values[f"{layer.name}/kernel"] = kernels
        else:
            _check_bilinear(layer, kernels, blobs)
    for layer in _layers(model, keras.layers.Rescaling):
        _check_scale(layer, blobs)
    blobs.check_finished()
    for path, value in of_other_mean(values, caffe.MEAN_RGB).items():
        variables[path].assign(value)


def _layers(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def _diagonal(layer, channels, blobs):
    """Kernels `[K, K, C]` of a transposed convolution that keeps its channels apart."""
    name, side = f"{layer.name}/0", layer.kernel_size
    full = blobs.take(name, (channels, channels, side, side))
    if full[~np.eye(channels, dtype=bool)].any():
        blobs.refuse(f"{name} mixes channels: only the diagonal of a bilinear one is not zero")
    return np.einsum("cchw->hwc", full)


def _check_bilinear(layer, kernels, blobs):
    """Note a problem unless all of a fixed layer's kernels `[K, K, C]` are bilinear."""
    weights = bilinear_filter(layer.kernel_size)
    if not np.allclose(kernels, np.outer(weights, weights)[:, :, None], rtol=0, atol=1e-5):
        blobs.refuse(f"{layer.name}/0 is not bilinear, which it always is here")


def _check_scale(layer, blobs):
    """Note a problem unless a map's factors in front of its scores are those here."""
    name, channels = f"{layer.name}/0", layer.output.shape[-1]
    factors = blobs.take(name, (channels,))
    if not np.allclose(factors, layer.scale, rtol=1e-5, atol=0):
        blobs.refuse(f"{name} is not {layer.scale} throughout, as it is here")
