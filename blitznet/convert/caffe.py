"""Caffe's weights: blobs `LAYER/INDEX` as `blitznet.caffemodel.read` answers them.

Caffe's layers have the names that they have here. A convolution in groups is here one
convolution for each group, `conv2_group1` and so on, on its share of the channels.
"""

import re
from math import prod

import numpy as np

from blitznet.convert.keras_applications import MEAN_RGB_THERE, of_other_mean

# Of the ILSVRC pictures, by which AlexNet and the released FCNs were trained.
MEAN_RGB = (122.67891434, 116.66876762, 104.00698793)
# Trunk -> mean colour of those of Caffe's classifiers that it can start from.
CLASSIFIER_MEANS = {"alexnet": MEAN_RGB, "vgg16": MEAN_RGB_THERE}
_CLASSIFIER_TOP = "fc8"
_TWO = ("_group1", "_group2")
ALEXNET_LAYERS = frozenset(
    ["conv1", "conv3", "fc6", "fc7", *(f"conv{i}{group}" for i in (2, 4, 5) for group in _TWO)]
)


class Blobs:
    """Blobs of which each is taken once, and what was wrong with those that were asked for."""

    def __init__(self, blobs):
        self._left = dict(blobs)
        self._problems = []

    def __contains__(self, name):
        return name in self._left

    def take(self, name, shape):
        """The blob as an array of `shape`, Caffe's; zeros where `check_finished` will raise."""
        if name not in self._left:
            self.refuse(f"missing: {name}")
            return np.broadcast_to(np.float32(0), shape)
        blob = self._left.pop(name)
        if not _fits(blob.shape, shape):
            self.refuse(f"shape of {name}: expected {tuple(shape)}, found {blob.shape}")
            return np.broadcast_to(np.float32(0), shape)
        return blob.reshape(shape)

    def refuse(self, problem):
        """Note a problem that `check_finished` will name."""
        self._problems.append(problem)

    def drop(self, layer):
        """Leave a layer's blobs out, if there are any."""
        self._left = {n: blob for n, blob in self._left.items() if not n.startswith(f"{layer}/")}

    def check_finished(self):
        """ValueError, naming all problems, unless there were none and every blob was taken."""
        problems = self._problems + [f"left over: {name}" for name in self._left]
        if problems:
            shown = "\n  ".join(problems[:20])
            raise ValueError(
                f"other weights than expected, {len(problems)} differences:\n  {shown}"
            )


def _fits(found, expected):
    """Whether Caffe's network would take a blob of shape `found` for one of shape `expected`.

    The older format puts ones in front; a layer of kind InnerProduct has flat kernels.
    """
    flat = (expected[0], prod(expected[1:]))
    return _without_leading_ones(found) in map(_without_leading_ones, (expected, flat))


def _without_leading_ones(shape):
    shape = tuple(shape)
    return _without_leading_ones(shape[1:]) if shape[:1] == (1,) else shape


def classifier_values(trunk, shapes, blobs):
    """The values of a trunk's variables from one of Caffe's own classifiers.

    These are bvlc_reference_caffenet for "alexnet", and for "vgg16" VGG_ILSVRC_16_layers, whose
    fc6 an FCN has, and its version of SSD, fc_reduced. Their mean colour moves into the first
    layer's biases, as from keras.applications. bvlc_alexnet has the shapes of the first, but
    normalises before it pools: its weights are a start, not the same classifier.

    Args:
      trunk: one of `CLASSIFIER_MEANS`.
      shapes: dict variable path (`conv1/kernel`) -> shape here, of all of the trunk.
      blobs: dict blob name -> array. The last layer's, fc8, are left out.

    Returns:
      Dict variable path -> array.

    Raises:
      ValueError: a blob is missing, left over or of another shape; names those.
    """
    blobs = Blobs(blobs)
    blobs.drop(_CLASSIFIER_TOP)
    values = convolutions(shapes, blobs)
    blobs.check_finished()
    return of_other_mean(values, CLASSIFIER_MEANS[trunk])


def convolutions(shapes, blobs):
    """The values of convolutions with biases, each layer's taken from `Blobs`.

    Args:
      shapes: dict variable path -> shape here, `[h, w, in, out]` of kernels.
      blobs: `Blobs`, of kernels `[out, in, h, w]`.
    """
    layers = {}
    for layer in sorted({path.split("/")[0] for path in shapes}):
        layers.setdefault(_name_there(layer), {})[layer] = shapes[f"{layer}/kernel"]
    values = {}
    for name, groups in layers.items():
        height, width, inputs, _ = next(iter(groups.values()))
        outputs = sum(shape[-1] for shape in groups.values())
        kernel = blobs.take(f"{name}/0", (outputs, inputs, height, width))
        bias = blobs.take(f"{name}/1", (outputs,))
        start = 0
        for layer, shape in groups.items():
            here = slice(start, start + shape[-1])
            values[f"{layer}/kernel"] = kernel[here].transpose(2, 3, 1, 0)
            values[f"{layer}/bias"] = bias[here]
            start += shape[-1]
    return values


def _name_there(layer):
    """Caffe's name of a convolution, of which there may be one for each group here."""
    return re.sub(r"_group\d+$", "", layer)
