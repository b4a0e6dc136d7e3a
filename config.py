"""Flags, and the frozen settings that they resolve to; one dataclass for each consumer.

A field declared by `flag` is the command-line flag of the same name too. Nothing is parsed at
import and TensorFlow is not needed.
"""

import argparse
import dataclasses
from dataclasses import dataclass

from blitznet import archs, choices, trunks
from blitznet.postprocess.settings import DetectionSettings
from datasets import catalog
from tools.flags import presets
from tools.flags.fields import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_INT,
    SHARE,
    add_flags,
    address,
    flag,
    number_in,
    pick,
    run_name,
)
from tools.flags.network import (
    ModelConfig,
    NetworkConfig,
    NetworkParser,
    add_model_flags,
    add_training_model_flags,
    foreign_flags,
    model_config,
    tasks,
)

__all__ = [
    "ModelConfig",
    "NetworkConfig",
    "add_flags",
    "add_model_flags",
    "foreign_flags",
    "model_config",
    "number_in",
    "pick",
    "tasks",
]


def _and(names):
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _dataset_help():
    evaluated = catalog.EVALUATION_DATASETS
    training_alone = [name for name in catalog.TRAINING_DATASETS if name not in evaluated]
    return (
        f"{', '.join(evaluated)}; for training also {', '.join(training_alone)}; any set of "
        f"records by its name, e.g. voc12-mine-seg; {catalog.CUSTOM} for records of your own"
    )


@dataclass(frozen=True)
class DataConfig:
    """Which pictures, and whether their masks count."""

    dataset: str = flag("voc07", _dataset_help(), catalog.dataset_name, "NAME")
    split: str = flag(
        "train",
        "its split, where the name leaves that open: train, val, trainval, test, COCO's "
        "train2017, val2017, minival2014, test-dev2017 and so on, or a list of your own",
        catalog.split_name,
        "LIST",
    )
    label_map: str = flag(
        None, "with --dataset custom: label_map.pbtxt of the classes", str, "FILE"
    )
    no_seg_gt: bool = flag(False, "take every picture as one without a mask")


@dataclass(frozen=True)
class InputConfig(DataConfig):
    """What is trained on, and how it is varied."""

    train_records: tuple = flag(
        (),
        "with --dataset custom: .json files of sets of records, or patterns of TFRecord files",
        str,
        "FILE",
    )
    batch_size: int = flag(32, "pictures of a step", POSITIVE_INT, "N")
    augmentation: str = flag(
        "full",
        "colours, zoom-out, crop and flip, or resizing alone",
        choices=("full", "none"),
    )
    zoomout_prob: float = flag(
        0.5, "probability of the zoom-out, 0 for a classifier where it is not given", SHARE, "P"
    )
    seed: int = flag(0, "seed of weights and input", COUNT, "N")
    data_service: str = flag(
        None,
        "let the tf.data service there make the batches (tools.data_service starts one); with "
        "several workers their order is left to chance and a resumed run is not exactly that of an "
        "uninterrupted one",
        address,
        "HOST:PORT",
    )


@dataclass(frozen=True)
class OptimConfig:
    """Box loss, optimiser, rates and regularisation."""

    box_loss: str = flag(
        "smooth_l1",
        "smooth L1 of the offsets, or 1 - GIoU of the decoded boxes; giou needs tensorflow-addons",
        choices=choices.BOX_LOSSES,
    )
    pixel_loss: str = flag(
        "mean",
        "cross-entropy of segmentation as the mean over a batch's pixels, or as the sum over a "
        "picture's, averaged over the batch",
        choices=choices.PIXEL_LOSSES,
    )
    optimizer: str = flag(
        "adam",
        f"{_and(choices.DECOUPLED)} take weight decay out of the weights instead of adding it to "
        "the loss; radam needs tensorflow-addons and with it TensorFlow 2.15, where lamb needs it "
        "too; the current TensorFlow has a lamb of its own",
        choices=choices.OPTIMIZERS,
    )
    lookahead: bool = flag(
        False, "step back half way to slow weights every 6 steps; needs tensorflow-addons"
    )
    momentum: float = flag(0.9, "of momentum, nesterov and sgdw", SHARE, "X")
    bias_rate: float = flag(
        1.0, "biases at X times the rate, of momentum and nesterov", POSITIVE, "X"
    )
    learning_rate: float = flag(1e-4, "rate after the warm-up", POSITIVE, "X")
    warmup_step: int = flag(
        0, "last step at the warm-up rate, counted from 0: the first one always has it", COUNT, "N"
    )
    warmup_lr: float = flag(1e-5, "rate until then", POSITIVE, "X")
    lr_decay: tuple = flag((), "steps after which the rate falls tenfold", COUNT, "N")
    weight_decay: float = flag(
        5e-5,
        f"decay of kernels; the paper says 5e-4; {_and(choices.DECOUPLED)} want 0.005 to 0.05: for "
        "them the default is next to nothing",
        NOT_NEGATIVE,
        "X",
    )
    bn_decay: float = flag(0.9, "momentum of the batch-norm statistics", SHARE, "X")


