"""Registry of trunks: name -> `Trunk`, imported when it is asked for (names need no TensorFlow)."""

import importlib
from dataclasses import dataclass
from typing import Callable

_BUILDERS = {
    "resnet50": "blitznet.trunks.resnet:RESNET50",
    "resnet18": "blitznet.trunks.resnet:RESNET18",
    "resnet18_half": "blitznet.trunks.resnet:RESNET18_HALF",
}

NAMES = tuple(_BUILDERS)


@dataclass(frozen=True)
class Trunk:
    """A feature extractor and the unit that its downscale stream is made of.

    Attributes:
      features: `(images [B, S, S, 3] in [0, 1], Conv) -> {"C2": map of stride 4, "C3": 8, ...}`.
      downscale_unit: `(map, Conv, stride, name) -> map`, a residual unit of the last map's depth.
    """

    features: Callable
    downscale_unit: Callable


def get_trunk(name):
    """The `Trunk` called `name`; ValueError with the valid names for any other."""
    if name not in _BUILDERS:
        raise ValueError(f"unknown trunk {name!r}: choose one of {', '.join(NAMES)}")
    module, attribute = _BUILDERS[name].split(":")
    return getattr(importlib.import_module(module), attribute)
