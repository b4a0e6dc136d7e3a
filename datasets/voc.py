"""PASCAL VOC's layout on disk -> examples (NumPy): lists, JPEGs, XML boxes, palette masks.

M. Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010;
http://host.robots.ox.ac.uk/pascal/VOC/. A data set of other classes in this layout reads
the same way.
"""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from blitznet import keys
from datasets import pictures
from datasets.info import BadExample

_AUGMENTED = "SegmentationClassAug"


def read_list(voc_dir, image_list):
    """Names of the pictures in `ImageSets/<image_list>.txt` of a VOC year's folder.

    A line is `name` or, as in Main/cat_train, `name flag`, where the flag -1 (no object of the
    class) leaves the picture out. Raises FileNotFoundError without the folder or the list,
    ValueError for a list that is empty, repeats a name, names a folder or has other lines.
    """
    path = Path(voc_dir) / "ImageSets" / f"{image_list}.txt"
    if not path.is_file():
        raise FileNotFoundError(_missing_list(Path(voc_dir), path))
    names = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or (len(words) == 2 and words[1] == "-1"):
            continue
        if len(words) > 2 or (len(words) == 2 and words[1] not in ("0", "1")):
            raise ValueError(f"{path}, line {number}: expected `name` or `name flag`: {line!r}")
        if set(words[0]) & set("/\\"):
            raise ValueError(
                f"{path}, line {number}: expected the name of a picture in JPEGImages, without "
                f"folder: {words[0]!r}"
            )
        names.append(words[0])
    if not names:
        raise ValueError(f"{path} names no picture: expected one name a line, without .jpg")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path} names {repeated} more than once")
    return names


def _missing_list(voc_dir, path):
    if not voc_dir.is_dir():
        return (
            f"no folder {voc_dir}: expected ImageSets, JPEGImages and Annotations in it; "
            "`python -m tools.download voc07 voc12` fetches VOC's own to the data root "
            "(--data_root, $BLITZNET_DATA)"
        )
    if path.parent.name == "SegmentationAug":
        return (
            f"no list {path}: `python -m tools.download sbd` and `python -m "
            "tools.set_extra_annotations` make it and the masks of SegmentationClassAug"
        )
    present = sorted(p.stem for p in path.parent.glob("*.txt"))
    return (
        f"no list {path}: a text file with one picture name a line makes one "
        f"(in that folder: {', '.join(present) or 'no list'})"
    )


def read_example(voc_dir, name, info, mask_folder=None, *, masks_required=True, has_boxes=True):
    """One picture with its ground truth, checked, as a dict of `blitznet.keys`.

    Args: `voc_dir` the folder of one VOC year; `name` without .jpg; `info` a DatasetInfo;
    `mask_folder` where its mask has to be (SegmentationClass or SegmentationClassAug), None
    for an example without mask; without `masks_required`, an absent mask is none; without
    `has_boxes` its annotation is not looked for.

    FILENAME, SOURCE_ID str; HEIGHT, WIDTH int, pixels as stored (EXIF orientation is ignored
    everywhere: annotations refer to stored pixels); ENCODED_IMAGE the JPEG's own bytes;
    ENCODED_MASK class ids as 8-bit grey PNG bytes, b"" without a mask; BOXES float32 [N, 4] ymin,
    xmin, ymax, xmax in [0, 1], VOC's pixel numbers over height and width, from which the 1 at
    which VOC starts counting is *not* subtracted (the original BlitzNet's convention); LABELS
    int32 [N], 1..C; DIFFICULT and IS_CROWD (none is) bool [N]; AREA float32 [N], the box's, in
    pixels. N may be 0.

    Raises BadExample, naming the file (and object), for anything missing, unreadable or
    contradictory.
    """
    voc_dir = Path(voc_dir)
    path = voc_dir / "JPEGImages" / f"{name}.jpg"
    encoded, width, height = pictures.read_picture(path, _where_from(path))
    boxes, labels, difficult = [], [], []
    if has_boxes:
        path = voc_dir / "Annotations" / f"{name}.xml"
        boxes, labels, difficult = _read_objects(path, info, width, height)
    mask = b""
    if mask_folder:
        path = voc_dir / mask_folder / f"{name}.png"
        if masks_required or path.is_file():
            mask = _read_mask(path, info, width, height)
    areas = [(bottom - top) * (right - left) for top, left, bottom, right in boxes]
    return {
        keys.FILENAME: f"{name}.jpg",
        keys.SOURCE_ID: f"{name}.jpg",
        keys.HEIGHT: height,
        keys.WIDTH: width,
        keys.ENCODED_IMAGE: encoded,
        keys.ENCODED_MASK: mask,
        **pictures.objects(
            boxes=[(y0 / height, x0 / width, y1 / height, x1 / width) for y0, x0, y1, x1 in boxes],
            labels=labels,
            difficult=difficult,
            is_crowd=[False] * len(boxes),
            area=areas,
        ),
    }


