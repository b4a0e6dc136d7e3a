"""A run in every format and precision beside one another: see `--help`."""

import argparse
import dataclasses
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from tabulate import tabulate

import config
import paths
from blitznet.export.formats import FORMATS, check_installed
from tools.export_check import arrays, as_input, probe_pictures
from tools.export_side import add_side_flag, of_one_side
from tools.flags.fields import number_in
from tools.runtimes import Runtime

_COUNT = number_in(1, kind=int)
_WARMUP = 3
_HEADS = ("format", "precision", "MB", "scores", "boxes", "pixels", "NMS ms", "x", "no NMS ms", "x")
_DIGITS = ("", "", ".1f", ".0e", ".0e", ".2%", ".1f", ".2f", ".1f", ".2f")
_EXPLANATION = """\
MB: of the export. scores, boxes: largest error against the network, without NMS. pixels: that get
another class. ms: median of a call with one picture, with NMS (where the network detects) and
without; x: times as fast as the SavedModel, both called by turns."""


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare_runtimes",
        description="Export a run in every format and precision to a temporary folder, and print "
        "a table of sizes, errors and times.",
        epilog="example: python -m tools.compare_runtimes --run_name first --variants "
        "savedmodel:bfloat16 tflite:int8",
    )
    config.add_run_flags(parser)
    parser.add_argument(
        "--variants",
        nargs="+",
        type=variant,
        default=variants(),
        metavar="FORMAT:PRECISION",
        help="which (default: all, but those whose packages are not installed)",
    )
    parser.add_argument(
        "--pictures",
        metavar="RECORDS.json|FOLDER",
        help="what errors are measured on and int8 is calibrated with (default: drawn ones)",
    )
    add = parser.add_argument
    add("--count", type=_COUNT, default=8, metavar="N", help="the first N (default: %(default)s)")
    add("--calls", type=_COUNT, default=20, metavar="N", help="that are timed, of each export")
    add_side_flag(parser)
    config.add_path_flags(parser)
    return parser


def variants():
    """Every `(format, precision)`."""
    return [(name, each) for name, format in FORMATS.items() for each in format.precisions]


def variant(text):
    """`(format, precision)` for "format:precision"."""
    pair = tuple(text.split(":"))
    if pair not in variants():
        there = ", ".join(":".join(each) for each in variants())
        raise argparse.ArgumentTypeError(f"no {text}; there: {there}")
    return pair


def main(argv=None):
    """Compare and print; the exit code, 1 for errors, of a single variant as well."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        content, pictures = read(args)
        wanted = available(args.variants)
        with tempfile.TemporaryDirectory() as scratch:
            rows = compare(content, wanted, pictures, args.calls, Path(scratch))
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    alignment = ["left", "left", *["right"] * (len(_HEADS) - 2)]
    print(tabulate(rows, _HEADS, "github", _DIGITS, colalign=alignment if rows else None))
    print(_EXPLANATION)
    return 0 if len(rows) == len(wanted) else 1


def read(args):
    """`(Content, pictures)`: uint8 `[1, S, S, 3]` each."""
    from blitznet import runs
    from blitznet.export.content import Content
    from blitznet.postprocess.settings import DetectionSettings
    from tools import export_pictures

    run_dir = paths.run_dir(paths.archive(args.archive), args.run_name)
    runs.refuse_classifier(run_dir)
    model, coder, description, _ = runs.load(run_dir, round(args.ckpt * 1000) or None)
    names = tuple(description["class_names"])
    run = Content(model, description["model"], coder, DetectionSettings(), names)
    content = of_one_side(run, args.side)
    if args.pictures:
        pictures = export_pictures.calibration_pictures(
            args.pictures, content.side, args.count, names
        )
    else:
        pictures = [as_input(each, content.side) for each in probe_pictures()]
    # Whole numbers, so that those who take bytes and those who take floats see the same.
    return content, [np.uint8(np.rint(picture)) for picture in pictures]


def available(wanted):
    """Those of `wanted` whose packages are installed; tells which are left out, and why."""
    kept = []
    for name, precision in wanted:
        try:
            check_installed(name)
            kept.append((name, precision))
        except ImportError as error:
            print(f"left out: {error}", flush=True)
    return kept


def compare(content, wanted, pictures, calls, scratch):
    """Rows of the table, one for each `(format, precision)` of `wanted`.

    One that cannot be made or run has no row; why goes to standard error.

    Args:
      content: a `blitznet.export.content.Content`.
      pictures: uint8 `[1, S, S, 3]` each.
      calls: that are timed.
      scratch: an existing folder for the exports.
    """
    forms = {"none": dataclasses.replace(content, postprocess="none")}
    if content.coder is not None:
        forms["nms"] = content
    live = [arrays(forms["none"].functions.from_images(picture)) for picture in pictures]
    for name, form in forms.items():
        form.write("savedmodel", "float32", scratch / name)
    rows = []
    for name, precision in wanted:
        try:
            rows.append(row(forms, name, precision, pictures, live, calls, scratch))
            print(tabulate(rows[-1:], tablefmt="plain", floatfmt=_DIGITS), flush=True)
        except (ValueError, RuntimeError) as error:
            print(f"error: {name} {precision}: {error}", file=sys.stderr)
    return rows


def row(forms, name, precision, pictures, live, calls, scratch):
    """What the table says of one variant.

    `forms`: the network without NMS, and with it where it detects, whose SavedModels lie in
    `scratch`; `live`: what the first answers for each of `pictures`. Raises as `Content.write`,
    and RuntimeFailed.
    """
    floats = [np.float32(picture) for picture in pictures]
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        folders = {form: Path(folder) / form / "1" for form in forms}
        for form, content in forms.items():
            content.write(name, precision, folders[form], floats)
        result = [
            name,
            precision,
            megabytes(folders.get("nms", folders["none"])),
            *errors(name, folders, pictures, live),
        ]
        for form in ("nms", "none"):
            times = (None, None)
            if form in forms:
                times = time_by_turns(name, folders[form], scratch / form, pictures[0], calls)
            result += times
    return result


def megabytes(folder):
    """Size of all files below a folder, in millions of bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def errors(name, folders, pictures, live):
    """Largest errors of scores and of boxes, share of pixels that differ; None without them."""
    apart = {"class_scores": [], "decoded_boxes": [], "semantic_classes": []}
    with Runtime(name, folders["none"]) as runtime:
        for picture, expected in zip(pictures, live):
            found = runtime.answer(images=as_taken(name, picture))
            for output, value in expected.items():
                apart[output].append(np.abs(found[output] - np.float64(value)))
    scores, boxes, classes = apart.values()
    return [
        np.max(scores) if scores else None,
        np.max(boxes) if boxes else None,
        np.mean(np.array(classes) > 0) if classes else None,
    ]


def time_by_turns(name, folder, reference, picture, calls):
    """`(ms, times as fast)`: the median of an export, and against the SavedModel `reference`."""
    with Runtime("savedmodel", reference) as its, Runtime(name, folder) as own:
        pairs = []
        for _ in range(_WARMUP + calls):
            pairs += [
                own.time(1, images=as_taken(name, picture))
                + its.time(1, images=as_taken("savedmodel", picture))
            ]
    seconds, of_reference = np.median(pairs[_WARMUP:], axis=0)
    return [seconds * 1e3, of_reference / seconds]


def as_taken(name, picture):
    """uint8 pixels as a format takes them."""
    return picture if name == "savedmodel" else np.float32(picture)


if __name__ == "__main__":
    sys.exit(main())