@dataclass(frozen=True)
class DeviceConfig:
    """Which devices train together."""

    strategy: str = flag(
        "none",
        "mirrored: all GPUs of this machine (without any, all CPU devices); multi_worker: those of "
        "all machines that the environment variable TF_CONFIG names, docs/scaling.md; tpu: "
        "untested; --batch_size is that of all of them together",
        choices=choices.STRATEGIES,
    )
    batch_norm: str = flag(
        "replica",
        "mean and variance over the pictures of each device, or in sync over those of all",
        choices=choices.BATCH_NORMS,
    )


# The kind of average that each flag is of, and what it is where it is not given.
_AVERAGE_FLAGS = {"average_decay": "ema", "average_start": "swa", "average_period": "swa"}
_AVERAGE_DEFAULTS = {"average_decay": 0.999, "average_period": 100}


@dataclass(frozen=True)
class AverageConfig:
    """The average of the weights that is kept beside them; None for what is not of its kind."""

    average_weights: str = flag(
        "none",
        "exponential moving average, or the mean of snapshots (stochastic weight averaging); "
        "swa needs tensorflow-addons",
        choices=("none", *choices.AVERAGES),
    )
    average_decay: float = flag(
        None,
        f"ema: weight of what went before (default: {_AVERAGE_DEFAULTS['average_decay']})",
        SHARE,
        "X",
    )
    average_start: int = flag(None, "swa: step of the first snapshot", POSITIVE_INT, "N")
    average_period: int = flag(
        None,
        "swa: steps from one snapshot to the next "
        f"(default: {_AVERAGE_DEFAULTS['average_period']})",
        POSITIVE_INT,
        "N",
    )


@dataclass(frozen=True)
class StepConfig:
    """How a training step is computed."""

    mixed_precision: str = flag(
        "none",
        "what the network computes in, beside float32 weights, outputs, losses and batch-norm "
        "statistics: bfloat16 is fast where the processor has it, float16 is for GPUs without and "
        "scales the loss; evaluation has a --precision of its own",
        choices=("none", *choices.MIXED_PRECISIONS),
    )
    xla: bool = flag(
        False,
        "compile the step with XLA: minutes at the start, shapes fixed; often faster on GPUs, "
        "slower on CPUs",
    )
    accumulate: int = flag(
        1,
        "compute a batch in N parts, one after the other, with the memory of batch_size / N "
        "pictures and the gradients of all, but that batch norm knows one part at a time; takes "
        "a third longer",
        POSITIVE_INT,
        "N",
    )
    clip_norm: float = flag(
        None, "shorten gradients to this norm, all of them together", POSITIVE, "X"
    )


@dataclass(frozen=True)
class CheckpointConfig:
    """One checkpoint of a run."""

    run_name: str = flag(None, "the run's folder", run_name, "NAME", required=True)
    ckpt: float = flag(0, "checkpoint in thousands of steps; 0 for the newest", NOT_NEGATIVE, "K")


@dataclass(frozen=True)
class RunConfig(CheckpointConfig):
    """The run's name, start, length and rhythm."""

    max_iterations: int = flag(1000000, "last step", POSITIVE_INT, "N")
    imagenet_weights: str = flag(
        None,
        "start the trunk from this file: keras.applications' .h5, a TensorFlow 1 checkpoint, or "
        "for vgg16 and alexnet a classifier's .caffemodel (default: from $BLITZNET_WEIGHTS or "
        "<data_root>/weights, else downloaded)",
        str,
        "FILE",
    )
    random_trunk_init: bool = flag(False, "start from random weights in the trunk")
    init_from: str = flag(
        None, "start from this checkpoint's weights (.../model.ckpt-STEP), at step 0", str, "PREFIX"
    )
    save_every: int = flag(1000, "steps between saves", POSITIVE_INT, "N")
    summary_every: int = flag(100, "steps between TensorBoard summaries", POSITIVE_INT, "N")


