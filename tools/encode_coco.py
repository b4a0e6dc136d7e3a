"""Writes pictures with COCO's annotations as TFRecords: `python -m tools.encode_coco --help`."""

import argparse
import functools
import signal
import sys
from pathlib import Path

import paths
from blitznet.label_map import read_label_map
from datasets import coco
from datasets.coco_json import read_annotations
from datasets.record_sets import COCO_SPLITS, CocoSet, OwnCocoSet
from tools import encoding

_EXAMPLE = """\
examples:
  python -m tools.encode_coco --split train2017 --segmentation
      the pictures of <data root>/coco/images/train2017 (or coco/train2017) with boxes, and masks
      drawn from the instances of coco/annotations/instances_train2017.json; for
      --dataset coco-seg --split train2017
  python -m tools.encode_coco --split test-dev2017
      without ground truth: test.py writes the results file that COCO's server scores
  python -m tools.encode_coco --annotations animals/train.json --images animals/jpg \\
          --name animals-train
      pictures of your own with annotations in COCO's format: their categories become the
      classes, in the order of their ids, and label_map.pbtxt beside the records names them; for
      --dataset custom --train_records <records>/animals-train.json

A run that was stopped goes on where it was when the same command is given again
(with --overwrite it starts from the first picture).
"""


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.encode_coco",
        description="Write pictures, boxes and masks of a split of COCO, or of your own, as "
        "TFRecords.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--split", type=str.lower, choices=COCO_SPLITS, metavar="SPLIT", help=", ".join(COCO_SPLITS)
    )
    add("--segmentation", action="store_true", help="masks too, drawn from the instances")
    add("--annotations", metavar="FILE", help="annotations of your own, a JSON of COCO's format")
    add("--images", metavar="DIR", help="folder of their pictures, JPEGs or PNGs")
    add("--name", help="of the set that they make")
    add(
        "--label_map",
        metavar="FILE",
        help="label_map.pbtxt of their classes, to be the same for several files "
        "(default: the categories, in the order of their ids)",
    )
    encoding.add_common_flags(parser)
    return parser


def record_set_of(args):
    """The set that the flags name; ValueError where they do not go together."""
    own = (args.annotations, args.images, args.name)
    if args.split and not any((*own, args.label_map)):
        return CocoSet(args.split, args.segmentation)
    if args.split or not all(own):
        raise ValueError(
            "give --split for COCO's own pictures; for others --annotations, --images and --name"
        )
    places = map(encoding.absolute, (args.annotations, args.images, args.label_map))
    return OwnCocoSet(args.name, *places, args.segmentation)


def encode(args):
    """Write the set that the flags name and print what is in it."""
    record_set = record_set_of(args)
    if args.split:
        coco_dir = paths.coco_dir(paths.data_root(args.data_root))
        annotations = coco.read_split(coco_dir, record_set)
        folder, info = coco.picture_folder(coco_dir, record_set.image_folder), coco.COCO
    else:
        annotations = read_annotations(record_set.annotations, args.segmentation)
        folder, info = Path(record_set.images), _own_info(args, annotations)
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {folder}: expected the pictures of {args.name}")
    read = functools.partial(
        coco.read_example,
        folder=folder,
        annotations=annotations.path,
        info=info,
        segmentation=args.segmentation,
    )
    masks = ", masks of its instances" if args.segmentation else ""
    encoding.write(
        args,
        record_set,
        info,
        list(annotations.pictures),
        read,
        annotations=annotations.pictures,
        source=f"{folder.resolve()}, {annotations.path} (sha256 {annotations.sha256}){masks}",
        has_boxes=not args.split or record_set.has_boxes,
    )
    if not args.split and not args.label_map:
        encoding.write_label_map(args, info)


def _own_info(args, annotations):
    """DatasetInfo of the user's own annotations; an earlier label map has to agree."""
    if args.label_map:
        names = read_label_map(args.label_map)
        return coco.own_info(annotations, args.label_map, names)
    info = coco.own_info(annotations)
    encoding.check_label_map(args, info, annotations.path)
    return info


def main(argv=None):
    """Run the tool; answers the exit code: 0, 1 for a user's error, 130 when interrupted."""
    return encoding.run(encode, build_parser().parse_args(argv))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as with Ctrl-C
    sys.exit(main())