def _where_from(path):
    maker = " (tools.set_extra_annotations makes it)" if path.parent.name == _AUGMENTED else ""
    return f"though the list names it{maker}"


def _read_objects(path, info, width, height):
    """Lists of boxes in pixels, labels and difficult flags of an annotation."""
    try:
        root = ElementTree.fromstring(pictures.read_bytes(path, _where_from(path)))
    except ElementTree.ParseError as error:
        raise BadExample(path, f"not XML ({error})") from error
    if root.tag != "annotation":
        raise BadExample(path, f"expected an <annotation>, not a <{root.tag}>")
    if root.find("size") is not None:
        stated = [_number(root.find("size"), tag, path, "size") for tag in ("width", "height")]
        if stated != [width, height]:
            reason = f"states {stated[0]:g} x {stated[1]:g} pixels, the JPEG has {width} x {height}"
            raise BadExample(path, reason)

    boxes, labels, difficult = [], [], []
    for position, element in enumerate(root.findall("object"), 1):
        name = element.findtext("name", "").strip()
        where = f"object {position} ({name or 'no name'})"
        if name not in info.class_names:
            known = ", ".join(info.class_names)
            raise BadExample(path, f"{where}: unknown class; the classes are {known}")
        boxes.append(_read_box(element, path, where, width, height))
        labels.append(info.class_names.index(name) + 1)
        difficult.append(_read_flag(element, path, where))
    return boxes, labels, difficult


def _read_box(element, path, where, width, height):
    """ymin, xmin, ymax, xmax in pixels."""
    bounds = element.find("bndbox")
    if bounds is None:
        raise BadExample(path, f"{where}: no <bndbox>")
    xmin, ymin, xmax, ymax = (
        _number(bounds, tag, path, where) for tag in ("xmin", "ymin", "xmax", "ymax")
    )
    for axis, low, high, side in (("x", xmin, xmax, width), ("y", ymin, ymax, height)):
        if low >= high:
            raise BadExample(path, f"{where}: {axis}min {low:g} >= {axis}max {high:g}")
        if low < 0 or high > side:
            reason = f"{where}: {axis} from {low:g} to {high:g} leaves the picture, 0 to {side}"
            raise BadExample(path, reason)
    return ymin, xmin, ymax, xmax


def _read_flag(element, path, where):
    text = element.findtext("difficult", "0").strip()
    if text not in ("0", "1"):
        raise BadExample(path, f"{where}: difficult is {text!r}, not 0 or 1")
    return text == "1"


def _number(element, tag, path, where):
    text = element.findtext(tag)
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise BadExample(path, f"{where}: {tag} is {text!r}, not a number")
    return value


def _read_mask(path, info, width, height):
    """Class ids of a palette or grey PNG, as the bytes of an 8-bit grey PNG."""
    encoded = pictures.read_bytes(path, _where_from(path))
    picture = pictures.open_encoded(path, encoded, "not a PNG")
    if picture.mode not in ("P", "L"):
        raise BadExample(path, f"a mask is a palette or grey PNG of class ids, not {picture.mode}")
    if picture.size != (width, height):
        reason = f"{picture.width} x {picture.height} pixels, the JPEG has {width} x {height}"
        raise BadExample(path, reason)
    ids = np.asarray(picture)
    unknown = (ids >= info.num_classes) & (ids != info.ignore_label)
    if unknown.any():
        raise BadExample(
            path,
            f"has the id {ids[unknown].min()}, which is neither 0 to {info.num_classes - 1} "
            f"nor {info.ignore_label}",
        )
    return pictures.mask_bytes(ids)
