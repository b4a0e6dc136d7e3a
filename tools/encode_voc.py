"""Writes pictures in the VOC layout as TFRecords: `python -m tools.encode_voc --help`."""

import argparse
import functools
import signal
import sys
from pathlib import Path

import paths
from blitznet.label_map import read_label_map
from datasets import voc
from datasets.info import VOC, DatasetInfo
from datasets.record_sets import OwnVocSet, VocSet, split_name
from tools import encoding

_EXAMPLE = """\
examples:
  python -m tools.encode_voc --year 12 --split val --segmentation
      the 1,449 pictures of ImageSets/Segmentation/val.txt of <data root>/VOCdevkit/VOC2012
      with their masks, for --dataset voc12 --split val
  python -m tools.encode_voc --year 07 --split trainval
      boxes only, for --dataset voc07
  python -m tools.encode_voc --root animals --label_map animals/label_map.pbtxt --split train
      pictures of your own in animals/JPEGImages with boxes of your own classes in
      animals/Annotations, named by animals/ImageSets/Main/train.txt; for
      --dataset custom --train_records <records>/animals-train.json
  python -m tools.encode_voc --root animals --label_map animals/label_map.pbtxt --split train \\
          --segmentation
      those of ImageSets/Segmentation/train.txt with masks of SegmentationClass; without a
      folder animals/Annotations, masks alone

Every picture of the lists Segmentation/train, val, trainval and test must have its mask; a list
of your own, of another name, may have pictures without.
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
    add("--year", choices=("07", "12"), help="VOC2007 or VOC2012 (default: 12)")
    add("--root", metavar="DIR", help="a folder of your own in the layout of VOC2012, not --year")
    add("--name", help="of the set made of --root (default: the folder's name)")
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
    add("--label_map", metavar="FILE", help="label_map.pbtxt of your classes (default: VOC's 20)")
    encoding.add_common_flags(parser)
    return parser


def record_set_of(args):
    """The set that the flags name; ValueError where they do not go together."""
    lists = (args.split, args.segmentation or args.augmented, args.augmented)
    if not args.root:
        if args.name:
            raise ValueError("--name goes with --root: a year's sets have their names")
        return VocSet(args.year or "12", *lists)
    if args.year:
        raise ValueError("--year and --root name different pictures: give one of them")
    if not args.label_map:
        raise ValueError("--root needs --label_map: the classes of your own")
    root, label_map = encoding.absolute(args.root), encoding.absolute(args.label_map)
    return OwnVocSet(root, args.name or Path(root).name, label_map, *lists)


def encode(args):
    """Write the set that the flags name and print what is in it."""
    record_set = record_set_of(args)
    info = VOC
    if args.label_map:
        info = DatasetInfo(args.label_map, read_label_map(args.label_map))
    if args.root:
        voc_dir = Path(record_set.root)
    else:
        voc_dir = paths.voc_dir(paths.data_root(args.data_root), args.year or "12")
    names = voc.read_list(voc_dir, record_set.image_list)
    has_boxes = not args.root or _has_boxes(voc_dir, record_set.mask_folder)
    read = functools.partial(
        voc.read_example,
        voc_dir,
        info=info,
        mask_folder=record_set.mask_folder,
        masks_required=record_set.masks_required,
        has_boxes=has_boxes,
    )
    source = _source(voc_dir, record_set, has_boxes)
    encoding.write(args, record_set, info, names, read, source=source, has_boxes=has_boxes)


def _has_boxes(root, mask_folder):
    """Whether a folder of the user's own has annotations, and not masks alone."""
    annotations = root / "Annotations"
    if annotations.is_dir():
        return True
    if not mask_folder:
        raise FileNotFoundError(f"no folder {annotations}; --segmentation encodes masks alone")
    print(f"no folder {annotations}: masks alone, without boxes")
    return False


def _source(voc_dir, record_set, has_boxes):
    """The folders that pictures and masks come from."""
    masks = f", masks of {record_set.mask_folder}" if record_set.mask_folder else ""
    return f"{voc_dir.resolve()}{masks}" + ("" if has_boxes else ", no boxes")


def main(argv=None):
    """Run the tool; answers the exit code: 0, 1 for a user's error, 130 when interrupted."""
    return encoding.run(encode, build_parser().parse_args(argv))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as with Ctrl-C
    sys.exit(main())
