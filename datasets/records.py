"""The TFRecord format: one example to bytes, bytes to tensors, and the sets in a folder.

A set of records is shards `<name>-00000-of-00008.tfrecord` and `<name>.json`, which lists
them. It exists if and only if its JSON does; datasets/shards.py writes both.
"""

import hashlib
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from blitznet import keys

_CORNERS = ("ymin", "xmin", "ymax", "xmax")
_BOX = "image/object/bbox/"
_MASKS = ("image/segmentation/encoded", "image/segmentation/class/encoded")
_DIFFICULT = ("image/object/difficulty", "image/object/difficult")


def _text(default=None):
    return tf.io.FixedLenFeature([], tf.string, default_value=default)


def _list(dtype):
    return tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True)


_FORMAT = {
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/filename": _text(""),
    "image/source_id": _text(""),
    "image/encoded": _text(),
    **{name: _text("") for name in _MASKS},
    **{_BOX + corner: _list(tf.float32) for corner in _CORNERS},
    "image/object/class/label": _list(tf.int64),
    # A list, since the Object Detection API gives a picture several.
    "image/class/label": _list(tf.int64),
    **{name: _list(tf.int64) for name in _DIFFICULT},
    "image/object/is_crowd": _list(tf.int64),
    "image/object/area": _list(tf.float32),
}


def serialize(example, class_names=None):
    """A `tf.train.Example` as bytes, equal bytes for equal examples.

    `example`: a dict of `blitznet.keys` as `voc.read_example` answers it; a picture without mask
    has no `image/segmentation/*`. The features are the original program's and, beside them, those
    of the TF Object Detection API; its `image/object/class/text` needs the names of the classes
    1..C. A CLASS_LABEL of 0 or more, of a picture that is of one class as a whole, is written as
    `image/class/label`, with its name as `image/class/text`. These are the names that TF-slim's
    ImageNet records have, where the label counts from 1: one more than here.
    """
    image, mask = example[keys.ENCODED_IMAGE], example[keys.ENCODED_MASK]
    labels, difficult = example[keys.LABELS].tolist(), example[keys.DIFFICULT].astype(int).tolist()
    integers = {
        "image/height": [example[keys.HEIGHT]],
        "image/width": [example[keys.WIDTH]],
        "image/object/class/label": labels,
        "image/object/is_crowd": example[keys.IS_CROWD].astype(int).tolist(),
        **{name: difficult for name in _DIFFICULT},
    }
    columns = zip(_CORNERS, example[keys.BOXES].T.tolist())
    floats = {_BOX + corner: column for corner, column in columns}
    floats["image/object/area"] = example[keys.AREA].tolist()
    strings = {
        "image/filename": [example[keys.FILENAME].encode()],
        "image/source_id": [example[keys.SOURCE_ID].encode()],
        "image/key/sha256": [hashlib.sha256(image).hexdigest().encode()],
        "image/format": [b"PNG" if image.startswith(b"\x89PNG") else b"JPEG"],
        "image/encoded": [image],
    }
    if class_names:
        strings["image/object/class/text"] = [class_names[label - 1].encode() for label in labels]
    class_label = int(example.get(keys.CLASS_LABEL, -1))
    if class_label >= 0:
        integers["image/class/label"] = [class_label]
        strings["image/class/text"] = [class_names[class_label].encode()] if class_names else []
    if mask:
        strings.update({"image/segmentation/format": [b"PNG"], **{name: [mask] for name in _MASKS}})
    lists = {"int64_list": integers, "float_list": floats, "bytes_list": strings}
    return _message(lists).SerializeToString(deterministic=True)


def _message(lists):
    """A `tf.train.Example` of the values of each feature, by the kind of their list."""
    message = tf.train.Example()
    for kind, features in lists.items():
        for name, values in features.items():
            # Filled where it lies: assembled of parts, the message would copy the picture thrice.
            target = getattr(message.features.feature[name], kind)
            target.SetInParent()  # without values, too
            target.value.extend(values)
    return message


def parse(serialized):
    """Tensors of one record (a string scalar), eagerly or inside tf.data, nothing decoded.

    Reads what `serialize` writes and what the original program's encoder and the Object Detection
    API's write. Answers a dict of `blitznet.keys`: FILENAME, SOURCE_ID (each the other where the
    record has it not), ENCODED_IMAGE, ENCODED_MASK (b"" without mask) string scalars; HEIGHT, WIDTH
    int32 scalars, pixels; HAS_MASK bool; BOXES float32 [N, 4] normalised yxyx; LABELS int32 [N],
    1..C; DIFFICULT and IS_CROWD bool [N], False where the record says nothing; AREA float32 [N],
    pixels of the picture, that of the box where it says nothing; CLASS_LABEL int32 scalar, 0..C-1
    (TF-slim's records: 1..C), -1 where the record has none or several.
    """
    features = tf.io.parse_single_example(serialized, _FORMAT)
    height, width = (tf.cast(features[f"image/{side}"], tf.int32) for side in ("height", "width"))
    boxes = tf.stack([features[_BOX + corner] for corner in _CORNERS], axis=-1)
    sides = (boxes[:, 2:] - boxes[:, :2]) * tf.cast(tf.stack([height, width]), tf.float32)
    nothing = tf.zeros_like(boxes[:, 0], tf.int64)
    difficult = _filled(features[_DIFFICULT[0]], features[_DIFFICULT[1]])
    mask = _first(*(features[name] for name in _MASKS))
    class_labels = tf.cast(features["image/class/label"], tf.int32)
    return {
        keys.FILENAME: _first(features["image/filename"], features["image/source_id"]),
        keys.SOURCE_ID: _first(features["image/source_id"], features["image/filename"]),
        keys.HEIGHT: height,
        keys.WIDTH: width,
        keys.ENCODED_IMAGE: features["image/encoded"],
        keys.ENCODED_MASK: mask,
        keys.HAS_MASK: tf.strings.length(mask) > 0,
        keys.BOXES: boxes,
        keys.LABELS: tf.cast(features["image/object/class/label"], tf.int32),
        keys.DIFFICULT: tf.cast(_filled(difficult, nothing), tf.bool),
        keys.IS_CROWD: tf.cast(_filled(features["image/object/is_crowd"], nothing), tf.bool),
        keys.AREA: _filled(features["image/object/area"], tf.reduce_prod(sides, axis=1)),
        keys.CLASS_LABEL: tf.where(tf.size(class_labels) == 1, tf.reduce_max(class_labels), -1),
    }


