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
    "scale": "conv4_3_scale_mult",
}
# Layer -> scope: the first pattern that is the whole layer's name counts.
_SCOPES = {
    r"conv1": r"resnet_v1_50/conv1",
    r"block([1-4])_unit(\d+)_(\w+)": r"resnet_v1_50/block\1/unit_\2/bottleneck_v1/\3",
    r"block(\d+)_unit(\d+)_(\w+)": r"ssd/block\1/unit_\2/bottleneck_v1/\3",
    r"rev(\d+)_(\w+)": r"ssd_back/block_rev\1/\2",
    r"(conv\d)_(\d)": r"vgg_16/\1/\1_\2",
    r"(fc\d)": r"vgg_16/\1",
    r"conv4_3_norm": r"ssd",
    r"(location|confidence)_shared": r"ssd/\1",
    r"(location|confidence)_pool6": r"ssd/\1/ssd/pool6",
    r"(location|confidence)_(rev\d)": r"ssd/\1/ssd_back/block_\2",
    r"(location|confidence)_(conv\d)_(\d)": r"ssd/vgg_16/\2/\2_\3/\1",
    r"(location|confidence)_(fc\d)": r"ssd/vgg_16/\2/\1",
}
_TRAINING_STATE = re.compile(
    r"(^|/)(global_step|beta[12]_power)$|/(Adam|Adam_1|Momentum|ExponentialMovingAverage)$"
)


def assign(model, variables):
    """Put a TF1 checkpoint's values into a BlitzNet with a ResNet-50 or a VGG-16 trunk.

    Args:
      model: what `build_model` returned.
      variables: dict checkpoint variable name -> array; entries that are used are removed.

    Raises:
      ValueError: the original has no such network, or a variable is missing, has another
        shape, or is left over. All such are named, and the model is unchanged.
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
    """Name in a TF1 checkpoint of the variable at `path` (`conv1_bn/gamma`) of `model`.

    Raises:
      ValueError: the original has no such layer.
    """
    layer, kind = path.split("/")
    return f"{_scope(re.sub('_bn$', '', layer), model)}/{_KINDS[kind]}"


def _scope(layer, model):
    if layer in _segmentation_layers(model):
        index = _segmentation_layers(model).index(layer)
        return f"ssd/Conv_{index}" if index else "ssd/Conv"
    for pattern, scope in _SCOPES.items():
        if re.fullmatch(pattern, layer):
            return re.sub(pattern, scope, layer)
    raise ValueError(
        f"the original has no layer {layer}: its trunks are ResNet-50, and VGG-16 with detection "
        "alone (vgg16 with --detect)"
    )


def _segmentation_layers(model):
    """The segmentation head's convolutions in the order in which the original made them."""
    resized = (layer.name for layer in model.layers if layer.name.startswith("seg_rev"))
    revs = sorted({name.split("_")[1] for name in resized})
    return [f"seg_{rev}" for rev in revs] + ["seg_pool6", "segmentation"] if revs else []
