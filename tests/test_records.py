"""Examples to records and back, and which sets a folder holds."""

import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from blitznet import keys
from datasets import records
from datasets.catalog import RecordSet
from datasets.info import VOC
from datasets.voc import read_example
from voc_fixture import VocObject, draw_mask, write_annotation, write_mask, write_picture

SET = RecordSet("12", "val", segmentation=True)
CAT = VocObject("cat", 8, 4, 32, 24, difficult=True)


@pytest.fixture
def voc_dir(tmp_path):
    write_picture(tmp_path, "a", [CAT], 64, 48, orientation=6)
    write_annotation(tmp_path, "a", [CAT], 64, 48)
    write_mask(tmp_path / "SegmentationClass" / "a.png", draw_mask([CAT], 64, 48))
    return tmp_path


def _example(boxes, labels, difficult, mask=b""):
    return {
        keys.FILENAME: "å b.jpg",
        keys.HEIGHT: 48,
        keys.WIDTH: 64,
        keys.ENCODED_IMAGE: b"\xff\xd8\x00",
        keys.ENCODED_MASK: mask,
        keys.BOXES: boxes,
        keys.LABELS: labels,
        keys.DIFFICULT: difficult,
    }


@settings(max_examples=30, deadline=None)
@given(data=st.data(), count=st.integers(0, 5), mask=st.binary(max_size=4))
def test_parse_undoes_serialize(data, count, mask):
    example = _example(
        data.draw(arrays.arrays(np.float32, (count, 4), elements=st.floats(0, 1, width=32))),
        data.draw(arrays.arrays(np.int32, count, elements=st.integers(1, 254))),
        data.draw(arrays.arrays(bool, count)),
        mask,
    )
    parsed = {
        name: tensor.numpy() for name, tensor in records.parse(records.serialize(example)).items()
    }
    assert parsed.pop(keys.FILENAME).decode() == example.pop(keys.FILENAME)
    assert parsed.pop(keys.HAS_MASK) == bool(mask)
    assert parsed.keys() == example.keys()
    for name, value in example.items():
        np.testing.assert_array_equal(parsed[name], value, err_msg=name)
        if isinstance(value, np.ndarray):
            assert parsed[name].dtype == value.dtype


def test_feature_names_and_values_are_those_of_the_original_program():
    boxes = np.array([[0.25, 0.5, 0.75, 1.0]], np.float32)
    example = _example(boxes, np.array([8], np.int32), np.array([True]), b"png")
    features = tf.train.Example.FromString(records.serialize(example)).features.feature
    values = {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in features.items()
    }
    assert values == {
        "image/height": [48],
        "image/width": [64],
        "image/filename": ["å b.jpg".encode()],
        "image/format": [b"JPEG"],
        "image/encoded": [b"\xff\xd8\x00"],
        "image/object/bbox/ymin": [0.25],
        "image/object/bbox/xmin": [0.5],
        "image/object/bbox/ymax": [0.75],
        "image/object/bbox/xmax": [1.0],
        "image/object/class/label": [8],
        "image/object/difficulty": [1],
        "image/segmentation/format": [b"PNG"],
        "image/segmentation/encoded": [b"png"],
    }


@pytest.mark.parametrize("mask_folder", [None, "SegmentationClass"])
def test_parse_and_decode_give_the_same_inside_tf_data(voc_dir, mask_folder):
    serialized = records.serialize(read_example(voc_dir, "a", VOC, mask_folder))

    def read(record):
        example = records.parse(record)
        example[keys.IMAGE] = records.decode_image(example[keys.ENCODED_IMAGE])
        example[keys.MASK] = records.decode_mask(
            example[keys.ENCODED_MASK],
            example[keys.HAS_MASK],
            example[keys.HEIGHT],
            example[keys.WIDTH],
        )
        return example

    eager = read(tf.constant(serialized))
    mapped = next(iter(tf.data.Dataset.from_tensors(serialized).map(read)))
    assert eager.keys() == mapped.keys()
    for name in eager:
        assert eager[name].dtype == mapped[name].dtype
        np.testing.assert_array_equal(eager[name].numpy(), mapped[name].numpy(), err_msg=name)

    # Stored pixels, though the picture's EXIF asks for a quarter turn.
    assert eager[keys.IMAGE].shape == (48, 64, 3)
    with Image.open(voc_dir / "JPEGImages" / "a.jpg") as picture:
        difference = np.abs(np.asarray(picture, int) - eager[keys.IMAGE].numpy())
    assert difference.max() <= 1
    expected = draw_mask([CAT], 64, 48) if mask_folder else np.full((48, 64), 255)
    np.testing.assert_array_equal(eager[keys.MASK].numpy(), expected)


