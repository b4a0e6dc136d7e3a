"""The command `network` of tools.benchmark: the forward pass, in one interpreter or in two."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tabulate import tabulate

import paths
from tools.benchmark.flags import add_classes_flag, add_graph_flags, add_json_flag, add_number
from tools.benchmark.report import (
    environment_rows,
    limit_figures,
    ms_figures,
    ms_rows,
    network_text,
    write_json,
)
from tools.flags.network import NetworkConfig, add_model_flags, model_config

_PREPARE = "`make setup-addons` makes .venv-addons/bin/python, with TensorFlow 2.15"
_MEASURED_FLAGS = ("num_classes", "batch_size", "repeats", "warmup", "graph", "precision")


class BenchmarkError(RuntimeError):
    """Another interpreter could not run the benchmark."""


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
    parser = commands.add_parser(
        "network",
        help="the compiled forward pass, with random weights",
        description="Time the compiled forward pass of a network with random weights, and a "
        "large float32 matrix product in between: the machine's limit.",
        epilog="example: python -m tools.benchmark network --x4 --against .venv-addons/bin/python",
    )
    parser.set_defaults(command=network)
    add_classes_flag(parser)
    add_number(parser, "--batch_size", 1, "pictures of a call")
    add_number(parser, "--repeats", 50, "calls that count")
    add_number(parser, "--warmup", 5, "calls before, which do not count")
    add_json_flag(parser, "the figures and every call's time")
    parser.add_argument(
        "--against",
        metavar="PYTHON",
        help="compare with another interpreter, such as .venv-addons/bin/python: both measure "
        "this checkout by turns, each round in a process of its own",
    )
    add_number(parser, "--rounds", 3, "with --against: rounds of each interpreter")
    add_graph_flags(parser)
    add_model_flags(parser)


def network(args):
    """The command `network`: measure here, or compare two interpreters; print, write JSON."""
    if args.against:
        interpreters = sys.executable, find_interpreter(args.against)
        result = compare(run_rounds(interpreters, measured_flags(args), args.rounds))
        print(comparison_table(result))
    else:
        from tools.benchmark import timing

        shape = dataclasses.asdict(model_config(args))
        result = timing.measure_network(
            {"num_classes": args.num_classes, **shape},
            args.batch_size,
            args.warmup,
            args.repeats,
            args.graph,
            args.precision,
        )
        result["summary"] = summarise([result])
        print(tabulate(table_rows(result["summary"], result), disable_numparse=True))
    write_json(args.json, result)


def summarise(measurements):
    """Figures of one or more measurements of the same thing, their calls taken together.

    Args:
      measurements: dicts of `timing.measure_network`.

    Returns:
      dict: `images_per_second` (pictures / seconds of all calls); `ms_mean`, `ms_p50` and
      `ms_p95` of a call; `gflop_per_image`; `report.limit_figures`.
    """
    first = measurements[0]
    seconds = np.concatenate([measured["call_seconds"] for measured in measurements])
    product = np.concatenate([measured["product_seconds"] for measured in measurements])
    return {
        "images_per_second": first["batch_size"] / float(seconds.mean()),
        **ms_figures(seconds),
        "gflop_per_image": first["call_flop"] / first["batch_size"] / 1e9,
        **limit_figures(first["call_flop"], seconds, first["product_flop"], product),
    }


def compare(rounds):
    """What rounds of two interpreters say.

    Args:
      rounds: list of pairs of measurements, `(A's, B's)`.

    Returns:
      dict: `summaries` of A and of B over all rounds; `ratio`, B's median time / A's;
      `ratio_of_rounds`, the same within each round; `rounds` as given.
    """
    summaries = [summarise(measurements) for measurements in zip(*rounds)]
    of_rounds = [[summarise([measured])["ms_p50"] for measured in pair] for pair in rounds]
    return {
        "summaries": summaries,
        "ratio": summaries[1]["ms_p50"] / summaries[0]["ms_p50"],
        "ratio_of_rounds": [b / a for a, b in of_rounds],
        "rounds": rounds,
    }


def table_rows(summary, measured):
    """`[(what, value as text)]` of a summary and of what a measurement says about itself."""
    where, shape = measured["environment"], measured["network"]
    return [
        ("images/s, mean", f"{summary['images_per_second']:.2f}"),
        *ms_rows(summary, "a call"),
        ("GFLOP a picture", f"{summary['gflop_per_image']:.2f}"),
        ("GFLOP/s", f"{summary['gflop_per_second']:.1f}"),
        ("GFLOP/s of a matrix product", f"{summary['limit_gflop_per_second']:.1f}"),
        ("share of that limit", f"{summary['share_of_limit']:.3f}"),
        ("network", network_text(shape)),
        ("graph", measured["graph"]),
        ("batch size", str(measured["batch_size"])),
        *environment_rows(where, "TensorFlow, Keras", "Python", "device"),
        ("precision", f"{measured['precision']}, of the product {where['precision']}"),
        *environment_rows(where, "threads", "processor"),
    ]


def comparison_table(result):
    """Text that sets A and B of `compare` side by side, and their ratio below."""
    columns = [
        table_rows(summary, measured)
        for summary, measured in zip(result["summaries"], result["rounds"][0])
    ]
    rows = [(name, value, other) for (name, value), (_, other) in zip(*columns)]
    each = result["ratio_of_rounds"]
    return (
        tabulate(rows, ("", "A", "B"), disable_numparse=True)
        + f"\n\nmedian time of B / A: {result['ratio']:.3f} "
        + f"(within each of {len(each)} rounds: {min(each):.3f} to {max(each):.3f})"
    )


def measured_flags(args):
    """The flags that make another process measure the same as `args`."""
    flags = []
    for name in (*_MEASURED_FLAGS, *(f.name for f in dataclasses.fields(NetworkConfig))):
        value = getattr(args, name)
        if value is True:
            flags.append(f"--{name}")
        elif value is not False:
            flags += [f"--{name}", str(value)]
    return flags


def find_interpreter(python):
    """Absolute path of an interpreter that has TensorFlow; a link in an environment stays one.

    Raises:
      BenchmarkError: there is none, or it has no TensorFlow; says what makes one.
    """
    found = shutil.which(python)
    if not found:
        raise BenchmarkError(f"--against {python}: there is no such interpreter; {_PREPARE}")
    question = "import importlib.util as i, sys; sys.exit(i.find_spec('tensorflow') is None)"
    if subprocess.run([found, "-c", question]).returncode:
        raise BenchmarkError(f"--against {python}: it has no TensorFlow; {_PREPARE}")
    return os.path.abspath(found)


def run_rounds(interpreters, flags, rounds):
    """Measure with both interpreters by turns, A B A B ...; a list of pairs of measurements.

    Raises:
      BenchmarkError: a process failed; its message is on standard error.
    """
    pairs = []
    for number in range(1, rounds + 1):
        pair = []
        for name, python in zip("AB", interpreters):
            print(f"round {number} of {rounds}, {name}: {python}", file=sys.stderr, flush=True)
            pair.append(run_once(python, flags))
        pairs.append(tuple(pair))
    return pairs


def run_once(python, flags):
    """The measurement that an interpreter makes of this checkout in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [python, "-m", __package__, "network", *flags, "--json", str(report)]
        process = subprocess.run(command, cwd=paths.CHECKOUT, stdout=subprocess.DEVNULL)
        if process.returncode:
            raise BenchmarkError(
                f"{python} failed with exit code {process.returncode}, its message is above"
            )
        return json.loads(report.read_text())
