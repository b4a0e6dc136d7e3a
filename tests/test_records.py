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
from datasets.info import VOC
from datasets.record_sets import VocSet
from datasets.voc import read_example
from voc_fixture import VocObject, draw_mask, write_annotation, write_mask, write_picture

SET = VocSet("12", "val", segmentation=True)
CAT = VocObject("cat", 8, 4, 32, 24, difficult=True)


@pytest.fixture
def voc_dir(tmp_path):
    write_picture(tmp_path, "a", [CAT], 64, 48, orientation=6)
    write_annotation(tmp_path, "a", [CAT], 64, 48)
    write_mask(tmp_path / "SegmentationClass" / "a.png", draw_mask([CAT], 64, 48))
    return tmp_path


def _example(boxes, labels, difficult, mask=b"", is_crowd=None, area=None):
    return {
        keys.FILENAME: "å b.jpg",
        keys.SOURCE_ID: "å 7",
        keys.HEIGHT: 48,
        keys.WIDTH: 64,
        keys.ENCODED_IMAGE: b"\xff\xd8\x00",
        keys.ENCODED_MASK: mask,
        keys.BOXES: boxes,
        keys.LABELS: labels,
        keys.DIFFICULT: difficult,
        keys.IS_CROWD: np.zeros(len(labels), bool) if is_crowd is None else is_crowd,
        keys.AREA: np.ones(len(labels), np.float32) if area is None else area,
    }


@settings(max_examples=30, deadline=None)
@given(
    data=st.data(),
    count=st.integers(0, 5),
    mask=st.binary(max_size=4),
    class_label=st.integers(-1, 2**31 - 1),
)
def test_parse_undoes_serialize(data, count, mask, class_label):
    example = _example(
        data.draw(arrays.arrays(np.float32, (count, 4), elements=st.floats(0, 1, width=32))),
        data.draw(arrays.arrays(np.int32, count, elements=st.integers(1, 254))),
        data.draw(arrays.arrays(bool, count)),
        mask,
        data.draw(arrays.arrays(bool, count)),
        data.draw(arrays.arrays(np.float32, count, elements=st.floats(0, 1e6, width=32))),
    )
    example[keys.CLASS_LABEL] = np.int32(class_label)
    parsed = {
        name: tensor.numpy() for name, tensor in records.parse(records.serialize(example)).items()
    }
    for name in (keys.FILENAME, keys.SOURCE_ID):
        assert parsed.pop(name).decode() == example.pop(name)
    assert parsed.pop(keys.HAS_MASK) == bool(mask)
    assert parsed.keys() == example.keys()
    for name, value in example.items():
        np.testing.assert_array_equal(parsed[name], value, err_msg=name)
        if isinstance(value, np.ndarray):
            assert parsed[name].dtype == value.dtype


def _features(serialized):
    """Name -> list of values."""
    features = tf.train.Example.FromString(serialized).features.feature
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in features.items()
    }


ORIGINAL = {
    "image/height": [48],
    "image/width": [64],
    "image/filename": ["å b.jpg".encode()],
    "image/format": [b"JPEG"],
    "image/encoded": [b"\xff\xd8\x00"],
    "image/object/bbox/ymin": [0.25],
    "image/object/bbox/xmin": [0.5],
    "image/object/bbox/ymax": [0.75],
    "image/object/bbox/xmax": [1.0],
    "image/object/class/label": [2],
    "image/object/difficulty": [1],
    "image/segmentation/format": [b"PNG"],
    "image/segmentation/encoded": [b"png"],
}
API = {
    "image/source_id": ["å 7".encode()],
    # sha256sum of the three bytes ff d8 00.
    "image/key/sha256": [b"9ec23d79a7430da182d3a7b64c4d53e69a0512b3f0288cbf9cedaca5ab0792d3"],
    "image/object/class/text": [b"dog"],
    "image/object/difficult": [1],
    "image/object/is_crowd": [1],
    "image/object/area": [12.5],
    "image/segmentation/class/encoded": [b"png"],
}
COMMON = ("height", "width", "filename", "encoded", "object/class/label")


