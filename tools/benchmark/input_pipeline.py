"""The command `input` of tools.benchmark: training batches, beside bare JPEG decoding."""

import dataclasses
import os
import time

import numpy as np
from tabulate import tabulate

from tools.benchmark.flags import add_json_flag, add_number
from tools.benchmark.report import environment_rows, ms_figures, ms_rows, shape_text, write_json
from tools.flags.network import add_model_flags, model_config
from tools.flags.settings import InputConfig

# Those that are decoded again and again: enough to be like the others.
_PICTURES = 512


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
    parser = commands.add_parser(
        "input",
        help="training batches: decoding, augmentation, matching",
        description="Time the making of training batches, and by turns the bare decoding of the "
        "same JPEGs on all cores: the machine's limit.",
        epilog="example: python -m tools.benchmark input --x4 "
        "--records data/records/voc12-train-seg.json",
    )
    parser.set_defaults(command=measure_input)
    parser.add_argument(
        "--records", nargs="+", required=True, metavar="FILE", help=".json files of sets of records"
    )
    add_number(parser, "--batch_size", 32, "pictures of a batch")
    add_number(parser, "--batches", 8, "batches of a round that count")
    add_number(parser, "--warmup", 4, "batches of a round before, which do not count")
    add_number(parser, "--rounds", 5, "rounds of batches, and of decoding")
    add_json_flag(parser, "the figures and every batch's time")
    parser.add_argument(
        "--augmentation",
        **InputConfig.__dataclass_fields__["augmentation"].metadata,
    )
    add_model_flags(parser)


def measure_input(args):
    """Run the command; print and write what came of it.

    Raises:
      FileNotFoundError, ValueError: the records or the network are not there as the flags say.
    """
    from datasets import custom
    from tools.benchmark import timing

    record_sets = custom.open_custom(args.records)
    shape = dataclasses.asdict(model_config(args))
    batches = training_batches(record_sets, shape, args)
    decoding = bare_decoding(record_sets, args.batch_size)
    rounds = [
        {
            "input": time_items(batches, args.warmup, args.batches),
            "decoding": time_items(decoding, args.warmup, args.batches),
        }
        for _ in range(args.rounds)
    ]
    result = {
        "records": [info.name for info in record_sets],
        "network": shape,
        "augmentation": args.augmentation,
        "batch_size": args.batch_size,
        "warmup": args.warmup,
        "rounds": rounds,
        "summary": summarise(rounds, args.batch_size),
        "environment": timing.environment(),
    }
    print(tabulate(table_rows(result), disable_numparse=True))
    write_json(args.json, result)


def training_batches(record_sets, shape, args):
    """The training batches of a network of `build_model`'s arguments `shape`, as tf.data."""
    from blitznet import runs
    from blitznet.archs import segmentation_side
    from datasets.pipeline import TrainingInput, training_dataset

    model, coder = runs.build(runs.describe(shape, record_sets[0].class_names, {}))
    settings = TrainingInput(
        image_size=shape["image_size"],
        mask_side=segmentation_side(model),
        coder=coder,
        batch_size=args.batch_size,
        augmentation=args.augmentation,
        ignore_label=record_sets[0].ignore_label,
    )
    return training_dataset(record_sets, settings)


def bare_decoding(record_sets, batch_size):
    """tf.data that decodes pictures of record sets over and over, and drops the pixels.

    The files of up to `_PICTURES` pictures are read before. An item stands for `batch_size`, in
    the order in which they are done: none waits for a large one.
    """
    import tensorflow as tf

    from blitznet import keys
    from datasets import records

    files = [file for info in record_sets for file in info.files]
    read = tf.data.TFRecordDataset(files).take(_PICTURES)
    pictures = [records.parse(record)[keys.ENCODED_IMAGE].numpy() for record in read]
    endless = tf.data.Dataset.from_tensor_slices(pictures).repeat()
    sizes = endless.map(
        lambda file: tf.shape(records.decode_image(file)), tf.data.AUTOTUNE, deterministic=False
    )
    return sizes.batch(batch_size)


def time_items(dataset, warmup, repeats):
    """Times of `repeats` items of a dataset, after `warmup` that do not count.

    Returns:
      dict: `seconds` of each item; `cpu_seconds` of the process for all of them together. What is
      made ahead of the first is about what is left half made at the last.
    """
    iterator = iter(dataset)
    for _ in range(warmup):
        next(iterator)
    seconds, cpu_before = [], _cpu_seconds()
    for _ in range(repeats):
        began = time.perf_counter()
        next(iterator)
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu_before}


def _cpu_seconds():
    used = os.times()
    return used.user + used.system


def summarise(rounds, batch_size):
    """Figures of rounds of `time_items`, dicts with `input` and `decoding`.

    Returns:
      dict: `images_per_second` (pictures / seconds of all batches); `ms_mean`, `ms_p50` and
      `ms_p95` of a batch; `cpu_ms_per_image`; of bare decoding `limit_images_per_second` and
      `limit_cpu_ms_per_image`; `share_of_limit`, the median over the rounds of the two speeds'
      ratio.
    """
    seconds, limit_seconds = (
        np.array([measured[what]["seconds"] for measured in rounds])
        for what in ("input", "decoding")
    )
    cpu, limit_cpu = (
        sum(measured[what]["cpu_seconds"] for measured in rounds) for what in ("input", "decoding")
    )
    images = seconds.size * batch_size
    limit_images = limit_seconds.size * batch_size
    shares = limit_seconds.mean(axis=1) / seconds.mean(axis=1)
    figures = {
        "images_per_second": images / seconds.sum(),
        **ms_figures(seconds),
        "cpu_ms_per_image": cpu / images * 1e3,
        "limit_images_per_second": limit_images / limit_seconds.sum(),
        "limit_cpu_ms_per_image": limit_cpu / limit_images * 1e3,
        "share_of_limit": np.median(shares),
    }
    return {name: float(value) for name, value in figures.items()}


def table_rows(result):
    """`[(what, value as text)]` of what the command measured."""
    summary, shape, where = result["summary"], result["network"], result["environment"]
    return [
        ("images/s, mean", f"{summary['images_per_second']:.1f}"),
        *ms_rows(summary, "a batch"),
        ("CPU ms a picture", f"{summary['cpu_ms_per_image']:.2f}"),
        ("images/s of bare decoding", f"{summary['limit_images_per_second']:.1f}"),
        ("CPU ms of bare decoding", f"{summary['limit_cpu_ms_per_image']:.2f}"),
        ("share of that limit", f"{summary['share_of_limit']:.3f}"),
        ("records", ", ".join(result["records"])),
        ("targets", f"{shape_text(shape)}, augmentation {result['augmentation']}"),
        ("batch size", str(result["batch_size"])),
        *environment_rows(where, "TensorFlow"),
        ("device", "CPU"),
        ("precision", "float32"),
        *environment_rows(where, "threads", "processor"),
    ]
