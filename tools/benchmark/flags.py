"""Flags that commands of tools.benchmark have alike."""

from pathlib import Path

from blitznet import choices
from tools.flags.fields import number_in

COUNT = number_in(1, kind=int)
# Of the network's forward pass: the trained graph itself, `inference.build`'s, and the same with
# constants for weights.
GRAPHS = ("trained", "inference", "constants")


def add_number(parser, flag, default, help, kind=COUNT, metavar="N"):
    """Add a flag of a number, or of several where `default` is a list; the help tells `default`."""
    several = isinstance(default, list)
    if default is not None:
        help += f" (default: {' '.join(map(str, default)) if several else default})"
    parser.add_argument(
        flag,
        type=kind,
        default=default,
        metavar=metavar,
        help=help,
        nargs="+" if several else None,
    )


def add_classes_flag(parser):
    """`--num_classes`."""
    classes = number_in(2, kind=int)
    add_number(parser, "--num_classes", 21, "classes with the background", classes)


def add_json_flag(parser, content="the figures"):
    """`--json`, a file that `report.write_json` writes."""
    parser.add_argument("--json", metavar="FILE", help=f"write {content}")


def add_run_flag(parser):
    """`--run`, beside the flags of the model."""
    parser.add_argument(
        "--run",
        type=Path,
        metavar="DIR",
        help="folder of a run: its network, newest weights; no flag of the model goes with it",
    )


def add_graph_flags(parser):
    """`--graph` and `--precision`."""
    parser.add_argument(
        "--graph",
        choices=GRAPHS,
        default="inference",
        help="trained: as it is trained; inference: as test.py and blitznet.load run it; "
        "constants: the same with weights in the graph (default: inference)",
    )
    parser.add_argument(
        "--precision",
        choices=choices.PRECISIONS,
        default="float32",
        help="what the network computes in (default: float32)",
    )
