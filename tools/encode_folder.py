"""Writes folders of pictures, one a class, as records: `python -m tools.encode_folder --help`."""

import argparse
import functools
import signal
import sys

from blitznet.label_map import read_label_map
from datasets import folder
from datasets.record_sets import OwnFolderSet
from tools import encoding

_EXAMPLE = """\
examples:
  python -m tools.encode_folder --root animals/train --name animals-train
      the JPEGs and PNGs of animals/train/<class>/, at any depth: the names of the sub-folders,
      sorted, become the classes, and label_map.pbtxt beside the records names them
  python -m tools.encode_folder --root animals/val --name animals-val \\
          --label_map data/records/label_map.pbtxt
      those held out, with the same classes, though one of them may have no picture here
  then --dataset custom --train_records data/records/animals-train.json

Hidden files are passed over. Any other file in the folders of the classes that is not a JPEG or
PNG of 8-bit RGB or grey is an error that names it; --skip_bad leaves it out.
A run that was stopped goes on where it was when the same command is given again
(with --overwrite it starts from the first picture).
"""


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.encode_folder",
        description="Write a classification set, a folder of pictures for each class, as "
        "TFRecords.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--root", metavar="DIR", required=True, help="the folder with a sub-folder for each class")
    add("--name", required=True, help="of the set that it makes")
    add(
        "--label_map",
        metavar="FILE",
        help="label_map.pbtxt of the classes, to be the same for several sets "
        "(default: the sub-folders, sorted)",
    )
    encoding.add_common_flags(parser)
    return parser


def record_set_of(args):
    """The set that the flags name; ValueError for a name that is not to be had."""
    root, label_map = encoding.absolute(args.root), encoding.absolute(args.label_map)
    return OwnFolderSet(args.name, root, label_map)


def encode(args):
    """Write the set that the flags name and print what is in it."""
    record_set = record_set_of(args)
    root = record_set.root
    classes, files = folder.read_folder(root)
    names = read_label_map(record_set.label_map) if args.label_map else None
    info = folder.own_info(root, classes, files, record_set.label_map, names)
    if not args.label_map:
        encoding.check_label_map(args, info, root)
    read = functools.partial(folder.read_example, root, info=info)
    source = f"{root}, a folder for each class"
    encoding.write(args, record_set, info, files, read, source=source, has_boxes=False)
    if not args.label_map:
        encoding.write_label_map(args, info)


def main(argv=None):
    """Run the tool; answers the exit code: 0, 1 for a user's error, 130 when interrupted."""
    return encoding.run(encode, build_parser().parse_args(argv))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as with Ctrl-C
    sys.exit(main())