@dataclass(frozen=True)
class EvaluationConfig(CheckpointConfig, DataConfig):
    """Which checkpoints are evaluated on what."""

    eval_records: tuple = flag(
        (),
        "with --dataset custom: the .json of a set of records, or patterns of TFRecord files",
        str,
        "FILE",
    )
    batch_eval: bool = flag(False, "every checkpoint not evaluated yet")
    follow: bool = flag(False, "the same, and those to come, until training ends")
    timeout: float = flag(
        3600, "with --follow: seconds without a further checkpoint that end it", POSITIVE, "S"
    )
    min_ckpt: float = flag(
        0, "with --batch_eval or --follow: from this thousand of steps on", NOT_NEGATIVE, "K"
    )
    step: float = flag(
        1,
        "with --batch_eval or --follow: thousands of steps between two of them",
        NOT_NEGATIVE,
        "K",
    )
    batch_size: int = flag(8, "pictures at a time", POSITIVE_INT, "N")
    strategy: str = flag(
        "none",
        "mirrored: each batch is divided over all GPUs of this machine, without any over all CPU "
        "devices",
        choices=choices.EVALUATION_STRATEGIES,
    )
    precision: str = flag(
        "float32",
        "what the network computes in: bfloat16 is fast where the processor or GPU has it",
        choices=choices.PRECISIONS,
    )
    no_average: bool = flag(
        False, "the weights as trained, where a checkpoint has their average too"
    )
    voc_iou_thresh: float = flag(
        0.5, "by VOC's rules a detection is right above this IoU", SHARE, "T"
    )
    shift_and_stitch: bool = flag(
        False,
        "of fcn32s: see each picture 32 x 32 times, shifted by a pixel each, and interlace the "
        "coarse scores instead of enlarging them",
    )
    border: int = flag(
        0, "also the mIoU of the pixels within R of a border between labels", COUNT, "R"
    )
    save_first_n: int = flag(
        0, "draw detections and class maps of the first N pictures", COUNT, "N"
    )


@dataclass(frozen=True)
class PathConfig:
    """Where things lie; None stands for what `paths` says."""

    data_root: str = flag(None, "raw data sets (default: $BLITZNET_DATA or data)", str, "DIR")
    records: str = flag(
        None, "TFRecords (default: $BLITZNET_RECORDS or <data_root>/records)", str, "DIR"
    )
    archive: str = flag(
        None, "a folder for each run (default: $BLITZNET_ARCHIVE or archive)", str, "DIR"
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
        for name, value in _AVERAGE_DEFAULTS.items()
        if _AVERAGE_FLAGS[name] == average.average_weights and getattr(average, name) is None
    }
    return dataclasses.replace(average, **usual)


def _check_own_records(data, files, flag):
    if bool(files) != (data.dataset == catalog.CUSTOM):
        raise ValueError(
            f"--dataset {catalog.CUSTOM} and {flag} FILE go together: give both or none"
        )
    if files and data.split != DataConfig.split:
        raise ValueError(
            f"--split {data.split} has no say in --dataset {catalog.CUSTOM}; {flag} has"
        )
    if data.label_map and not files:
        raise ValueError(
            f"--label_map goes with --dataset {catalog.CUSTOM}; other records know their classes"
        )


def _check_average(average, max_iterations):
    for name, kind in _AVERAGE_FLAGS.items():
        if getattr(average, name) is not None and average.average_weights != kind:
            raise ValueError(f"--{name} has no effect without --average_weights {kind}")
    if average.average_decay == 1:
        raise ValueError("--average_decay 1 keeps the first weights for ever: give less")
    if average.average_weights == "swa" and not average.average_start:
        raise ValueError("--average_weights swa needs --average_start N, its first snapshot's step")
    if (average.average_start or 0) > max_iterations:
        raise ValueError(
            f"--average_start {average.average_start} comes after the last step, "
            f"--max_iterations {max_iterations}: no snapshot would be taken"
        )


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
    _check_own_records(training.inputs, training.inputs.train_records, "--train_records")
    if training.arch == "blitznet":
        _check_blitznet(training.model)
    if training.arch == "classifier":
        trunks.check_projection(training.model.trunk, training.model.dilated_projection)
    _check_tasks(archs.tasks(training.shape), training.inputs, training.optim)
    _check_biases(training.optim)
    if list(training.optim.lr_decay) != sorted(set(training.optim.lr_decay)):
        raise ValueError(f"--lr_decay must rise from step to step, got {training.optim.lr_decay}")
    _check_average(training.average, training.run.max_iterations)
    _check_step(training.step, training.devices, training.inputs.batch_size)
    _check_own_sizes(training)
    if training.arch == "classifier" and training.inputs.dataset != catalog.CUSTOM:
        raise ValueError(
            "--arch classifier learns classes of whole pictures: --dataset custom "
            "--train_records FILE.json, which python -m tools.encode_folder writes"
        )
    if training.arch in choices.FCNS and training.devices.batch_norm == "sync":
        raise ValueError("--batch_norm sync has no effect on FCNs, which have no batch norm")
    starts = ("imagenet_weights", "init_from", "random_trunk_init")
    given = [f"--{start}" for start in starts if getattr(training.run, start)]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other")
    return training


