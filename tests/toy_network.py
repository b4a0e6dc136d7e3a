"""A BlitzNet of 64-pixel pictures with a batch of random targets, to follow train steps by."""

import numpy as np
import tensorflow as tf
from tensorflow import keras

from blitznet import archs, keys, runs

IMAGES = 4


def toy(precision="float32", frozen=False, weight_decay=5e-4):
    """`(model, coder)`; with `frozen`, batch norm keeps to its statistics."""
    keras.utils.set_random_seed(5)
    shape = {"image_size": 64, "trunk": "resnet18_half", "top_fm": 16, "n_base_channels": 8}
    description = {"model": archs.full_shape({"num_classes": 4, **shape})}
    model, coder = runs.build(description, weight_decay=weight_decay, precision=precision)
    for layer in model.layers if frozen else ():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return model, coder


def batch_for(model, coder):
    """Four pictures: of 12, 0, 3 and 40 positives, with all, no, half and a quarter of a mask."""
    rng = np.random.default_rng(3)
    priors, side = len(coder.priors), model.get_layer("segmentation").output.shape[1]
    labels = np.zeros((IMAGES, priors), np.int32)
    mask = np.full((IMAGES, side, side), 255, np.uint8)
    for i, (positives, rows) in enumerate([(12, side), (0, 0), (3, side // 2), (40, side // 4)]):
        labels[i, rng.choice(priors, positives, replace=False)] = rng.integers(1, 4, positives)
        mask[i, :rows] = rng.integers(0, 4, (rows, side))
    offsets = rng.normal(size=(IMAGES, priors, 4)).astype("f4") * (labels > 0)[..., None]
    batch = {
        keys.IMAGE: rng.random((IMAGES, 64, 64, 3), np.float32),
        keys.FILENAME: np.array([f"{i}.jpg" for i in range(IMAGES)]),
        keys.PRIOR_LABELS: labels,
        keys.PRIOR_OFFSETS: offsets,
        keys.MASK: mask,
    }
    return {name: tf.constant(value) for name, value in batch.items()}


def part_of(batch, rows):
    return {name: value[rows] for name, value in batch.items()}
