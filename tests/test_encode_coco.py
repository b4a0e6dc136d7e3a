"""The COCO encoder as a user runs it: flags in, records and a table out, errors in a line."""

import json

import numpy as np
import pytest
import tensorflow as tf

from blitznet import keys
from blitznet.label_map import read_label_map, write_label_map
from coco_fixture import annotation, annotations_of, image, write_coco, write_json, write_picture
from datasets import records
from datasets.catalog import evaluation_sets, training_sets
from datasets.coco import COCO
from tools.encode_coco import main


def _encode(root, *flags):
    return main(["--data_root", str(root), "--workers", "1", *map(str, flags)])


def _error(capsys, *arguments):
    assert _encode(*arguments) == 1
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    return captured[captured.index("error: ") :]


def _parsed(info):
    return [records.parse(record) for record in tf.data.TFRecordDataset(list(info.files))]


def test_records_hold_what_the_annotations_say(tmp_path, capsys):
    write_coco(tmp_path, "train2017", ids=range(1, 7))
    assert _encode(tmp_path, "--split", "train2017", "--segmentation", "--shards", 2) == 0
    (record_set,) = training_sets("coco-seg", "train2017", True)
    info = records.open_records(tmp_path / "records", record_set)
    assert (info.ap_rule, info.split, info.has_boxes) == ("coco", "train2017", True)
    assert info.category_ids == COCO.category_ids
    examples = _parsed(info)
    assert [int(e[keys.SOURCE_ID].numpy()) for e in examples] == list(range(1, 7))
    for image_id, example in enumerate(examples, 1):
        expected = annotations_of(image_id)
        ids = [COCO.category_ids[label - 1] for label in example[keys.LABELS]]
        assert ids == [entry["category_id"] for entry in expected]
        # y0, x0, y1, x1 in pixels -> x, y, w, h.
        y0, x0, y1, x1 = (example[keys.BOXES].numpy() * [48, 64, 48, 64]).T
        boxes = np.stack([x0, y0, x1 - x0, y1 - y0], axis=1)
        np.testing.assert_allclose(boxes.reshape(-1), [v for e in expected for v in e["bbox"]])
        assert example[keys.AREA].numpy().tolist() == [e["area"] for e in expected]
        assert example[keys.IS_CROWD].numpy().tolist() == [e["iscrowd"] == 1 for e in expected]
        mask = tf.io.decode_png(example[keys.ENCODED_MASK])[..., 0].numpy()
        drawn = {1, 80, 0} if image_id % 4 else {0}
        assert set(np.unique(mask)) == drawn | ({255} if image_id % 2 else set())
    # Pictures 1, 2, 3, 5 and 6 have a person and a toothbrush, 1, 3 and 5 a crowd of persons.
    rows = {tuple(line.rsplit(maxsplit=1)) for line in capsys.readouterr().out.splitlines()}
    expected = {("person", "8"), ("toothbrush", "5"), ("all objects", "13"), ("pictures", "6")}
    assert expected | {("of these crowds", "3"), ("of these with a mask", "6")} <= rows


def test_every_set_that_coco_trains_on_is_found(tmp_path):
    write_coco(tmp_path, "train2014", ids=[1, 2])
    write_coco(tmp_path, "valminusminival2014", ids=[3, 4], folder="val2014")
    for dataset in ("coco", "coco-seg"):
        sets = training_sets(dataset, "train", True)
        infos = []
        for record_set in sets:
            assert _encode(tmp_path, *record_set.command.split()[3:]) == 0
            infos.append(records.open_records(tmp_path / "records", record_set))
        assert [info.images for info in infos] == [2, 2]
        assert [info.images_with_masks for info in infos] == [2 * (dataset == "coco-seg")] * 2


def test_minival_shares_the_pictures_of_val2014(tmp_path):
    coco_dir = write_coco(tmp_path, "val2014", ids=range(1, 5))
    (coco_dir / "annotations" / "minival2014.txt").write_text("3\n")
    assert _encode(tmp_path, "--split", "Minival2014") == 0
    record_set = evaluation_sets("coco", "minival2014", False)[0]
    (example,) = _parsed(records.open_records(tmp_path / "records", record_set))
    assert example[keys.SOURCE_ID].numpy() == b"3"


