"""Losses, optimisers and averages beside one another: see `--help`."""

import argparse
import json
import sys
import time
from importlib import metadata
from pathlib import Path

from tabulate import tabulate

from tools import quickstart

# Rates and decays that suit each of them; steps, data and network are the same. LAST stands for
# the step at which the rate falls.
RECIPES = {
    "baseline": "",
    "giou": "--box_loss giou",
    "focal": "--class_loss focal",
    "adamw": "--optimizer adamw --weight_decay 0.05",
    "sgdw": "--optimizer sgdw --learning_rate 3e-3 --weight_decay 0.005",
    "lamb": "--optimizer lamb --learning_rate 1e-2 --weight_decay 0.01",
    "radam": "--optimizer radam",
    "lookahead": "--lookahead",
    "ema": "--average_weights ema --average_decay 0.99",
    "swa": "--average_weights swa --average_start LAST --average_period 10",
}
NEED_ADDONS = ("giou", "radam", "lookahead", "swa")


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare_recipes",
        description="Train the quickstart's network once for each loss, optimiser and average of "
        "the weights, evaluate on held-out pictures, and print a table. Recipes that are done "
        "are not done again; those that need tensorflow-addons are left out where it is missing.",
    )
    add = parser.add_argument
    add("--output", default="recipes", metavar="DIR", help="gets everything (default: recipes)")
    add("--train", type=int, default=2000, metavar="N", help="pictures to train on")
    add("--val", type=int, default=100, metavar="N", help="held-out pictures")
    add("--steps", type=int, default=700, metavar="N", help="training steps (default: 700)")
    add(
        "--recipes",
        nargs="+",
        choices=tuple(RECIPES),
        metavar="NAME",
        help=f"which of {', '.join(RECIPES)} (default: all that this stack has)",
    )
    return parser


def main(argv=None):
    """Train, evaluate and compare; the exit code, that of the first command that fails."""
    args = build_parser().parse_args(argv)
    output = Path(args.output).absolute()
    names = args.recipes or chosen(has_addons())
    for what, command in missing_data(output, args.train, args.val):
        status = quickstart.call(what, command)
        if status:
            return status
    for name in names:
        status = train_and_evaluate(output, name, args.steps)
        if status:
            return status
    print("\n" + table(output, names, args.steps))
    return 0


def has_addons():
    """Whether tensorflow-addons is installed."""
    try:
        metadata.version("tensorflow-addons")
    except metadata.PackageNotFoundError:
        return False
    return True


def chosen(addons):
    """The recipes that a stack with `addons`, or without, can train."""
    left_out = () if addons else NEED_ADDONS
    if left_out:
        print(f"left out, since tensorflow-addons is not installed: {', '.join(left_out)}")
    return [name for name in RECIPES if name not in left_out]


def missing_data(output, train, val):
    """The quickstart's commands for the data, unless it has been drawn and encoded here."""
    done = output / "data.json"
    wanted = {"train": train, "val": val}
    if done.is_file():
        if json.loads(done.read_text()) != wanted:
            raise SystemExit(f"error: {output} has other pictures: give another --output")
        return
    yield from quickstart.data_commands(output, train, val)
    done.write_text(json.dumps(wanted))


def flags_of(name, steps):
    """The flags of a recipe for this many steps, as a list."""
    return RECIPES[name].replace("LAST", str(steps * 5 // 7)).split()


def train_and_evaluate(output, name, steps):
    """Train and evaluate one recipe unless that is done; the exit code."""
    report, flags = result_file(output, name, steps), flags_of(name, steps)
    if report.is_file():
        return 0
    began = time.monotonic()
    for what, command in quickstart.run_commands(output, name, steps, *flags):
        status = quickstart.call(f"{name}: {what}", command)
        if status:
            return status
    (evaluated,) = (output / "archive" / name).glob(f"evaluation-*-{steps}.json")
    scores = json.loads(evaluated.read_text())["scores"]
    row = {"flags": " ".join(flags), "minutes": (time.monotonic() - began) / 60}
    report.write_text(json.dumps({**row, "map": scores["map"], "miou": scores["miou"]}))
    return 0


def result_file(output, name, steps):
    """Where the result of a recipe is kept."""
    return output / "archive" / name / f"recipe-{steps}.json"


def table(output, names, steps):
    """The results of `names`, as text."""
    rows = []
    for name in names:
        row = json.loads(result_file(output, name, steps).read_text())
        rows.append((name, row["flags"], row["map"], row["miou"], row["minutes"]))
    stack = f"Keras {metadata.version('keras')}"
    heads = ("recipe", "flags", "mAP", "mIoU", "minutes")
    formats = ("", "", ".3f", ".3f", ".1f")
    return f"{steps} steps, {stack}\n" + tabulate(rows, heads, "github", formats)


if __name__ == "__main__":
    sys.exit(main())