def test_features_are_the_original_programs_and_the_object_detection_apis():
    boxes, one = np.array([[0.25, 0.5, 0.75, 1.0]], np.float32), np.array([True])
    example = _example(boxes, np.array([2]), one, b"png", one, np.float32([12.5]))
    values = _features(records.serialize(example, ("cat", "dog")))
    assert values == {**ORIGINAL, **API}
    without_names = _features(records.serialize(example))
    assert without_names.keys() == values.keys() - {"image/object/class/text"}


def test_a_picture_without_objects_has_empty_lists_of_the_same_kinds():
    nothing = np.zeros(0)
    empty = _example(np.zeros((0, 4), np.float32), nothing.astype(int), nothing.astype(bool), b"")
    boxes, one = np.array([[0.25, 0.5, 0.75, 1.0]], np.float32), np.array([True])
    full = _example(boxes, np.array([2]), one, b"")
    kinds = []
    for example in (empty, full):
        message = tf.train.Example.FromString(records.serialize(example, ("cat", "dog")))
        features = message.features.feature.items()
        kinds.append({name: feature.WhichOneof("kind") for name, feature in features})
    assert kinds[0] == kinds[1]
    assert set(kinds[0].values()) == {"bytes_list", "float_list", "int64_list"}


def _no_objects():
    return _example(np.zeros((0, 4), np.float32), np.array([], int), np.array([], bool))


def test_the_class_of_a_picture_is_stored_beside_what_others_have():
    plain = _features(records.serialize(_no_objects()))
    classified = {**_no_objects(), keys.CLASS_LABEL: 0}
    assert _features(records.serialize(classified, ("cat", "å dog"))) == {
        **plain,
        "image/object/class/text": [],
        "image/class/label": [0],
        "image/class/text": [b"cat"],
    }
    last = _features(records.serialize({**classified, keys.CLASS_LABEL: 1}, ("cat", "å dog")))
    assert (last["image/class/label"], last["image/class/text"]) == ([1], ["å dog".encode()])
    assert records.parse(records.serialize(classified))[keys.CLASS_LABEL].numpy() == 0
    # Without a class nothing of it is written.
    assert _features(records.serialize({**classified, keys.CLASS_LABEL: -1})) == plain


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({}, -1),
        ({"image/class/label": [1000], "image/class/text": [b"toilet tissue"]}, 1000),  # TF-slim's
        ({"image/class/label": [3, 7]}, -1),  # the Object Detection API's, of Open Images
    ],
)
def test_class_labels_of_other_programs(features, expected):
    example = records.parse(_record({**ORIGINAL, **features}))
    assert example[keys.CLASS_LABEL].dtype == tf.int32
    assert example[keys.CLASS_LABEL].shape == []
    assert example[keys.CLASS_LABEL].numpy() == expected


def _record(values):
    """A record of features, name -> list of values."""
    features = {}
    for name, content in values.items():
        if isinstance(content[0], bytes):
            kind = tf.train.Feature(bytes_list=tf.train.BytesList(value=content))
        elif isinstance(content[0], int):
            kind = tf.train.Feature(int64_list=tf.train.Int64List(value=content))
        else:
            kind = tf.train.Feature(float_list=tf.train.FloatList(value=content))
        features[name] = kind
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


BOX = {name: value for name, value in ORIGINAL.items() if "bbox" in name}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # The box is half of 48 pixels high and half of 64 wide: 24 x 32.
        (ORIGINAL, {keys.SOURCE_ID: "å b.jpg", keys.IS_CROWD: False, keys.AREA: 768.0}),
        (
            {**{f"image/{name}": ORIGINAL[f"image/{name}"] for name in COMMON}, **BOX, **API},
            {keys.SOURCE_ID: "å 7", keys.IS_CROWD: True, keys.AREA: 12.5},
        ),
    ],
    ids=["original program", "Object Detection API"],
)
def test_records_of_either_family_are_read(values, expected):
    example = records.parse(_record(values))
    assert example[keys.SOURCE_ID].numpy().decode() == expected[keys.SOURCE_ID]
    assert example[keys.IS_CROWD].numpy().tolist() == [expected[keys.IS_CROWD]]
    assert example[keys.AREA].numpy().tolist() == [expected[keys.AREA]]
    assert example[keys.DIFFICULT].numpy().tolist() == [True]
    assert example[keys.BOXES].numpy().tolist() == [[0.25, 0.5, 0.75, 1.0]]
    assert example[keys.LABELS].numpy().tolist() == [2]
    assert example[keys.ENCODED_MASK].numpy() == b"png"
    assert example[keys.HAS_MASK].numpy()


