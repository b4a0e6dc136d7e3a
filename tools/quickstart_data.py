"""Draws a small detection-and-segmentation data set in the layout of PASCAL VOC 2012.

    python -m tools.quickstart_data --data_root DIR [--train 400] [--val 80] [--seed 0]

Six classes that differ in shape, and most objects in the usual hue of their class, on textured
backgrounds, with overlaps, objects cut by the border and pictures without objects. Boxes hold
the visible part, as VOC's do. An object is placed only where at least 35% of it and of every
other object stays visible; one with less than half in sight is marked difficult. Masks hold 255
along the object edges. The seed determines the set: picture k of a list is the same for any
length of the list.
"""

import argparse
import functools
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from PIL import Image

import paths
from blitznet.label_map import read_label_map, write_label_map
from blitznet.opencv import cv2
from blitznet.visualize import IGNORED, palette_png
from tools.drawn_set import put_in_place, stays
from tools.flags.fields import number_in
from tools.quickstart_scene import CLASS_NAMES, bounding_box, draw_scene

SPLITS = ("train", "val")
EMPTY_EVERY = 12
DIFFICULT_BELOW = 0.5
JPEG_QUALITY = 92
LABEL_MAP_FILE = "label_map.pbtxt"
PARAMETERS_FILE = "quickstart.json"


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.quickstart_data",
        description="Draw a small data set of shapes in the VOC 2012 layout.",
    )
    count = number_in(1, kind=int)
    add = parser.add_argument
    add("--data_root", metavar="DIR", help="gets VOCdevkit and label_map.pbtxt (default: data)")
    add("--train", type=count, default=400, metavar="N", help="pictures to train on")
    add("--val", type=count, default=80, metavar="N", help="pictures held out")
    add("--seed", type=number_in(0, kind=int), default=0, metavar="N", help="(default: 0)")
    add("--overwrite", action="store_true", help="draw again, replacing a set drawn before")
    return parser


def main(argv=None):
    """Writes the data set; returns 0, or 1 where something else lies in its place."""
    arguments = build_parser().parse_args(argv)
    root = paths.data_root(arguments.data_root)
    counts = {"train": arguments.train, "val": arguments.val}
    try:
        written = write_data_set(root, counts, arguments.seed, arguments.overwrite)
    except (FileExistsError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    state = "drawn" if written else "already there, the same parameters"
    print(f"{paths.voc_dir(root, '12')}: {counts['train']} + {counts['val']} pictures, {state}")
    return 0


def write_data_set(root, counts, seed, overwrite=False):
    """Draws `VOCdevkit/VOC2012` and `label_map.pbtxt` under the data root.

    counts: {"train": N, "val": M}. Without `overwrite` the same set, if it is there already, is
    left as it is and False returned. A stopped run leaves nothing.

    Raises FileExistsError for another set of this tool without `overwrite`, and for files that
    are not of this tool in any case; ValueError for a label map that does not parse.
    """
    root = Path(root)
    voc = paths.voc_dir(root, "12")
    parameters = {"seed": seed, **counts}
    if _found(voc, root / LABEL_MAP_FILE, parameters, overwrite):
        return False
    draw = functools.partial(_draw_all, counts=counts, seed=seed)
    put_in_place(voc, draw, PARAMETERS_FILE, parameters)
    write_label_map(root / LABEL_MAP_FILE, CLASS_NAMES)
    return True


def _found(voc, label_map, parameters, overwrite):
    """True if the set is there; FileExistsError if what is there must stay."""
    if voc.exists():
        same = stays(voc, PARAMETERS_FILE, parameters, overwrite, "--data_root")
        return same and label_map.exists()
    if label_map.exists() and read_label_map(label_map) != CLASS_NAMES:
        raise FileExistsError(
            f"{label_map} belongs to another data set: choose another --data_root"
        )
    return False


def _draw_all(voc, counts, seed):
    names = {split: [f"{split}_{k:06d}" for k in range(counts[split])] for split in SPLITS}
    for folder in ("JPEGImages", "Annotations", "SegmentationClass"):
        (voc / folder).mkdir(parents=True)
    for folder in ("Main", "Segmentation"):
        lists = {**names, "trainval": names["train"] + names["val"]}
        (voc / "ImageSets" / folder).mkdir(parents=True)
        for split, listed in lists.items():
            path = voc / "ImageSets" / folder / f"{split}.txt"
            path.write_text("".join(f"{name}\n" for name in listed))
    for number, split in enumerate(SPLITS):
        for k, name in enumerate(names[split]):
            rng = np.random.default_rng([seed, number, k])
            _write_picture(voc, name, draw_scene(rng, empty=k % EMPTY_EVERY == EMPTY_EVERY - 1))


def _write_picture(voc, name, scene):
    Image.fromarray(scene.image).save(voc / f"JPEGImages/{name}.jpg", quality=JPEG_QUALITY)
    (voc / f"SegmentationClass/{name}.png").write_bytes(palette_png(_class_mask(scene)))
    tree = _annotation(name, scene)
    ET.indent(tree, "\t")
    tree.write(voc / f"Annotations/{name}.xml")


def _class_mask(scene):
    """Class ids uint8 `[H, W]`, with 255 on the two pixels astride every edge between regions."""
    ids = np.array([0, *(item.label for item in scene.objects)], np.uint8)
    square = np.ones((3, 3), np.uint8)
    edges = cv2.dilate(scene.regions, square) != cv2.erode(scene.regions, square)
    return np.where(edges, np.uint8(IGNORED), ids[scene.regions])


def _annotation(name, scene):
    """VOC's XML; boxes are integers from 1, both ends inside the object."""
    height, width = scene.regions.shape
    root = ET.Element("annotation")
    _add(root, folder="VOC2012", filename=f"{name}.jpg")
    _add(ET.SubElement(root, "source"), database="BlitzNet quickstart")
    _add(ET.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=1)
    for index, item in enumerate(scene.objects):
        element = ET.SubElement(root, "object")
        _add(
            element,
            name=CLASS_NAMES[item.label - 1],
            pose="Unspecified",
            truncated=int(item.truncated),
            difficult=int(scene.visible_share(index) < DIFFICULT_BELOW),
        )
        corners = [edge + 1 for edge in bounding_box(scene.regions == index + 1)]
        box = dict(zip(("xmin", "ymin", "xmax", "ymax"), corners))
        _add(ET.SubElement(element, "bndbox"), **box)
    return ET.ElementTree(root)


def _add(parent, **fields):
    for tag, value in fields.items():
        ET.SubElement(parent, tag).text = str(value)


if __name__ == "__main__":
    sys.exit(main())
