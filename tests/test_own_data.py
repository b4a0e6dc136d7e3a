"""Every kind of data set from raw files by way of records and two training steps to its scores."""

import json

import numpy as np
import pytest
import tensorflow as tf

from blitznet import keys
from blitznet.label_map import read_label_map, write_label_map
from coco_fixture import annotations_of, image, write_coco, write_json, write_picture
from datasets import custom, records
from folder_fixture import write_folder
from tiny_run import evaluate, train
from tools import encode_coco, encode_folder, encode_voc
from voc_fixture import write_list, write_voc

CLASSES = ("disc", "bar", "ring")


@pytest.fixture
def two_steps(tmp_path, eagerly, capsys):
    """Function: train two steps by some flags; what was printed."""

    def run(*flags):
        capsys.readouterr()
        rest = ("--max_iterations", 2, "--augmentation", "none")
        assert train(tmp_path, *flags, *rest) == 0
        return capsys.readouterr().out

    return run


def _encode(tool, root, *flags):
    assert tool.main([str(f) for f in ("--data_root", root, "--workers", 1, *flags)]) == 0


def _scores(root, *flags):
    """Scores and protocol of the run's newest checkpoint."""
    assert evaluate(root, *flags) == 0
    (path,) = (root / "archive" / "r").glob("evaluation-*.json")
    content = json.loads(path.read_text())
    return content["scores"], content["protocol"]


def _class_names(root):
    return json.loads((root / "archive" / "r" / "flags.json").read_text())["class_names"]


@pytest.mark.slow
def test_coco_from_its_files_to_its_scores(tmp_path, two_steps):
    for split in ("train2017", "val2017"):
        write_coco(tmp_path, split, ids=range(1, 5))
        _encode(encode_coco, tmp_path, "--split", split, "--segmentation")
    told = two_steps("--dataset", "coco-seg", "--split", "train2017")
    assert "coco-train2017-seg: 4 pictures, 4 with masks" in told
    scores, protocol = _scores(tmp_path, "--dataset", "coco", "--split", "val2017")
    assert (protocol["ap_rule"], protocol["records"]) == ("coco", "coco-val2017-seg")
    assert (scores["images"], scores["images_with_masks"]) == (4, 4)


@pytest.mark.slow
def test_boxes_of_both_lists_of_coco_2014(tmp_path, two_steps):
    write_coco(tmp_path, "train2014", ids=[1, 2])
    write_coco(tmp_path, "valminusminival2014", ids=[3], folder="images/val2014")
    for split in ("train2014", "valminusminival2014"):
        _encode(encode_coco, tmp_path, "--split", split)
    told = two_steps("--dataset", "COCO", "--detect")
    assert "coco-train2014: 2 pictures" in told and "coco-valminusminival2014: 1 pict" in told


@pytest.mark.slow
def test_voc07_with_masks_of_some_pictures(tmp_path, two_steps):
    voc_dir = write_voc(tmp_path, "07", pictures=4)
    lines = (voc_dir / "ImageSets" / "Main" / "trainval.txt").read_text().split()
    write_list(voc_dir, "Segmentation/all", lines)
    _encode(encode_voc, tmp_path, "--year", "07", "--split", "all", "--segmentation")
    assert "voc07-all-seg: 4 pictures, 3 with masks" in two_steps("--dataset", "voc07-all-seg")
    scores, protocol = _scores(tmp_path, "--dataset", "voc07", "--split", "all")
    assert protocol["ap_rule"] == "voc07"
    assert (scores["images"], scores["images_with_masks"]) == (4, 3)


@pytest.fixture
def own_voc(tmp_path):
    """Function: encode train and val of a folder in the VOC layout; paths of their JSONs."""

    def encode(*flags, boxes=True):
        root = write_voc(tmp_path, pictures=8, class_names=CLASSES)
        if not boxes:
            (root / "Annotations").rename(tmp_path / "unused")
        write_label_map(tmp_path / "map.pbtxt", CLASSES)
        where = ("--root", root, "--name", "own", "--label_map", tmp_path / "map.pbtxt")
        for split in ("train", "val"):
            _encode(encode_voc, tmp_path, *where, "--split", split, *flags)
        suffix = "-seg" if flags else ""
        return [tmp_path / "records" / f"own-{split}{suffix}.json" for split in ("train", "val")]

    return encode


