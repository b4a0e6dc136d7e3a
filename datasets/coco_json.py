"""The JSON of COCO's format: images, annotations and categories, put together by picture.

https://cocodataset.org/#format-data
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Annotations:
    """A JSON of annotations: `path`, `sha256` of its content, `categories` id -> name.

    `pictures` maps file names to the picture's own entry with its annotations as `objects`.
    """

    path: str
    sha256: str
    categories: dict
    pictures: dict


def read_annotations(path, segmentation=True, ground_truth=True):
    """`Annotations` of a file of COCO's format; without `segmentation`, outlines are dropped.

    Without `ground_truth` it may lack annotations, and they are left out. Raises
    FileNotFoundError, and ValueError for a file that is not JSON, lacks a list, repeats a picture
    or category, or has an entry that belongs to no picture, naming file and entry. What else is
    wrong with an annotation is left to those who read it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no annotations {path}: expected a JSON of COCO's format")
    content = Path(path).read_bytes()
    try:
        whole = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON, or truncated: {error}") from error
    by_id = _images(path, whole)
    entries = _entries(path, whole, "annotations") if ground_truth else []
    for where, entry in entries:
        image_id = _value(entry, "image_id", (int, str), where)
        if image_id not in by_id:
            raise ValueError(f"{where}: there is no picture with the id {image_id!r} in 'images'")
        kept = {k: v for k, v in entry.items() if segmentation or k != "segmentation"}
        by_id[image_id]["objects"].append(kept)
    categories = _categories(path, whole)
    by_name = {image["file_name"]: image for image in by_id.values()}
    return Annotations(str(path), hashlib.sha256(content).hexdigest(), categories, by_name)


def _images(path, whole):
    """The entries of 'images' by id, each with a list for its objects."""
    by_id, names = {}, set()
    for where, image in _entries(path, whole, "images"):
        image_id = _value(image, "id", (int, str), where)
        name = _value(image, "file_name", str, where)
        for side in ("width", "height"):
            _value(image, side, int, where)
        if image_id in by_id or name in names:
            raise ValueError(f"{where} repeats the id {image_id!r} or the file name {name}")
        by_id[image_id] = {**image, "objects": []}
        names.add(name)
    if not by_id:
        raise ValueError(f"{path}: the list 'images' is empty")
    return by_id


def _categories(path, whole):
    """Names by id."""
    names = {}
    for where, category in _entries(path, whole, "categories"):
        category_id = _value(category, "id", int, where)
        name = _value(category, "name", str, where)
        if category_id in names or name in names.values():
            raise ValueError(f"{where} repeats the id {category_id} or the name {name}")
        names[category_id] = name
    return names


def _entries(path, whole, name):
    """`(where, entry)` of the list `name` of an annotation file; `where` is for messages."""
    found = whole.get(name) if isinstance(whole, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise ValueError(
            f"{path} has no list {name!r} of objects: expected COCO's format, a JSON of images, "
            "annotations and categories"
        )
    return [(f"{path}: entry {i} of {name!r}", entry) for i, entry in enumerate(found, 1)]


def _value(entry, name, kinds, where):
    if not isinstance(entry.get(name), kinds):
        raise ValueError(f"{where}: {name!r} is {entry.get(name, 'missing')!r}")
    return entry[name]
