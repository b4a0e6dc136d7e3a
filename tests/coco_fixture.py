"""Writes small data sets in COCO's format: JPEGs, and a JSON of images, annotations, categories."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.coco import COCO

SIZE = (64, 48)


def category(class_id):
    """COCO's category id of a class 1..80."""
    return COCO.category_ids[class_id - 1]


def rectangle(x, y, w, h):
    """The polygon of a rectangle in pixels."""
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def annotation(number, image_id, box, category_id=1, **changes):
    """An entry of 'annotations': a rectangle `x, y, w, h` in pixels."""
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": list(box),
        "area": box[2] * box[3] / 2,
        "iscrowd": 0,
        "segmentation": rectangle(*box),
        **changes,
    }


def crowd(number, image_id, pixels, category_id=1):
    """A crowd region: `pixels` bool `[H, W]` as run lengths, column by column, gaps first."""
    flat = np.concatenate([[False], pixels.T.ravel(), [False]]).astype(int)
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff([0, *edges, pixels.size]).tolist()
    rows, columns = np.nonzero(pixels)
    x, y = int(columns.min()), int(rows.min())
    box = (x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y)
    outline = {"counts": counts, "size": list(pixels.shape)}
    return annotation(number, image_id, box, category_id, iscrowd=1, segmentation=outline)


def write_picture(path, size=SIZE):
    """Write a picture of noise, in the format of the path's suffix; answers the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(path.name.encode())).integers(0, 256, (*size[::-1], 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def image(image_id, name=None, size=SIZE):
    """An entry of 'images'."""
    name = name or f"{image_id:012d}.jpg"
    return {"id": image_id, "file_name": name, "width": size[0], "height": size[1]}


def write_json(path, images, annotations=(), categories=None):
    """Write annotations, with COCO's own categories or a dict id -> name; answers the path."""
    names = categories or dict(zip(COCO.category_ids, COCO.class_names))
    content = {
        "images": list(images),
        "annotations": list(annotations),
        "categories": [{"id": i, "name": name} for i, name in names.items()],
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def annotations_of(image_id, categories=(1, 90)):
    """None in every fourth picture; else an object, a smaller one of it, and a crowd in the odd.

    Their ids are 10 `image_id` and the following. The two first overlap.
    """
    if image_id % 4 == 0:
        return []
    first, second = categories
    found = [
        annotation(10 * image_id, image_id, (4, 6, 40, 30), first),
        annotation(10 * image_id + 1, image_id, (20, 16, 12, 10), second),
    ]
    if image_id % 2:
        pixels = np.zeros(SIZE[::-1], bool)
        pixels[2:9, 50:62] = True
        found.append(crowd(10 * image_id + 2, image_id, pixels, first))
    return found


def write_coco(root, split="train2017", ids=range(1, 7), folder=None):
    """Write the pictures `ids` and their annotations as a split of COCO; answers `root`/coco.

    `folder` is that of the pictures below `coco`, images/`split` if it is not given.
    """
    coco_dir = Path(root) / "coco"
    for image_id in ids:
        write_picture(coco_dir / (folder or f"images/{split}") / image(image_id)["file_name"])
    kind = "image_info" if split.startswith("test") else "instances"
    known = [] if split.startswith("test") else [a for i in ids for a in annotations_of(i)]
    write_json(coco_dir / "annotations" / f"{kind}_{split}.json", map(image, ids), known)
    return coco_dir
