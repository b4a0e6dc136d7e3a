"""Pictures in a folder for each class on disk -> examples (NumPy).

The layout is that of torchvision's ImageFolder and of ImageNet's training set:
`ROOT/<class>/**/<picture>`, the classes in the order of their names.
"""

import hashlib
import os
from pathlib import Path

from blitznet import keys
from datasets import pictures
from datasets.info import BadExample, DatasetInfo, listed

_SUFFIXES = (".jpg", ".jpeg", ".png")
_SPLITS = {"train", "training", "val", "valid", "validation", "test"}


def read_folder(root):
    """Names of the classes and of the files in the folders of a classification set.

    Returns:
      `(classes, files)`: the sub-folders of `root`, a sorted tuple; the paths below `root` of all
      files in them, at any depth, and of pictures that lie beside them, a list. Names that begin
      with a dot are passed over, links are followed. The files are in an order in which the
      classes are mixed, always the same: training reads some shards at a time.

    Raises:
      FileNotFoundError: there is no folder `root`.
      ValueError: no sub-folder, no file in them, sub-folders that are splits and not classes, a
        folder met twice by links, a name that is not UTF-8.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: expected a sub-folder of pictures a class")
    entries = sorted(entry for entry in os.listdir(root) if not entry.startswith("."))
    classes = tuple(entry for entry in entries if (root / entry).is_dir())
    if not classes:
        raise ValueError(f"{root} has no sub-folder: expected one a class, with its pictures")
    if _SPLITS.issuperset(classes):
        raise ValueError(
            f"{root} has the sub-folders {', '.join(classes)}, which are splits, not classes: "
            f"encode each as a set of its own, e.g. {root / classes[0]}"
        )
    files = [file for name in classes for file in _files(root, name)]
    if not files:
        raise ValueError(f"{root}: no file in the sub-folders {listed(classes)}")
    beside = set(entries) - set(classes)
    files += [entry for entry in beside if entry.lower().endswith(_SUFFIXES)]
    return classes, sorted(files, key=lambda name: _digest(root, name))


def _files(root, name):
    """Paths below `root` of the files below its folder `name`."""

    def fail(error):
        raise error

    met = set()
    for folder, folders, files in os.walk(root / name, onerror=fail, followlinks=True):
        place = os.path.realpath(folder)
        if place in met:
            raise ValueError(f"{folder} leads to {place}, which {root / name} holds already")
        met.add(place)
        folders[:] = [each for each in folders if not each.startswith(".")]
        below = Path(folder).relative_to(root).as_posix()
        yield from (f"{below}/{file}" for file in files if not file.startswith("."))


def _digest(root, name):
    try:
        return hashlib.sha256(name.encode()).digest()
    except UnicodeEncodeError:
        raise ValueError(f"{root}: the name {name!r} is not UTF-8: rename the file") from None


def own_info(root, classes, files, label_map=None, class_names=None):
    """DatasetInfo of a classification set: the classes are the folders', or `class_names`.

    Args: `classes` and `files` as `read_folder(root)` answers them; `class_names`, of the file
    `label_map`, may hold names that have no folder; the class of its id i is i - 1 here. Raises
    ValueError for a folder that `class_names` lacks, and without them for one that holds no file.
    """
    if class_names is None:
        filled = {file.split("/", 1)[0] for file in files}
        empty = [name for name in classes if name not in filled]
        if empty:
            raise ValueError(
                f"no file in {listed([str(Path(root) / name) for name in empty])}: put pictures "
                "there or remove the folder; with --label_map FILE a class may be without pictures"
            )
        return DatasetInfo(str(root), classes, of_pictures=True)
    lacking = [name for name in classes if name not in class_names]
    if lacking:
        raise ValueError(
            f"{label_map} lacks the class {listed(lacking)}, a folder of {root}; it has "
            f"{listed(class_names)}"
        )
    return DatasetInfo(str(label_map), tuple(class_names), of_pictures=True)


def read_example(root, name, info):
    """One picture with its class, checked, as a dict of `blitznet.keys`.

    Args: `name` its path below `root`, a JPEG or PNG; `info` a DatasetInfo `of_pictures`, which
    knows the folder that `name` begins with.

    CLASS_LABEL int, 0..C-1, the place of the class in `info.class_names`; FILENAME `name` with `_`
    for a folder's `/`; SOURCE_ID `name`; no objects, no mask; HEIGHT, WIDTH and ENCODED_IMAGE as
    `voc.read_example` answers them.

    Raises BadExample, naming the file, for one that is missing or damaged, that is no JPEG or PNG
    of 8-bit RGB or grey, or that lies in no class's folder.
    """
    path = Path(root) / name
    class_name, _, rest = name.partition("/")
    if not rest or class_name not in info.class_names:
        raise BadExample(path, "lies in the folder of no class")
    formats = (*pictures.JPEG, "PNG")
    encoded, width, height = pictures.read_picture(path, "perhaps a link to nothing", formats)
    return {
        keys.FILENAME: name.replace("/", "_"),
        keys.SOURCE_ID: name,
        keys.HEIGHT: height,
        keys.WIDTH: width,
        keys.ENCODED_IMAGE: encoded,
        keys.ENCODED_MASK: b"",
        keys.CLASS_LABEL: info.class_names.index(class_name),
        **pictures.objects(boxes=[], labels=[], difficult=[], is_crowd=[], area=[]),
    }
