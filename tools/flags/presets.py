"""Named settings of the optimiser, which stand for the defaults of several flags."""

from blitznet import choices

# J. Long, E. Shelhamer, T. Darrell, arXiv 1411.4038, section 4.3, and the solvers of the program
# that its authors released.
_FCN = {
    "fcn-paper": {
        "optimizer": "momentum",
        "momentum": 0.9,
        "batch_size": 20,
        "weight_decay": 5e-4,
        "bias_rate": 2.0,
        "pixel_loss": "mean",
    },
    "fcn-release": {
        "optimizer": "momentum",
        "momentum": 0.99,
        "batch_size": 1,
        "weight_decay": 5e-4,
        "bias_rate": 2.0,
        "pixel_loss": "sum",
    },
}
NAMES = tuple(_FCN)
# Rates are powers of ten: AlexNet's by the paper is ten times VGG-16's, and each finer net, which
# starts from the coarser one, has a hundredth of its rate.
_EXPONENTS = {"fcn-paper": -4, "fcn-release": -10}
_FINER = {"fcn32s": 0, "fcn8s-atonce": 0, "fcn16s": -2, "fcn8s": -4}


def usual(args):
    """Defaults of other flags that `args.preset` stands for, dict name -> value; none without.

    The rate holds from the first step on, one that is given too: `args.learning_rate`, None where
    it is not.

    Raises:
      ValueError: the preset is of another architecture.
    """
    name = getattr(args, "preset", None)
    if name is None:
        return {}
    if args.arch not in choices.FCNS:
        raise ValueError(f"--preset {name} goes with --arch {', '.join(choices.FCNS)}")
    exponent = _EXPONENTS[name] + _FINER[args.arch]
    exponent += name == "fcn-paper" and args.trunk == "alexnet"
    rate = float(f"1e{exponent}")
    first = rate if args.learning_rate is None else args.learning_rate
    return {**_FCN[name], "learning_rate": rate, "warmup_lr": first}
