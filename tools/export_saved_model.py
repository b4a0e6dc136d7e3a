"""Export a checkpoint for a runtime: `python -m tools.export_saved_model --help`."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import config
import paths
from blitznet.export.formats import (
    FORMATS,
    POSTPROCESS,
    PRECISIONS,
    check_installed,
    check_precision,
)
from tools.export_side import add_side_flag, of_one_side
from tools.flags.fields import number_in, pick

_POSITIVE_INT = number_in(1, kind=int)


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.export_saved_model",
        description="Write a checkpoint with its pre- and post-processing as a SavedModel, or "
        "for another runtime, DIR/STEP, and verify it there in a process without this project.",
        epilog="example: python -m tools.export_saved_model --run_name first --ckpt 65 "
        "--output exported/first",
    )
    config.add_run_flags(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="gets a folder STEP")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing DIR/STEP")
    _add_format_flags(parser)
    config.add_detection_flags(parser)
    config.add_path_flags(parser)
    return parser


def _add_format_flags(parser):
    group = parser.add_argument_group("format")
    group.add_argument(
        "--format",
        choices=FORMATS,
        default="savedmodel",
        help="savedmodel: batches of files or arrays of any size. The others take one picture, "
        "images float32 [1, S, S, 3], RGB in 0..255 (default: %(default)s)",
    )
    group.add_argument(
        "--postprocess",
        choices=POSTPROCESS,
        default="nms",
        help="nms: detections. none: class_scores and decoded_boxes of every prior box, for NMS "
        "elsewhere (default: %(default)s)",
    )
    add_side_flag(group)
    have = "; ".join(f"{name}: {', '.join(each.precisions)}" for name, each in FORMATS.items())
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help=f"how weights are stored; int8 computes in 8 bits too. {have} (default: %(default)s)",
    )
    group.add_argument(
        "--calibration",
        metavar="RECORDS.json|FOLDER",
        help="with --format onnx --precision int8: pictures like those to come, whose "
        "activations set the 8-bit scales",
    )
    group.add_argument(
        "--calibration_pictures",
        type=_POSITIVE_INT,
        default=100,
        metavar="N",
        help="the first N of them (default: %(default)s)",
    )
    group.add_argument(
        "--evaluate",
        metavar="RECORDS.json",
        help="score the export and the network as it is on these pictures, and tell the loss",
    )


def main(argv=None):
    """Export and verify; the exit code, 1 for errors and for an export that answers wrongly."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Both sides of the comparison on the processor: they would contend for a GPU's memory.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow as tf

    try:
        validate(args)
        target = export(args)
    except tf.errors.OpError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"PASS: {target}")
    return 0


def validate(args):
    """Refuse flags that do not go together.

    Raises:
      ValueError: names them.
      ImportError: the format's packages are missing; names the extra.
    """
    check_precision(args.format, args.precision)
    calibrated = (args.format, args.precision) == ("onnx", "int8")
    if calibrated and not args.calibration:
        raise ValueError("--format onnx --precision int8 needs --calibration RECORDS.json|FOLDER")
    if args.calibration and not calibrated:
        raise ValueError("--calibration goes with --format onnx --precision int8 alone")
    if args.evaluate and args.postprocess == "none":
        raise ValueError("--evaluate needs detections: leave --postprocess none out")
    if args.side and args.format == "savedmodel":
        raise ValueError(
            "--side goes with the other formats: a SavedModel takes pictures of any size"
        )
    check_installed(args.format)


def export(args):
    """Write, verify, evaluate, then move into place; the folder of the version."""
    from blitznet import runs
    from blitznet.export.content import Content
    from blitznet.postprocess.settings import DetectionSettings
    from tools import export_check

    run_dir = paths.run_dir(paths.archive(args.archive), args.run_name)
    runs.refuse_classifier(run_dir)
    model, coder, description, step = runs.load(run_dir, round(args.ckpt * 1000) or None)
    target = Path(args.output) / str(step)
    if target.exists() and not args.overwrite:
        raise FileExistsError(f"{target} exists: --overwrite replaces it")
    if coder is None and args.postprocess == "none":
        raise ValueError(f"--postprocess none is of detection, and {run_dir} does not detect")
    class_names = tuple(description["class_names"])
    settings = pick(DetectionSettings, args)
    run = Content(model, description["model"], coder, settings, class_names, args.postprocess)
    content = run if args.format == "savedmodel" else of_one_side(run, args.side)
    info, calibration = read_pictures(args, content)

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent) as scratch:
        partial = Path(scratch) / target.name
        content.write(args.format, args.precision, partial, calibration)
        live = content.with_weights(args.precision)
        if args.format == "savedmodel":
            export_check.verify_saved_model(partial, live, Path(scratch))
        else:
            export_check.verify_file(args.format, args.precision, partial, live, calibration)
        if info:
            print(evaluate(args, partial, run, content, info))
        elif args.precision == "int8":
            print("what 8 bits cost was not measured: --evaluate RECORDS.json tells the loss")
        if target.exists():
            target.rename(Path(scratch) / "replaced")
        partial.rename(target)
    return target


def read_pictures(args, content):
    """`(RecordsInfo of --evaluate, pictures of --calibration)`, None for what is not asked for.

    Read before anything is made, so that a wrong path is told at once.
    """
    from tools import export_pictures

    info = calibration = None
    if args.evaluate:
        info = export_pictures.open_records(args.evaluate, content.class_names)
    if args.calibration:
        calibration = export_pictures.calibration_pictures(
            args.calibration, content.side, args.calibration_pictures, content.class_names
        )
    return info, calibration


def evaluate(args, folder, run, content, info):
    """Table of the scores on `info` of the run's own network, float32, and of the export.

    `run`, `content`: what the run holds, and what was exported of it into `folder`.
    """
    from tabulate import tabulate

    from tools import export_pictures
    from tools.export_check import arrays
    from tools.runtimes import Runtime

    tasks = run.coder is not None, run.segments

    def live(encoded, _):
        return arrays(run.functions.from_bytes([encoded]))

    before = export_pictures.scores(info, run.side, live, *tasks)
    with Runtime(args.format, folder) as runtime:

        def exported(encoded, images):
            if args.format == "savedmodel":
                return runtime.answer(image_bytes=export_pictures.as_bytes(encoded))
            return runtime.answer(images=images)

        after = export_pictures.scores(info, content.side, exported, *tasks)
    headers = (f"{info.name}, {info.images} pictures", "network", args.precision, "change")
    rows = export_pictures.loss_rows(before, after)
    return tabulate(rows, headers, tablefmt="orgtbl", floatfmt=("", ".4f", ".4f", "+.4f"))


if __name__ == "__main__":
    sys.exit(main())
