"""DetNet-59, the classifiers and the FCNs trained and scored beside one another: see `--help`."""

import argparse
import json
import shlex
import shutil
import sys
import time
from pathlib import Path

from tabulate import tabulate

from blitznet.opencv import cv2
from blitznet.visualize import contact_sheet
from tools import quickstart
from tools.flags.fields import POSITIVE
from tools.systems import FINER_MARGIN, MARGIN, SYSTEMS

BORDER = 5
RESULT = "system.json"
_FINER_AT_BORDERS = (("fcn8s", "fcn32s"), ("voc-fcn8s", "voc-fcn32s"))
_TRAIN, _VAL = 2000, 100
_ON_SHEET = 4


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare_systems",
        description="Train DetNet-59, the classifiers and the FCNs from random weights (the finer "
        "FCNs from the coarser), score each after its first step and after its last, and print a "
        "table. Systems that are done are not done again. The exit code is 1 where one has not "
        f"risen above its start by its margin ({MARGIN} of mAP, mIoU and top-1, of those that it "
        f"has; {FINER_MARGIN} for an FCN that starts from a coarser one), or FCN-8s is not better "
        f"than FCN-32s within {BORDER} px of borders by {FINER_MARGIN}. VOC's are scored on the "
        "pictures that they are trained on.",
    )
    add = parser.add_argument
    add("--output", default="systems", metavar="DIR", help="gets everything (default: systems)")
    add("--data_root", metavar="DIR", help="of VOC 2012; without, its systems are left out")
    add("--scale", type=POSITIVE, default=1.0, metavar="X", help="times the steps (default: 1)")
    add(
        "--systems",
        nargs="+",
        choices=tuple(SYSTEMS),
        metavar="NAME",
        help=f"which of {', '.join(SYSTEMS)}, with those that they begin with (default: all)",
    )
    return parser


def main(argv=None):
    """Train, score and compare; the exit code."""
    args = build_parser().parse_args(argv)
    output = Path(args.output).absolute()
    names = with_starts(args.systems or list(SYSTEMS))
    if not args.data_root:
        names = [name for name in names if SYSTEMS[name].data != "voc"]
        print("VOC's systems are left out: --data_root DIR says where VOCdevkit lies")
    status = make_data(output, args.data_root, {SYSTEMS[name].data for name in names})
    for name in names:
        status = status or train_and_score(output, name, args.scale)
    if status:
        return status
    rows = {name: result(output, name, args.scale) for name in names}
    print("\n" + table(rows))
    for fine, coarse in _FINER_AT_BORDERS:
        if fine in rows and coarse in rows:
            print(f"\n{coarse} and {fine}: {draw_sheet(output, (coarse, fine))}")
    failed = failures(rows)
    for text in failed:
        print(f"error: {text}", file=sys.stderr)
    return 1 if failed else 0


def with_starts(names):
    """The systems `names` and those that they begin with, in the order of `SYSTEMS`."""
    wanted = set(names)
    for name in reversed(SYSTEMS):
        if name in wanted and SYSTEMS[name].start:
            wanted.add(SYSTEMS[name].start)
    return [name for name in SYSTEMS if name in wanted]


def make_data(output, data_root, kinds):
    """Draw and encode what is not there yet; the exit code."""
    for kind in sorted(kinds):
        done = output / f"{kind}.done"
        if done.is_file():
            continue
        for what, command in data_commands(output, data_root, kind):
            status = quickstart.call(what, command)
            if status:
                return status
        done.touch()
    return 0


def data_commands(output, data_root, kind):
    """What makes one kind of data, `[(what it does, arguments of python)]`."""
    records = ["--records", output / f"{kind}-records"]
    if kind == "drawn":
        return quickstart.data_commands(output, _TRAIN, _VAL)
    if kind == "voc":
        encode = ["-m", "tools.encode_voc", "--year", "12", "--split", "train", "--segmentation"]
        where = ["--data_root", Path(data_root).absolute()]
        return [("encode VOC", [*encode, *where, *records, "--overwrite"])]
    folder = output / "classes"
    draw = ["-m", "tools.classification_data", "--output", folder, "--overwrite"]
    encode = ["-m", "tools.encode_folder", *records, "--overwrite"]
    return [
        ("draw the classes", [*draw, "--train", 1200, "--val", 240]),
        *(
            (f"encode the classes, {split}", [*encode, "--root", folder / split, "--name", name])
            for split, name in (("train", "classes-train"), ("val", "classes-val"))
        ),
    ]


def steps_of(system, scale):
    """Training steps of a system: more than the first, after which it is scored."""
    return max(2, round(system.steps * scale))


