"""Flags, and the frozen settings that they resolve to; one dataclass for each consumer.

Nothing is parsed at import and TensorFlow is not needed.
"""

import argparse
import dataclasses
from dataclasses import dataclass

from blitznet import trunks
from blitznet.postprocess.settings import DetectionSettings
from datasets import catalog


@dataclass(frozen=True)
class ModelConfig:
    """Arguments of `blitznet.build_model` that shape the network."""

    image_size: int = 300
    trunk: str = "resnet50"
    x4: bool = False
    detect: bool = True
    segment: bool = True
    head: str = "nonshared"
    resize: str = "bilinear"
    top_fm: int = 512
    det_kernel: int = 3
    n_base_channels: int = 64
    seg_filter_size: int = 1


@dataclass(frozen=True)
class InputConfig:
    """What is trained on, and how it is varied."""

    dataset: str
    split: str
    batch_size: int
    augmentation: str
    zoomout_prob: float
    no_seg_gt: bool
    seed: int


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, rates and regularisation."""

    optimizer: str
    learning_rate: float
    warmup_lr: float
    warmup_step: int
    lr_decay: tuple
    weight_decay: float
    bn_decay: float


@dataclass(frozen=True)
class RunConfig:
    """The run's name, start, length and rhythm."""

    run_name: str
    ckpt: float
    init_from: str
    random_trunk_init: bool
    max_iterations: int
    save_every: int
    summary_every: int


@dataclass(frozen=True)
class EvaluationConfig:
    """Which checkpoints are evaluated on what."""

    run_name: str
    ckpt: float
    batch_eval: bool
    min_ckpt: float
    step: float
    dataset: str
    split: str
    batch_size: int
    no_seg_gt: bool
    voc_iou_thresh: float
    save_first_n: int


def number_in(low, high=None, kind=float, exclusive=False):
    """An argparse type: a number from `low` to `high`, or above `low` if `exclusive`."""
    what = "a whole number" if kind is int else "a number"

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        above = value > low if exclusive else value >= low
        if not above or (high is not None and value > high):
            bound = f"above {low}" if exclusive else f"at least {low}"
            bound += "" if high is None else f" and at most {high}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: expected {bound}")
        return value

    return parse


