"""Train BlitzNet: `python training.py --help`."""

import dataclasses
import json
import os
import signal
import sys

import config
import paths


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

    from blitznet import choices, distribution, engine, optim, progress, runs
    from blitznet.losses.detection import make_detection_loss

    model_config = config.model_config(args)
    inputs = config.pick(config.InputConfig, args)
    optimisation = config.pick(config.OptimConfig, args)
    average = config.average_config(args)
    settings = config.pick(config.RunConfig, args)
    step = config.pick(config.StepConfig, args)
    spread = config.pick(config.DeviceConfig, args)
    config.validate_training(model_config, inputs, optimisation, average, settings, step)
    config.validate_devices(spread, step)
    devices = distribution.start(spread.strategy)
    if spread.strategy != "none":
        print(f"{spread.strategy}: {devices}")

    keras.utils.set_random_seed(inputs.seed)
    record_sets = open_records(args, inputs, model_config)
    run_dir = paths.run_dir(paths.archive(args.archive), settings.run_name)
    shape = dataclasses.asdict(model_config)
    flags = {**vars(args), **shape, **dataclasses.asdict(average)}
    description = runs.describe(shape, record_sets[0].class_names, flags)
    runs.check_same_network(run_dir, description)
    decoupled = optimisation.optimizer in choices.DECOUPLED
    with devices.scope():
        model, coder = runs.build(
            description,
            weight_decay=0.0 if decoupled else optimisation.weight_decay,
            bn_decay=optimisation.bn_decay,
            precision="float32" if step.mixed_precision == "none" else step.mixed_precision,
            sync_batch_norm=spread.batch_norm == "sync",
        )
    prior_loss = make_detection_loss(model_config.class_loss, optimisation.box_loss, coder)
    checkpoint = checkpoint_to_resume(run_dir, settings)
    if not checkpoint:
        folder = paths.weights_dir(paths.data_root(args.data_root))
        load_first_weights(settings, model, description, folder)
    with devices.scope():
        optimizer = build_optimizer(optimisation, average, step, model)
    start = resume(checkpoint, model, optimizer) if checkpoint else 0
    devices.check_agreement("steps done", start)
    if start >= settings.max_iterations:
        print(f"nothing to do: {start} steps are done, of --max_iterations {args.max_iterations}")
        return 0
    tell_flags(run_dir, description["flags"], start)
    if devices.chief:
        runs.write_flags(run_dir, description)

    batches = progress.Timed(make_batches(record_sets, inputs, model, coder, start, devices))
    reports = engine.train(
        engine.make_train_step(
            model,
            optimizer,
            coder,
            prior_loss,
            engine.StepSettings(step.accumulate, step.clip_norm, step.xla),
            devices,
        ),
        optimizer,
        batches,
        lambda step: optim.learning_rate(
            step,
            optimisation.learning_rate,
            optimisation.warmup_lr,
            optimisation.warmup_step,
            optimisation.lr_decay,
        ),
        start,
        settings.max_iterations,
    )
    names = description["class_names"]
    recorder = Recorder(args, run_dir, model, optimizer, coder, names, devices)
    return recorder.follow(reports, start, batches)


def open_records(args, inputs, model_config):
    """The record sets of `--dataset`, checked against each other and the tasks, and described."""
    opened = find_records(args, inputs, model_config.segment)
    for other in opened[1:]:
        if other.class_names != opened[0].class_names:
            raise ValueError(
                f"{other.name} and {opened[0].name} have different classes: "
                f"{', '.join(other.class_names)} and {', '.join(opened[0].class_names)}"
            )
    boxless = [info.name for info in opened if not info.has_boxes]
    if boxless and model_config.detect:
        raise ValueError(
            f"nothing is known about the objects in {', '.join(boxless)}: detection cannot learn "
            "from it; --segment trains segmentation alone"
        )
    for info in opened:
        print(f"{info.name}: {info.images} pictures, {info.images_with_masks} with masks")
    masks = 0 if inputs.no_seg_gt else sum(info.images_with_masks for info in opened)
    if model_config.segment and not masks:
        if not model_config.detect:
            raise ValueError("segmentation alone, but no picture has a mask")
        print(
            "warning: no picture has a mask, so segmentation learns nothing; "
            "--detect trains detection alone",
            file=sys.stderr,
        )
    return opened


def find_records(args, inputs, segment):
    """RecordsInfo of every set that `--dataset` names, or `--train_records`."""
    from datasets import catalog, custom, records

    if inputs.dataset == catalog.CUSTOM:
        return custom.open_custom(inputs.train_records, inputs.label_map)
    root = paths.data_root(args.data_root)
    folder = paths.records_dir(root, args.records)
    sets = catalog.training_sets(inputs.dataset, inputs.split, segment)
    given_root = root if args.data_root else None
    return [records.open_records(folder, record_set, given_root) for record_set in sets]


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


