"""The TFRecord format: one example to bytes, bytes to tensors, and the sets in a folder.

A set of records is shards `<name>-00000-of-00008.tfrecord` and `<name>.json`, which lists
them. It exists if and only if its JSON does; datasets/shards.py writes both.
"""

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from blitznet import keys

_CORNERS = ("ymin", "xmin", "ymax", "xmax")
_BOX = "image/object/bbox/"
_FORMAT = {
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/filename": tf.io.FixedLenFeature([], tf.string),
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/segmentation/encoded": tf.io.FixedLenFeature([], tf.string, default_value=""),
    **{
        _BOX + corner: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
        for corner in _CORNERS
    },
    "image/object/class/label": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    "image/object/difficulty": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
}


def serialize(example):
    """A `tf.train.Example` as bytes, equal bytes for equal examples.

    `example`: a dict of `blitznet.keys` as `voc.read_example` answers it. The feature names
    are the original program's; a picture without mask has no `image/segmentation/*`.
    """
    boxes = example[keys.BOXES]
    features = {
        "image/height": _ints([example[keys.HEIGHT]]),
        "image/width": _ints([example[keys.WIDTH]]),
        "image/filename": _bytes(example[keys.FILENAME].encode()),
        "image/format": _bytes(b"JPEG"),
        "image/encoded": _bytes(example[keys.ENCODED_IMAGE]),
        "image/object/class/label": _ints(example[keys.LABELS]),
        "image/object/difficulty": _ints(example[keys.DIFFICULT]),
    }
    for column, corner in enumerate(_CORNERS):
        features[_BOX + corner] = _floats(boxes[:, column])
    if example[keys.ENCODED_MASK]:
        features["image/segmentation/format"] = _bytes(b"PNG")
        features["image/segmentation/encoded"] = _bytes(example[keys.ENCODED_MASK])
    message = tf.train.Example(features=tf.train.Features(feature=features))
    return message.SerializeToString(deterministic=True)


def _ints(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(v) for v in values]))


def _floats(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def parse(serialized):
    """Tensors of one record (a string scalar), eagerly or inside tf.data, nothing decoded.

    Answers a dict of `blitznet.keys`: FILENAME, ENCODED_IMAGE, ENCODED_MASK (b"" without
    mask) string scalars; HEIGHT, WIDTH int32 scalars, pixels; HAS_MASK bool; BOXES float32
    [N, 4] normalised yxyx; LABELS int32 [N], 1..C; DIFFICULT bool [N].
    """
    features = tf.io.parse_single_example(serialized, _FORMAT)
    mask = features["image/segmentation/encoded"]
    return {
        keys.FILENAME: features["image/filename"],
        keys.HEIGHT: tf.cast(features["image/height"], tf.int32),
        keys.WIDTH: tf.cast(features["image/width"], tf.int32),
        keys.ENCODED_IMAGE: features["image/encoded"],
        keys.ENCODED_MASK: mask,
        keys.HAS_MASK: tf.strings.length(mask) > 0,
        keys.BOXES: tf.stack([features[_BOX + corner] for corner in _CORNERS], axis=-1),
        keys.LABELS: tf.cast(features["image/object/class/label"], tf.int32),
        keys.DIFFICULT: tf.cast(features["image/object/difficulty"], tf.bool),
    }


def decode_image(encoded):
    """uint8 [H, W, 3] RGB of JPEG bytes (a string scalar), as stored: EXIF is ignored."""
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def decode_mask(encoded, has_mask, height, width):
    """uint8 [H, W] class ids of a record's mask, all 255 (ignored) where `has_mask` is False."""
    mask = tf.cond(
        has_mask,
        lambda: tf.io.decode_png(encoded, channels=1)[..., 0],
        lambda: tf.fill([height, width], tf.constant(255, tf.uint8)),
    )
    return tf.ensure_shape(mask, [None, None])


@dataclass(frozen=True)
class RecordsInfo:
    """A set of records on disk: `files` are the paths of its shards, in order.

    `class_names` leaves the background out; `images` and `images_with_masks` are counts;
    `objects` maps each class name to its number of objects.
    """

    name: str
    class_names: tuple
    ignore_label: int
    files: tuple
    images: int
    images_with_masks: int
    objects: dict


def json_path(folder, record_set):
    """Path of the JSON that makes `record_set` exist in `folder`."""
    return Path(folder) / f"{record_set.name}.json"


def has_records(folder, record_set):
    """Whether `record_set` has been written to `folder`."""
    return json_path(folder, record_set).is_file()


def open_records(folder, record_set, data_root=None):
    """RecordsInfo of a `catalog.RecordSet` in `folder`.

    Raises FileNotFoundError, with the command that writes it, when the set or one of its
    shards is not there; ValueError when its JSON does not read. The command names `data_root`
    if that is given.
    """
    path = json_path(folder, record_set)
    if not path.is_file():
        present = sorted(p.stem for p in Path(folder).glob("*.json"))
        raise FileNotFoundError(
            f"no records {record_set.name} in {folder} (there: {', '.join(present) or 'none'}); "
            f"write them with\n{_command(folder, record_set, data_root)}"
        )
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        info = RecordsInfo(
            name=summary["name"],
            class_names=tuple(summary["classes"]),
            ignore_label=summary["ignore_label"],
            files=tuple(str(path.with_name(shard)) for shard in summary["shards"]),
            images=summary["images"],
            images_with_masks=summary["images_with_masks"],
            objects=summary["objects"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} does not describe a set of records ({error!r}); "
            f"write the set again with\n{_command(folder, record_set, data_root, ' --overwrite')}"
        ) from error
    missing = [file for file in info.files if not Path(file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path} lists {missing[0]}, which is missing ({len(missing)} of {len(info.files)} "
            f"shards); write the set again with\n"
            + _command(folder, record_set, data_root, " --overwrite")
        )
    return info


def _command(folder, record_set, data_root, flags=""):
    """Lines that tell what to run, from any folder of data, to write a set."""
    places = {"--data_root": data_root, "--records": folder}
    given = "".join(
        f" {flag} {shlex.quote(os.path.abspath(place))}" for flag, place in places.items() if place
    )
    return f"  {record_set.command}{given}{flags}\n(add --label_map FILE for classes of your own)"