def run_name(text):
    """An argparse type: the name of a run's folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a run needs a name")
    return text


_POSITIVE_INT = number_in(1, kind=int)
_COUNT = number_in(0, kind=int)
_POSITIVE = number_in(0, exclusive=True)
_NOT_NEGATIVE = number_in(0)
_SHARE = number_in(0, 1)


def add_path_flags(parser):
    """`--data_root`, `--records` and `--archive`."""
    add = parser.add_argument_group("where things lie").add_argument
    add("--data_root", metavar="DIR", help="raw data sets (default: $BLITZNET_DATA or data)")
    add(
        "--records",
        metavar="DIR",
        help="TFRecords (default: $BLITZNET_RECORDS or <data_root>/records)",
    )
    add(
        "--archive",
        metavar="DIR",
        help="a folder for each run (default: $BLITZNET_ARCHIVE or archive)",
    )


def add_dataset_flags(parser):
    """`--dataset`, `--split` (case matters in names of the user's own) and `--no_seg_gt`."""
    evaluated = catalog.EVALUATION_DATASETS
    training_alone = [name for name in catalog.TRAINING_DATASETS if name not in evaluated]
    add = parser.add_argument_group("data").add_argument
    add(
        "--dataset",
        type=catalog.dataset_name,
        default="voc07",
        metavar="NAME",
        help=f"{', '.join(evaluated)}; for training also {', '.join(training_alone)}; or any "
        "set of records by its name, e.g. voc12-mine-seg (default: %(default)s)",
    )
    add(
        "--split",
        type=catalog.split_name,
        default="train",
        metavar="LIST",
        help="its split, where the name leaves that open: train, val, trainval, test, or a list "
        "of your own (default: %(default)s)",
    )
    add("--no_seg_gt", action="store_true", help="take every picture as one without a mask")


def add_model_flags(parser, from_run=False):
    """The flags of `ModelConfig`. With `from_run` they have no defaults: `flags.json` does."""
    group = parser.add_argument_group(
        "model",
        "taken from the run's flags.json; contradicting it is an error" if from_run else None,
        argument_default=argparse.SUPPRESS,
    )
    note = "" if from_run else " (default: %(default)s)"

    def add(flag, help, **kwargs):
        group.add_argument(flag, help=help + ("" if "action" in kwargs else note), **kwargs)

    def add_name(flag, help, names):
        add(flag, help, type=str.lower, choices=names)

    size = number_in(32, kind=int)
    add("--image_size", "side of the square input in pixels", type=size, metavar="S")
    add_name("--trunk", "feature extractor", trunks.NAMES)
    add("--x4", "finest source at stride 4 instead of 8", action="store_true")
    add("--detect", "detect; without --detect and --segment, both", action="store_true")
    add("--segment", "segment; without --detect and --segment, both", action="store_true")
    heads = ("nonshared", "shared")
    add_name("--head", "detection convolutions for each source, or for all", heads)
    add_name("--resize", "how the upscale stream grows maps", ("bilinear", "nearest"))
    add("--top_fm", "depth of the upscale stream", type=_POSITIVE_INT, metavar="N")
    add("--det_kernel", "kernel side of the detection head", type=_POSITIVE_INT, metavar="N")
    add("--n_base_channels", "depth of segmentation sources", type=_POSITIVE_INT, metavar="N")
    add("--seg_filter_size", "kernel side on segmentation sources", type=int, choices=(1, 3))
    if not from_run:
        defaults = dataclasses.asdict(ModelConfig())
        parser.set_defaults(**{**defaults, "detect": False, "segment": False})


def add_detection_flags(parser):
    """The flags of `DetectionSettings`."""
    group = parser.add_argument_group("detections")
    default = DetectionSettings()

    def add(flag, kind, help):
        value = getattr(default, flag)
        help = f"{help} (default: %(default)s)"
        group.add_argument(f"--{flag}", type=kind, default=value, metavar="N", help=help)

    add("conf_thresh", _SHARE, "scores must exceed this to enter NMS")
    add("top_k_nms", _POSITIVE_INT, "best boxes of a class that enter NMS")
    add("nms_thresh", _SHARE, "IoU above which NMS drops a box")
    add("top_k_after_nms", _POSITIVE_INT, "most detections of a class")
    add("top_k_post_nms", _POSITIVE_INT, "most detections of a picture")
    add("eval_min_conf", _SHARE, "scores below this are left out at the end")


def add_run_flags(parser, ckpt_help):
    """`--run_name` and `--ckpt`."""
    parser.add_argument(
        "--run_name", type=run_name, required=True, metavar="NAME", help="the run's folder"
    )
    parser.add_argument(
        "--ckpt",
        type=_NOT_NEGATIVE,
        default=0,
        metavar="K",
        help=f"checkpoint in thousands of steps; 0 for the newest: {ckpt_help}",
    )


def training_parser():
    """The flags of `training.py`."""
    parser = argparse.ArgumentParser(
        prog="training.py",
        description="Train BlitzNet, or go on with a run from its newest checkpoint.",
        epilog="example: python training.py --run_name first --dataset voc12-train "
        "--batch_size 32 --random_trunk_init",
    )
    add_run_flags(parser, "where the run goes on")
    add_dataset_flags(parser)
    add_model_flags(parser)
    _add_input_flags(parser)
    _add_optim_flags(parser)
    _add_rhythm_flags(parser)
    add_detection_flags(parser)
    add_path_flags(parser)
    return parser


def _add_input_flags(parser):
    add = parser.add_argument_group("input").add_argument
    add("--batch_size", type=_POSITIVE_INT, default=32, metavar="N", help="pictures of a step")
    add(
        "--augmentation",
        type=str.lower,
        choices=("full", "none"),
        default="full",
        help="colours, zoom-out, crop and flip, or resizing alone (default: full)",
    )
    add(
        "--zoomout_prob",
        type=_SHARE,
        default=0.5,
        metavar="P",
        help="probability of the zoom-out (default: 0.5)",
    )
    add("--seed", type=_COUNT, default=0, metavar="N", help="seed of weights and input")


def _add_optim_flags(parser):
    group = parser.add_argument_group("optimisation")

    def add(flag, kind, default, help, metavar="X", **kwargs):
        help = f"{help} (default: %(default)s)" if default != [] else help
        group.add_argument(flag, type=kind, default=default, metavar=metavar, help=help, **kwargs)

    group.add_argument(
        "--optimizer",
        type=str.lower,
        choices=("adam", "nesterov"),
        default="adam",
        help="(default: adam)",
    )
    add("--learning_rate", _POSITIVE, 1e-4, "rate after the warm-up")
    add("--warmup_step", _COUNT, 0, "last step at the warm-up rate", metavar="N")
    add("--warmup_lr", _POSITIVE, 1e-5, "rate until then")
    add("--lr_decay", _COUNT, [], "steps after which the rate falls tenfold", "N", nargs="*")
    add("--weight_decay", _NOT_NEGATIVE, 5e-5, "penalty on kernels; the paper says 5e-4")
    add("--bn_decay", _SHARE, 0.9, "momentum of the batch-norm statistics")


def _add_rhythm_flags(parser):
    add = parser.add_argument_group("run").add_argument
    add("--max_iterations", type=_POSITIVE_INT, default=1000000, metavar="N", help="last step")
    add("--random_trunk_init", action="store_true", help="start from random weights in the trunk")
    add(
        "--init_from",
        metavar="PREFIX",
        help="start from this checkpoint's weights (.../model.ckpt-STEP), at step 0",
    )
    add("--save_every", type=_POSITIVE_INT, default=1000, metavar="N", help="steps between saves")
    add(
        "--summary_every",
        type=_POSITIVE_INT,
        default=100,
        metavar="N",
        help="steps between TensorBoard summaries",
    )


def evaluation_parser():
    """The flags of `test.py`."""
    parser = argparse.ArgumentParser(
        prog="test.py",
        description="Evaluate one checkpoint of a run, or all that are not evaluated yet.",
        epilog="example: python test.py --run_name first --dataset voc12 --split val --ckpt 65",
    )
    add_run_flags(parser, "what is evaluated")
    add_dataset_flags(parser)
    add = parser.add_argument_group("evaluation").add_argument
    add("--batch_eval", action="store_true", help="every checkpoint not evaluated yet")
    add(
        "--min_ckpt",
        type=_NOT_NEGATIVE,
        default=0,
        metavar="K",
        help="with --batch_eval: from this thousand of steps on (default: 0)",
    )
    add(
        "--step",
        type=_NOT_NEGATIVE,
        default=1,
        metavar="K",
        help="with --batch_eval: thousands of steps between two of them (default: 1)",
    )
    add("--batch_size", type=_POSITIVE_INT, default=8, metavar="N", help="pictures at a time")
    add(
        "--voc_iou_thresh",
        type=_SHARE,
        default=0.5,
        metavar="T",
        help="a detection is right above this IoU (default: 0.5)",
    )
    add(
        "--save_first_n",
        type=_COUNT,
        default=0,
        metavar="N",
        help="draw detections and class maps of the first N pictures",
    )
    add_detection_flags(parser)
    add_model_flags(parser, from_run=True)
    add_path_flags(parser)
    return parser


def pick(config_class, args):
    """A frozen settings object whose fields are read from `args` by name."""
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(config_class)}
    return config_class(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def model_config(args):
    """`ModelConfig` of training flags; neither task given means both."""
    model = pick(ModelConfig, args)
    if model.detect or model.segment:
        return model
    return dataclasses.replace(model, detect=True, segment=True)


def validate_training(model, inputs, optim, run):
    """Checks across flags.

    Raises:
      ValueError: names the flags that do not go together.
    """
    if model.top_fm % 4:
        raise ValueError(f"--top_fm must be a multiple of 4, got {model.top_fm}")
    if list(optim.lr_decay) != sorted(set(optim.lr_decay)):
        raise ValueError(f"--lr_decay must rise from step to step, got {optim.lr_decay}")
    if inputs.no_seg_gt and not model.detect:
        raise ValueError("--no_seg_gt leaves nothing to learn without --detect")
    if run.init_from and run.random_trunk_init:
        raise ValueError("--init_from and --random_trunk_init exclude each other")


def validate_evaluation(evaluation):
    """Checks across flags; ValueError names those that do not go together."""
    if evaluation.batch_eval and evaluation.ckpt:
        raise ValueError("--ckpt names one checkpoint, --batch_eval takes all: give one of them")


def tasks(args, model_flags):
    """Which tasks of a run to evaluate: `{"detect": bool, "segment": bool}`.

    All of the run's, or those of them that `--detect` and `--segment` name.

    Raises:
      ValueError: a model flag contradicts the run's; both values are shown.
    """
    given = {
        f.name: getattr(args, f.name) for f in dataclasses.fields(ModelConfig) if f.name in args
    }
    wrong = [
        f"--{name} {value}, but the run has {model_flags[name]}"
        for name, value in given.items()
        if value != model_flags[name]
    ]
    if wrong:
        raise ValueError("flags contradict the run's flags.json: " + "; ".join(wrong))
    chosen = {name: name in given for name in ("detect", "segment")}
    return chosen if any(chosen.values()) else {name: model_flags[name] for name in chosen}
