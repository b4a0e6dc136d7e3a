"""Evaluate checkpoints of a run: `python test.py --help`."""

import dataclasses
import os
import sys
import time

import config
import paths
from tools.flags.fields import pick
from tools.flags.network import tasks_of
from tools.flags.settings import EvaluationConfig

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
    from blitznet import checkpoints, runs
    from blitznet.follow import wait_for_run
    from blitznet.postprocess.settings import DetectionSettings
    from tools import run_records

    settings = config.evaluation_config(args)
    run_dir = paths.run_dir(paths.archive(args.archive), settings.run_name)
    if settings.follow:
        wait_for_run(run_dir, settings.timeout)
    description = runs.read_flags(run_dir)
    tasks = tasks_of(args, description["model"])
    info = run_records.evaluation_set(args, settings, tasks, description)
    detection = pick(DetectionSettings, args)
    evaluator = Evaluator(settings, detection, run_dir, description, tasks, info)
    if settings.batch_eval or settings.follow:
        evaluate_several(evaluator, run_dir, settings)
    else:
        evaluator.evaluate(checkpoints.find(run_dir, round(settings.ckpt * 1000) or None))


def evaluate_several(evaluator, run_dir, settings):
    """The checkpoints that `--batch_eval` or `--follow` asks for; ValueError if any failed."""
    from blitznet import checkpoints, evaluation_log
    from blitznet.follow import Series, follow

    done = evaluator.done()
    if done:
        print(f"{evaluator.label} has steps {', '.join(map(str, sorted(done)))} already, left out")
    series = Series(run_dir, evaluator.evaluate)
    min_step, distance = round(settings.min_ckpt * 1000), round(settings.step * 1000)
    if settings.follow:
        reason = follow(series, done, min_step, distance, settings.timeout)
        print(f"{reason}: {run_dir} is followed to its end")
    else:
        steps = evaluation_log.choose_steps(checkpoints.steps(run_dir), done, min_step, distance)
        for step in steps:
            series.add(step)
        if not steps:
            print(f"nothing to do: {run_dir} has no other checkpoint that the flags ask for")
    series.finish()


