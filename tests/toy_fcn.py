"""FCN trunks of few channels in the places of the real ones, and what tests know of FCNs."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from blitznet import keys, trunks
from blitznet.grids import GEOMETRIES
from blitznet.layers import Conv
from blitznet.models.fcn import build_fcn
from blitznet.trunks.alexnet import alexnet_trunk
from blitznet.trunks.vgg import fcn_vgg_trunk
from random_weights import give_random_weights

VGG = fcn_vgg_trunk(2)
ALEXNET = alexnet_trunk(2)
TRUNKS = ("vgg16", "alexnet")
# Cells cropped before each sum, of the skip (+) or of what is enlarged (-), and before the answer.
# Those of the reference stand in the released networks' files; of alexnet they have fcn32s alone.
CROPS = {
    ("vgg16", "reference", "fcn32s"): (19,),
    ("vgg16", "reference", "fcn16s"): (5, 27),
    ("vgg16", "reference", "fcn8s"): (5, 9, 31),
    ("vgg16", "same", "fcn32s"): (16,),
    ("vgg16", "same", "fcn16s"): (-1, 8),
    ("vgg16", "same", "fcn8s"): (-1, -1, 4),
    ("alexnet", "reference", "fcn32s"): (18,),
    ("alexnet", "reference", "fcn16s"): (5, 18),
    ("alexnet", "reference", "fcn8s"): (5, 10, 18),
    ("alexnet", "same", "fcn32s"): (15,),
    ("alexnet", "same", "fcn16s"): (0, 15),
    ("alexnet", "same", "fcn8s"): (0, -1, 7),
}
SKIPS = {"vgg16": ("pool4", "pool3"), "alexnet": ("pool2", "pool1")}
EVERY = [pytest.param(*key, id="-".join(key)) for key in CROPS]


def install(monkeypatch):
    """Make `vgg16` and `alexnet` the toys' names as trunks of FCNs until the test ends."""
    monkeypatch.setitem(trunks.FCN_BUILDERS, "vgg16", f"{__name__}:VGG")
    monkeypatch.setitem(trunks.FCN_BUILDERS, "alexnet", f"{__name__}:ALEXNET")


def pictures(*size, batch=2):
    return np.random.default_rng(11).random((batch, *size, 3), np.float32)


def trained(arch="fcn32s", trunk="vgg16", geometry="same", classes=4, **arguments):
    """A network whose weights are all random."""
    model = build_fcn(classes, trunk=trunk, arch=arch, geometry=geometry, **arguments)
    give_random_weights(model)
    return model


def logits(model, images):
    return model(images, training=False)[keys.SEGMENTATION].numpy()


def bilinear(side):
    factor = (side + 1) // 2
    middle = factor - 1 if side % 2 else factor - 0.5
    row = 1 - abs(np.arange(side) - middle) / factor
    return np.outer(row, row)[..., np.newaxis]


class Plane(keras.layers.Layer):
    """Scores that are 3 * row + 2 * column + 5 at the pixels that cells of a grid stand for."""

    def __init__(self, grid, **kwargs):
        super().__init__(**kwargs)
        self.grid = grid

    def call(self, maps):
        rows, columns = (
            self.grid.stride * tf.range(tf.shape(maps)[axis], dtype=tf.float32) + self.grid.offset
            for axis in (1, 2)
        )
        plane = (3 * rows[:, tf.newaxis] + 2 * columns + 5)[tf.newaxis, :, :, tf.newaxis]
        return tf.tile(plane, (tf.shape(maps)[0], 1, 1, 2))


def planar(trunk, geometry, arch, skips=1.0):
    """A network whose scores of fc7 are planes, of its skips the same, times `skips`."""
    grids = trunks.get_fcn_trunk(trunk).grids(GEOMETRIES[geometry])

    class Planes(Conv):
        def plain(self, filters, kernel, name, *start, **arguments):
            if not name.startswith("score_"):
                return super().plain(filters, kernel, name, *start, **arguments)
            source = name.removeprefix("score_").replace("fr", "fc7")
            plane = Plane(grids[source], name=name)
            if source == "fc7":
                return plane
            return lambda maps: keras.layers.Rescaling(skips)(plane(maps))

    return build_fcn(2, trunk=trunk, geometry=geometry, arch=arch, conv=Planes())


def plane_over(height, width):
    return 3 * np.arange(height)[:, np.newaxis] + 2 * np.arange(width) + 5