def commands(output, name, scale):
    """What trains and scores a system, `[(what it does, arguments of python)]`."""
    system, steps = SYSTEMS[name], steps_of(SYSTEMS[name], scale)
    run = ["--run_name", name, "--archive", output / "archive"]
    flags = shlex.split(system.flags)
    rate = flags[flags.index("--learning_rate") + 1]
    recipe = ["--warmup_lr", rate, "--lr_decay", max(2, steps * 5 // 7), "--augmentation", "none"]
    start = ["--random_trunk_init"]
    if system.start:
        last = steps_of(SYSTEMS[system.start], scale)
        start = ["--init_from", output / "archive" / system.start / f"model.ckpt-{last}"]
    train = ["training.py", *run, *flags, *recipe, *_data_flags(output, system.data, "train")]
    score = ["test.py", *run, *_data_flags(output, system.data, "val")]
    score += [] if system.data == "classes" else ["--border", BORDER, "--save_first_n", 12]
    return [
        (f"{name}: the first step", [*train, *start, "--max_iterations", 1]),
        (f"{name}: its score", score),
        (f"{name}: train", [*train, "--max_iterations", steps]),
        (f"{name}: score", score),
    ]


def _data_flags(output, data, split):
    if data == "drawn":
        return ["--dataset", "voc12", "--data_root", output / "data", "--split", split]
    if data == "voc":
        return ["--dataset", "voc12", "--records", output / "voc-records", "--split", "train"]
    which = "--train_records" if split == "train" else "--eval_records"
    return ["--dataset", "custom", which, output / "classes-records" / f"classes-{split}.json"]


def train_and_score(output, name, scale):
    """Train and score one system, from its start, unless that is done; the exit code."""
    from blitznet.runs import write_json

    if result(output, name, scale):
        return 0
    run_dir, steps = output / "archive" / name, steps_of(SYSTEMS[name], scale)
    # What an interruption has left would be gone on with, its time not counted.
    shutil.rmtree(run_dir, ignore_errors=True)
    minutes = []
    for what, command in commands(output, name, scale):
        began = time.monotonic()
        status = quickstart.call(what, command)
        if status:
            return status
        minutes.append((time.monotonic() - began) / 60)
    first, last = (scores_at(run_dir, step) for step in (1, steps))
    row = {"first": first, "last": last, "steps": steps, "minutes": minutes[2]}
    write_json(run_dir / RESULT, {"system": described(name), **row})
    return 0


def scores_at(run_dir, step):
    """Scores of a checkpoint, as test.py has written them."""
    (file,) = run_dir.glob(f"evaluation-*-{step}.json")
    return json.loads(file.read_text())["scores"]


def result(output, name, scale):
    """A system's result; None where there is none of this very system and number of steps."""
    file = output / "archive" / name / RESULT
    if not file.is_file():
        return None
    found = json.loads(file.read_text())
    wanted = {"system": described(name), "steps": steps_of(SYSTEMS[name], scale)}
    return found if wanted.items() <= found.items() else None


def described(name):
    """What a system's weights depend on, beside the number of steps: a dict for JSON."""
    system = SYSTEMS[name]
    start = described(system.start) if system.start else None
    return {"data": system.data, "flags": system.flags, "steps": system.steps, "start": start}


def gains(row):
    """By how much mAP, mIoU and top-1, of those that a system has, have risen."""
    names = [name for name in ("map", "miou", "top1") if name in row["last"]]
    return {name: row["last"][name] - row["first"][name] for name in names}


def failures(rows):
    """What is not as it should be in the results, name -> row: a sentence each."""
    found = [
        f"{score} of {name} rises by {gain:.3f}, not by {SYSTEMS[name].margin}"
        for name, row in rows.items()
        for score, gain in gains(row).items()
        if gain < SYSTEMS[name].margin
    ]
    for fine, coarse in _FINER_AT_BORDERS:
        if fine in rows and coarse in rows:
            better = _border(rows[fine]) - _border(rows[coarse])
            if better < FINER_MARGIN:
                found.append(
                    f"{fine} is better at borders than {coarse} by {better:.3f}, "
                    f"not by {FINER_MARGIN}"
                )
    return found


def draw_sheet(output, names):
    """Path of a picture: ground truth and prediction of each system, a row for each picture."""
    folders = [max((output / "archive" / name).glob("pictures-*"), key=_step) for name in names]
    panels = [path.name for path in sorted(folders[0].glob("*.png"))]
    panels = [name for name in panels if not name.endswith("-classes.png")][:_ON_SHEET]
    pictures = [cv2.imread(str(folder / name)) for name in panels for folder in folders]
    sheet = output / f"{'-'.join(names)}.png"
    cv2.imwrite(str(sheet), contact_sheet(pictures, len(names)))
    return sheet


def _step(folder):
    return int(folder.name.rsplit("-", 1)[1])


def _border(row):
    return row["last"]["border_miou"]


def table(rows):
    """The results, name -> row, as text: first -> last."""
    scores = {
        "mAP": "map",
        "pixel acc.": "pixel_accuracy",
        "mean acc.": "mean_accuracy",
        "mIoU": "miou",
        "f.w. IoU": "frequency_weighted_iou",
        f"mIoU {BORDER} px": "border_miou",
        "top-1": "top1",
        "top-5": "top5",
    }
    lines = []
    for name, row in rows.items():
        cells = (_change(row["first"].get(key), row["last"].get(key)) for key in scores.values())
        lines.append((name, row["steps"], f"{row['minutes']:.1f}", *cells))
    return tabulate(lines, ("system", "steps", "minutes", *scores), "github", disable_numparse=True)


def _change(first, last):
    return "" if last is None else f"{first or 0:.3f} → {last:.3f}"


if __name__ == "__main__":
    sys.exit(main())
