"""Runs of FCNs so small that a test can export them, with weights that tell pictures apart."""

import numpy as np

from blitznet import checkpoints, keys, runs
from random_weights import give_random_weights
from tools import export_saved_model

NAMES = ("cat", "dog", "cow")
SIZES = [(48, 64), (33, 51), (1, 1), (7, 90)]


def write(folder, arch="fcn8s", step=10, class_names=NAMES, **shape):
    """A run with a checkpoint of random weights, on a trunk of `toy_fcn`; answers `folder`."""
    description = runs.describe({"arch": arch, **shape}, class_names, {})
    model, _ = runs.build(description)
    give_random_weights(model)
    runs.write_flags(folder, description)
    checkpoints.save(folder, step, model)
    return folder


def write_archive(folder):
    """The runs "r" (any size) and "fixed" (64 x 64), both of fcn8s; answers `folder`."""
    write(folder / "r")
    write(folder / "fixed", image_size=64)
    return folder


def blots(height, width, seed=0):
    """A picture of blots, uint8 RGB."""
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3))
    return small.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)[:height, :width]


PICTURES = [blots(*size, seed) for seed, size in enumerate(SIZES)]


def class_map(model, picture):
    """The best class of each pixel of a uint8 picture by a network of its size, `[H, W]`."""
    outputs = model(picture[None] / np.float32(255), training=False)
    return outputs[keys.SEGMENTATION].numpy()[0].argmax(axis=-1)


def export(archive, output, *flags, run_name="r"):
    """Exit code of the export of a run."""
    arguments = ["--run_name", run_name, "--archive", archive, "--output", output, *flags]
    return export_saved_model.main([str(argument) for argument in arguments])