class Evaluator:
    """Evaluates checkpoints of one run on one set of records.

    Attributes:
      label: what sets its reports apart from others of the same run.
    """

    def __init__(self, settings, detection, run_dir, description, tasks, info):
        self._settings, self._detection = settings, detection
        self._run_dir, self._info, self._description = run_dir, info, description
        self._model = self._refresh = self._predict = None
        self.label = "-".join([info.name, *self._departures(tasks)])
        # COCO's test sets: all that can be done is to write what is found, for its server.
        unknown = not (info.has_boxes or info.images_with_masks)
        self._results_only = info.ap_rule == "coco" and unknown and tasks["detect"]
        detect = tasks["detect"] and (info.has_boxes or self._results_only)
        self._tasks = {**tasks, "detect": detect}
        masks = info.images_with_masks and not self._settings.no_seg_gt
        if not (detect or tasks["classify"] or (tasks["segment"] and masks)):
            raise ValueError(f"{info.name} has no ground truth for what is to be evaluated")
        self._check_flags(description["model"], tasks)
        usual = EvaluationConfig.voc_iou_thresh
        if info.ap_rule == "coco" and self._settings.voc_iou_thresh != usual:
            raise ValueError(
                f"--voc_iou_thresh has no effect on {info.name}: COCO's rule has its own"
            )
        if tasks["detect"] and not detect:
            print(f"{info.name} has masks alone: detection is left out", file=sys.stderr)

    def _check_flags(self, shape, tasks):
        """ValueError for flags that the network or its pictures' sizes exclude."""
        from blitznet.postprocess import stitch

        if self._settings.border and not tasks["segment"]:
            raise ValueError("--border is of segmentation, which is not evaluated here")
        if self._settings.shift_and_stitch:
            stitch.score_grid(shape["arch"], shape["trunk"], shape.get("geometry"))
        if shape["image_size"] is None and self._settings.strategy != "none":
            raise ValueError(
                f"--strategy {self._settings.strategy} divides batches, and this network sees "
                "pictures at their own sizes one by one: leave it out"
            )

    def _departures(self, tasks):
        """Words for the label: the flags that make other scores than their defaults would."""
        from blitznet import archs

        settings = self._settings
        words = ["as-trained"] * settings.no_average + ["no_seg_gt"] * settings.no_seg_gt
        words += [settings.precision] * (settings.precision != "float32")
        words += ["stitched"] * settings.shift_and_stitch
        words += [f"border{settings.border}"] * bool(settings.border)
        if tasks != archs.tasks(self._description["model"]):
            words += [name for name, chosen in tasks.items() if chosen]
        if not tasks["detect"]:
            return words
        values = {"voc_iou_thresh": settings.voc_iou_thresh, **dataclasses.asdict(self._detection)}
        usual = {"voc_iou_thresh": EvaluationConfig.voc_iou_thresh}
        usual.update(dataclasses.asdict(type(self._detection)()))
        return words + [f"{name}{values[name]:g}" for name in values if values[name] != usual[name]]

    def done(self):
        """Steps that are evaluated already."""
        from blitznet import evaluation_log

        if self._results_only:
            return evaluation_log.written_steps(self._run_dir, self.label)
        return evaluation_log.evaluated_steps(self._run_dir / LINES, self.label)

    def evaluate(self, prefix):
        """Print the scores of a checkpoint and write them to the run's folder."""
        from blitznet import checkpoints, evaluation_log

        if not self._model:
            self._build()
        averaged = not self._settings.no_average
        step = checkpoints.restore(prefix, self._model, averaged)
        self._refresh()
        weights = "averaged" if averaged and checkpoints.has_average(prefix) else "as trained"
        protocol = {**self._protocol(prefix), "weights": weights}
        meter = self._measure(step)
        last_picture = time.perf_counter()
        results = meter.coco_results()
        if results is not None:
            path = evaluation_log.results_path(self._run_dir, self.label, step)
            evaluation_log.write_results(path, results)
            print(f"{len(results)} detections: {path}")
        if self._results_only:
            print(f"{self._info.name} has no ground truth, so there are no scores")
        else:
            self._report(step, meter.scores(), protocol)
        print(f"{time.perf_counter() - last_picture:.1f} s after the last picture")
        text = ", ".join(f"{name} {value}" for name, value in protocol.items())
        # A log that is watched while --follow waits is complete.
        print(f"protocol: {text}", flush=True)

    def _build(self):
        """The network that checkpoints are loaded into, and its compiled prediction."""
        from blitznet import distribution, engine, inference, runs
        from blitznet.postprocess import stitch

        devices = distribution.start(self._settings.strategy)
        with devices.scope():
            self._model, coder = runs.build(self._description)
            shape = self._description["model"]
            if self._settings.shift_and_stitch:
                # Shifted pictures are larger.
                shape = {**shape, "image_size": None}
            network, self._refresh = inference.build(self._model, shape, self._settings.precision)
        if self._settings.shift_and_stitch:
            predict = stitch.make_predict(network, shape)
        else:
            coder = coder if self._tasks["detect"] else None
            predict = engine.make_predict(network, coder, self._detection, self._tasks["segment"])
        self._predict = devices.over_batch(predict)

    def _report(self, step, scores, protocol):
        """Print tables; write the JSON, TensorBoard's scalars, the mark of the best, the line."""
        from blitznet import evaluation_log, evaluation_tables, runs, summaries

        print(f"step {step} on {self.label}:\n\n{evaluation_tables.tables(scores)}")
        runs.write_json(
            self._run_dir / f"evaluation-{self.label}-{step}.json",
            {"scores": scores, "protocol": protocol},
        )
        scalars = evaluation_tables.scalars(scores, self._settings.voc_iou_thresh)
        summaries.write_scores(self._run_dir / f"eval-{self.label}", step, scalars)
        best = self._run_dir / f"best-{self.label}.json"
        mark = evaluation_log.better_mark(best, step, scores)
        if mark:
            runs.write_json(best, mark)
            print(f"best so far: {100 * mark['score']:.2f}% {mark['by']} at step {step}")
        # Last of all: what has its line counts as evaluated.
        line = evaluation_log.summary_line(step, scores, self.label)
        evaluation_log.append_line(self._run_dir / LINES, line)

    def _measure(self, step):
        """An `evaluation.Evaluation` of all pictures; the first ones are drawn."""
        from blitznet import engine, evaluation, keys
        from blitznet.progress import progress_bar
        from datasets.damage import naming_damaged
        from datasets.pipeline import evaluation_dataset

        settings, info = self._settings, self._info
        meter = evaluation.Evaluation(
            info.class_names,
            info.ap_rule if self._tasks["detect"] else None,
            settings.voc_iou_thresh,
            self._tasks["segment"],
            info.ignore_label,
            info.category_ids,
            border=settings.border,
            classify=self._tasks["classify"],
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
        return meter

    def _pictures(self, step):
        return self._run_dir / f"pictures-{self.label}-{step}"

    def _draw(self, example, prediction, step):
        from blitznet import evaluation_pictures, keys

        folder = self._pictures(step)
        folder.mkdir(exist_ok=True)
        # The name of a user's own picture may hold folders.
        name = example[keys.FILENAME].decode().rsplit(".", 1)[0].replace("/", "_")
        for ending, file in evaluation_pictures.pictures(
            example, prediction, self._info.class_names
        ).items():
            partial = folder / f".{name}{ending}.partial"
            partial.write_bytes(file)
            partial.replace(folder / f"{name}{ending}")

    def _protocol(self, prefix):
        """What must be known to compare the scores with others: a dict for print and JSON."""
        from blitznet import runs

        settings, rule = self._settings, self._info.ap_rule
        answer = {
            "dataset": settings.dataset,
            "split": self._info.split,
            "records": self._info.name,
            "images": self._info.images,
            "precision": settings.precision,
        }
        if settings.shift_and_stitch:
            answer["upsampling"] = "shift-and-stitch"
        if self._tasks["detect"]:
            answer["ap_rule"] = rule
            if rule == "coco":
                answer["iou_from"] = "0.50:0.05:0.95"
            else:
                answer["iou_above"] = settings.voc_iou_thresh
            answer.update(dataclasses.asdict(self._detection))
        return {**answer, "checkpoint": str(prefix), "commit": runs.git_commit()}


if __name__ == "__main__":
    sys.exit(main())
