"""Train a network: `python training.py --help`."""

import dataclasses
import functools
import json
import os
import signal
import sys
import zlib

import config
import paths
from tools.flags.fields import pick
from tools.flags.network import foreign_flags


def main(argv=None):
    """Train as the flags say. Returns the exit code: 128 + N after signal N, 1 for errors."""
    args = config.training_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    from blitznet.engine import NonFiniteLoss

    try:
        return run(args)
    except tf.errors.OpError as error:
        print(f"error: {error.message}", file=sys.stderr)
    except (ImportError, OSError, ValueError, NonFiniteLoss) as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("error: interrupted; checkpoints written so far stay", file=sys.stderr)
        return 128 + signal.SIGINT
    return 1


def run(args):
    """From parsed flags to a trained run; the exit code."""
    from tensorflow import keras

    from blitznet import archs, distribution, first_weights, runs
    from tools import run_records

    settings = config.training_config(args)
    shape, tasks = settings.shape, archs.tasks(settings.shape)
    devices = distribution.start(settings.devices.strategy)
    tell_devices(settings.devices, devices)
    keras.utils.set_random_seed(settings.inputs.seed)
    record_sets = run_records.training_sets(args, settings.inputs, tasks)
    run_dir = paths.run_dir(paths.archive(args.archive), settings.run.run_name)
    flags = {**vars(args), **shape, **dataclasses.asdict(settings.average)}
    for name in foreign_flags(settings.arch):
        del flags[name]
    description = runs.describe(shape, record_sets[0].class_names, flags)
    runs.check_same_network(run_dir, description)

    with devices.scope():
        model, coder, prior_loss = build_network(settings, description)
    checkpoint = checkpoint_to_resume(run_dir, settings.run)
    if not checkpoint:
        first_weights.load(
            model,
            description,
            paths.weights_dir(paths.data_root(args.data_root)),
            settings.run.init_from,
            settings.run.imagenet_weights,
            settings.run.random_trunk_init,
        )
    with devices.scope():
        optimizer = build_optimizer(settings, model)
    start = resume(checkpoint, model, optimizer) if checkpoint else 0
    devices.check_agreement("steps done", start)
    devices.check_agreement("flags and records", checksum(description["flags"], record_sets))
    if start >= settings.run.max_iterations:
        print(f"nothing to do: {start} steps are done, of --max_iterations {args.max_iterations}")
        return 0
    tell_flags(run_dir, description["flags"], start)
    if devices.chief:
        runs.write_flags(run_dir, description)

    dataset = make_dataset(
        record_sets, settings.inputs, archs.tasks(description["model"]), model, coder, start
    )
    batches = deliver(dataset, record_sets, settings.inputs.data_service, devices)
    step = make_step(settings, devices, model, optimizer, coder, prior_loss)
    recorder = make_recorder(args, run_dir, devices, model, optimizer, coder, description)
    return train(settings, step, optimizer, batches, recorder, start)


def tell_devices(settings, devices):
    """Print how many devices a strategy found; a warning for one alone."""
    if settings.strategy == "none":
        return
    print(f"{settings.strategy}: {devices}")
    if devices.replicas == 1:
        print("warning: --strategy has found one device, as there is without it", file=sys.stderr)


def checksum(flags, record_sets):
    """A number that tells flags and records apart, wherever the files lie."""
    places = ("data_root", "records", "train_records", "imagenet_weights")
    kept = {name: value for name, value in flags.items() if name not in places}
    sets = [(info.name, info.images, list(info.class_names)) for info in record_sets]
    return zlib.crc32(json.dumps([kept, sets], sort_keys=True, default=str).encode())


def build_network(settings, description):
    """`(model, coder, prior_loss)` of a `TrainingConfig`; the coder is None without detection."""
    from blitznet import choices, runs
    from blitznet.losses.detection import make_detection_loss

    optimisation, step = settings.optim, settings.step
    decoupled = optimisation.optimizer in choices.DECOUPLED
    model, coder = runs.build(
        description,
        weight_decay=0.0 if decoupled else optimisation.weight_decay,
        bn_decay=optimisation.bn_decay,
        precision="float32" if step.mixed_precision == "none" else step.mixed_precision,
        sync_batch_norm=settings.devices.batch_norm == "sync",
    )
    if coder is None:
        return model, None, None
    loss = make_detection_loss(
        settings.model.class_loss, optimisation.box_loss, coder, fixed_shapes=step.xla
    )
    return model, coder, loss


def tell_flags(run_dir, flags, start):
    """Print the resolved flags; for a run that goes on, those that differ from before."""
    from blitznet import runs

    if not start:
        print("flags: " + ", ".join(f"{name} {value}" for name, value in flags.items()))
        return
    # A flag that is younger than the run was what it is by default.
    before = runs.read_flags(run_dir)["flags"]
    default = config.training_parser().get_default
    for name, value in flags.items():
        old = before.get(name, default(name))
        # The file has lists for tuples.
        if json.dumps(old) != json.dumps(value):
            print(f"changed: --{name} was {old}, is {value}")


