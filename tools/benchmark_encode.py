"""The command `encode` of tools.benchmark: VOC's pictures to records, beside bare copying."""

import contextlib
import functools
import io
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate

import config
import paths


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
    parser = commands.add_parser(
        "encode",
        help="VOC's pictures to records beside bare copying",
        description="Time what tools.encode_voc does with a picture and its mask, and the least "
        "that any encoder must do: read the JPEG, the XML and the palette mask, decode the mask, "
        "encode it as a grey PNG, and write JPEG, XML and PNG to one file. Both by turns, with "
        "one worker and with more.",
        epilog="example: python -m tools.benchmark encode --data_root data --split trainval",
    )
    parser.set_defaults(command=encode)
    count = config.number_in(1, kind=int)
    parser.add_argument("--data_root", metavar="DIR", help="as for tools.encode_voc")
    parser.add_argument("--split", default="trainval", metavar="LIST", help="of VOC2012 (trainval)")

    def add(flag, default, help, **arguments):
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        help = f"{help} (default: {shown})"
        parser.add_argument(flag, type=count, default=default, metavar="N", help=help, **arguments)

    add("--workers", [1, 2], "processes", nargs="+")
    add("--pictures", 100, "pictures of a worker's turn, the list's again and again")
    add("--rounds", 5, "turns of each that count, after one that does not")
    parser.add_argument("--json", metavar="FILE", help="write the figures and every turn's time")


def encode(args):
    """Run the command; print and write what came of it."""
    from datasets import voc

    voc_dir = paths.voc_dir(paths.data_root(args.data_root), "12")
    names = voc.read_list(voc_dir, f"Segmentation/{args.split}")
    names = (names * (args.pictures // len(names) + 1))[: args.pictures]
    table = [measure(voc_dir, names, workers, args.rounds) for workers in args.workers]
    print(tabulate([row["summary"] for row in table], headers="keys", floatfmt=".3f"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"CPU, {cores} cores; rates in pictures/s")
    if args.json:
        from blitznet import runs

        runs.write_json(Path(args.json), {"pictures": args.pictures, "cores": cores, "of": table})


def measure(voc_dir, names, workers, rounds):
    """Turns of `workers` processes, each of which encodes and copies all the pictures `names`.

    Returns:
      dict for JSON: `seconds` of each turn of "encode" and "limit"; `summary`, see `summarise`.
    """
    context = multiprocessing.get_context("spawn")
    seconds = {"encode": [], "limit": []}
    works = {"encode": encode_pictures, "limit": copy_pictures}
    with ProcessPoolExecutor(workers, context) as pool, contextlib.ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(workers)]
        for number in range(rounds + 1):
            for name, work in works.items():
                task = functools.partial(work, voc_dir, names)
                spans = list(pool.map(task, folders))
                if number:
                    ends, begins = max(end for _, end in spans), min(begin for begin, _ in spans)
                    seconds[name].append(ends - begins)
    return {"seconds": seconds, "summary": summarise(seconds, workers, len(names))}


def encode_pictures(voc_dir, names, folder):
    """Write the records of pictures as `tools.encode_voc --segmentation` does; (begin, end)."""
    import tensorflow as tf

    from datasets import records, voc
    from datasets.info import VOC

    begin = time.time()
    with tf.io.TFRecordWriter(str(Path(folder) / "encoded")) as writer:
        for name in names:
            example = voc.read_example(voc_dir, name, VOC, "SegmentationClass")
            writer.write(records.serialize(example, VOC.class_names))
    return begin, time.time()


def copy_pictures(voc_dir, names, folder):
    """The least that must be done with the same files; (begin, end)."""
    begin = time.time()
    with open(Path(folder) / "copied", "wb") as copied:
        for name in names:
            copied.write((voc_dir / "JPEGImages" / f"{name}.jpg").read_bytes())
            copied.write((voc_dir / "Annotations" / f"{name}.xml").read_bytes())
            mask = np.asarray(Image.open(voc_dir / "SegmentationClass" / f"{name}.png"))
            grey = io.BytesIO()
            Image.fromarray(mask).save(grey, "PNG")
            copied.write(grey.getvalue())
    return begin, time.time()


def summarise(seconds, workers, pictures):
    """Pictures/s of all workers together, and the share of the limit.

    Args:
      seconds: `encode` and `limit`, of each turn, in which every worker does `pictures`.

    Returns:
      dict: `workers`; pictures/s `mean`, `p50` and `p95` (95% of the turns are at least that
      fast) of encoding; `limit`, the median of copying; `share`, the median over the turns.
    """
    p50, p95 = np.percentile(seconds["encode"], [50, 95])
    done = workers * pictures
    figures = {
        "mean": done / np.mean(seconds["encode"]),
        "p50": done / p50,
        "p95": done / p95,
        "limit": done / np.median(seconds["limit"]),
        "share": np.median(np.divide(seconds["limit"], seconds["encode"])),
    }
    return {"workers": workers, **{name: float(value) for name, value in figures.items()}}
