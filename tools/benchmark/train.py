"""The command `train` of tools.benchmark: training steps, on random targets or records."""

import dataclasses
from pathlib import Path

import numpy as np
from tabulate import tabulate

from tools.benchmark.flags import add_classes_flag, add_json_flag, add_number
from tools.benchmark.report import (
    environment_rows,
    limit_figures,
    ms_figures,
    ms_rows,
    network_text,
    write_json,
)
from tools.flags.fields import add_flags, number_in, pick
from tools.flags.network import add_model_flags, model_config
from tools.flags.settings import StepConfig


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
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
    add_number(parser, "--batch_size", 4, "pictures of a step")
    add_number(parser, "--repeats", 20, "steps that count")
    from_none = number_in(0, kind=int)
    add_number(parser, "--warmup", 2, "steps before, which do not count", from_none)
    parser.add_argument(
        "--records",
        type=Path,
        metavar="FILE",
        help="the .json of a set of records, read and augmented as in training; its classes count",
    )
    add_json_flag(parser, "the figures and every step's time")
    add_shape_flags(parser)


def add_shape_flags(parser):
    """Those of network and step."""
    add_classes_flag(parser)
    add_model_flags(parser)
    add_flags(parser, StepConfig, "computation of a step")


def train(args):
    """Run the command; print and write what came of it."""
    from tools.benchmark import steps

    network, step = network_and_step(args, args.batch_size)
    result = steps.measure_steps(
        network, step, args.batch_size, args.warmup, args.repeats, args.records
    )
    result["summary"] = summarise(result)
    print(tabulate(table_rows(result), disable_numparse=True))
    write_json(args.json, result)


def network_and_step(args, batch_size):
    """Two dicts: arguments of `build_model`, fields of `StepConfig`.

    Raises ValueError where the step does not divide the batch.
    """
    step = pick(StepConfig, args)
    if batch_size % step.accumulate:
        raise ValueError(
            f"--accumulate {step.accumulate} does not divide --batch_size {batch_size}"
        )
    network = dataclasses.asdict(model_config(args))
    return {"num_classes": args.num_classes, **network}, dataclasses.asdict(step)


def summarise(measured):
    """Figures of what `steps.measure_steps` measured.

    Returns:
      dict: `images_per_second` of whole steps, waiting included; `ms_mean`, `ms_p50`, `ms_p95` of
      a step without waiting; `report.limit_figures`; `share_waiting`, waiting for input / all.
    """
    seconds, waited = np.array(measured["step_seconds"]), np.array(measured["wait_seconds"])
    whole = seconds.sum() + waited.sum()
    product = measured["product_flop"], measured["product_seconds"]
    return {
        "images_per_second": float(measured["batch_size"] * len(seconds) / whole),
        **ms_figures(seconds),
        **limit_figures(measured["step_flop"], seconds, *product),
        "share_waiting": float(waited.sum() / whole),
    }


def table_rows(measured):
    """`[(what, value as text)]` of a measurement with its `summary`."""
    summary, where, shape = (measured[k] for k in ("summary", "environment", "network"))
    step = measured["step"]
    return [
        ("images/s, mean", f"{summary['images_per_second']:.2f}"),
        *ms_rows(summary, "a step", decimals=0),
        ("GFLOP a step, 3 x forward", f"{measured['step_flop'] / 1e9:.1f}"),
        ("GFLOP/s", f"{summary['gflop_per_second']:.1f}"),
        ("GFLOP/s of a float32 matrix product", f"{summary['limit_gflop_per_second']:.1f}"),
        ("share of that limit", f"{summary['share_of_limit']:.3f}"),
        ("share waited for input", f"{summary['share_waiting']:.3f}"),
        ("network", network_text(shape)),
        ("batch size", f"{measured['batch_size']} in {step['accumulate']} parts"),
        ("input", measured["input"]),
        ("mixed precision", step["mixed_precision"]),
        ("XLA, norm clipped at", f"{step['xla']}, {step['clip_norm']}"),
        *environment_rows(where, "TensorFlow, Keras", "device", "threads", "processor"),
    ]
