"""Evaluate checkpoints of a run: `python test.py --help`."""

import dataclasses
import os
import sys

import config
import paths


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
    return 0


def run(args):
    """From parsed flags to tables, a JSON and a line for each checkpoint."""
    from blitznet import checkpoints, engine, evaluation, runs
    from blitznet.postprocess.detection import DetectionSettings

    settings = config.pick(config.EvaluationConfig, args)
    config.validate_evaluation(settings)
    run_dir = paths.run_dir(paths.archive(args.archive), settings.run_name)
    description = runs.read_flags(run_dir)
    tasks = config.tasks(args, description["model"])
    record_set, info = open_records(args, settings, tasks["segment"], description)

    lines = run_dir / "1evaluations.txt"
    steps = [round(settings.ckpt * 1000) or None]
    if settings.batch_eval:
        steps = evaluation.choose_steps(
            checkpoints.steps(run_dir),
            evaluation.evaluated_steps(lines, info.name),
            settings.min_ckpt * 1000,
            settings.step * 1000,
        )
    prefixes = [checkpoints.find(run_dir, step) for step in steps]
    if not prefixes:
        print(f"nothing to do: {lines} has every checkpoint that the flags ask for")
        return
    model, coder = runs.build(description)
    detection = DetectionSettings(**dataclasses.asdict(config.pick(config.DetectionConfig, args)))
    predict = engine.make_predict(model, coder if tasks["detect"] else None, detection)
    for prefix in prefixes:
        step = checkpoints.restore(prefix, model)
        meter = evaluation.Evaluation(
            description["class_names"],
            f"voc{record_set.year}" if tasks["detect"] else None,
            settings.voc_iou_thresh,
            tasks["segment"] and not settings.no_seg_gt,
            info.ignore_label,
        )
        evaluate(predict, meter, model, info, settings, description, run_dir, step)
        report(
            meter.scores(),
            protocol(settings, record_set, info, detection, prefix),
            run_dir / f"evaluation-{info.name}-{step}.json",
        )
        with lines.open("a") as file:
            print(evaluation.summary_line(step, meter.scores(), info.name), file=file)


def open_records(args, settings, segment, description):
    """`(record set, RecordsInfo)` of `--dataset` and `--split`, of the run's classes."""
    from datasets import catalog, records

    folder = paths.records_dir(paths.data_root(args.data_root), args.records)
    candidates = catalog.evaluation_sets(settings.dataset, settings.split, segment)
    present = [c for c in candidates if records.has_records(folder, c)]
    record_set = (present or candidates)[0]
    info = records.open_records(folder, record_set)
    if list(info.class_names) != description["class_names"]:
        raise ValueError(
            f"{info.name} in {folder} has the classes {', '.join(info.class_names)}; "
            f"the run has {', '.join(description['class_names'])}"
        )
    return record_set, info


def evaluate(predict, meter, model, info, settings, description, run_dir, step):
    """Feed all pictures to `meter`, drawing the first ones."""
    from blitznet import engine, evaluation, keys
    from blitznet.opencv import cv2
    from blitznet.progress import progress_bar
    from datasets.pipeline import evaluation_dataset

    batches = evaluation_dataset([info], model.input_shape[1], settings.batch_size)
    folder = run_dir / f"pictures-{info.name}-{step}"
    if settings.save_first_n:
        folder.mkdir(exist_ok=True)
    bar = progress_bar(info.images, "images").start()
    for done, (example, prediction) in enumerate(engine.predictions(predict, batches), start=1):
        meter.add(example, prediction)
        bar.update(done)
        if done <= settings.save_first_n:
            picture = evaluation.draw(example, prediction, description["class_names"])
            name = example[keys.FILENAME].decode().rsplit(".", 1)[0]
            cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1])
    bar.finish()
    if settings.save_first_n:
        print(f"pictures: {folder}")


def protocol(settings, record_set, info, detection, prefix):
    """What must be known to compare the scores with others: a dict for print and JSON."""
    from blitznet import runs

    return {
        "dataset": settings.dataset,
        "split": record_set.split,
        "records": info.name,
        "images": info.images,
        "ap_rule": f"voc{record_set.year}",
        "iou_above": settings.voc_iou_thresh,
        **dataclasses.asdict(detection),
        "checkpoint": str(prefix),
        "commit": runs.git_commit(),
    }


def report(scores, protocol, path):
    """Print the tables and the protocol line; write both to `path`."""
    from blitznet import evaluation, runs

    print(evaluation.tables(scores))
    print("protocol: " + ", ".join(f"{name} {value}" for name, value in protocol.items()))
    runs.write_json(path, {"scores": scores, "protocol": protocol})


if __name__ == "__main__":
    sys.exit(main())
