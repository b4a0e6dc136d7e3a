"""COCO's annotations on disk -> examples (NumPy): JSON, boxes in pixels, polygons, crowds.

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the format:
https://cocodataset.org/#format-data. A data set of other classes in this format reads the same
way. The only place with boxes `x, y, w, h` in pixels and with COCO's category ids, which have gaps.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from blitznet import keys
from datasets import pictures
from datasets.coco_json import Annotations, read_annotations
from datasets.info import BadExample, DatasetInfo

_WEBSITE = "http://images.cocodataset.org"
_MINIVAL = "https://dl.fbaipublicfiles.com/detectron/coco/coco_annotations_minival.tgz"
_MINIVAL_IDS = "minival2014.txt"
# COCO's names by category id.
# fmt: off
_NAMES = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train",
    8: "truck", 9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign",
    14: "parking meter", 15: "bench", 16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep",
    21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe", 27: "backpack",
    28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove",
    41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass",
    47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple",
    54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza",
    60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote",
    76: "keyboard", 77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink",
    82: "refrigerator", 84: "book", 85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear",
    89: "hair drier", 90: "toothbrush",
}
# fmt: on
COCO = DatasetInfo("coco", tuple(_NAMES.values()), category_ids=tuple(_NAMES))


def read_split(coco_dir, record_set):
    """`Annotations` of a `CocoSet` from `coco_dir`/annotations.

    minival2014 and valminusminival2014 may be given by instances_val2014.json and minival2014.txt,
    the picture ids of minival2014, one a line. Raises FileNotFoundError, saying where the file
    comes from, and ValueError as `read_annotations` and for categories other than COCO's.
    """
    folder = Path(coco_dir) / "annotations"
    path, ids = folder / f"{record_set.image_list}.json", folder / _MINIVAL_IDS
    minival = "minival" in record_set.split
    chosen = minival and not path.is_file() and ids.is_file()
    if chosen:
        path = folder / "instances_val2014.json"
    if not path.is_file():
        raise FileNotFoundError(_missing(path, record_set.split, minival and not chosen))
    found = read_annotations(path, record_set.segmentation, record_set.has_boxes)
    wrong = {i: n for i, n in found.categories.items() if _NAMES.get(i) != n}
    if wrong:
        raise ValueError(
            f"{path} has categories that COCO has not: {wrong}; a set of your own takes "
            "--annotations, --images and --name"
        )
    return _part(found, ids, record_set.split == "minival2014") if chosen else found


def _missing(path, split, minival):
    if minival:
        return (
            f"no {path}: the authors of Faster R-CNN made it of val2014 ({_MINIVAL}); "
            "python -m tools.download coco14 makes it of val2014 and val2017; or put "
            f"instances_val2014.json and {_MINIVAL_IDS} there, the ids of the pictures of "
            "minival2014, one a line (they are those of val2017)"
        )
    archive = "image_info_test" if split.startswith("test") else "annotations_trainval"
    return (
        f"no {path}: unpack {_WEBSITE}/annotations/{archive}{split[-4:]}.zip in "
        f"{path.parent.parent}, or fetch it by `python -m tools.download {_download(split)}`"
    )


def _part(annotations, path, listed):
    """The pictures of val2014 whose ids the file at `path` lists, or does not list."""
    words = path.read_text(encoding="utf-8").split()
    known = {str(image["id"]) for image in annotations.pictures.values()}
    foreign = sorted(set(words) - known)
    if foreign or not words:
        raise ValueError(
            f"{path}: expected picture ids of {annotations.path}, one a line, not "
            f"{foreign[0] if foreign else 'an empty file'}"
        )
    chosen = set(words) if listed else known - set(words)
    part = {n: image for n, image in annotations.pictures.items() if str(image["id"]) in chosen}
    return Annotations(annotations.path, annotations.sha256, annotations.categories, part)


def picture_folder(coco_dir, name):
    """`coco_dir`/images/`name` or `coco_dir`/`name`; FileNotFoundError without either."""
    places = [Path(coco_dir) / "images" / name, Path(coco_dir) / name]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"no folder {places[0]} nor {places[1]}: unpack {_WEBSITE}/zips/{name}.zip in "
        f"{places[0].parent}, or fetch it by `python -m tools.download {_download(name)}`"
    )


def _download(split):
    """The name that `tools.download` has for what holds a split, e.g. coco17-test."""
    return f"coco{split[-2:]}" + "-test" * split.startswith("test")


def own_info(annotations, label_map=None, class_names=None):
    """DatasetInfo of annotations: their categories in the order of their ids, or `class_names`.

    `class_names`, of the file `label_map`, may hold names that the annotations lack; those get
    free category ids. Raises ValueError for a category that `class_names` lacks, naming it.
    """
    ids = {name: category for category, name in sorted(annotations.categories.items())}
    if class_names is None:
        return DatasetInfo(annotations.path, tuple(ids), category_ids=tuple(ids.values()))
    lacking = [name for name in ids if name not in class_names]
    if lacking:
        raise ValueError(
            f"{label_map} lacks the categories {', '.join(lacking)} of {annotations.path}; "
            f"it has {', '.join(class_names)}"
        )
    free = max(ids.values(), default=0) + 1
    extra = [name for name in class_names if name not in ids]
    ids.update(zip(extra, range(free, free + len(extra))))
    return DatasetInfo(
        label_map, tuple(class_names), category_ids=tuple(ids[name] for name in class_names)
    )


def read_example(name, picture, *, folder, annotations, info, segmentation=False):
    """One picture with its ground truth, checked, as a dict of `blitznet.keys`.

    Args: `name` the picture's file below `folder`, a JPEG or PNG; `picture` its entry of
    `Annotations.pictures`; `annotations` the path of the JSON, for messages; `info` a DatasetInfo
    with category ids; `segmentation` whether to draw a mask.

    The entries are those of `voc.read_example`, with SOURCE_ID COCO's image id, FILENAME with `_`
    for a folder's `/`, BOXES clipped to the picture, AREA what the annotation says, that of the
    outline, else the box's. An annotation with an outline alone has the box round it. Boxes
    without area are left out (COCO itself has some) and counted as EMPTY_BOXES. In the mask the
    smaller of two overlapping objects wins; crowds are `info.ignore_label`.

    Raises BadExample, naming the file and the annotation, for anything else that is missing,
    unreadable or contradictory.
    """
    path = Path(folder) / name
    encoded, width, height = pictures.read_picture(
        path, f"though {annotations} lists it", (*pictures.JPEG, "PNG")
    )
    if [picture["width"], picture["height"]] != [width, height]:
        stated = f"{picture['width']} x {picture['height']}"
        raise BadExample(path, f"{width} x {height} pixels, but {annotations} states {stated}")
    found = [
        _Object.read(entry, name, annotations, info, width, height) for entry in picture["objects"]
    ]
    boxes = [each.normalised_box(width, height) for each in found]
    real = [(box, each) for box, each in zip(boxes, found) if (box[2:] > box[:2]).all()]
    return {
        keys.FILENAME: name.replace("/", "_"),
        keys.SOURCE_ID: str(picture["id"]),
        keys.HEIGHT: height,
        keys.WIDTH: width,
        keys.ENCODED_IMAGE: encoded,
        keys.ENCODED_MASK: _draw(found, width, height, info) if segmentation else b"",
        keys.EMPTY_BOXES: len(found) - len(real),
        **pictures.objects(
            boxes=[box for box, _ in real],
            labels=[each.label for _, each in real],
            difficult=[False] * len(real),
            is_crowd=[each.is_crowd for _, each in real],
            area=[each.area for _, each in real],
        ),
    }


@dataclass(frozen=True)
class _Object:
    """One annotation: `box` x, y, w, h in pixels; `complain` makes the BadExample of a reason."""

    label: int
    box: list
    is_crowd: bool
    area: float
    outline: object
    complain: object

    @classmethod
    def read(cls, entry, name, annotations, info, width, height):
        def complain(reason):
            what = f"annotation {entry.get('id', 'without id')} of {name}"
            return BadExample(annotations, f"{what}: {reason}")

        if "bbox" not in entry and "segmentation" in entry:
            code = _run_lengths(entry["segmentation"], width, height, complain)
            entry = {"area": float(rle.area(code)), **entry, "bbox": rle.toBbox(code).tolist()}
        for key, advice in (
            ("category_id", ""),
            ("bbox", "; with --segmentation, an outline does instead"),
        ):
            if key not in entry:
                raise complain(f"no {key!r}{advice}")
        if entry["category_id"] not in info.category_ids:
            known = ", ".join(map(str, info.category_ids))
            raise complain(f"unknown category {entry['category_id']}; the ids are {known}")
        box, crowd = entry["bbox"], entry.get("iscrowd", 0)
        if not _numbers(box, 4) or box[2] < 0 or box[3] < 0:
            raise complain(f"bbox is {box}, not x, y, width, height in pixels")
        area = entry.get("area", box[2] * box[3])
        if not _numbers([area], 1) or area < 0:
            raise complain(f"area is {area!r}, not pixels")
        if crowd not in (0, 1):
            raise complain(f"iscrowd is {crowd!r}, not 0 or 1")
        label = info.category_ids.index(entry["category_id"]) + 1
        return cls(label, box, bool(crowd), area, entry.get("segmentation"), complain)

    def normalised_box(self, width, height):
        """float32 `[4]` ymin, xmin, ymax, xmax, clipped to the picture."""
        x, y, w, h = self.box
        corners = [y / height, x / width, (y + h) / height, (x + w) / width]
        return np.clip(np.array(corners, np.float32), 0, 1)

    def run_lengths(self, width, height):
        """Its outline in the library's code."""
        return _run_lengths(self.outline, width, height, self.complain)