def test_test_sets_have_pictures_alone_and_say_so(tmp_path):
    write_coco(tmp_path, "test-dev2017", ids=[1, 2], folder="images/test2017")
    assert _encode(tmp_path, "--split", "test-dev2017") == 0
    (record_set,) = evaluation_sets("coco", "test-dev2017", True)
    info = records.open_records(tmp_path / "records", record_set)
    assert (info.images, info.has_boxes, info.images_with_masks) == (2, False, 0)
    assert [len(e[keys.LABELS]) for e in _parsed(info)] == [0, 0]


@pytest.mark.slow
def test_processes_write_the_same_bytes_as_this_one(tmp_path):
    write_coco(tmp_path, ids=range(1, 7))
    flags = ["--split", "train2017", "--segmentation", "--shards", 2]
    for workers in (1, 2):
        where = ["--records", tmp_path / str(workers), "--workers", workers]
        assert _encode(tmp_path, *flags, *where) == 0
    one, two = (
        {p.name: p.read_bytes() for p in (tmp_path / str(workers)).iterdir()} for workers in (1, 2)
    )
    assert one == two


def test_boxes_of_no_area_are_told(tmp_path, capsys):
    coco_dir = write_coco(tmp_path, ids=[4])
    found = [annotation(1, 4, (5, 5, 0, 3)), annotation(2, 4, (5, 5, 9, 9))]
    write_json(coco_dir / "annotations" / "instances_train2017.json", [image(4)], found)
    assert _encode(tmp_path, "--split", "train2017") == 0
    rows = {tuple(line.rsplit(maxsplit=1)) for line in capsys.readouterr().out.splitlines()}
    assert {("boxes of no area, left out", "1"), ("all objects", "1"), ("pictures", "1")} <= rows


def test_changed_annotations_are_not_taken_for_the_encoded_ones(tmp_path, capsys):
    coco_dir = write_coco(tmp_path, ids=[1, 2])
    assert _encode(tmp_path, "--split", "train2017") == 0
    path = coco_dir / "annotations" / "instances_train2017.json"
    write_json(path, [image(1), image(2)])
    message = _error(capsys, tmp_path, "--split", "train2017")
    assert "describes another set" in message and "sha256" in message and "--overwrite" in message


def test_missing_data_says_where_it_comes_from(tmp_path, capsys):
    message = _error(capsys, tmp_path, "--split", "train2017")
    assert "instances_train2017.json: unpack http" in message
    coco_dir = write_coco(tmp_path, ids=[1])
    picture = coco_dir / "images" / "train2017" / "000000000001.jpg"
    picture.unlink()
    path = coco_dir / "annotations" / "instances_train2017.json"
    message = _error(capsys, tmp_path, "--split", "train2017")
    assert f"{picture}: missing, though {path} lists it" in message
    picture.parent.rmdir()
    message = _error(capsys, tmp_path, "--split", "train2017")
    assert f"no folder {picture.parent} nor {coco_dir / 'train2017'}: unpack http" in message
    path.write_text(path.read_text()[:200])
    assert f"{path} is not JSON" in _error(capsys, tmp_path, "--split", "train2017")


def test_bad_annotations_are_all_named_or_left_out(tmp_path, capsys):
    coco_dir = write_coco(tmp_path, ids=range(1, 5))
    path = coco_dir / "annotations" / "instances_train2017.json"
    found = [annotation(71, 1, (1, 2, 3, 4), 12), annotation(72, 2, (1, 2, 3, 4))]
    del found[1]["bbox"]
    write_json(path, map(image, range(1, 5)), found)
    message = _error(capsys, tmp_path, "--split", "train2017")
    assert "2 bad examples" in message
    assert f"{path}: annotation 71 of 000000000001.jpg: unknown category 12" in message
    assert f"{path}: annotation 72 of 000000000002.jpg: no 'bbox'" in message
    assert _encode(tmp_path, "--split", "train2017", "--skip_bad") == 0
    summary = json.loads((tmp_path / "records" / "coco-train2017.json").read_text())
    assert (summary["images"], len(summary["skipped"])) == (2, 2)


