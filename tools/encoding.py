"""What the encoders share: flags, the writing with a progress bar, the summary, the errors."""

import argparse
import json
import os
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tabulate import SEPARATING_LINE, tabulate

import paths
from blitznet import label_map
from blitznet.progress import progress_bar
from datasets.info import BadExample, listed


def add_common_flags(parser):
    """Flags of every encoder."""
    add = parser.add_argument
    add("--data_root", metavar="DIR", help="raw data sets (default: $BLITZNET_DATA or data/)")
    add(
        "--records",
        metavar="DIR",
        help="where to write (default: $BLITZNET_RECORDS or <data root>/records)",
    )
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


def _positive(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, not {text!r}")
    return int(text)


def absolute(path):
    """A path of a flag as text that holds in any folder; None stays None."""
    return path and str(Path(path).expanduser().resolve())


def records_folder(args):
    """Folder that the flags say to write to."""
    return paths.records_dir(paths.data_root(args.data_root), args.records)


def check_label_map(args, info, source):
    """ValueError if the label map beside the records has other classes than `info`, of `source`."""
    path = records_folder(args) / label_map.FILE_NAME
    present = label_map.read_label_map(path) if path.is_file() else info.class_names
    if present != info.class_names:
        raise ValueError(
            f"{path} has the classes {listed(present, info.class_names)}, but {source} has "
            f"{listed(info.class_names, present)}: give --label_map {path} if they belong "
            "together, another folder by --records if not, or delete it if no other set needs it"
        )


def write_label_map(args, info):
    """Write the classes beside the records, unless they are there."""
    path = records_folder(args) / label_map.FILE_NAME
    if not path.is_file():
        label_map.write_label_map(path, info.class_names)
    print(f"{path}: the {len(info.class_names)} classes, for --label_map")


def write(args, record_set, info, names, read, **options):
    """Write a set by `shards.write_records`, with its `options`, and print what is in it."""
    from datasets import records, shards

    folder = records_folder(args)
    bar = progress_bar(len(names), "pictures")
    try:
        written = shards.write_records(
            folder,
            record_set,
            info,
            names,
            read,
            shards=args.shards,
            workers=args.workers,
            skip_bad=args.skip_bad,
            overwrite=args.overwrite,
            progress=bar.update,
            **options,
        )
    finally:
        if bar.start_time:
            bar.update(force=True)
            bar.finish(dirty=True)
    if not written:
        print(
            f"{record_set.name} is complete already; --overwrite writes it again, as from files "
            "that were changed since."
        )
    _print_summary(records.json_path(folder, record_set))


def _print_summary(path):
    """What the set that `path`, its JSON, describes holds, and what was left out of it."""
    from datasets.shards import describe_bad

    summary = json.loads(path.read_text(encoding="utf-8"))
    counted = "pictures" if summary.get("has_class_labels") else "objects"
    rows = [(name, count) for name, count in summary["objects"].items() if count]
    absent = len(summary["objects"]) - len(rows)
    rows += [(f"({absent} classes without {counted})", 0)] if absent else []
    rows.append(SEPARATING_LINE)
    rows.append((f"all {counted}", sum(summary["objects"].values())))
    rows += _object_rows(summary) if counted == "objects" else []
    rows.append(("left out as bad", len(summary["skipped"])))
    # Names may be numbers, and have to stay as they are.
    print(tabulate(rows, headers=("class", counted), disable_numparse=[0]))
    print(f"{path}: {len(summary['shards'])} shards")
    if summary["skipped"]:
        print("left out: " + describe_bad([BadExample(**entry) for entry in summary["skipped"]]))
        print(f"(all of them in {path})")


def _object_rows(summary):
    """What a set counts of objects, and of the pictures that they are on."""
    rows = [("of these difficult", summary["difficult_objects"])]
    # What only COCO has, and older sets do not count.
    for name, title in (
        ("crowd_objects", "of these crowds"),
        ("boxes_of_no_area", "boxes of no area, left out"),
    ):
        rows += [(title, summary[name])] if summary.get(name) else []
    return [
        *rows,
        ("pictures", summary["images"]),
        ("of these with a mask", summary["images_with_masks"]),
    ]


def run(encode, args):
    """`encode(args)`; the exit code: 0, 1 for a user's error, 130 when interrupted."""
    # TensorFlow takes seconds to import: not for --help or a wrong flag, nor with its chatter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
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