def _run_lengths(outline, width, height, complain):
    """The library's code of an outline, which is polygons or run lengths."""
    if isinstance(outline, list) and outline:
        if not all(_numbers(p) and len(p) >= 6 and len(p) % 2 == 0 for p in outline):
            raise complain("segmentation: a polygon is x, y of three points or more")
        return rle.merge(rle.frPyObjects(outline, height, width))
    if not isinstance(outline, dict) or outline.get("size") != [height, width]:
        raise complain(
            f"segmentation is neither polygons nor run lengths of {width} x {height} pixels; "
            "without --segmentation, boxes do alone"
        )
    counts = outline.get("counts")
    if isinstance(counts, str):  # coded already, as in some files
        try:
            rle.decode(outline)
        except ValueError as error:
            raise complain(f"segmentation: {error}") from None
        return outline
    if not isinstance(counts, list) or not all(isinstance(n, int) for n in counts):
        raise complain("segmentation: 'counts' is no list of run lengths")
    if min(counts, default=0) < 0 or sum(counts) != width * height:
        raise complain(f"segmentation: the run lengths are not of {width * height} pixels")
    return rle.frPyObjects(outline, height, width)


def _numbers(values, count=None):
    """Whether this is a list of finite numbers, `count` of them."""
    return (
        isinstance(values, list)
        and count in (None, len(values))
        and all(isinstance(v, (int, float)) and math.isfinite(v) for v in values)
    )


def _draw(objects, width, height, info):
    """The mask's PNG: class ids, drawn from the largest to the smallest."""
    # The library counts down the columns, and so does `ids`.
    ids = np.zeros((height, width), np.uint8, order="F")
    outlines = [(each, each.run_lengths(width, height)) for each in objects]
    for each, code in sorted(outlines, key=lambda pair: -int(rle.area(pair[1]))):
        ids[rle.decode(code).view(bool)] = info.ignore_label if each.is_crowd else each.label
    return pictures.mask_bytes(ids)
