"""Checkpoints of the TensorFlow 1 program: their variable names, and how to take them over."""

import re

from blitznet.variables import variables_by_path

_KINDS = {
    "kernel": "weights",
    "bias": "biases",
    "gamma": "BatchNorm/gamma",
    "beta": "BatchNorm/beta",
    "moving_mean": "BatchNorm/moving_mean",
    "moving_variance": "BatchNorm/moving_variance",
}
_TRUNK_BLOCKS = 4
_TRAINING_STATE = re.compile(
    r"(^|/)(global_step|beta[12]_power)$|/(Adam|Adam_1|Momentum|ExponentialMovingAverage)$"
)


def assign(model, variables):
    """Put a TF1 checkpoint's values into a BlitzNet with a ResNet-50 trunk.

    Args:
      model: what `build_model` returned.
      variables: dict checkpoint variable name -> array; entries that are used are removed.

    Raises:
      ValueError: a variable is missing, has another shape, or is left over. All such are
        named, and the model is unchanged.
    """
    targets = {tf1_name(path, model): v for path, v in variables_by_path(model).items()}
    problems = [f"missing: {name}" for name in targets if name not in variables]
    problems += [f"left over: {name}" for name in variables if name not in targets]
    for name, target in targets.items():
        if name in variables and tuple(variables[name].shape) != tuple(target.shape):
            found, expected = tuple(variables[name].shape), tuple(target.shape)
            problems.append(f"shape of {name}: expected {expected}, found {found}")
    if problems:
        shown = "\n  ".join(problems[:20])
        raise ValueError(
            f"the checkpoint does not fit the model, {len(problems)} differences:\n  {shown}"
        )
    for name, target in targets.items():
        target.assign(variables.pop(name))


def network_names(names):
    """The checkpoint variable names without optimizer state and step counter."""
    return [name for name in names if not _TRAINING_STATE.search(name)]


def tf1_name(path, model):
    """Name in a TF1 checkpoint of the variable at `path` (`conv1_bn/gamma`) of `model`."""
    layer, kind = path.split("/")
    return f"{_scope(re.sub('_bn$', '', layer), model)}/{_KINDS[kind]}"


def _scope(layer, model):
    unit = re.fullmatch(r"block(\d+)_unit(\d+)_(\w+)", layer)
    if unit:
        block, number, part = unit.groups()
        trunk = "resnet_v1_50" if int(block) <= _TRUNK_BLOCKS else "ssd"
        return f"{trunk}/block{block}/unit_{number}/bottleneck_v1/{part}"
    skip = re.fullmatch(r"rev(\d+)_(\w+)", layer)
    if skip:
        return "ssd_back/block_rev{}/{}".format(*skip.groups())
    head = re.fullmatch(r"(location|confidence)_(\w+)", layer)
    if head:
        task, source = head.groups()
        suffix = {"shared": "", "pool6": "/ssd/pool6"}.get(source, f"/ssd_back/block_{source}")
        return f"ssd/{task}{suffix}"
    if layer == "segmentation" or layer.startswith("seg_"):
        index = _segmentation_layers(model).index(layer)
        return f"ssd/Conv_{index}" if index else "ssd/Conv"
    return f"resnet_v1_50/{layer}"


def _segmentation_layers(model):
    """The segmentation head's convolutions in the order in which the original made them."""
    resized = (layer.name for layer in model.layers if layer.name.startswith("seg_rev"))
    revs = sorted({name.split("_")[1] for name in resized})
    return [f"seg_{rev}" for rev in revs] + ["seg_pool6", "segmentation"]
