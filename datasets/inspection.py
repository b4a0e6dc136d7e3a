"""Reads every example of a set for inspection, and goes on after those that cannot be read."""

import os
import struct

import tensorflow as tf

from blitznet import boxes as geometry
from blitznet import keys
from datasets import records
from datasets.info import BadExample

_HEADER = struct.Struct("<QI")  # a TFRecord's length and the checksum of that
_CHECKSUM_BYTES = 4
# So many boxes at a time are compared with the prior boxes.
_BLOCK = 32


def read_records(records_info):
    """Generator of `(where, example)` of a `records.RecordsInfo`, BadExample for unreadable ones.

    An example is a dict of `blitznet.keys` as `records.parse` answers it, as NumPy and str;
    `where` names the shard and the number of the record, from 1. After a checksum that fails,
    the records behind it are still read, by their lengths alone, as far as that goes.
    """
    parse = tf.function(records.parse, input_signature=[tf.TensorSpec([], tf.string)])
    for file in records_info.files:
        for number, payload in _payloads(file):
            where = f"{file}, record {number}"
            if isinstance(payload, bytes):
                yield where, _example(parse, payload, where)
            else:
                yield where, BadExample(where, f"damaged ({_reason(payload)})")


def count_records(files):
    """Number of records in TFRecord files, by their lengths alone."""
    return sum(1 for file in files for _ in _places(file))


def read_pictures(names, read):
    """Generator of `(name, read(name))` of all `names`, or of the BadExample that it raises."""
    for name in names:
        try:
            yield name, read(name)
        except BadExample as error:
            yield name, error


def decode(example, where):
    """`(image uint8 [H, W, 3], mask uint8 [H, W] or None)` of an example, as training decodes it.

    Raises BadExample, which names the file or record `where`, when one of them does not decode.
    """
    try:
        image = records.decode_image(example[keys.ENCODED_IMAGE]).numpy()
        if not example[keys.ENCODED_MASK]:
            return image, None
        mask = records.decode_mask(example[keys.ENCODED_MASK], True, *image.shape[:2])
        return image, mask.numpy()
    except tf.errors.OpError as error:
        reason = f"{example[keys.FILENAME]} does not decode ({_reason(error)})"
        raise BadExample(where, reason) from error


def best_overlaps(priors, boxes):
    """Highest IoU `[N]` that each of `boxes` `[N, 4]` `yxyx` has with any prior `[P, 4]` `xywh`.

    Computed as the matching computes it, to the last bit.
    """
    found = []
    for start in range(0, len(boxes), _BLOCK):
        block = geometry.yxyx_to_xywh(tf.constant(boxes[start : start + _BLOCK], tf.float32))
        found.append(tf.reduce_max(geometry.pairwise_iou(priors, block), axis=0))
    return tf.concat(found, axis=0).numpy() if found else tf.zeros([0]).numpy()


def _example(parse, payload, where):
    try:
        example = {key: value.numpy() for key, value in parse(payload).items()}
        for key in (keys.FILENAME, keys.SOURCE_ID):
            example[key] = example[key].decode()
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        return BadExample(where, f"not an example ({_reason(error)})")
    boxes, labels = len(example[keys.BOXES]), len(example[keys.LABELS])
    if boxes != labels:
        return BadExample(where, f"{boxes} boxes, but {labels} labels")
    return example


def _reason(error):
    """The first line of an error, without the name of the node that raised it."""
    text = getattr(error, "message", str(error)).strip().splitlines()[0]
    return text.split("}} ")[-1][:200]


def _payloads(file):
    """`(number, bytes)` of each record, with an OpError in the place of the first damaged one."""
    number = 0
    try:
        for record in tf.data.TFRecordDataset(file):
            number += 1
            yield number, record.numpy()
    except tf.errors.OpError as error:
        yield number + 1, error
        with open(file, "rb") as stream:
            for later, (offset, length) in enumerate(_places(file), 1):
                if later > number + 1:
                    stream.seek(offset)
                    yield later, stream.read(length)


def _places(file):
    """`(offset, length)` of each record up to a length that leads beyond the file's end."""
    end = os.path.getsize(file)
    with open(file, "rb") as stream:
        while True:
            header = stream.read(_HEADER.size)
            offset = stream.tell()
            if len(header) < _HEADER.size:
                return
            length = _HEADER.unpack(header)[0]
            if offset + length + _CHECKSUM_BYTES > end:
                return
            yield offset, length
            stream.seek(offset + length + _CHECKSUM_BYTES)
