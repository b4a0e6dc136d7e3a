"""PASCAL VOC's layout on disk -> examples (NumPy): lists, JPEGs, XML boxes, palette masks.

M. Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010;
http://host.robots.ox.ac.uk/pascal/VOC/. A data set of other classes in this layout reads
the same way.
"""

import io
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from PIL import Image

from blitznet import keys
from datasets.info import BadExample

_WEBSITE = "http://host.robots.ox.ac.uk/pascal/VOC/"
_SBD = "http://home.bharathh.info/pubs/codes/SBD/download.html"
_PIL_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


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
            f"no folder {voc_dir}: unpack the VOC tar from {_WEBSITE} in "
            f"{voc_dir.parent.parent}, where it makes VOCdevkit/{voc_dir.name}"
        )
    if path.parent.name == "SegmentationAug":
        return (
            f"no list {path}: it holds the names of the pictures with masks of SBD ({_SBD}), "
            f"one a line; the masks, PNGs of class ids, go to {voc_dir / 'SegmentationClassAug'}"
        )
    present = sorted(p.stem for p in path.parent.glob("*.txt"))
    return (
        f"no list {path}: the VOC tar from {_WEBSITE} has the official ones, and a text file "
        f"with one picture name a line makes another "
        f"(in that folder: {', '.join(present) or 'no list'})"
    )


def read_example(voc_dir, name, info, mask_folder=None):
    """One picture with its ground truth, checked, as a dict of `blitznet.keys`.

    Args: `voc_dir` the folder of one VOC year; `name` without .jpg; `info` a DatasetInfo;
    `mask_folder` where its mask has to be (SegmentationClass or SegmentationClassAug), None
    for an example without mask.

    FILENAME str; HEIGHT, WIDTH int, pixels as stored (EXIF orientation is ignored everywhere:
    annotations refer to stored pixels); ENCODED_IMAGE the JPEG's own bytes; ENCODED_MASK class
    ids as 8-bit grey PNG bytes, b"" without a mask; BOXES float32 [N, 4] ymin, xmin, ymax, xmax
    in [0, 1], VOC's pixel numbers over height and width, from which the 1 at which VOC starts
    counting is *not* subtracted (the original BlitzNet's convention); LABELS int32 [N], 1..C;
    DIFFICULT bool [N]. N may be 0.

    Raises BadExample, naming the file (and object), for anything missing, unreadable or
    contradictory.
    """
    voc_dir = Path(voc_dir)
    encoded, width, height = _read_picture(voc_dir / "JPEGImages" / f"{name}.jpg")
    boxes, labels, difficult = _read_objects(
        voc_dir / "Annotations" / f"{name}.xml", info, width, height
    )
    mask = b""
    if mask_folder:
        mask = _read_mask(voc_dir / mask_folder / f"{name}.png", info, width, height)
    return {
        keys.FILENAME: f"{name}.jpg",
        keys.HEIGHT: height,
        keys.WIDTH: width,
        keys.ENCODED_IMAGE: encoded,
        keys.ENCODED_MASK: mask,
        keys.BOXES: np.array(boxes, np.float32).reshape(-1, 4),
        keys.LABELS: np.array(labels, np.int32),
        keys.DIFFICULT: np.array(difficult, bool),
    }


def _read_bytes(path):
    if not path.is_file():
        source = _SBD if path.parent.name == "SegmentationClassAug" else _WEBSITE
        raise BadExample(
            path, f"missing, though the list names it (the official one comes from {source})"
        )
    return path.read_bytes()


def _read_picture(path):
    """Bytes, width and height of a JPEG that decodes to its end."""
    encoded = _read_bytes(path)
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            picture.load()
    except _PIL_ERRORS as error:
        raise BadExample(path, f"truncated or not a JPEG ({error})") from error
    # MPO is a JPEG with further pictures behind it, as some cameras write.
    if picture.format not in ("JPEG", "MPO"):
        raise BadExample(path, f"not a JPEG but {picture.format}: convert it")
    if picture.mode not in ("RGB", "L"):
        raise BadExample(path, f"a {picture.mode} JPEG: convert it to RGB (save it with PIL)")
    return encoded, picture.width, picture.height


def _read_objects(path, info, width, height):
    """Lists of normalised boxes, labels and difficult flags of an annotation."""
    try:
        root = ElementTree.fromstring(_read_bytes(path))
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
    """ymin, xmin, ymax, xmax over the picture's sides."""
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
    return ymin / height, xmin / width, ymax / height, xmax / width


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
    encoded = _read_bytes(path)
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            picture.load()
    except _PIL_ERRORS as error:
        raise BadExample(path, f"truncated or not a PNG ({error})") from error
    if picture.mode not in ("P", "L"):
        raise BadExample(path, f"a mask is a palette or grey PNG of class ids, not {picture.mode}")
    if picture.size != (width, height):
        reason = f"{picture.width} x {picture.height} pixels, the JPEG has {width} x {height}"
        raise BadExample(path, reason)
    ids = np.asarray(picture)
    unknown = set(np.unique(ids)) - set(range(info.num_classes)) - {info.ignore_label}
    if unknown:
        raise BadExample(
            path,
            f"has the id {min(unknown)}, which is neither 0 to {info.num_classes - 1} "
            f"nor {info.ignore_label}",
        )
    grey = io.BytesIO()
    Image.fromarray(ids).save(grey, "PNG")
    return grey.getvalue()
