"""The original network's numbers (tests/fixtures) and models that hold its weights."""

import json

import numpy as np

from blitznet import build_model
from blitznet.convert.tf1_blitznet import assign, tf1_name
from blitznet.variables import variables_by_path
from helpers import CHECKOUT
from weights_recipe import make

FIXTURES = CHECKOUT / "tests" / "fixtures"

# Arguments of `build_model` for each of the original's configurations that has golden files.
CONFIGURATIONS = {
    "b300": {},
    "b300x4": {"x4": True},
    "b512": {"image_size": 512},
    "b512x4": {"image_size": 512, "x4": True},
    "b300x4_coco_shared_nearest": {
        "x4": True,
        "num_classes": 81,
        "head": "shared",
        "resize": "nearest",
    },
    "vgg300": {"trunk": "vgg16", "segment": False},
}


def variable_shapes(configuration):
    """Dict checkpoint variable name -> shape of a configuration."""
    return json.loads((FIXTURES / f"variables_{configuration}.json").read_text())


def weights(configuration):
    """Dict checkpoint variable name -> array, as the golden outputs were computed with."""
    return {name: make(name, shape) for name, shape in variable_shapes(configuration).items()}


def recipe_weights(model):
    """Dict checkpoint variable name -> array of the recipe, for every variable of any model."""
    shapes = {tf1_name(path, model): v.shape for path, v in variables_by_path(model).items()}
    return {name: make(name, tuple(shape)) for name, shape in shapes.items()}


def golden_model(configuration):
    """A model of a configuration with the golden weights."""
    model = build_model(**CONFIGURATIONS[configuration])
    assign(model, weights(configuration))
    return model


def load(name):
    """A golden `.npz` file as a dict of arrays."""
    with np.load(FIXTURES / name) as file:
        return dict(file)


def image():
    """The picture of the golden outputs, float32 `[1, 300, 300, 3]`."""
    rng = np.random.Generator(np.random.PCG64(7))
    return rng.uniform(0, 1, (1, 300, 300, 3)).astype("float32")


def losses_batch(priors):
    """Inputs of the golden losses: `(location, confidence, logits, labels, boxes)`.

    `boxes` is a list, one `([N, 4] x y w h, [N] classes)` for each picture.
    """
    rng = np.random.Generator(np.random.PCG64(11))
    location = rng.standard_normal((3, priors, 4)) * 0.5
    confidence = rng.standard_normal((3, priors, 21))
    confidence[..., 0] += 2
    logits = rng.standard_normal((3, 38, 38, 21))
    labels = rng.integers(0, 21, (3, 38, 38))
    labels[rng.random((3, 38, 38)) < 0.1] = 255
    boxes = [
        ([[0.1, 0.1, 0.5, 0.6], [0.55, 0.3, 0.3, 0.4]], [12, 15]),
        ([], []),
        ([[0.02, 0.05, 0.9, 0.9], [0.3, 0.3, 0.1, 0.12], [0.6, 0.6, 0.2, 0.1]], [7, 15, 9]),
    ]
    floats = (array.astype(np.float32) for array in (location, confidence, logits))
    return (*floats, labels, boxes)