def _first(text, otherwise):
    return tf.where(tf.strings.length(text) > 0, text, otherwise)


def _filled(values, defaults):
    """`values`, and for the objects at the end that they leave out their `defaults`."""
    return tf.concat([values, defaults[tf.size(values) :]], axis=0)


def decode_image(encoded):
    """uint8 [H, W, 3] RGB of JPEG or PNG bytes (a string scalar), as stored: EXIF is ignored."""
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
    `objects` maps each class name to its number of objects. `split` is the list that it was made
    from; `ap_rule` says how detections on it are scored: "voc07", "voc12" or "coco";
    `category_ids` are COCO's ids of the classes, for its results file, None elsewhere. Without
    `has_boxes`, nothing is known about the objects of its pictures: a test set, or masks alone.
    With `has_class_labels` each picture is of one class as a whole: a classification set, whose
    `objects` are pictures, whose class ids are 0..C-1 in the order of `class_names`, and whose
    `ap_rule` is None. `command` wrote it.
    """

    name: str
    class_names: tuple
    ignore_label: int
    files: tuple
    images: int
    images_with_masks: int
    objects: dict
    split: str = ""
    ap_rule: str = "voc12"
    category_ids: tuple = None
    has_boxes: bool = True
    command: str = ""
    has_class_labels: bool = False


def json_path(folder, record_set):
    """Path of the JSON that makes `record_set` exist in `folder`."""
    return Path(folder) / f"{record_set.name}.json"


def has_records(folder, record_set):
    """Whether `record_set` has been written to `folder`."""
    return json_path(folder, record_set).is_file()


def open_records(folder, record_set, data_root=None):
    """RecordsInfo of a set of `datasets.record_sets` in `folder`.

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
    again = _command(folder, record_set, data_root, " --overwrite")
    return read_json(path, f"write the set again with\n{again}", record_set.ap_rule)


def read_json(path, advice, ap_rule=RecordsInfo.ap_rule):
    """RecordsInfo of the set of records that the JSON at `path` describes.

    `ap_rule` is that of a set whose JSON does not say it. Raises ValueError for anything but a
    set's JSON, FileNotFoundError when a shard is not there; `advice` ends both messages.
    """
    path = Path(path)
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        ids = summary.get("category_ids")
        info = RecordsInfo(
            name=summary["name"],
            class_names=tuple(summary["classes"]),
            ignore_label=summary["ignore_label"],
            files=tuple(str(path.with_name(shard)) for shard in summary["shards"]),
            images=summary["images"],
            images_with_masks=summary["images_with_masks"],
            objects=summary["objects"],
            split=summary.get("split", ""),
            ap_rule=summary.get("ap_rule", ap_rule),
            category_ids=None if ids is None else tuple(ids),
            has_boxes=summary.get("has_boxes", True),
            command=summary.get("command", ""),
            has_class_labels=summary.get("has_class_labels", False),
        )
    except (AttributeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not describe a set of records ({error!r}); {advice}") from (
            error
        )
    missing = [file for file in info.files if not Path(file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path} lists {missing[0]}, which is missing ({len(missing)} of {len(info.files)} "
            f"shards); {advice}"
        )
    return info


def check_class_labels(record_sets, wanted):
    """ValueError unless all of `record_sets` are classification sets (`wanted`), or none is."""
    wrong = [info.name for info in record_sets if info.has_class_labels != wanted]
    if wrong and wanted:
        raise ValueError(
            f"the pictures of {', '.join(wrong)} have no class as a whole, which --arch classifier "
            "learns; python -m tools.encode_folder writes a set whose pictures have"
        )
    if wrong:
        raise ValueError(
            f"the pictures of {', '.join(wrong)} have a class each as a whole, no boxes and no "
            "masks: --arch classifier is for them"
        )


def _command(folder, record_set, data_root, flags=""):
    """Lines that tell what to run, from any folder of data, to write a set."""
    places = {"--data_root": data_root, "--records": folder}
    given = "".join(
        f" {flag} {shlex.quote(os.path.abspath(place))}" for flag, place in places.items() if place
    )
    return f"  {record_set.command}{given}{flags}{record_set.note}"
