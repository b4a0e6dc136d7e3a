"""The commands `train` and `memory` of tools.benchmark: training steps on random targets."""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
from tabulate import tabulate

import config
from tools.benchmark import report
from tools.benchmark.apart import measure_apart, require_all

# Of the forward pass; the backward pass computes gradients of inputs and of kernels.
FLOP_OF_A_STEP = 3
_MEMORY_NETWORKS = {
    "BlitzNet300": [],
    "BlitzNet300 --x4": ["--x4"],
    "BlitzNet512": ["--image_size", "512"],
}
_MEMORY_BATCHES = (1, 2, 4, 8)


def add_command(commands):
    """Add the commands to the subparsers of tools.benchmark."""
    _add_train_command(commands)
    _add_memory_command(commands)


def _add_train_command(commands):
    parser = commands.add_parser(
        "train",
        help="training steps, with random weights",
        description="Time training steps of a network with random weights on one random batch, "
        "or on records, and a large float32 matrix product, the machine's limit: between the "
        "steps, with --records before and after all of them. While the first step is compiled, "
        "records fill a buffer of batches, which --warmup should use up.",
        epilog="example: python -m tools.benchmark train --x4 --batch_size 4",
    )
    parser.set_defaults(command=train)
    count = config.number_in(1, kind=int)

    def add(flag, default, help, kind=count):
        help = f"{help} (default: %(default)s)"
        parser.add_argument(flag, type=kind, default=default, metavar="N", help=help)

    add("--batch_size", 4, "pictures of a step")
    add("--repeats", 20, "steps that count")
    add("--warmup", 2, "steps before, which do not count", config.number_in(0, kind=int))
    parser.add_argument(
        "--records",
        type=Path,
        metavar="FILE",
        help="the .json of a set of records, read and augmented as in training; its classes count",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures and every step's time")
    _add_shape_flags(parser)


def _add_shape_flags(parser):
    """Those of network and step."""
    parser.add_argument(
        "--num_classes",
        type=config.number_in(2, kind=int),
        default=21,
        metavar="N",
        help="classes with the background (default: %(default)s)",
    )
    config.add_model_flags(parser)
    config.add_flags(parser, config.StepConfig, "computation of a step")


def _add_memory_command(commands):
    parser = commands.add_parser(
        "memory",
        help="peak memory of training steps, by batch size",
        description="Print the peak of memory of two training steps in GiB, each network and "
        "batch size in a fresh process: what is resident, or on a GPU the GPU's memory.",
        epilog="example: python -m tools.benchmark memory --batch_sizes 1 2 4 8",
    )
    parser.set_defaults(command=memory)
    count = config.number_in(1, kind=int)
    parser.add_argument(
        "--batch_sizes",
        type=count,
        nargs="+",
        default=list(_MEMORY_BATCHES),
        metavar="N",
        help=f"pictures of a step (default: {' '.join(map(str, _MEMORY_BATCHES))})",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument(
        "flags",
        nargs=argparse.REMAINDER,
        help="-- and those flags of the command train that shape network and step",
    )


def train(args):
    """The command `train`: measure, print, write JSON."""
    from tools.benchmark import steps

    network, step = _network_and_step(args, args.batch_size)
    result = steps.measure_steps(
        network, step, args.batch_size, args.warmup, args.repeats, args.records
    )
    result["summary"] = summarise(result)
    print(tabulate(table_rows(result), disable_numparse=True))
    _write(args.json, result)


def memory(args):
    """The command `memory`: a table of peak memory, a process for each cell.

    Raises ChildProcessError, naming the cells that failed, after those that did not are shown.
    """
    flags = [flag for flag in args.flags if flag != "--"]
    parser = argparse.ArgumentParser(prog="python -m tools.benchmark memory --")
    _add_shape_flags(parser)
    cells = {}
    for name, network in _MEMORY_NETWORKS.items():
        shape = parser.parse_args([*network, *flags])
        for size in args.batch_sizes:
            cell = measure_apart(_peak_of_steps, *_network_and_step(shape, size), size)
            cells[name, size] = cell
            # The whole takes minutes: what is known is shown.
            print(f"{name}, batch {size}: {_gib(cell)}", file=sys.stderr, flush=True)
    table = [
        [name, *(_gib(cells[name, size]) for size in args.batch_sizes)] for name in _MEMORY_NETWORKS
    ]
    headers = ["GiB at peak", *(f"batch {size}" for size in args.batch_sizes)]
    print(tabulate(table, headers=headers, disable_numparse=True))
    where = next((cell["environment"] for cell in cells.values() if "environment" in cell), {})
    print(", ".join(f"{name} {where.get(name)}" for name in ("device", "threads")))
    rows = [{"network": name, "batch_size": size, **cell} for (name, size), cell in cells.items()]
    _write(args.json, {"flags": flags, "memory": rows})
    require_all({f"{name}, batch {size}": cell for (name, size), cell in cells.items()})


def _peak_of_steps(*arguments):
    from tools.benchmark import steps

    return steps.peak_of_steps(*arguments)


def _gib(cell):
    return "failed" if "error" in cell else f"{cell['peak_memory_bytes'] / 2**30:.2f}"


def _network_and_step(args, batch_size):
    """Two dicts: arguments of `build_model`, fields of `config.StepConfig`.

    Raises ValueError where the step does not divide the batch.
    """
    step = config.pick(config.StepConfig, args)
    if batch_size % step.accumulate:
        raise ValueError(
            f"--accumulate {step.accumulate} does not divide --batch_size {batch_size}"
        )
    network = dataclasses.asdict(config.model_config(args))
    return {"num_classes": args.num_classes, **network}, dataclasses.asdict(step)


def summarise(measured):
    """Figures of what `steps.measure_steps` measured.

    Returns:
      dict: `images_per_second` of whole steps, waiting included; `ms_mean`, `ms_p50`, `ms_p95` of
      a step without waiting; at the median times, `gflop_per_second` and
      `limit_gflop_per_second`, and their ratio `share_of_limit`; `share_waiting`, waiting for
      input / all.
    """
    seconds, waited = np.array(measured["step_seconds"]), np.array(measured["wait_seconds"])
    whole = seconds.sum() + waited.sum()
    speed = measured["step_flop"] / np.median(seconds)
    limit = measured["product_flop"] / np.median(measured["product_seconds"])
    figures = {
        "images_per_second": measured["batch_size"] * len(seconds) / whole,
        "ms_mean": seconds.mean() * 1e3,
        "ms_p50": np.percentile(seconds, 50) * 1e3,
        "ms_p95": np.percentile(seconds, 95) * 1e3,
        "gflop_per_second": speed / 1e9,
        "limit_gflop_per_second": limit / 1e9,
        "share_of_limit": speed / limit,
        "share_waiting": waited.sum() / whole,
    }
    return {name: float(value) for name, value in figures.items()}


def table_rows(measured):
    """`[(what, value as text)]` of a measurement with its `summary`."""
    summary, where, shape = (measured[k] for k in ("summary", "environment", "network"))
    step = measured["step"]
    return [
        ("images/s, mean", f"{summary['images_per_second']:.2f}"),
        ("ms a step, mean", f"{summary['ms_mean']:.0f}"),
        ("ms a step, p50", f"{summary['ms_p50']:.0f}"),
        ("ms a step, p95", f"{summary['ms_p95']:.0f}"),
        ("GFLOP a step, 3 x forward", f"{measured['step_flop'] / 1e9:.1f}"),
        ("GFLOP/s", f"{summary['gflop_per_second']:.1f}"),
        ("GFLOP/s of a float32 matrix product", f"{summary['limit_gflop_per_second']:.1f}"),
        ("share of that limit", f"{summary['share_of_limit']:.3f}"),
        ("share waited for input", f"{summary['share_waiting']:.3f}"),
        ("network", report.network_text(shape)),
        ("batch size", f"{measured['batch_size']} in {step['accumulate']} parts"),
        ("input", measured["input"]),
        ("mixed precision", step["mixed_precision"]),
        ("XLA, norm clipped at", f"{step['xla']}, {step['clip_norm']}"),
        ("TensorFlow, Keras", f"{where['tensorflow']}, {where['keras']}"),
        ("device", where["device"]),
        ("threads", where["threads"]),
        ("processor", where["cpu"]),
    ]


def _write(path, result):
    if path:
        from blitznet import runs

        runs.write_json(Path(path), result)
