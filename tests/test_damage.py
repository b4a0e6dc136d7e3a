"""Damage in records is named by file, record and picture."""

import pytest
import tensorflow as tf

from datasets.damage import naming_damaged
from datasets.pipeline import evaluation_dataset
from datasets.records import RecordsInfo, serialize
from example_fixture import JPEG, example


def test_a_picture_that_does_not_decode_is_named(tmp_path):
    file = str(tmp_path / "r.tfrecord")
    with tf.io.TFRecordWriter(file) as writer:
        writer.write(serialize(example("a.jpg")))
        writer.write(serialize(example("b.jpg", encoded=JPEG[: len(JPEG) // 2])))
    info = RecordsInfo("r", ("cat",), 255, (file,), 2, 0, {}, command="python -m tools.x --split y")
    batches = naming_damaged(evaluation_dataset([info], 64, 1), [info])
    with pytest.raises(ValueError, match="r.tfrecord, record 2: b.jpg does not decode.*tools.x, "):
        list(batches)