def _own(root, name="mine", categories=None, **flags):
    """Flags that encode two pictures of the user's own, of which the second shows nothing."""
    names = categories or {7: "dog", 3: "cat"}
    images = [image(1, "a.jpg"), image(2, "deep/b.png")]
    for entry in images:
        write_picture(root / "jpg" / entry["file_name"])
    found = [annotation(1, 1, (4, 6, 40, 30), max(names))]
    path = write_json(root / f"{name}.json", images, found, names)
    return ["--annotations", path, "--images", root / "jpg", "--name", name]


def test_pictures_of_ones_own_bring_their_classes(tmp_path, capsys):
    assert _encode(tmp_path, *_own(tmp_path), "--segmentation") == 0
    folder = tmp_path / "records"
    summary = json.loads((folder / "mine.json").read_text())
    # Classes in the order of the category ids 3 and 7.
    assert (summary["classes"], summary["category_ids"]) == (["cat", "dog"], [3, 7])
    assert (summary["ap_rule"], summary["images"], summary["images_with_masks"]) == ("coco", 2, 2)
    assert read_label_map(folder / "label_map.pbtxt") == ("cat", "dog")
    assert f"{folder / 'label_map.pbtxt'}: the 2 classes" in capsys.readouterr().out
    examples = [
        records.parse(r) for r in tf.data.TFRecordDataset(str(folder / summary["shards"][0]))
    ]
    assert [e[keys.LABELS].numpy().tolist() for e in examples] == [[2], []]
    assert np.unique(tf.io.decode_png(examples[0][keys.ENCODED_MASK])).tolist() == [0, 2]


def test_files_that_belong_together_have_the_same_classes(tmp_path, capsys):
    assert _encode(tmp_path, *_own(tmp_path, "a")) == 0
    assert _encode(tmp_path, *_own(tmp_path, "b")) == 0
    other = _own(tmp_path, "c", {3: "dog"})
    label_map = tmp_path / "records" / "label_map.pbtxt"
    message = _error(capsys, tmp_path, *other)
    assert f"{label_map} has the classes cat, dog, but" in message
    assert f"give --label_map {label_map}" in message
    assert _encode(tmp_path, *other, "--label_map", label_map) == 0
    summary = json.loads((tmp_path / "records" / "c.json").read_text())
    assert summary["classes"] == ["cat", "dog"]
    assert summary["objects"] == {"cat": 0, "dog": 1}


def test_category_that_the_label_map_lacks_is_named(tmp_path, capsys):
    label_map = tmp_path / "map.pbtxt"
    write_label_map(label_map, ("cat",))
    message = _error(capsys, tmp_path, *_own(tmp_path), "--label_map", label_map)
    assert f"{label_map} lacks the categories dog of {tmp_path / 'mine.json'}" in message


def test_own_data_that_is_not_there_is_named(tmp_path, capsys):
    flags = _own(tmp_path)
    message = _error(capsys, tmp_path, *flags[:2], "--images", tmp_path / "no", "--name", "x")
    assert f"no folder {tmp_path / 'no'}" in message
    message = _error(capsys, tmp_path, "--annotations", "no.json", *flags[2:])
    assert "no annotations" in message


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--split", "train2017", "--name", "x"],
        ["--split", "train2017", "--label_map", "x"],
        ["--annotations", "a.json", "--images", "b"],
        ["--name", "x"],
    ],
)
def test_flags_that_do_not_go_together_are_told(tmp_path, capsys, flags):
    message = _error(capsys, tmp_path, *flags)
    assert "give --split for COCO's own pictures; for others --annotations, --images" in message


def test_unknown_split_ends_with_the_usage(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        _encode(tmp_path, "--split", "train2015")
    message = capsys.readouterr().err
    assert "usage: python -m tools.encode_coco" in message and "train2017" in message


def test_real_pictures_encode(shared_data, tmp_path):
    for split, images, objects, crowds in (("train2017", 35, 331, 3), ("val2017", 15, 97, 1)):
        flags = ["--split", split, "--segmentation", "--records", tmp_path]
        assert _encode(shared_data, *flags) == 0
        summary = json.loads((tmp_path / f"coco-{split}-seg.json").read_text())
        assert (summary["images"], summary["images_with_masks"]) == (images, images)
        assert sum(summary["objects"].values()) == objects
        assert (summary["crowd_objects"], summary["boxes_of_no_area"]) == (crowds, 0)
        assert summary["skipped"] == []
