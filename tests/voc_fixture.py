"""Writes small data sets in the VOC layout: JPEGs, XML, palette masks with 255, lists."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.info import VOC

ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True)
class VocObject:
    """An object: class name and box in pixels, as VOC's XML has them."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool = False


def write_voc(root, year="12", pictures=8, size=64, class_names=VOC.class_names, augmented=False):
    """Write `pictures` pictures below `root`; answers the folder `VOCdevkit/VOC20<year>`.

    Pictures are `size` wide and 3/4 `size` high, or the other way round, in turn. Picture i,
    named `2007_00000<i>`, shows `objects_of(i, ...)`; every fourth shows nothing. Main/train has
    the first three quarters, Main/val the rest, Main/trainval all; the Segmentation lists leave
    out picture 0, which has no mask. `augmented` adds SegmentationAug/train and its masks.
    """
    voc_dir = Path(root) / "VOCdevkit" / f"VOC20{year}"
    names = [f"2007_{i:06d}" for i in range(pictures)]
    mask_folders = ["SegmentationClass"] + ["SegmentationClassAug"] * augmented
    for i, name in enumerate(names):
        width, height = (size, size * 3 // 4) if i % 2 == 0 else (size * 3 // 4, size)
        objects = objects_of(i, width, height, class_names)
        write_picture(voc_dir, name, objects, width, height)
        write_annotation(voc_dir, name, objects, width, height)
        for folder in mask_folders if i else ():
            write_mask(
                voc_dir / folder / f"{name}.png", draw_mask(objects, width, height, class_names)
            )
    middle = pictures * 3 // 4
    for split, part in (("train", names[:middle]), ("val", names[middle:]), ("trainval", names)):
        write_list(voc_dir, f"Main/{split}", part)
        write_list(voc_dir, f"Segmentation/{split}", [n for n in part if n != names[0]])
    if augmented:
        write_list(voc_dir, "SegmentationAug/train", names[1:middle])
    return voc_dir


def objects_of(index, width, height, class_names=VOC.class_names):
    """Objects of picture `index`: none in every fourth, else two that overlap, one difficult."""
    if index % 4 == 3:
        return []
    first, second = (class_names[(2 * index + k) % len(class_names)] for k in (0, 1))
    left, top = width // 8 + index % 4, height // 8
    return [
        VocObject(first, left, top, width // 2, height // 2),
        VocObject(second, width // 3, height // 3, width, height, difficult=True),
    ]


def draw_mask(objects, width, height, class_names=VOC.class_names):
    """uint8 [H, W]: each box filled with its class id inside a border of 255."""
    mask = np.zeros((height, width), np.uint8)
    for box in objects:
        rows, columns = slice(int(box.ymin), int(box.ymax)), slice(int(box.xmin), int(box.xmax))
        mask[rows, columns] = 255
        inner = mask[rows, columns][1:-1, 1:-1]
        inner[...] = class_names.index(box.name) + 1
    return mask


def write_picture(voc_dir, name, objects, width, height, orientation=None, mode="RGB"):
    """Write a JPEG of noise with one plain rectangle per object; answers its path."""
    pixels = np.random.default_rng(len(name) + width).integers(0, 96, (height, width, 3))
    for box in objects:
        rows, columns = slice(int(box.ymin), int(box.ymax)), slice(int(box.xmin), int(box.xmax))
        pixels[rows, columns] = np.random.default_rng(sum(box.name.encode())).integers(96, 256, 3)
    picture = Image.fromarray(pixels.astype(np.uint8)).convert(mode)
    exif = Image.Exif()
    if orientation:
        exif[ORIENTATION] = orientation
    path = _ready(Path(voc_dir) / "JPEGImages" / f"{name}.jpg")
    picture.save(path, "JPEG", quality=90, exif=exif)
    return path


def write_annotation(voc_dir, name, objects, width, height):
    """Write the XML of a picture; answers its path."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{name}.jpg"
    size = ElementTree.SubElement(root, "size")
    for tag, value in (("width", width), ("height", height), ("depth", 3)):
        ElementTree.SubElement(size, tag).text = str(value)
    for box in objects:
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = box.name
        ElementTree.SubElement(element, "difficult").text = str(int(box.difficult))
        bounds = ElementTree.SubElement(element, "bndbox")
        for tag in ("xmin", "ymin", "xmax", "ymax"):
            ElementTree.SubElement(bounds, tag).text = str(getattr(box, tag))
    path = _ready(Path(voc_dir) / "Annotations" / f"{name}.xml")
    ElementTree.ElementTree(root).write(path)
    return path


def write_mask(path, ids):
    """Write class ids as a PNG with VOC's palette; answers its path."""
    mask = Image.fromarray(ids).convert("L")
    mask.putpalette(voc_palette())
    mask.save(_ready(Path(path)), "PNG")
    return Path(path)


def write_list(voc_dir, image_list, lines):
    """Write `ImageSets/<image_list>.txt`; answers its path."""
    path = _ready(Path(voc_dir) / "ImageSets" / f"{image_list}.txt")
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def voc_palette():
    """768 numbers: VOC's colours, whose bits are those of the id dealt to R, G and B in turn."""
    palette = []
    for colour in range(256):
        channels = [0, 0, 0]
        for bit in range(8):
            channels[bit % 3] |= (colour >> bit & 1) << (7 - bit // 3)
        palette += channels
    return palette


def _ready(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
