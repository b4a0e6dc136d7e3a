"""The main job on a drawn data set, end to end: `make quickstart`."""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tabulate import tabulate

import paths
from blitznet.opencv import cv2
from blitznet.visualize import contact_sheet

RUN = "quickstart"
GOAL = 0.6
_SHEET_COLUMNS = 3
_SHEET_PICTURES = 12


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.quickstart",
        description="Draw a data set, encode it, train, evaluate on held-out pictures, export.",
    )
    add = parser.add_argument
    add(
        "--output",
        default="quickstart",
        metavar="DIR",
        help="gets everything (default: quickstart)",
    )
    add("--train", type=int, default=2000, metavar="N", help="pictures to train on")
    add("--val", type=int, default=100, metavar="N", help="held-out pictures")
    add("--steps", type=int, default=1400, metavar="N", help="training steps; fewer miss the goal")
    return parser


def data_commands(output, train, val):
    """What draws and encodes the data, `[(what it does, arguments of python)]`."""
    data = output / "data"
    places = ["--data_root", data]
    encode = ["-m", "tools.encode_voc", "--year", "12", "--segmentation", "--overwrite", *places]
    encode += ["--label_map", data / "label_map.pbtxt"]
    return [
        (
            "draw the pictures",
            ["-m", "tools.quickstart_data", *places, "--train", train, "--val", val, "--overwrite"],
        ),
        ("encode for training", [*encode, "--split", "train"]),
        ("encode for evaluation", [*encode, "--split", "val"]),
    ]


def run_commands(output, run, steps, *flags):
    """What trains and evaluates a run on that data; `flags` of `training.py` win over its own."""
    places = ["--run_name", run, "--dataset", "voc12", "--data_root", output / "data"]
    places += ["--archive", output / "archive"]
    network = "--image_size 128 --trunk resnet18_half --x4 --top_fm 128 --n_base_channels 32"
    recipe = f"--batch_size 8 --learning_rate 1e-3 --lr_decay {steps * 5 // 7}"
    recipe += f" --augmentation none --random_trunk_init --max_iterations {steps}"
    train = ["training.py", *places, "--split", "train", *network.split(), *recipe.split()]
    return [
        ("train", [*train, *flags]),
        ("evaluate", ["test.py", *places, "--split", "val", "--save_first_n", _SHEET_PICTURES]),
    ]


def commands(output, train, val, steps):
    """The entry points with their flags, `[(what it does, arguments of python)]`."""
    export = ["-m", "tools.export_saved_model", "--run_name", RUN, "--overwrite"]
    export += ["--archive", output / "archive", "--output", output / "exported"]
    return [
        *data_commands(output, train, val),
        *run_commands(output, RUN, steps),
        ("export", export),
    ]


def main(argv=None):
    """Run all steps; the exit code: that of the step that failed, 1 where the goal is missed."""
    args = build_parser().parse_args(argv)
    output = Path(args.output).absolute()
    # An earlier run would be gone on with, and its time not counted.
    shutil.rmtree(output / "archive" / RUN, ignore_errors=True)
    times = []
    for number, (what, command) in enumerate(
        commands(output, args.train, args.val, args.steps), start=1
    ):
        began = time.monotonic()
        status = call(f"[{number}] {what}", command)
        if status:
            return status
        times.append((what, (time.monotonic() - began) / 60))
    return summarise(output, times)


def call(what, command):
    """Print and run a command of this Python; the exit code, also told where it is not 0."""
    words = [str(word) for word in command]
    print(f"\n{what}\n    python {shlex.join(words)}", flush=True)
    status = subprocess.call([sys.executable, *words], cwd=paths.CHECKOUT)
    if status:
        print(f"error: this step failed with exit code {status}: {what}", file=sys.stderr)
    return status if status >= 0 else 1


def summarise(output, times):
    """Print times, scores and where the pictures are; 1 where a score is below the goal."""
    run_dir = output / "archive" / RUN
    report = max(run_dir.glob("evaluation-*.json"), key=lambda path: path.stat().st_mtime)
    scores = json.loads(report.read_text())["scores"]
    folder = max(run_dir.glob("pictures-*"), key=lambda path: path.stat().st_mtime)
    # Beside each panel lie class maps, which are not for people.
    panels = [path for path in sorted(folder.glob("*.png")) if not path.match("*-classes.png")]
    sheet = output / "predictions.png"
    pictures = [cv2.imread(str(path)) for path in panels]
    cv2.imwrite(str(sheet), contact_sheet(pictures, _SHEET_COLUMNS))

    total = sum(minutes for _, minutes in times)
    print("\n" + tabulate([*times, ("all", total)], ("step", "minutes"), floatfmt=".1f"))
    rows = [("mAP", scores["map"]), ("mIoU", scores["miou"])]
    print("\n" + tabulate(rows, (f"{scores['images']} held-out pictures", ""), floatfmt=".3f"))
    print(f"\npictures: {sheet}\nexported: {output / 'exported'}\nrun: {run_dir}")
    missed = [name for name, score in rows if (score or 0) < GOAL]
    if missed:
        print(f"error: {' and '.join(missed)} below {GOAL}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
