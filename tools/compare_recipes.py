"""Losses, optimisers and averages beside one another: see `--help`."""

import argparse
import json
import os
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path

from tabulate import tabulate

from tools import quickstart

# Rates and decays that suit each of them; steps, data and network are the same. RATE_FALLS stands
# for the step at which the rate falls.
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
    "swa": "--average_weights swa --average_start RATE_FALLS --average_period 10",
}
NEED_ADDONS = ("giou", "radam", "lookahead", "swa")
RESULT = "recipe.json"


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare_recipes",
        description="Train the quickstart's network once for each loss, optimiser and average of "
        "the weights, evaluate on held-out pictures, and print a table. Recipes that are done, "
        "with the same flags, steps and versions, are not done again; those that need "
        "tensorflow-addons are left out where it is missing.",
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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from blitznet import addons

    output = Path(args.output).absolute()
    names = args.recipes or chosen(addons.package())
    status = make_data(output, args.train, args.val)
    for name in names:
        status = status or train_and_evaluate(output, name, args.steps)
    if not status:
        print("\n" + table(output, names, args.steps))
    return status


def chosen(addons):
    """The recipes that a stack with `addons`, or without, can train."""
    left_out = () if addons else NEED_ADDONS
    if left_out:
        print(f"left out, since tensorflow-addons is not installed: {', '.join(left_out)}")
    return [name for name in RECIPES if name not in left_out]


def make_data(output, train, val):
    """Draw and encode the quickstart's data unless it is there; the exit code."""
    from blitznet.runs import write_json

    done = output / "data.json"
    wanted = {"train": train, "val": val}
    if done.is_file():
        if json.loads(done.read_text()) == wanted:
            return 0
        print(f"error: {output} has other pictures: give another --output", file=sys.stderr)
        return 1
    for what, command in quickstart.data_commands(output, train, val):
        status = quickstart.call(what, command)
        if status:
            return status
    write_json(done, wanted)
    return 0


def flags_of(name, steps):
    """The flags of a recipe for this many steps, as a list."""
    return RECIPES[name].replace("RATE_FALLS", str(steps * 5 // 7)).split()


def train_and_evaluate(output, name, steps):
    """Train and evaluate one recipe, from its start, unless that is done; the exit code."""
    from blitznet.runs import write_json

    if result(output, name, steps):
        return 0
    flags, run_dir = flags_of(name, steps), run_folder(output, name, steps)
    # What another recipe of this name, or an interruption, has left would be gone on with.
    shutil.rmtree(run_dir, ignore_errors=True)
    began = time.monotonic()
    for what, command in quickstart.run_commands(output, run_dir.name, steps, *flags):
        status = quickstart.call(f"{name}: {what}", command)
        if status:
            return status
    (evaluated,) = run_dir.glob(f"evaluation-*-{steps}.json")
    scores = json.loads(evaluated.read_text())["scores"]
    row = {"map": scores["map"], "miou": scores["miou"], "minutes": (time.monotonic() - began) / 60}
    write_json(run_dir / RESULT, {"flags": " ".join(flags), "versions": versions(), **row})
    return 0


def run_folder(output, name, steps):
    """Where a recipe is trained: stacks and lengths have folders of their own."""
    return output / "archive" / f"{name}-keras{metadata.version('keras')}-{steps}"


def versions():
    """What a result depends on beside the recipe, `{package: version}`."""
    import tensorflow as tf

    from blitznet import addons

    found = {"tensorflow": tf.__version__, "keras": metadata.version("keras")}
    if addons.package():
        found["tensorflow-addons"] = addons.package().__version__
    return found


def result(output, name, steps):
    """A recipe's result; None where there is none of these very flags and versions."""
    file = run_folder(output, name, steps) / RESULT
    if not file.is_file():
        return None
    found = json.loads(file.read_text())
    wanted = {"flags": " ".join(flags_of(name, steps)), "versions": versions()}
    return found if wanted.items() <= found.items() else None


def table(output, names, steps):
    """The results of `names`, as text."""
    rows = []
    for name in names:
        row = result(output, name, steps)
        rows.append((name, row["flags"], row["map"], row["miou"], row["minutes"]))
    stack = ", ".join(f"{package} {version}" for package, version in versions().items())
    heads = ("recipe", "flags", "mAP", "mIoU", "minutes")
    formats = ("", "", ".3f", ".3f", ".1f")
    return f"{steps} steps, {stack}\n" + tabulate(rows, heads, "github", formats)


if __name__ == "__main__":
    sys.exit(main())