def load_first_weights(settings, model, description, folder):
    """Load what a run at step 0 starts from, and print what was taken over and what was not.

    `folder` is where ImageNet weights are looked for when no flag says another start.
    """
    from blitznet import imagenet

    if settings.random_trunk_init:
        return
    if settings.init_from:
        source = settings.init_from
        loaded, skipped = take_over(source, model, description)
    else:
        trunk = description["model"]["trunk"]
        source = settings.imagenet_weights or imagenet.find(trunk, folder)
        loaded, skipped = imagenet.load(source, trunk, model)
    print(f"{source}: {len(loaded)} variables taken over")
    rest = len(model.variables) - len(loaded) - len(skipped)
    words = [", ".join(skipped)] * bool(skipped) + [f"{rest} beside the trunk"] * bool(rest)
    if words:
        print(f"random values stay in {' and '.join(words)}")


def take_over(source, model, description):
    """The weights of a checkpoint that fit; paths of those taken over, and of the others.

    Raises:
      ValueError: hardly any fit.
    """
    from blitznet import checkpoints, runs

    unfit = runs.unfit_layers(source, description)
    loaded, skipped = checkpoints.init_from(source, model, unfit)
    if len(loaded) < len(skipped):
        raise ValueError(
            f"only {len(loaded)} of {len(loaded) + len(skipped)} variables fit: is {source} of "
            "another --trunk?"
        )
    if unfit:
        print(f"{source} is of other classes or another --class_loss: no class logits taken over")
    return loaded, skipped


def build_optimizer(settings, average, step, model):
    """The `optim.Optimizer` of `OptimConfig`, `AverageConfig` and `StepConfig`."""
    from blitznet import optim
    from blitznet.loss_scaling import LossScale

    averaging = None
    if average.average_weights != "none":
        averaging = optim.Averaging(
            average.average_weights,
            decay=average.average_decay,
            start=average.average_start or 1,
            period=average.average_period,
        )
    return optim.build_optimizer(
        settings.optimizer,
        model,
        settings.weight_decay,
        settings.lookahead,
        averaging,
        LossScale() if step.mixed_precision == "float16" else None,
    )


def make_batches(record_sets, inputs, model, coder, start, devices):
    """The training batches from step `start` on; ValueError at a damaged file of records."""
    from blitznet.models.blitznet import segmentation_side
    from datasets.damage import naming_damaged
    from datasets.pipeline import TrainingInput, training_dataset
    from datasets.service import through_service

    settings = TrainingInput(
        image_size=model.input_shape[1],
        mask_side=segmentation_side(model),
        coder=coder,
        batch_size=inputs.batch_size,
        augmentation=inputs.augmentation,
        zoomout_prob=inputs.zoomout_prob,
        use_masks=not inputs.no_seg_gt,
        ignore_label=record_sets[0].ignore_label,
        seed=inputs.seed,
    )

    def make_dataset(replicas, worker, workers):
        dataset = training_dataset(record_sets, settings, start, replicas, worker, workers)
        return through_service(dataset, inputs.data_service) if inputs.data_service else dataset

    batches = naming_damaged(devices.batches(make_dataset), record_sets)
    if inputs.data_service:
        print(
            f"batches come from the tf.data service at {inputs.data_service}: from several workers "
            "in no fixed order, so that the run cannot be repeated or resumed to the last bit"
        )
    return batches


class Recorder:
    """Follows training: progress line, summaries, checkpoints, signals."""

    def __init__(self, args, run_dir, model, optimizer, coder, class_names, devices):
        from blitznet import engine
        from blitznet.postprocess.settings import DetectionSettings
        from blitznet.summaries import NoSummaries, SummaryWriter

        self._args, self._run_dir = args, run_dir
        self._model, self._optimizer = model, optimizer
        self._coder, self._class_names, self._devices = coder, class_names, devices
        self._writer = SummaryWriter(run_dir) if devices.chief else NoSummaries()
        settings = config.pick(DetectionSettings, args)
        predict = engine.make_predict(model, coder, settings)
        self._predict = devices.compiled(predict)

    def follow(self, reports, start, batches):
        """Consume the reports of all steps on `progress.Timed` batches; the exit code."""
        from blitznet.engine import catch_signals
        from blitznet.progress import TrainingProgress

        stop, step = self._args.max_iterations, start
        progress = TrainingProgress(stop, self._args.batch_size, batches)
        with catch_signals(signal.SIGINT, signal.SIGTERM) as caught:
            for report in reports:
                step = report.step
                progress.show(report)
                if step % self._args.summary_every == 0:
                    self._writer.scalars(report, progress.speed)
                due = step % self._args.save_every == 0 or step == stop
                # Looked at once: a signal that comes later waits for the next step.
                stopping = self._devices.any_worker(bool(caught)) and step < stop
                if due or stopping:
                    self._save(step)
                if stopping:
                    break
                if due:
                    self._writer.pictures(report, self._predict, self._coder, self._class_names)
        progress.finish()
        if step == stop:
            print(f"{step} steps are done: {self._run_dir}")
            return 0
        # Of several workers perhaps another one was told to stop.
        number = caught[0] if caught else signal.SIGTERM
        name = signal.Signals(number).name
        same = f"--ckpt {step / 1000:g}" if self._args.ckpt else "the same command"
        print(f"stopped by {name} at step {step}, saved; {same} goes on from there")
        return 128 + number

    def _save(self, step):
        from blitznet import checkpoints

        chief = self._devices.chief
        checkpoints.save(self._run_dir, step, self._model, self._optimizer, write=chief)


if __name__ == "__main__":
    sys.exit(main())
