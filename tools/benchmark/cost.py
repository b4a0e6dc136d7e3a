"""The command `cost` of tools.benchmark: how time and memory grow, a process for each row."""

import sys

from tabulate import tabulate

from tools.benchmark.apart import environment_of, measure_apart, require_all
from tools.benchmark.flags import add_json_flag, add_number
from tools.benchmark.report import environment_line, write_json

# What each row changes of `BASE`.
ROWS = {
    "base": {},
    "512": {"image_size": 512},
    "x4": {"x4": True},
    "512 x4": {"image_size": 512, "x4": True},
    "batch 4": {"batch_size": 4},
    "81 classes": {"num_classes": 81},
    "1203 classes": {"num_classes": 1203},
    "1 object": {"objects": 1},
    "100 objects": {"objects": 100},
    "300 objects": {"objects": 300},
    "512 x4, 300 objects": {"image_size": 512, "x4": True, "objects": 300},
}
BASE = {"image_size": 300, "x4": False, "batch_size": 1, "num_classes": 21, "objects": 10}


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
    parser = commands.add_parser(
        "cost",
        help="time and memory by image size, batch, priors, classes and objects",
        description="Print, for each row, the median ms of a call of network, NMS, matching and "
        "losses, the network's share of a large float32 matrix product, the machine's limit, and "
        "the peak of memory in MB (a GPU's own where there is one), each in a process of its own. "
        "Random weights, detection and segmentation by resnet50; NMS has the most boxes of every "
        "class that can enter it. All of it takes some minutes.",
        epilog="example: python -m tools.benchmark cost --rows base 'batch 4' --json cost.json",
    )
    parser.set_defaults(command=cost)
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=list(ROWS),
        metavar="ROW",
        help=f"of {', '.join(map(repr, ROWS))} (default: all)",
    )
    add_number(parser, "--repeats", 3, "calls that count")
    add_json_flag(parser)


def cost(args):
    """Run the command; print and write what came of it.

    Raises ChildProcessError, naming the rows that failed, after those that did not are shown.
    """
    rows = []
    for name in args.rows:
        setting = {**BASE, **ROWS[name]}
        rows.append({"row": name, **setting, **measure_apart(_measure, setting, args.repeats)})
        # The whole takes minutes: what is known is shown.
        known = {key: round(v, 1) for key, v in rows[-1].items() if isinstance(v, float)}
        print(f"{name}: {rows[-1].get('error', known)}", file=sys.stderr, flush=True)
    table = [{k: v for k, v in row.items() if k != "environment"} for row in rows]
    print(tabulate(table, headers="keys", floatfmt=".1f"))
    print("ms a call, medians; MB at peak, before and after matching and losses")
    print(environment_line(environment_of(rows), "device", "precision", "threads"))
    write_json(args.json, {"rows": rows, "repeats": args.repeats})
    require_all({row["row"]: row for row in rows})


def _measure(setting, repeats):
    from tools.benchmark import cost_row

    return cost_row.measure(**setting, repeats=repeats)