def _custom(kind, *files):
    return ["--dataset", "Custom", f"--{kind}_records", *files]


@pytest.mark.slow
def test_own_boxes_and_masks(tmp_path, own_voc, two_steps):
    train_set, val_set = own_voc("--segmentation")
    label_map = ["--label_map", tmp_path / "map.pbtxt"]
    told = two_steps(*_custom("train", train_set), *label_map)
    assert "own-train-seg: 5 pictures, 5 with masks" in told
    assert _class_names(tmp_path) == list(CLASSES)
    scores, protocol = _scores(tmp_path, *_custom("eval", val_set), *label_map)
    assert (protocol["ap_rule"], protocol["records"]) == ("voc12", "own-val-seg")
    assert set(scores["ap"]) == set(CLASSES)
    assert set(scores["iou"]) == {"background", *CLASSES}


@pytest.mark.slow
def test_own_boxes_alone(tmp_path, own_voc, two_steps):
    train_set, val_set = own_voc()
    two_steps("--detect", *_custom("train", train_set))
    scores, _ = _scores(tmp_path, *_custom("eval", val_set))
    assert scores["images"] == 2 and "iou" not in scores


@pytest.mark.slow
def test_own_masks_alone(tmp_path, own_voc, two_steps, capsys):
    train_set, val_set = own_voc("--segmentation", boxes=False)
    assert train(tmp_path, *_custom("train", train_set), "--max_iterations", 2) == 1
    message = capsys.readouterr().err
    assert "nothing is known about the objects in own-train-seg" in message
    assert "--segment trains segmentation alone" in message
    two_steps("--segment", *_custom("train", train_set))
    scores, _ = _scores(tmp_path, *_custom("eval", val_set))
    assert set(scores["iou"]) == {"background", *CLASSES} and "ap" not in scores


@pytest.mark.slow
def test_own_annotations_in_cocos_format(tmp_path, two_steps):
    names = {5: "cup", 2: "spoon"}
    for name, ids in (("table-train", (1, 2, 4)), ("table-val", (5, 6))):
        for image_id in ids:
            write_picture(tmp_path / "jpg" / f"{image_id}.jpg")
        found = [a for i in ids for a in annotations_of(i, categories=(2, 5))]
        images = [image(i, f"{i}.jpg") for i in ids]
        path = write_json(tmp_path / f"{name}.json", images, found, names)
        flags = ["--annotations", path, "--images", tmp_path / "jpg", "--name", name]
        _encode(encode_coco, tmp_path, *flags, "--segmentation")
    folder = tmp_path / "records"
    label_map = ["--label_map", folder / "label_map.pbtxt"]
    told = two_steps(*_custom("train", folder / "table-train.json"), *label_map)
    assert "table-train: 3 pictures, 3 with masks" in told
    assert _class_names(tmp_path) == ["spoon", "cup"]
    scores, protocol = _scores(tmp_path, *_custom("eval", folder / "table-val.json"))
    assert protocol["ap_rule"] == "coco"
    assert (scores["images"], scores["images_with_masks"]) == (2, 2)
    (results,) = (tmp_path / "archive" / "r").glob("results-*.json")
    entries = json.loads(results.read_text())
    assert {entry["category_id"] for entry in entries} <= {2, 5}
    assert {entry["image_id"] for entry in entries} <= {5, 6}


def _write_bare(folder, *shards, label=1, ymin=0.25):
    """TFRecords with the Object Detection API's features alone; answers their pattern."""
    folder.mkdir(exist_ok=True)
    for number, pictures in enumerate(shards):
        path = folder / f"api.record-{number:05d}-of-{len(shards):05d}"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in range(pictures):
                writer.write(_api_example(f"{number}-{index}", label, ymin).SerializeToString())
    return folder / "api.record-*"


