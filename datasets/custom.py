"""Records of the user's own, named by their files: sets of the encoders and bare TFRecords."""

import glob
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from blitznet import keys
from blitznet.label_map import read_label_map
from datasets import records
from datasets.info import listed

# Boxes of other programs may leave the picture by a pixel or so.
_MARGIN = 0.01
_TOOLS = (
    "python -m tools.encode_voc --root DIR, python -m tools.encode_coco --annotations FILE or "
    "python -m tools.encode_folder --root DIR"
)


def open_custom(patterns, label_map=None):
    """RecordsInfo of every set that `patterns` name, a list.

    Args:
      patterns: paths or glob patterns of the JSONs that the encoders write, each a set, and of
        TFRecord files, in the original program's or the Object Detection API's features, which
        make one set together. A classification set has a JSON.
      label_map: file of the classes. TFRecord files need it; a JSON's classes must equal it.

    A file counts once, however often it is named. Raises FileNotFoundError for a pattern that
    names no file, ValueError for classes that do not fit the label map, for boxes that are not
    normalised, for TFRecord files of a classification set, and for damaged records, naming file
    and record.
    """
    found = [file for pattern in patterns for file in _matches(pattern)]
    files = list({Path(file).resolve(): file for file in found}.values())
    class_names = read_label_map(label_map) if label_map else None
    advice = f"expected what {_TOOLS} writes"
    sets = [records.read_json(file, advice) for file in files if file.endswith(".json")]
    for info in sets:
        if class_names and info.class_names != class_names:
            raise ValueError(
                f"{info.name} has the classes {listed(info.class_names, class_names)}; "
                f"{label_map} has {listed(class_names, info.class_names)}"
            )
    of_sets = {Path(file).resolve() for info in sets for file in info.files}
    rest = [f for f in files if not f.endswith(".json") and Path(f).resolve() not in of_sets]
    if rest and not class_names:
        raise ValueError(
            f"{rest[0]} does not name its classes: give --label_map FILE, or the .json that the "
            "encoder wrote beside the records"
        )
    return sets + ([_scan(rest, class_names)] if rest else [])


def open_one(patterns, label_map=None):
    """The RecordsInfo of `open_custom`; ValueError where it is not one."""
    sets = open_custom(patterns, label_map)
    if len(sets) != 1:
        names = ", ".join(info.name for info in sets)
        raise ValueError(f"evaluation takes one set of records at a time, not {names}")
    return sets[0]


def _matches(pattern):
    """Files of a path or pattern, sorted."""
    found = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern))
    if not found:
        raise FileNotFoundError(
            f"no file {pattern}: expected the .json of a set of records or a pattern of TFRecord "
            f"files, as {_TOOLS} writes them"
        )
    return found


def _scan(files, class_names):
    """RecordsInfo of bare TFRecord files, every record looked at."""
    objects = np.zeros(len(class_names) + 1, np.int64)
    images = masks = classified = 0
    for file in files:
        for example in _records(file):
            wrong = set(example[keys.LABELS]) - set(range(1, len(objects)))
            if wrong:
                raise ValueError(
                    f"{file}: {example[keys.FILENAME].decode()} has an object of class "
                    f"{min(wrong)}; the label map has 1 to {len(class_names)}"
                )
            boxes = example[keys.BOXES]
            strange = boxes[~np.all((boxes >= -_MARGIN) & (boxes <= 1 + _MARGIN), axis=1)]
            if len(strange):
                raise ValueError(
                    f"{file}: {example[keys.FILENAME].decode()} has the box {strange[0].tolist()}; "
                    "expected ymin, xmin, ymax, xmax from 0 to 1"
                )
            objects += np.bincount(example[keys.LABELS], minlength=len(objects))
            masks += bool(example[keys.HAS_MASK])
            classified += example[keys.CLASS_LABEL] >= 0
            images += 1
    if classified and not (objects.any() or masks):
        raise ValueError(
            f"{files[0]} has classes of whole pictures (image/class/label), and no objects: a "
            "classification set is named by the .json that python -m tools.encode_folder writes"
        )
    return records.RecordsInfo(
        name=re.sub(r"-\d{5}-of-\d{5}|\.tfrecords?$", "", Path(files[0]).name),
        class_names=class_names,
        ignore_label=255,
        files=tuple(files),
        images=images,
        images_with_masks=masks,
        objects=dict(zip(class_names, objects[1:].tolist())),
        # Masks without a single box are masks alone.
        has_boxes=bool(objects.any() or not masks),
    )


def _records(file):
    """The parsed records of a file, NumPy; ValueError naming the first that does not read."""

    def read(serialized):
        example = records.parse(serialized)
        same = tf.assert_equal(tf.size(example[keys.LABELS]), tf.shape(example[keys.BOXES])[0])
        with tf.control_dependencies([same]):
            wanted = (keys.FILENAME, keys.LABELS, keys.BOXES, keys.HAS_MASK, keys.CLASS_LABEL)
            return {key: tf.identity(example[key]) for key in wanted}

    number = 0
    dataset = tf.data.TFRecordDataset(file).map(read, num_parallel_calls=tf.data.AUTOTUNE)
    try:
        for example in dataset.as_numpy_iterator():
            number += 1
            yield example
    except tf.errors.DataLossError as error:
        raise ValueError(f"{file} is damaged after record {number}: {error.message}") from None
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            f"{file}: record {number + 1} is no example of the original program or the Object "
            f"Detection API: {error.message}"
        ) from None
