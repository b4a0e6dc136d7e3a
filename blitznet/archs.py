"""The network families by name: how each is built of plain values, and what it answers."""

import importlib
import inspect
from dataclasses import dataclass
from functools import partial
from typing import Callable

from blitznet import choices, keys

DETECT, SEGMENT, CLASSIFY = "detect", "segment", "classify"
# Arguments of builders that do not shape a network: training and inference give them.
_FOR_TRAINING = ("weight_decay", "bn_decay", "precision", "sync_batch_norm", "conv")


@dataclass(frozen=True)
class Arch:
    """One network family.

    Attributes:
      module, function: of the builder: `(num_classes, **shape, **training) -> keras.Model`, from
        RGB pictures in [0, 1], `[B, S, S, 3]` or of any size, to a dict of raw tensors.
      tasks: from the shape to the tasks that the network has, of `DETECT`, `SEGMENT`, `CLASSIFY`.
      class_layers: beginnings of the names of the layers whose weights belong to classes, by task.
      background: whether class 0 is the background, so that class names count from 1.
    """

    module: str
    function: str
    tasks: Callable
    class_layers: dict
    background: bool = True

    @property
    def builder(self):
        """The function that builds it; TensorFlow is imported when it is asked for."""
        return getattr(importlib.import_module(self.module), self.function)


def _always(task, shape):
    return (task,)


def _blitznet_tasks(shape):
    return tuple(task for task in (DETECT, SEGMENT) if shape[task])


_BLITZNET = Arch(
    "blitznet.models.blitznet",
    "build_model",
    _blitznet_tasks,
    {DETECT: (f"{keys.CONFIDENCE}_",), SEGMENT: (f"{keys.SEGMENTATION}/",)},
)
_FCN = Arch(
    "blitznet.models.fcn", "build_fcn", partial(_always, SEGMENT), {SEGMENT: ("score_", "upscore")}
)
_CLASSIFIER = Arch(
    "blitznet.models.classifier",
    "build_classifier",
    partial(_always, CLASSIFY),
    {CLASSIFY: (keys.CLASS_LOGITS,)},
    background=False,
)
_ARCHS = {"blitznet": _BLITZNET, **dict.fromkeys(choices.FCNS, _FCN), "classifier": _CLASSIFIER}


def get(shape):
    """The `Arch` of a network's shape, `{"arch": name, ...}`; without a name, BlitzNet.

    Raises:
      ValueError: there is no such architecture; names the choices.
    """
    name = shape.get("arch", "blitznet")
    choices.check("architecture", name, choices.ARCHS)
    return _ARCHS[name]


def tasks(shape):
    """`{"detect": bool, "segment": bool, "classify": bool}` of a network of this full shape."""
    present = get(shape).tasks(shape)
    return {task: task in present for task in (DETECT, SEGMENT, CLASSIFY)}


def rescaled_layers(one, other):
    """Beginnings of the names of layers whose input is scaled in one of two architectures."""
    at_once = "fcn8s-atonce"
    return ("score_pool",) if (one == at_once) != (other == at_once) else ()


def num_classes(shape, class_names):
    """How many classes a network of this shape has, with the background where it has one."""
    return len(class_names) + get(shape).background


def full_shape(shape):
    """What a network is made of: `shape`, and defaults for what that leaves out.

    So a description of a program that knew fewer arguments still says what its network is.
    """
    parameters = inspect.signature(get(shape).builder).parameters.items()
    usual = {name: p.default for name, p in parameters if name not in _FOR_TRAINING}
    return {"arch": "blitznet", **usual, **shape}


def build(shape, **training):
    """The network of a shape, with `training` arguments of its builder.

    Args:
      shape: `{"arch": name, "num_classes": C, ...}`: arguments of the builder, those left out at
        their defaults.
      training: weight_decay, bn_decay, precision, sync_batch_norm or conv, as
        `models.blitznet.build_model` has them.

    Raises:
      ValueError: an argument is outside what the builder describes.
    """
    builder = get(shape).builder
    if "arch" not in inspect.signature(builder).parameters:
        shape = {name: value for name, value in shape.items() if name != "arch"}
    return builder(**shape, **training)


def segmentation_side(model):
    """Side of the segmentation logits of a built network.

    None if it takes pictures of any size, which its logits then have, or does not segment.
    """
    logits = model.output.get(keys.SEGMENTATION)
    return None if logits is None else logits.shape[1]