def _api_example(name, label, ymin=0.25):
    pixels = tf.io.encode_jpeg(np.full((48, 64, 3), 99, np.uint8)).numpy()
    kinds = {
        "int64_list": (tf.train.Int64List, {"height": [48], "width": [64]}),
        "bytes_list": (
            tf.train.BytesList,
            {"filename": [f"{name}.jpg".encode()], "encoded": [pixels], "format": [b"jpeg"]},
        ),
        "float_list": (tf.train.FloatList, {}),
    }
    kinds["int64_list"][1]["object/class/label"] = [label]
    corners = {"ymin": ymin, "xmin": 0.25, "ymax": 0.75, "xmax": 0.5}
    kinds["float_list"][1].update({f"object/bbox/{k}": [v] for k, v in corners.items()})
    features = {
        f"image/{feature}": tf.train.Feature(**{kind: message(value=value)})
        for kind, (message, values) in kinds.items()
        for feature, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


@pytest.mark.slow
def test_records_of_the_object_detection_api(tmp_path, two_steps):
    pattern = _write_bare(tmp_path / "api", 2, 1, label=2)
    write_label_map(tmp_path / "map.pbtxt", CLASSES)
    label_map = ["--label_map", tmp_path / "map.pbtxt"]
    told = two_steps("--detect", *_custom("train", pattern), *label_map)
    assert "api.record: 3 pictures, 0 with masks" in told
    scores, protocol = _scores(tmp_path, *_custom("eval", pattern), *label_map)
    assert scores["images"] == 3
    assert (protocol["ap_rule"], protocol["records"]) == ("voc12", "api.record")


def test_bare_records_are_counted(tmp_path):
    pattern = _write_bare(tmp_path / "api", 2, 1, label=2)
    write_label_map(tmp_path / "map.pbtxt", CLASSES)
    info = custom.open_one([str(pattern)], tmp_path / "map.pbtxt")
    assert info.objects == {"disc": 0, "bar": 3, "ring": 0}
    assert (info.images, info.images_with_masks, info.has_boxes) == (3, 0, True)
    assert info.class_names == CLASSES == read_label_map(tmp_path / "map.pbtxt")
    assert [file.rsplit("/", 1)[1] for file in info.files] == [
        "api.record-00000-of-00002",
        "api.record-00001-of-00002",
    ]


def test_files_are_taken_once(own_voc, tmp_path):
    """A pattern that holds a set's JSON and its shards means the set, named twice or not."""
    train_set, val_set = own_voc()
    sets = custom.open_custom([str(train_set.parent / "own-*"), str(val_set)])
    assert [info.name for info in sets] == ["own-train", "own-val"]
    with pytest.raises(ValueError, match="one set of records at a time, not own-train, own-val"):
        custom.open_one([str(train_set), str(val_set)])


def test_label_map_that_does_not_fit_is_told(own_voc, tmp_path):
    train_set, _ = own_voc()
    write_label_map(tmp_path / "other.pbtxt", CLASSES[::-1])
    with pytest.raises(ValueError, match="own-train has the classes disc, bar, ring; .*ring, bar"):
        custom.open_custom([str(train_set)], tmp_path / "other.pbtxt")


@pytest.mark.parametrize("label", [0, 4])
def test_class_that_the_label_map_lacks_is_named(tmp_path, label):
    pattern = _write_bare(tmp_path / "api", 1, label=label)
    write_label_map(tmp_path / "map.pbtxt", CLASSES)
    message = f"00000-of-00001: 0-0.jpg has an object of class {label}; the label map has 1 to 3"
    with pytest.raises(ValueError, match=message):
        custom.open_custom([str(pattern)], tmp_path / "map.pbtxt")


@pytest.mark.parametrize("ymin", [12.0, -0.5, float("nan")])
def test_boxes_that_are_not_normalised_are_named(tmp_path, ymin):
    pattern = _write_bare(tmp_path / "api", 1, ymin=ymin)
    write_label_map(tmp_path / "map.pbtxt", CLASSES)
    with pytest.raises(ValueError, match=rf"0-0.jpg has the box \[{ymin}, .*from 0 to 1"):
        custom.open_custom([str(pattern)], tmp_path / "map.pbtxt")


def test_a_classification_set_opens_by_its_json_alone(tmp_path):
    write_folder(tmp_path / "train", {"disc": 2, "bar": 1})
    write_label_map(tmp_path / "map.pbtxt", CLASSES)
    label_map = ["--label_map", tmp_path / "map.pbtxt"]
    _encode(encode_folder, tmp_path, "--root", tmp_path / "train", "--name", "own", *label_map)
    folder = tmp_path / "records"
    info = custom.open_one([str(folder / "own*")], tmp_path / "map.pbtxt")
    assert (info.has_class_labels, info.has_boxes, info.images_with_masks) == (True, False, 0)
    assert info.objects == {"disc": 2, "bar": 1, "ring": 0}
    flags = f"--root {tmp_path / 'train'} --name own --label_map {tmp_path / 'map.pbtxt'}"
    assert info.command == f"python -m tools.encode_folder {flags}"
    with pytest.raises(ValueError, match="has classes of whole pictures.*named by the .json that"):
        custom.open_one([str(folder / "*.tfrecord")], tmp_path / "map.pbtxt")


def test_objects_are_taken_from_records_that_name_the_whole_picture_too(tmp_path):
    write_label_map(tmp_path / "map.pbtxt", CLASSES)
    example = _api_example("a", 2)
    example.features.feature["image/class/label"].int64_list.value.append(7)
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(example.SerializeToString())
    info = custom.open_one([str(tmp_path / "a.tfrecord")], tmp_path / "map.pbtxt")
    assert (info.objects["bar"], info.has_class_labels) == (1, False)


def test_records_need_a_label_map_and_files(tmp_path):
    pattern = _write_bare(tmp_path / "api", 1)
    with pytest.raises(ValueError, match="00000-of-00001 does not name its classes: give --label"):
        custom.open_custom([str(pattern)])
    with pytest.raises(FileNotFoundError, match="no file .*absent.*tools.encode_voc --root DIR"):
        custom.open_custom([str(tmp_path / "absent*")])
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ValueError, match="a.json does not describe a set of records"):
        custom.open_custom([str(tmp_path / "a.json")])


