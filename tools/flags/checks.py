"""What flags of the scripts do not go together: each check raises ValueError and names them."""

from blitznet import archs, choices, trunks
from datasets import catalog
from tools.flags.fields import and_list
from tools.flags.network import ModelConfig
from tools.flags.settings import (
    AVERAGE_FLAGS,
    DataConfig,
    EvaluationConfig,
    InputConfig,
    OptimConfig,
)

_STARTS = ("imagenet_weights", "init_from", "random_trunk_init")


def check_training(training):
    """Refuse a `config.TrainingConfig` whose flags do not go together."""
    _check_own_records(training.inputs, training.inputs.train_records, "--train_records")
    if training.arch == "blitznet":
        _check_blitznet(training.model)
    if training.arch == "classifier":
        _check_classifier(training)
    _check_tasks(archs.tasks(training.shape), training.inputs, training.optim)
    _check_biases(training.optim)
    if list(training.optim.lr_decay) != sorted(set(training.optim.lr_decay)):
        raise ValueError(f"--lr_decay must rise from step to step, got {training.optim.lr_decay}")
    _check_average(training.average, training.run.max_iterations)
    _check_step(training.step, training.devices, training.inputs.batch_size)
    _check_own_sizes(training)
    if training.arch in choices.FCNS and training.devices.batch_norm == "sync":
        raise ValueError("--batch_norm sync has no effect on FCNs, which have no batch norm")
    given = [f"--{start}" for start in _STARTS if getattr(training.run, start)]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other")


def check_evaluation(evaluation):
    """Refuse an `EvaluationConfig` whose flags do not go together."""
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
    for name, kind in AVERAGE_FLAGS.items():
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


def _check_classifier(training):
    trunks.check_projection(training.model.trunk, training.model.dilated_projection)
    if training.inputs.dataset != catalog.CUSTOM:
        raise ValueError(
            "--arch classifier learns classes of whole pictures: --dataset custom "
            "--train_records FILE.json, which python -m tools.encode_folder writes"
        )


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
            f"--bias_rate goes with --optimizer {and_list(choices.LINEAR)}: {optim.optimizer} does "
            "not step in proportion to its gradients"
        )
    if optim.momentum == 1:
        raise ValueError("--momentum 1 never forgets a gradient: give less")
    if optim.momentum != OptimConfig.momentum and optim.optimizer not in choices.WITH_MOMENTUM:
        raise ValueError(f"--momentum is of --optimizer {and_list(choices.WITH_MOMENTUM)}")


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