def test_what_a_bare_record_leaves_out_has_its_default():
    """Pictures and boxes alone, as some tools of the API write them."""
    names = ("height", "width", "encoded", "object/class/label")
    values = {**{f"image/{name}": ORIGINAL[f"image/{name}"] for name in names}, **BOX}
    example = records.parse(_record(values))
    assert example[keys.DIFFICULT].numpy().tolist() == [False]
    assert example[keys.FILENAME].numpy() == example[keys.SOURCE_ID].numpy() == b""
    example = records.parse(_record({**values, "image/source_id": [b"7"]}))
    assert example[keys.FILENAME].numpy() == example[keys.SOURCE_ID].numpy() == b"7"
    assert not example[keys.HAS_MASK].numpy()


def test_a_png_is_stored_as_one_and_decodes_exactly():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    example = _example(np.zeros((0, 4), np.float32), np.array([], int), np.array([], bool))
    serialized = records.serialize({**example, keys.ENCODED_IMAGE: png.getvalue()})
    assert _features(serialized)["image/format"] == [b"PNG"]
    image = records.decode_image(records.parse(serialized)[keys.ENCODED_IMAGE])
    np.testing.assert_array_equal(image, pixels)


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
        split="",
        ap_rule="voc12",
        category_ids=None,
        has_boxes=True,
        command="",
    )


def test_a_set_says_how_it_is_evaluated_and_what_it_holds(tmp_path):
    _write_json(
        tmp_path,
        split="val2017",
        ap_rule="coco",
        category_ids=[17, 18],
        has_boxes=False,
        command="python -m tools.encode_coco --split val2017",
    )
    info = records.open_records(tmp_path, SET)
    assert (info.split, info.ap_rule, info.category_ids) == ("val2017", "coco", (17, 18))
    assert not info.has_boxes
    assert info.command == "python -m tools.encode_coco --split val2017"
    assert not info.has_class_labels


def test_sets_are_of_pictures_with_a_class_or_of_others(tmp_path):
    _write_json(tmp_path, has_class_labels=True, has_boxes=False, ap_rule=None)
    classified = records.open_records(tmp_path, SET)
    assert (classified.has_class_labels, classified.has_boxes) == (True, False)
    assert classified.ap_rule is None
    _write_json(tmp_path)
    boxes = records.open_records(tmp_path, SET)
    records.check_class_labels([classified, classified], True)
    records.check_class_labels([boxes], False)
    with pytest.raises(ValueError, match="voc12-val-seg have no class as a whole.*encode_folder"):
        records.check_class_labels([classified, boxes], True)
    with pytest.raises(ValueError, match="voc12-val-seg have a class each.*no boxes and no masks"):
        records.check_class_labels([boxes, classified], False)


def test_an_older_set_is_evaluated_by_the_rule_of_its_year(tmp_path):
    older = VocSet("07", "test")
    _write_json(tmp_path)
    (tmp_path / f"{SET.name}.json").rename(tmp_path / f"{older.name}.json")
    assert records.open_records(tmp_path, older).ap_rule == "voc07"


def test_absent_set_says_the_command_and_what_is_there(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        records.open_records(tmp_path, VocSet("12", "train"))
    assert str(caught.value).splitlines() == [
        f"no records voc12-train in {tmp_path} (there: none); write them with",
        f"  python -m tools.encode_voc --year 12 --split train --records {tmp_path}",
        "(add --label_map FILE for classes of your own)",
    ]
    _write_json(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"\(there: voc12-val-seg\)"):
        records.open_records(tmp_path, VocSet("12", "train"))


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