def checkpoint_to_resume(run_dir, settings):
    """Prefix of the checkpoint that the run goes on from; None for a run without any."""
    from blitznet import checkpoints

    wanted = round(settings.ckpt * 1000) or None
    if not wanted and not checkpoints.steps(run_dir):
        return None
    for start in ("init_from", "imagenet_weights"):
        if getattr(settings, start):
            print(f"--{start} is left out of account: the run has checkpoints", file=sys.stderr)
    return checkpoints.find(run_dir, wanted)


def resume(checkpoint, model, optimizer):
    """Load weights and the optimizer's state; the number of steps done."""
    from blitznet import checkpoints

    step = checkpoints.resume(checkpoint, model, optimizer)
    print(f"going on from {checkpoint}")
    average = checkpoints.average_of(checkpoint)
    if optimizer.averaging and average not in (None, str(optimizer.averaging)):
        print(f"its average ({average}) is not {optimizer.averaging}: that begins anew here")
    if step < checkpoints.steps(checkpoint.parent)[-1]:
        print(
            "warning: later checkpoints stay until training reaches their steps; "
            "without --ckpt, training goes on from the newest",
            file=sys.stderr,
        )
    return step


def build_optimizer(settings, model):
    """The `optim.Optimizer` of a `TrainingConfig`."""
    from blitznet import optim
    from blitznet.loss_scaling import LossScale

    averaging, average = None, settings.average
    if average.average_weights != "none":
        averaging = optim.Averaging(
            average.average_weights,
            decay=average.average_decay,
            start=average.average_start or 1,
            period=average.average_period,
        )
    return optim.build_optimizer(
        settings.optim.optimizer,
        model,
        settings.optim.weight_decay,
        settings.optim.lookahead,
        averaging,
        LossScale() if settings.step.mixed_precision == "float16" else None,
        settings.optim.momentum,
        settings.optim.bias_rate,
    )


def make_dataset(record_sets, inputs, tasks, model, coder, start):
    """Function `(replicas, worker, workers)` -> tf.data of training batches from `start` on."""
    from blitznet.archs import segmentation_side
    from datasets.pipeline import OWN_SIZE, TrainingInput, training_dataset

    settings = TrainingInput(
        image_size=model.input_shape[1] or OWN_SIZE,
        mask_side=(segmentation_side(model) or OWN_SIZE) if tasks["segment"] else None,
        coder=coder,
        batch_size=inputs.batch_size,
        augmentation=inputs.augmentation,
        zoomout_prob=inputs.zoomout_prob,
        use_masks=not inputs.no_seg_gt,
        ignore_label=record_sets[0].ignore_label,
        classify=tasks["classify"],
        seed=inputs.seed,
    )
    return functools.partial(training_dataset, record_sets, settings, start)


def deliver(make_dataset, record_sets, data_service, devices):
    """`progress.Timed` batches for all replicas; ValueError at a damaged file of records."""
    from blitznet.progress import Timed
    from datasets.damage import naming_damaged
    from datasets.service import through_service

    def served(*share):
        return through_service(make_dataset(*share), data_service)

    batches = devices.batches(served if data_service else make_dataset)
    if data_service:
        print(
            f"batches come from the tf.data service at {data_service}: from several workers "
            "in no fixed order, so that the run cannot be repeated or resumed to the last bit"
        )
    return Timed(naming_damaged(batches, record_sets))


def make_step(settings, devices, model, optimizer, coder, prior_loss):
    """The train step of a `TrainingConfig`."""
    from blitznet import engine
    from blitznet.losses import segmentation

    step, pixel_loss = settings.step, segmentation.LOSSES[settings.optim.pixel_loss]
    computed = engine.StepSettings(step.accumulate, step.clip_norm, step.xla)
    return engine.make_train_step(
        model, optimizer, coder, prior_loss, computed, devices, pixel_loss
    )


def make_recorder(args, run_dir, devices, model, optimizer, coder, description):
    """The `Recorder` of a run."""
    from blitznet import engine
    from blitznet.postprocess.settings import DetectionSettings
    from blitznet.recorder import Recorder

    predict = engine.make_predict(model, coder, pick(DetectionSettings, args))
    return Recorder(
        run_dir=run_dir,
        devices=devices,
        model=model,
        optimizer=optimizer,
        coder=coder,
        predict=devices.compiled(predict),
        class_names=description["class_names"],
        save_every=args.save_every,
        summary_every=args.summary_every,
    )


def train(settings, step, optimizer, batches, recorder, start):
    """Train from step `start` on, and say how it ended; the exit code."""
    from blitznet import engine, optim
    from blitznet.progress import TrainingProgress

    optimisation, stop = settings.optim, settings.run.max_iterations

    def rate_at(done):
        return optim.learning_rate(
            done,
            optimisation.learning_rate,
            optimisation.warmup_lr,
            optimisation.warmup_step,
            optimisation.lr_decay,
        )

    reports = engine.train(step, optimizer, batches, rate_at, start, stop)
    progress = TrainingProgress(stop, settings.inputs.batch_size, batches)
    done, stopped_by = recorder.follow(reports, progress, start, stop)
    if stopped_by is None:
        print(f"{done} steps are done: {recorder.run_dir}")
        return 0
    same = f"--ckpt {done / 1000:g}" if settings.run.ckpt else "the same command"
    name = signal.Signals(stopped_by).name
    print(f"stopped by {name} at step {done}, saved; {same} goes on from there")
    return 128 + stopped_by


if __name__ == "__main__":
    sys.exit(main())
