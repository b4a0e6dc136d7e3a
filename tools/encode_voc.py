"""Writes pictures in the VOC layout as TFRecords: `python -m tools.encode_voc --help`."""

import argparse
import functools
import json
import os
import signal
import sys
from concurrent.futures.process import BrokenProcessPool

from tabulate import SEPARATING_LINE, tabulate

import paths
from blitznet.progress import progress_bar
from datasets import voc
from datasets.catalog import RecordSet, split_name
from datasets.info import VOC, BadExample, DatasetInfo
from datasets.label_map import read_label_map

_EXAMPLE = """\
examples:
  python -m tools.encode_voc --year 12 --split val --segmentation
      the 1,449 pictures of ImageSets/Segmentation/val.txt of <data root>/VOCdevkit/VOC2012
      with their masks, for --dataset voc12 --split val
  python -m tools.encode_voc --year 07 --split trainval
      boxes only, for --dataset voc07
  python -m tools.encode_voc --split train --segmentation --label_map data/label_map.pbtxt
      pictures of classes of your own in the layout of VOC2012

A run that was stopped goes on where it was when the same command is given again
(with --overwrite it starts from the first picture).
"""


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.encode_voc",
        description="Write the pictures, boxes and masks of one VOC list as TFRecords.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--year", choices=("07", "12"), default="12", help="VOC2007 or VOC2012 (default: 12)")
    add(
        "--split",
        type=split_name,
        required=True,
        help="the list: train, val, trainval, test, or one of your own",
    )
    add("--segmentation", action="store_true", help="take ImageSets/Segmentation and its masks")
    add(
        "--augmented",
        action="store_true",
        help="take ImageSets/SegmentationAug and the masks of SBD (implies --segmentation)",
    )
    add("--data_root", metavar="DIR", help="holds VOCdevkit (default: $BLITZNET_DATA or data/)")
    add(
        "--records",
        metavar="DIR",
        help="where to write (default: $BLITZNET_RECORDS or <data root>/records)",
    )
    add("--label_map", metavar="FILE", help="label_map.pbtxt of your classes (default: VOC's 20)")
    add("--shards", type=_positive, metavar="N", help="files (default: one per 500 pictures)")
    add(
        "--workers",
        type=_positive,
        metavar="N",
        default=os.cpu_count(),
        help="processes, each at one shard (default: one per core)",
    )
    add("--skip_bad", action="store_true", help="leave bad pictures out, and list them, not stop")
    add("--overwrite", action="store_true", help="write the set again even if it is complete")
    return parser


def _positive(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, not {text!r}")
    return int(text)


def record_set_of(args):
    """RecordSet that the flags name."""
    return RecordSet(args.year, args.split, args.segmentation or args.augmented, args.augmented)


def encode(args):
    """Write the set that the flags name and print what is in it."""
    # TensorFlow takes seconds to import: not for --help or a wrong flag, nor with its chatter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from datasets import records, shards

    record_set = record_set_of(args)
    info = VOC
    if args.label_map:
        info = DatasetInfo(args.label_map, read_label_map(args.label_map))
    root = paths.data_root(args.data_root)
    voc_dir = paths.voc_dir(root, args.year)
    folder = paths.records_dir(root, args.records)
    names = voc.read_list(voc_dir, record_set.image_list)

    read = functools.partial(
        voc.read_example, voc_dir, info=info, mask_folder=record_set.mask_folder
    )
    bar = progress_bar(len(names), "pictures")
    try:
        written = shards.write_records(
            folder,
            record_set,
            info,
            names,
            read,
            source=_source(voc_dir, record_set),
            shards=args.shards,
            workers=args.workers,
            skip_bad=args.skip_bad,
            overwrite=args.overwrite,
            progress=bar.update,
        )
    finally:
        if bar.start_time:
            bar.update(force=True)
            bar.finish(dirty=True)
    path = records.json_path(folder, record_set)
    if not written:
        print(f"{record_set.name} is complete already; --overwrite writes it again.")
    _print_summary(path)


def _source(voc_dir, record_set):
    """The folders that pictures and masks come from."""
    masks = f", masks of {record_set.mask_folder}" if record_set.mask_folder else ""
    return f"{voc_dir.resolve()}{masks}"


def _print_summary(path):
    """What the set that `path`, its JSON, describes holds, and what was left out of it."""
    from datasets.shards import describe_bad

    summary = json.loads(path.read_text(encoding="utf-8"))
    rows = list(summary["objects"].items())
    rows += [
        ("all objects", sum(summary["objects"].values())),
        ("of these difficult", summary["difficult_objects"]),
        ("pictures", summary["images"]),
        ("of these with a mask", summary["images_with_masks"]),
        ("left out as bad", len(summary["skipped"])),
    ]
    rows.insert(len(summary["objects"]), SEPARATING_LINE)
    print(tabulate(rows, headers=("class", "objects")))
    print(f"{path}: {len(summary['shards'])} shards")
    if summary["skipped"]:
        print("left out: " + describe_bad([BadExample(**entry) for entry in summary["skipped"]]))
        print(f"(all of them in {path})")


def main(argv=None):
    """Run the tool; answers the exit code: 0, 1 for a user's error, 130 when interrupted."""
    args = build_parser().parse_args(argv)
    try:
        encode(args)
    except KeyboardInterrupt:
        rest = "nothing is replaced" if args.overwrite else "the same command goes on from here"
        print(f"error: stopped; {rest}", file=sys.stderr)
        return 130
    except BrokenProcessPool:
        print("error: a worker was killed, short of memory? Try --workers 1", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as with Ctrl-C
    sys.exit(main())