def test_damaged_records_are_named(tmp_path):
    pattern = _write_bare(tmp_path / "api", 3)
    write_label_map(tmp_path / "map.pbtxt", CLASSES)
    (file,) = pattern.parent.glob(pattern.name)
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    with pytest.raises(ValueError, match=f"{file} is damaged after record 2"):
        custom.open_custom([str(file)], tmp_path / "map.pbtxt")
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(_api_example("a", 1).SerializeToString())
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(ValueError, match=f"{file}: record 2 is no example of"):
        custom.open_custom([str(file)], tmp_path / "map.pbtxt")


def test_truncated_set_is_named_with_what_writes_it(own_voc, tmp_path, eagerly, capsys):
    train_set, _ = own_voc()
    (file,) = records.read_json(train_set, "").files
    with open(file, "r+b") as shard:
        shard.truncate(2000)
    rest = ("--max_iterations", 8, "--detect")
    assert train(tmp_path, *_custom("train", train_set), *rest) == 1
    message = capsys.readouterr().err
    assert f"damaged records: {file}; write the set again by python -m tools.encode_voc" in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "custom"], "--dataset custom and --train_records FILE go together"),
        (["--dataset", "voc07", "--train_records", "a"], "go together"),
        (["--dataset", "voc07", "--label_map", "a"], "--label_map goes with --dataset custom"),
        (
            ["--dataset", "custom", "--train_records", "a", "--split", "val"],
            "--split val has no say in --dataset custom",
        ),
    ],
)
def test_flags_of_own_data_go_together(tmp_path, capsys, flags, message):
    assert train(tmp_path, *flags) == 1
    assert message in capsys.readouterr().err


def test_evaluation_reads_what_coco_needs(tmp_path):
    write_coco(tmp_path, "val2017", ids=[1])
    _encode(encode_coco, tmp_path, "--split", "val2017")
    info = records.read_json(tmp_path / "records" / "coco-val2017.json", "")
    (example,) = (records.parse(r) for r in tf.data.TFRecordDataset(list(info.files)))
    assert example[keys.IS_CROWD].numpy().tolist() == [False, False, True]
    assert example[keys.SOURCE_ID].numpy() == b"1"
