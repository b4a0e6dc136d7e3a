"""Measure how fast things run, against the machine's own limit: see `--help`."""

import argparse
import os
import sys

from tools.benchmark import (
    cost,
    crops,
    detect,
    encode,
    evaluate,
    input_pipeline,
    memory,
    network,
    serve,
    train,
)
from tools.benchmark.network import BenchmarkError
from tools.benchmark.server import LoadTestError

_COMMANDS = (network, detect, input_pipeline, train, memory, evaluate, encode, cost, crops, serve)


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}",
        description="Measure how fast things run, against the machine's own limit.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_command(commands)
    return parser


def main(argv=None):
    """Run a command; the exit code, 1 for errors."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        args.command(args)
    except (OSError, ValueError, BenchmarkError, LoadTestError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