def test_shapes_known_inside_tf_data():
    example = tf.data.Dataset.from_tensors("").map(records.parse).element_spec
    assert example[keys.BOXES].shape.as_list() == [None, 4]
    assert example[keys.LABELS].shape.as_list() == [None]


def test_every_mask_value_survives_the_png():
    ids = np.arange(256, dtype=np.uint8).reshape(8, 32)
    png = io.BytesIO()
    Image.fromarray(ids).save(png, "PNG")
    mask = records.decode_mask(tf.constant(png.getvalue()), tf.constant(True), 8, 32)
    np.testing.assert_array_equal(mask.numpy(), ids)


def _write_json(folder, **changes):
    summary = {
        "name": SET.name,
        "classes": ["cat", "dog"],
        "ignore_label": 255,
        "images": 5,
        "images_with_masks": 4,
        "objects": {"cat": 3, "dog": 0},
        "shards": ["b.tfrecord", "a.tfrecord"],
        **changes,
    }
    (folder / f"{SET.name}.json").write_text(json.dumps(summary))
    for shard in "ab":
        (folder / f"{shard}.tfrecord").touch()


def test_open_records_answers_what_the_json_lists(tmp_path):
    _write_json(tmp_path)
    assert records.has_records(tmp_path, SET)
    assert records.open_records(tmp_path, SET) == records.RecordsInfo(
        name="voc12-val-seg",
        class_names=("cat", "dog"),
        ignore_label=255,
        files=(str(tmp_path / "b.tfrecord"), str(tmp_path / "a.tfrecord")),
        images=5,
        images_with_masks=4,
        objects={"cat": 3, "dog": 0},
    )


def test_absent_set_says_the_command_and_what_is_there(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        records.open_records(tmp_path, RecordSet("12", "train"))
    assert str(caught.value).splitlines() == [
        f"no records voc12-train in {tmp_path} (there: none); write them with",
        f"  python -m tools.encode_voc --year 12 --split train --records {tmp_path}",
        "(add --label_map FILE for classes of your own)",
    ]
    _write_json(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"\(there: voc12-val-seg\)"):
        records.open_records(tmp_path, RecordSet("12", "train"))


@pytest.mark.parametrize("damage", ["absent", "no JSON", "lost shard"])
def test_the_command_can_be_copied_to_any_folder(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    folder = Path("my records")
    folder.mkdir()
    if damage == "no JSON":
        (folder / f"{SET.name}.json").write_text("")
    elif damage == "lost shard":
        _write_json(folder)
        (folder / "a.tfrecord").unlink()
    with pytest.raises((FileNotFoundError, ValueError)) as caught:
        records.open_records(folder, SET, Path("it's data"))
    command, label_map = str(caught.value).splitlines()[-2:]
    from tools.encode_voc import build_parser, record_set_of

    args = build_parser().parse_args(shlex.split(command)[3:])
    assert record_set_of(args) == SET
    assert args.data_root == str(tmp_path / "it's data")
    assert args.records == str(tmp_path / "my records")
    assert args.overwrite == (damage != "absent")
    assert "--label_map FILE" in label_map


def test_lost_shard_is_named(tmp_path):
    _write_json(tmp_path)
    (tmp_path / "a.tfrecord").unlink()
    message = r"voc12-val-seg.json lists .*a.tfrecord, which is missing \(1 of 2 shards\)"
    with pytest.raises(FileNotFoundError, match=message):
        records.open_records(tmp_path, SET)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "voc12-val-seg"}'])
def test_damaged_json_is_named(tmp_path, text):
    (tmp_path / f"{SET.name}.json").write_text(text)
    with pytest.raises(ValueError, match=r"voc12-val-seg.json does not describe(.|\n)*--overwrite"):
        records.open_records(tmp_path, SET)
