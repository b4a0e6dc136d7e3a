"""The command `memory` of tools.benchmark: peak memory of training steps, a process for each."""

import argparse
import sys

from tabulate import tabulate

from tools.benchmark.apart import environment_of, measure_apart, require_all
from tools.benchmark.flags import add_json_flag, add_number
from tools.benchmark.report import environment_line, write_json
from tools.benchmark.train import add_shape_flags, network_and_step

_NETWORKS = {
    "BlitzNet300": [],
    "BlitzNet300 --x4": ["--x4"],
    "BlitzNet512": ["--image_size", "512"],
}


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
    parser = commands.add_parser(
        "memory",
        help="peak memory of training steps, by batch size",
        description="Print the peak of memory of two training steps in GiB, each network and "
        "batch size in a fresh process: what is resident, or on a GPU the GPU's memory.",
        epilog="example: python -m tools.benchmark memory --batch_sizes 1 2 4 8",
    )
    parser.set_defaults(command=memory)
    add_number(parser, "--batch_sizes", [1, 2, 4, 8], "pictures of a step")
    add_json_flag(parser)
    parser.add_argument(
        "flags",
        nargs=argparse.REMAINDER,
        help="-- and those flags of the command train that shape network and step",
    )


def memory(args):
    """Run the command; print and write what came of it.

    Raises ChildProcessError, naming the cells that failed, after those that did not are shown.
    """
    flags = [flag for flag in args.flags if flag != "--"]
    parser = argparse.ArgumentParser(prog=f"python -m {__package__} memory --")
    add_shape_flags(parser)
    cells = {}
    for name, network in _NETWORKS.items():
        shape = parser.parse_args([*network, *flags])
        for size in args.batch_sizes:
            cell = measure_apart(_peak_of_steps, *network_and_step(shape, size), size)
            cells[name, size] = cell
            # The whole takes minutes: what is known is shown.
            print(f"{name}, batch {size}: {_gib(cell)}", file=sys.stderr, flush=True)
    table = [[name, *(_gib(cells[name, size]) for size in args.batch_sizes)] for name in _NETWORKS]
    headers = ["GiB at peak", *(f"batch {size}" for size in args.batch_sizes)]
    print(tabulate(table, headers=headers, disable_numparse=True))
    print(environment_line(environment_of(cells.values()), "device", "threads"))
    rows = [{"network": name, "batch_size": size, **cell} for (name, size), cell in cells.items()]
    write_json(args.json, {"flags": flags, "memory": rows})
    require_all({f"{name}, batch {size}": cell for (name, size), cell in cells.items()})


def _peak_of_steps(*arguments):
    from tools.benchmark import steps

    return steps.peak_of_steps(*arguments)


def _gib(cell):
    return "failed" if "error" in cell else f"{cell['peak_memory_bytes'] / 2**30:.2f}"
