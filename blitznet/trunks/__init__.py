"""Registries of trunks: name -> `Trunk` of BlitzNet, name -> `FcnTrunk`.

One is imported when it is asked for: names need no TensorFlow.
"""

import importlib
from dataclasses import dataclass
from typing import Callable, Optional

from blitznet import choices

BUILDERS = {
    "resnet50": "blitznet.trunks.resnet:RESNET50",
    "resnet18": "blitznet.trunks.resnet:RESNET18",
    "resnet18_half": "blitznet.trunks.resnet:RESNET18_HALF",
    "detnet59": "blitznet.trunks.detnet:DETNET59",
    "vgg16": "blitznet.trunks.vgg:VGG16",
}

NAMES = tuple(BUILDERS)
# Those with a classifier of their own, `models.classifier`.
CLASSIFIERS = ("resnet50", "resnet18", "resnet18_half", "detnet59")
# Those with dilated units.
_DILATED = ("detnet59",)

FCN_BUILDERS = {
    "vgg16": "blitznet.trunks.vgg:FCN_VGG16",
    "vgg16_quarter": "blitznet.trunks.vgg:FCN_VGG16_QUARTER",
    "alexnet": "blitznet.trunks.alexnet:ALEXNET",
}

FCN_NAMES = tuple(FCN_BUILDERS)


@dataclass(frozen=True)
class Trunk:
    """A feature extractor, and what BlitzNet's streams, heads and prior boxes are on it.

    Attributes:
      features: `(images [B, S, S, 3] in [0, 1], Conv) -> {"C2": map of stride 4, "C3": 8, ...}`,
        finest first.
      prior_scales: `(image_size, x4) -> PriorScales`.
      head_initializer: `() -> initializer` of a detection convolution's kernel.
      downscale_unit: `(map, Conv, stride, name) -> map`, a residual unit of the last map's
        depth, which the downscale stream is made of.
      last_block: number of its last block; the downscale stream's are numbered on from there.
      sources: `(features, Conv) -> {name: map}`, finest first: what the heads read on a trunk
        that goes without the downscale and upscale streams; else None.
      ratios: aspect ratios of the prior boxes, one tuple for each source; None for
        `priors.RATIOS` on all.
      unprojected: the same `Trunk` with `dilated_projection` "none"; None where there is none.
    """

    features: Callable
    prior_scales: Callable
    head_initializer: Callable
    downscale_unit: Optional[Callable] = None
    last_block: int = 0
    sources: Optional[Callable] = None
    ratios: Optional[tuple[tuple[float, ...], ...]] = None
    unprojected: Optional["Trunk"] = None


@dataclass(frozen=True)
class FcnTrunk:
    """A classifier as FCNs have it: its dense layers are convolutions, and maps keep any size.

    Attributes:
      features: `(images [B, H, W, 3] in [0, 1], Conv, grids.Geometry) -> {name: map}`, the maps of
        `skips` and "fc7", of stride 32.
      grids: `grids.Geometry -> {name: grids.Grid}` of the same maps at least.
      skips: names of the maps of stride 16 and of stride 8.
      kernel: factor -> side of the kernel that enlarges a score map by it.
    """

    features: Callable
    grids: Callable
    skips: tuple[str, str]
    kernel: Callable


@dataclass(frozen=True)
class Limits:
    """What BlitzNet is defined for on a trunk.

    Attributes:
      least, most: image sizes, in pixels.
      only: dict argument of `build_model` -> the one value that it can have.
    """

    least: int
    most: int
    only: dict


# From 272 pixels on conv9_2 has a cell; the original has no VGG-16 for its larger size, 512.
_LIMITS = {"vgg16": Limits(272, 511, {"x4": False, "head": "nonshared", "det_kernel": 3})}


def get_trunk(name, dilated_projection="conv"):
    """The `Trunk` called `name`.

    Args:
      dilated_projection: "conv", or "none" for DetNet's ablation, which has identity shortcuts
        alone in its dilated stages.

    Raises:
      ValueError: there is no such trunk, or no such version of it; says what there is.
    """
    trunk = _imported(BUILDERS, "trunk", name)
    check_projection(name, dilated_projection)
    return trunk if dilated_projection == "conv" else trunk.unprojected


def get_fcn_trunk(name):
    """The `FcnTrunk` called `name`; ValueError with the valid names for any other."""
    return _imported(FCN_BUILDERS, "trunk of an FCN", name)


def _imported(builders, kind, name):
    if name not in builders:
        raise ValueError(f"unknown {kind} {name!r}: choose one of {', '.join(builders)}")
    module, attribute = builders[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def check_projection(name, dilated_projection):
    """ValueError unless the trunk `name` has such a version; says which have."""
    choices.check("dilated_projection", dilated_projection, choices.DILATED_PROJECTIONS)
    if dilated_projection != "conv" and name not in _DILATED:
        raise ValueError(
            f"with trunk {name}, dilated_projection can only be conv, got {dilated_projection}: "
            f"it is of dilated units, which {', '.join(_DILATED)} alone has"
        )


def check_classifies(name):
    """ValueError unless a classifier can be built on the trunk `name`; needs no TensorFlow."""
    if name not in CLASSIFIERS:
        raise ValueError(
            f"the trunk {name} has no classifier here: choose one of {', '.join(CLASSIFIERS)}"
        )


def check_fits(name, image_size, dilated_projection="conv", **arguments):
    """Refuse what BlitzNet is not defined for on the trunk `name`; needs no TensorFlow.

    `arguments` are `x4`, `head` and `det_kernel` as `build_model` takes them.

    Raises:
      ValueError: names the argument, what it can be with this trunk and what it is.
    """
    check_projection(name, dilated_projection)
    limits = _LIMITS.get(name)
    if limits is None:
        return
    for argument, value in limits.only.items():
        if arguments[argument] != value:
            found = arguments[argument]
            raise ValueError(f"with trunk {name}, {argument} can only be {value}, got {found}")
    if not limits.least <= image_size <= limits.most:
        raise ValueError(
            f"with trunk {name}, image_size is {limits.least} to {limits.most} pixels, "
            f"got {image_size}"
        )
