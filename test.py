"""Evaluate checkpoints of a run: `python test.py --help`."""

import dataclasses
import os
import sys

from PIL import Image

import config
import paths

LINES = "1evaluations.txt"


def main(argv=None):
    """Evaluate as the flags say. Returns the exit code, 1 for errors."""
    args = config.evaluation_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    try:
        run(args)
    except tf.errors.OpError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; what is evaluated so far stays", file=sys.stderr)
        return 130
    return 0


def run(args):
    """From parsed flags to tables, a JSON and a line for each checkpoint."""
    from blitznet import checkpoints, evaluation, runs

    settings = config.pick(config.EvaluationConfig, args)
    config.validate_evaluation(settings)
    run_dir = paths.run_dir(paths.archive(args.archive), settings.run_name)
    description = runs.read_flags(run_dir)
    tasks = config.tasks(args, description["model"])
    record_set, info = open_records(args, settings, tasks["segment"], description)
    if not settings.batch_eval:
        prefix = checkpoints.find(run_dir, round(settings.ckpt * 1000) or None)
        Evaluator(args, run_dir, description, tasks, record_set, info).evaluate(prefix)
        return
    done = evaluation.evaluated_steps(run_dir / LINES, report_label(settings, info))
    if done:
        print(f"in {run_dir / LINES} already, left out: steps {', '.join(map(str, sorted(done)))}")
    steps = evaluation.choose_steps(
        checkpoints.steps(run_dir),
        done,
        round(settings.min_ckpt * 1000),
        round(settings.step * 1000),
    )
    if not steps:
        print(f"nothing to do: {run_dir / LINES} has every checkpoint that the flags ask for")
        return
    evaluator = Evaluator(args, run_dir, description, tasks, record_set, info)
    evaluate_all(evaluator, [checkpoints.find(run_dir, step) for step in steps])


def evaluate_all(evaluator, prefixes):
    """Evaluate every checkpoint; ValueError at the end with those that could not be."""
    import tensorflow as tf

    failed = {}
    for prefix in prefixes:
        try:
            evaluator.evaluate(prefix)
        except (ValueError, tf.errors.OpError) as error:
            failed[prefix] = error
            print(f"error: {prefix}: {error}", file=sys.stderr)
    if failed:
        raise ValueError(
            f"{len(failed)} of {len(prefixes)} checkpoints could not be evaluated: "
            + ", ".join(prefix.name for prefix in failed)
        )


def open_records(args, settings, segment, description):
    """`(record set, RecordsInfo)` of `--dataset` and `--split`, of the run's classes."""
    from datasets import catalog, records

    root = paths.data_root(args.data_root)
    folder = paths.records_dir(root, args.records)
    candidates = catalog.evaluation_sets(settings.dataset, settings.split, segment)
    present = [c for c in candidates if records.has_records(folder, c)]
    record_set = (present or candidates)[0]
    info = records.open_records(folder, record_set, root if args.data_root else None)
    if list(info.class_names) != description["class_names"]:
        raise ValueError(
            f"{info.name} in {folder} has the classes {', '.join(info.class_names)}; "
            f"the run has {', '.join(description['class_names'])}"
        )
    return record_set, info


def report_label(settings, info):
    """What sets the reports of an evaluation apart from others of the same run."""
    return f"{info.name}-as-trained" if settings.no_average else info.name


class Evaluator:
    """Evaluates checkpoints of one run on one set of records."""

    def __init__(self, args, run_dir, description, tasks, record_set, info):
        from blitznet import engine, runs
        from blitznet.postprocess.settings import DetectionSettings

        self._settings = config.pick(config.EvaluationConfig, args)
        self._detection = config.pick(DetectionSettings, args)
        self._run_dir, self._info, self._record_set = run_dir, info, record_set
        self._label = report_label(self._settings, info)
        self._class_names, self._tasks = description["class_names"], tasks
        self._model, coder = runs.build(description)
        self._predict = engine.make_predict(
            self._model, coder if tasks["detect"] else None, self._detection, tasks["segment"]
        )

    def evaluate(self, prefix):
        """Print the scores of a checkpoint, write them as JSON and as a line of the run's file."""
        from blitznet import checkpoints, evaluation, runs

        averaged = not self._settings.no_average
        step = checkpoints.restore(prefix, self._model, averaged)
        scores = self._scores(step)
        weights = "averaged" if averaged and checkpoints.has_average(prefix) else "as trained"
        protocol = {**self._protocol(prefix), "weights": weights}
        print(evaluation.tables(scores))
        print("protocol: " + ", ".join(f"{name} {value}" for name, value in protocol.items()))
        runs.write_json(
            self._run_dir / f"evaluation-{self._label}-{step}.json",
            {"scores": scores, "protocol": protocol},
        )
        with (self._run_dir / LINES).open("a") as file:
            print(evaluation.summary_line(step, scores, self._label), file=file)

    def _scores(self, step):
        """Scores of all pictures; the first ones are drawn."""
        from blitznet import engine, evaluation, keys
        from blitznet.progress import progress_bar
        from datasets.damage import naming_damaged
        from datasets.pipeline import evaluation_dataset

        settings, info = self._settings, self._info
        meter = evaluation.Evaluation(
            self._class_names,
            f"voc{self._record_set.year}" if self._tasks["detect"] else None,
            settings.voc_iou_thresh,
            self._tasks["segment"],
            info.ignore_label,
        )
        batches = evaluation_dataset([info], self._model.input_shape[1], settings.batch_size)
        found = engine.predictions(self._predict, naming_damaged(batches, [info]))
        bar = progress_bar(info.images, "images")
        for done, (example, prediction) in enumerate(found, start=1):
            if settings.no_seg_gt:
                example[keys.HAS_MASK] = False
            meter.add(example, prediction)
            bar.update(done)
            if done <= settings.save_first_n:
                self._draw(example, prediction, step)
        bar.finish()
        if settings.save_first_n:
            print(f"pictures: {self._pictures(step)}")
        return meter.scores()

    def _pictures(self, step):
        return self._run_dir / f"pictures-{self._label}-{step}"

    def _draw(self, example, prediction, step):
        from blitznet import evaluation, keys

        folder = self._pictures(step)
        folder.mkdir(exist_ok=True)
        picture = evaluation.draw(example, prediction, self._class_names)
        name = example[keys.FILENAME].decode().rsplit(".", 1)[0]
        Image.fromarray(picture).save(folder / f"{name}.png")

    def _protocol(self, prefix):
        """What must be known to compare the scores with others: a dict for print and JSON."""
        from blitznet import runs

        settings = self._settings
        answer = {
            "dataset": settings.dataset,
            "split": self._record_set.split,
            "records": self._info.name,
            "images": self._info.images,
        }
        if self._tasks["detect"]:
            answer["ap_rule"] = f"voc{self._record_set.year}"
            answer["iou_above"] = settings.voc_iou_thresh
            answer.update(dataclasses.asdict(self._detection))
        return {**answer, "checkpoint": str(prefix), "commit": runs.git_commit()}


if __name__ == "__main__":
    sys.exit(main())
