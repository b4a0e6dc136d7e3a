"""Reading goes on round what cannot be read, and says where that is."""

import numpy as np
import pytest
import tensorflow as tf

from blitznet import keys
from datasets import inspection
from datasets.info import BadExample
from datasets.records import RecordsInfo, serialize
from example_fixture import JPEG, example


def test_best_overlaps_are_those_of_numpy(seeds):
    def intersection(a, b):
        sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        return np.prod(np.maximum(sides, 0))

    def area(box):
        return np.prod(box[2:] - box[:2])

    corners = np.random.rand(90, 2)
    boxes = np.hstack([corners, corners + np.random.rand(90, 2)]).astype(np.float32)
    priors = boxes[:20]  # yxyx
    expected = [
        max(intersection(b, p) / (area(b) + area(p) - intersection(b, p)) for p in priors)
        for b in boxes
    ]
    xywh = np.hstack([priors[:, 1::-1], (priors[:, 2:] - priors[:, :2])[:, ::-1]])
    np.testing.assert_allclose(inspection.best_overlaps(xywh, boxes), expected, atol=1e-5)
    assert inspection.best_overlaps(xywh, boxes[:0]).shape == (0,)


def write_records(path, payloads):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)
    return RecordsInfo("r", ("cat", "dog"), 255, (str(path),), len(payloads), 0, {})


def found(info):
    """What `read_records` answers, as file names, and the place of what it cannot read."""
    return [
        f"bad: {where.split(', ')[-1]}" if isinstance(e, BadExample) else e[keys.FILENAME]
        for where, e in inspection.read_records(info)
    ]


def test_records_are_read_around_a_damaged_one(tmp_path):
    path = tmp_path / "r.tfrecord"
    info = write_records(path, [serialize(example(name)) for name in "abcd"])
    content = bytearray(path.read_bytes())
    record = len(content) // 4
    content[record + record // 2] ^= 1
    path.write_bytes(content)
    assert found(info) == ["a", "bad: record 2", "c", "d"]
    assert inspection.count_records(info.files) == 4


def test_records_end_where_the_file_is_truncated(tmp_path):
    path = tmp_path / "r.tfrecord"
    info = write_records(path, [serialize(example(name)) for name in "abcd"])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 5 // 8])
    assert found(info) == ["a", "b", "bad: record 3"]


def test_records_that_are_no_examples_are_named(tmp_path):
    two = serialize(example("two", [[0, 0, 1, 1]] * 2, [1, 2]))
    message = tf.train.Example.FromString(two)
    del message.features.feature["image/object/class/label"].int64_list.value[1:]
    mismatch = message.SerializeToString()
    info = write_records(tmp_path / "r", [b"\xff", serialize(example("b")), mismatch, two])
    assert found(info) == ["bad: record 1", "b", "bad: record 3", "two"]


def test_pixels_that_do_not_decode_name_the_record():
    with pytest.raises(BadExample, match="record 7: a.jpg does not decode"):
        inspection.decode(example(encoded=JPEG[:200]), "record 7")
    with pytest.raises(BadExample, match="record 8"):
        inspection.decode(example(mask=b"no PNG"), "record 8")