def _check_blitznet(model):
    if model.top_fm % 4:
        raise ValueError(f"--top_fm must be a multiple of 4, got {model.top_fm}")
    trunks.check_fits(
        model.trunk,
        model.image_size,
        model.dilated_projection,
        x4=model.x4,
        head=model.head,
        det_kernel=model.det_kernel,
    )
    if not model.detect and model.class_loss != ModelConfig.class_loss:
        raise ValueError("--class_loss is of detection, which --segment leaves out")


def _check_tasks(tasks, inputs, optim):
    if inputs.no_seg_gt and not tasks["segment"]:
        raise ValueError("--no_seg_gt is of segmentation, which is not trained here")
    if inputs.no_seg_gt and not tasks["detect"]:
        raise ValueError("--no_seg_gt leaves nothing to learn without --detect")
    if not tasks["detect"] and optim.box_loss != OptimConfig.box_loss:
        raise ValueError("--box_loss is of detection, which FCNs and --segment alone leave out")
    if not tasks["segment"] and optim.pixel_loss != OptimConfig.pixel_loss:
        raise ValueError("--pixel_loss is of segmentation, which is not trained here")


def _check_own_sizes(training):
    if training.model.image_size is not None:
        return
    if training.step.xla:
        raise ValueError("--xla needs pictures of one size: give --image_size too")
    if training.inputs.zoomout_prob != InputConfig.zoomout_prob:
        raise ValueError("--zoomout_prob has no effect on pictures of their own sizes")


def _check_biases(optim):
    if optim.bias_rate != 1 and optim.optimizer not in choices.LINEAR:
        raise ValueError(
            f"--bias_rate goes with --optimizer {_and(choices.LINEAR)}: {optim.optimizer} does "
            "not step in proportion to its gradients"
        )
    if optim.momentum == 1:
        raise ValueError("--momentum 1 never forgets a gradient: give less")
    if optim.momentum != OptimConfig.momentum and optim.optimizer not in choices.WITH_MOMENTUM:
        raise ValueError(f"--momentum is of --optimizer {_and(choices.WITH_MOMENTUM)}")


def _check_step(step, devices, batch_size):
    if batch_size % step.accumulate:
        raise ValueError(
            f"--accumulate {step.accumulate} does not divide --batch_size {batch_size}"
        )
    if devices.strategy == "none":
        if devices.batch_norm == "sync":
            raise ValueError("--batch_norm sync has no effect on one device: give a --strategy too")
        return
    alone = {
        "--accumulate": step.accumulate > 1,
        "--xla": step.xla,
        "--mixed_precision float16": step.mixed_precision == "float16",
    }
    given = [flag for flag, chosen in alone.items() if chosen]
    if given:
        raise ValueError(
            f"{' and '.join(given)}: of one device only, not with --strategy {devices.strategy}; "
            "--mixed_precision bfloat16 and --clip_norm go with it"
        )


def validate_evaluation(evaluation):
    """Checks across flags; ValueError names those that do not go together."""
    _check_own_records(evaluation, evaluation.eval_records, "--eval_records")
    if evaluation.batch_eval and evaluation.ckpt:
        raise ValueError("--ckpt names one checkpoint, --batch_eval takes all: give one of them")
    if evaluation.follow and (evaluation.ckpt or evaluation.batch_eval):
        raise ValueError(
            "--follow takes the checkpoints there are and those to come: give it without --ckpt "
            "and --batch_eval"
        )
    several = evaluation.batch_eval or evaluation.follow
    used = {"min_ckpt": several, "step": several, "timeout": evaluation.follow}
    for name, has_effect in used.items():
        if not has_effect and getattr(evaluation, name) != getattr(EvaluationConfig, name):
            needed = "--follow" if name == "timeout" else "--batch_eval or --follow"
            raise ValueError(f"--{name} has no effect without {needed}")
