"""The flags of the scripts beside those of networks: a frozen dataclass for each consumer.

A field declared by `flag` is the command-line flag of the same name too.
"""

from dataclasses import dataclass

from blitznet import choices
from datasets import catalog
from tools.flags.fields import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_INT,
    SHARE,
    address,
    and_list,
    flag,
    run_name,
)


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
        f"{and_list(choices.DECOUPLED)} take weight decay out of the weights instead of adding "
        "it to the loss; radam needs tensorflow-addons and with it TensorFlow 2.15, where lamb "
        "needs it too; the current TensorFlow has a lamb of its own",
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
        f"decay of kernels; the paper says 5e-4; {and_list(choices.DECOUPLED)} want 0.005 to 0.05: "
        "for them the default is next to nothing",
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
AVERAGE_FLAGS = {"average_decay": "ema", "average_start": "swa", "average_period": "swa"}
AVERAGE_DEFAULTS = {"average_decay": 0.999, "average_period": 100}


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
        f"ema: weight of what went before (default: {AVERAGE_DEFAULTS['average_decay']})",
        SHARE,
        "X",
    )
    average_start: int = flag(None, "swa: step of the first snapshot", POSITIVE_INT, "N")
    average_period: int = flag(
        None,
        f"swa: steps from one snapshot to the next (default: {AVERAGE_DEFAULTS['average_period']})",
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
