"""Named settings of the optimiser, which stand for the defaults of several flags."""

from blitznet import choices

# J. Long, E. Shelhamer, T. Darrell, arXiv 1411.4038, section 4.3, and the solvers of the program
# that its authors released.
_FCN = {
    "fcn-paper": {
        "optimizer": "momentum",
        "momentum": 0.9,
        "batch_size": 20,
        "learning_rate": 1e-4,
        "weight_decay": 5e-4,
        "bias_rate": 2.0,
        "pixel_loss": "mean",
    },
    "fcn-release": {
        "optimizer": "momentum",
        "momentum": 0.99,
        "batch_size": 1,
        "learning_rate": 1e-10,
        "weight_decay": 5e-4,
        "bias_rate": 2.0,
        "pixel_loss": "sum",
    },
}
NAMES = tuple(_FCN)
# Each finer net starts from the coarser one, at a hundredth of its rate.
_STAGE = {"fcn32s": 1.0, "fcn8s-atonce": 1.0, "fcn16s": 1e-2, "fcn8s": 1e-4}
_ALEXNET_RATE = 1e-3


def usual(args):
    """Defaults of other flags that `args.preset` stands for, dict name -> value; none without.

    The rate is that of the net: AlexNet's by the paper is ten times VGG-16's, and each stage of
    staged training has a hundredth of the one before. It holds from the first step on.

    Raises:
      ValueError: the preset is of another architecture.
    """
    name = getattr(args, "preset", None)
    if name is None:
        return {}
    if args.arch not in choices.FCNS:
        raise ValueError(f"--preset {name} goes with --arch {', '.join(choices.FCNS)}")
    settings = dict(_FCN[name])
    if name == "fcn-paper" and args.trunk == "alexnet":
        settings["learning_rate"] = _ALEXNET_RATE
    settings["learning_rate"] *= _STAGE[args.arch]
    return {**settings, "warmup_lr": settings["learning_rate"]}
