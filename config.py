"""The command lines of `training.py` and `test.py`, and the settings that they resolve to.

Nothing is parsed at import and TensorFlow is not needed.
"""

import argparse
import dataclasses
from dataclasses import dataclass

from blitznet.postprocess.settings import DetectionSettings
from tools.flags import checks, presets
from tools.flags.fields import POSITIVE_INT, SHARE, add_flags, pick
from tools.flags.network import (
    NetworkParser,
    add_model_flags,
    add_training_model_flags,
    model_config,
)
from tools.flags.settings import (
    AVERAGE_DEFAULTS,
    AVERAGE_FLAGS,
    AverageConfig,
    CheckpointConfig,
    DataConfig,
    DeviceConfig,
    EvaluationConfig,
    InputConfig,
    OptimConfig,
    PathConfig,
    RunConfig,
    StepConfig,
)


def add_path_flags(parser):
    """`--data_root`, `--records` and `--archive`."""
    add_flags(parser, PathConfig, "where things lie")


def add_run_flags(parser):
    """`--run_name` and `--ckpt`."""
    add_flags(parser, CheckpointConfig)


def add_detection_flags(parser):
    """The flags of `DetectionSettings`."""
    group = parser.add_argument_group("detections")
    default = DetectionSettings()

    def add(flag, kind, help):
        value = getattr(default, flag)
        help = f"{help} (default: %(default)s)"
        group.add_argument(f"--{flag}", type=kind, default=value, metavar="N", help=help)

    add("conf_thresh", SHARE, "scores must exceed this to enter NMS")
    add("top_k_nms", POSITIVE_INT, "best boxes of a class that enter NMS")
    add("nms_thresh", SHARE, "IoU above which NMS drops a box")
    add("top_k_after_nms", POSITIVE_INT, "most detections of a class")
    add("top_k_post_nms", POSITIVE_INT, "most detections of a picture")
    add("eval_min_conf", SHARE, "scores below this are left out at the end")


def training_parser():
    """The flags of `training.py`."""
    parser = NetworkParser(
        prog="training.py",
        description="Train a network, or go on with a run from its newest checkpoint.",
        epilog="example: python training.py --run_name first --dataset voc12-train --batch_size 32",
    )
    add_run_flags(parser)
    add_flags(parser, RunConfig, "run")
    add_flags(parser, DataConfig, "data")
    add_flags(parser, InputConfig, "input")
    add_training_model_flags(parser)
    add_flags(parser, OptimConfig, "optimisation").add_argument(
        "--preset",
        choices=presets.NAMES,
        help="an FCN's optimizer, rate (of its stage), momentum, decay, bias_rate, pixel_loss and "
        "batch_size as the paper or the authors' program has them; flags that are given win",
    )
    add_flags(parser, StepConfig, "computation of a step")
    add_flags(parser, DeviceConfig, "devices")
    what = "kept beside them, and what evaluation and export take"
    add_flags(parser, AverageConfig, "average of the weights", what).add_argument(
        "--ema",
        action="store_const",
        const="ema",
        dest="average_weights",
        help="short for --average_weights ema",
    )
    add_detection_flags(parser)
    add_path_flags(parser)
    return parser


def evaluation_parser():
    """The flags of `test.py`."""
    parser = argparse.ArgumentParser(
        prog="test.py",
        description="Evaluate one checkpoint of a run, all that are not evaluated yet, or each "
        "as training writes it.",
        epilog="example: python test.py --run_name first --dataset voc12 --split val --ckpt 65",
    )
    add_run_flags(parser)
    add_flags(parser, DataConfig, "data")
    add_flags(parser, EvaluationConfig, "evaluation")
    add_detection_flags(parser)
    add_model_flags(parser, from_run=True)
    add_path_flags(parser)
    return parser


def average_config(args):
    """`AverageConfig` of training flags; what the kind of average has and nobody gave is usual."""
    average = pick(AverageConfig, args)
    usual = {
        name: value
        for name, value in AVERAGE_DEFAULTS.items()
        if AVERAGE_FLAGS[name] == average.average_weights and getattr(average, name) is None
    }
    return dataclasses.replace(average, **usual)


@dataclass(frozen=True)
class TrainingConfig:
    """What the flags of training.py say of a training; `model` is that of `network.model_config`.

    Attributes:
      shape: of the network, as `archs.build` takes it, without the number of classes.
    """

    arch: str
    model: object
    inputs: InputConfig
    optim: OptimConfig
    average: AverageConfig
    step: StepConfig
    devices: DeviceConfig
    run: RunConfig

    @property
    def shape(self):
        return {"arch": self.arch, **dataclasses.asdict(self.model)}


def training_config(args):
    """`TrainingConfig` of training flags, checked across them.

    Raises:
      ValueError: names the flags that do not go together.
    """
    training = TrainingConfig(
        arch=args.arch,
        model=model_config(args),
        inputs=pick(InputConfig, args),
        optim=pick(OptimConfig, args),
        average=average_config(args),
        step=pick(StepConfig, args),
        devices=pick(DeviceConfig, args),
        run=pick(RunConfig, args),
    )
    checks.check_training(training)
    return training


def evaluation_config(args):
    """`EvaluationConfig` of the flags of test.py, checked across them.

    Raises:
      ValueError: names the flags that do not go together.
    """
    evaluation = pick(EvaluationConfig, args)
    checks.check_evaluation(evaluation)
    return evaluation
