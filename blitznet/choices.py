"""Names that arguments choose among; no TensorFlow, so that flags can be made of them."""

FCNS = ("fcn32s", "fcn16s", "fcn8s", "fcn8s-atonce")
# Those that are to start from the next coarser one.
STAGED_FCNS = ("fcn16s", "fcn8s")
ARCHS = ("blitznet", *FCNS, "classifier")
GEOMETRIES = ("same", "reference")
# How cross-entropy is taken together over the pixels of a batch.
PIXEL_LOSSES = ("mean", "sum")
DILATED_PROJECTIONS = ("conv", "none")
OPTIMIZERS = ("adam", "nesterov", "momentum", "adamw", "sgdw", "lamb", "radam")
# Those that step in proportion to their gradients, and those that have a momentum to choose.
LINEAR = ("momentum", "nesterov")
WITH_MOMENTUM = (*LINEAR, "sgdw")
# Those that take weight decay out of the weights themselves, not through the loss.
DECOUPLED = ("adamw", "sgdw", "lamb")
AVERAGES = ("ema", "swa")
CLASS_LOSSES = ("softmax", "focal")
# What layers compute in beside float32 weights, and what they compute in at all.
MIXED_PRECISIONS = ("bfloat16", "float16")
PRECISIONS = ("float32", *MIXED_PRECISIONS)
BOX_LOSSES = ("smooth_l1", "giou")
# Of evaluation, which stays within a machine, and of training.
EVALUATION_STRATEGIES = ("none", "mirrored")
STRATEGIES = (*EVALUATION_STRATEGIES, "multi_worker", "tpu")
BATCH_NORMS = ("replica", "sync")


def check(argument, name, names):
    """ValueError, naming the choices, unless the value `name` of `argument` is one of `names`."""
    if name not in names:
        raise ValueError(f"unknown {argument} {name!r}: choose one of {', '.join(names)}")
