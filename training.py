"""Train BlitzNet: `python training.py --help`."""

import dataclasses
import os
import signal
import sys
import time

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
    except (OSError, ValueError, NonFiniteLoss) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def run(args):
    """From parsed flags to a trained run; the exit code."""
    from tensorflow import keras

    from blitznet import engine, optim, runs

    model_config = config.model_config(args)
    inputs = config.pick(config.InputConfig, args)
    optimisation = config.pick(config.OptimConfig, args)
    settings = config.pick(config.RunConfig, args)
    config.validate_training(model_config, inputs, optimisation, settings)

    keras.utils.set_random_seed(inputs.seed)
    record_sets = open_records(args, inputs, model_config)
    run_dir = paths.run_dir(paths.archive(args.archive), settings.run_name)
    description = runs.describe(
        dataclasses.asdict(model_config), record_sets[0].class_names, vars(args)
    )
    check_same_network(run_dir, description)
    model, coder = runs.build(
        description, weight_decay=optimisation.weight_decay, bn_decay=optimisation.bn_decay
    )
    optimizer = optim.build_optimizer(optimisation.optimizer, model)
    start = starting_step(run_dir, settings, model, optimizer)
    runs.write_flags(run_dir, description)

    batches = make_batches(record_sets, inputs, model, coder, start)
    reports = engine.train(
        engine.make_train_step(model, optimizer),
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
    recorder = Recorder(args, run_dir, model, optimizer, coder, description["class_names"])
    return recorder.follow(reports, start)


def open_records(args, inputs, model_config):
    """The record sets of `--dataset`, checked to be of the same classes, and described."""
    from datasets import catalog, records

    folder = paths.records_dir(paths.data_root(args.data_root), args.records)
    sets = catalog.training_sets(inputs.dataset, inputs.split)
    opened = [records.open_records(folder, record_set) for record_set in sets]
    for other in opened[1:]:
        if other.class_names != opened[0].class_names:
            raise ValueError(
                f"{other.name} and {opened[0].name} in {folder} have different classes: "
                f"{other.class_names} and {opened[0].class_names}"
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


def check_same_network(run_dir, description):
    """Refuse to go on with a run whose checkpoints hold another network or other classes."""
    from blitznet import checkpoints, runs

    if not checkpoints.steps(run_dir):
        return
    changed = runs.differences(runs.read_flags(run_dir), description)
    if changed:
        lines = [f"  {name}: was {old}, is {new}" for name, (old, new) in sorted(changed.items())]
        raise ValueError(
            f"{run_dir} has checkpoints of another network; take another --run_name, or the "
            "same flags:\n" + "\n".join(lines)
        )


def starting_step(run_dir, settings, model, optimizer):
    """Load what the run starts from; the number of steps done."""
    from blitznet import checkpoints

    wanted = round(settings.ckpt * 1000) or None
    if wanted or checkpoints.steps(run_dir):
        checkpoint = checkpoints.find(run_dir, wanted)
        step = checkpoints.restore(checkpoint, model, optimizer)
        print(f"going on from {checkpoint}")
        if settings.init_from:
            print("--init_from is left out of account: the run has checkpoints", file=sys.stderr)
        return step
    if settings.init_from:
        loaded, skipped = checkpoints.init_from(settings.init_from, model)
        print(f"{settings.init_from}: {len(loaded)} variables taken over")
        if skipped:
            print(f"  own values kept in {len(skipped)}: {', '.join(skipped)}")
    elif not settings.random_trunk_init:
        raise ValueError(
            "there are no pre-trained trunk weights to start from: give --init_from PREFIX of a "
            "checkpoint, or --random_trunk_init to start from random weights"
        )
    return 0


def make_batches(record_sets, inputs, model, coder, start):
    """The training batches from step `start` on."""
    from blitznet.models.blitznet import segmentation_side
    from datasets.pipeline import TrainingInput, training_dataset

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
    return training_dataset(record_sets, settings, start)


class Recorder:
    """Follows training: progress line, summaries, checkpoints, signals."""

    def __init__(self, args, run_dir, model, optimizer, coder, class_names):
        from blitznet import engine
        from blitznet.postprocess.detection import DetectionSettings
        from blitznet.summaries import SummaryWriter

        self._args, self._run_dir = args, run_dir
        self._model, self._optimizer = model, optimizer
        self._coder, self._class_names = coder, class_names
        self._writer = SummaryWriter(run_dir)
        chosen = dataclasses.asdict(config.pick(config.DetectionConfig, args))
        self._predict = engine.make_predict(model, coder, DetectionSettings(**chosen))

    def follow(self, reports, start):
        """Consume the reports of all steps; the exit code."""
        from blitznet.engine import catch_signals

        stop, step = self._args.max_iterations, start
        if start >= stop:
            print(f"nothing to do: {start} steps are done, --max_iterations is {stop}")
            return 0
        progress = Progress(stop, self._args.batch_size)
        with catch_signals(signal.SIGINT, signal.SIGTERM) as caught:
            for report in reports:
                step = report.step
                progress.show(report)
                if step % self._args.summary_every == 0:
                    self._writer.scalars(report, progress.images_per_second)
                if step % self._args.save_every == 0 or step == stop or caught:
                    self._save(report)
                if caught:
                    break
        progress.finish()
        if not caught:
            print(f"{step} steps are done: {self._run_dir}")
            return 0
        name = signal.Signals(caught[0]).name
        print(f"stopped by {name} at step {step}, saved; the same command goes on from there")
        return 128 + caught[0]

    def _save(self, report):
        from blitznet import checkpoints

        checkpoints.save(self._run_dir, report.step, self._model, self._optimizer)
        self._writer.pictures(report, self._predict, self._coder, self._class_names)


class Progress:
    """The progress line; its rate leaves the first step out, which compiles the graph."""

    def __init__(self, stop, batch_size):
        self._stop, self._batch_size = stop, batch_size
        self._bar = None
        self.images_per_second = 0.0

    def show(self, report):
        """Show a step's losses and rate."""
        import progressbar

        from blitznet.progress import progress_bar

        if self._bar is None:
            self._first, self._began = report.step, time.monotonic()
            self._text = progressbar.FormatCustomText("%(text)s", {"text": ""})
            total = (self._stop - report.step) * self._batch_size
            self._bar = progress_bar(total, "images", self._text).start()
        images = (report.step - self._first) * self._batch_size
        self.images_per_second = images / max(time.monotonic() - self._began, 1e-9)
        losses = " ".join(f"{name} {value:.3f}" for name, value in report.losses.items())
        line = f"step {report.step}/{self._stop} {losses} rate {report.rate:.1e}"
        self._text.update_mapping(text=line)
        self._bar.update(images)

    def finish(self):
        """Leave the last line standing."""
        if self._bar:
            self._bar.finish(dirty=True)


if __name__ == "__main__":
    sys.exit(main())
