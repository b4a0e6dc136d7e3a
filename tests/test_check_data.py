"""The doctor as a user runs it: flags in; a text, a JSON and sheets of pictures out."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from blitznet.label_map import write_label_map
from blitznet.priors import prior_boxes, prior_scales
from datasets.info import VOC
from datasets.pictures import mask_bytes
from datasets.records import serialize
from example_fixture import IMAGE, example
from folder_fixture import picture, write_folder
from tools import check_data, encode_folder, encode_voc
from voc_fixture import VocObject, objects_of, write_annotation, write_voc

NETWORK = ["--image_size", "64", "--trunk", "resnet18_half"]


def counted(faults):
    """Kinds of faults that occur, with their counts."""
    return {kind: fault["count"] for kind, fault in faults.items() if fault["count"]}


def test_priors_are_those_of_the_network():
    # resnet18_half at 64 pixels: sides of strides 8, 16, 32 and pool6.
    expected = prior_boxes((8, 4, 2, 1), prior_scales(64, False))
    np.testing.assert_array_equal(check_data.prior_boxes(64, "resnet18_half", False), expected)


@pytest.fixture
def priors(monkeypatch):
    """Spares building the network."""
    boxes = prior_boxes((8, 4, 2, 1), prior_scales(64, False))
    monkeypatch.setattr(check_data, "prior_boxes", lambda *_: boxes)


def diagnose(tmp_path, *flags, data_root=None):
    """Exit code and report of the tool."""
    output = tmp_path / "check"
    where = ["--data_root", str(data_root or tmp_path), "--output", str(output)]
    status = check_data.main([*where, *NETWORK, *map(str, flags)])
    report = output / "report.json"
    return status, json.loads(report.read_text()) if report.is_file() else None


def encode(root, *flags):
    assert encode_voc.main(["--data_root", str(root), "--workers", "1", *flags]) == 0


def test_records_and_raw_files_give_the_same_report(tmp_path, tiny_data, priors, capsys):
    status, of_records = diagnose(tmp_path, "--dataset", "voc12", data_root=tiny_data)
    assert status == 0
    status, of_files = diagnose(tmp_path, "--dataset", "voc12", "--raw", data_root=tiny_data)
    assert status == 0
    differing = {key for key in of_records if of_records[key] != of_files[key]}
    assert differing == {"sets", "pictures_stated"}
    assert (of_records["pictures_stated"], of_records["pictures"]["all"]) == (5, 5)

    # Segmentation/train holds pictures 1 to 5; the third is without objects.
    shown = [o for i in (1, 2, 4, 5) for o in objects_of(i, 64, 48)]
    names = [o.name for o in shown]
    assert of_records["boxes"]["objects"] == len(shown) == 8
    assert of_records["boxes"]["difficult"] == 4
    for name in VOC.class_names:
        assert of_records["classes"][name]["objects"] == names.count(name)
    assert of_records["pictures"]["without_objects"] == 1
    assert counted(of_records["faults"]) == {}
    text = capsys.readouterr().out
    assert text.startswith("voc12-train-seg\n") and "wrong: nothing" in text
    assert "no object of aeroplane, bicycle" in text


def test_every_file_of_the_report_is_whole_and_nothing_else_is_left(tmp_path, tiny_data, priors):
    (tmp_path / "check").mkdir()
    (tmp_path / "check" / "wrong.png").touch()
    diagnose(tmp_path, "--dataset", "voc12", data_root=tiny_data)
    folder = tmp_path / "check"
    assert {f.name for f in folder.iterdir()} == {"report.txt", "report.json", "samples.png"}
    sheet = np.asarray(Image.open(folder / "samples.png"))
    # The colours of bird and boat, pictured on picture 1, stand on the sheet.
    for colour in ((128, 128, 0), (0, 0, 128)):
        assert (sheet == colour).all(axis=-1).any()


def test_what_is_wrong_is_told_drawn_and_fatal_only_if_strict(tmp_path, priors, capsys):
    voc_dir = write_voc(tmp_path, pictures=8)
    pictures = voc_dir / "JPEGImages"
    shutil.copy(pictures / "2007_000000.jpg", pictures / "2007_000002.jpg")
    twice = [VocObject("cat", 1, 1, 30, 30)] * 2
    write_annotation(voc_dir, "2007_000001", twice, 48, 64)
    shutil.copy(pictures / "2007_000005.jpg", pictures / "2007_000007.jpg")
    encode(tmp_path, "--split", "train")
    encode(tmp_path, "--split", "val")
    flags = ["--dataset", "voc12", "--detect", "--against", "VOC12:val"]
    status, report = diagnose(tmp_path, *flags)
    assert status == 0
    assert counted(report["faults"]) == {
        "duplicate_boxes": 1,
        "duplicate_pictures": 1,
        "shared_pictures": 1,
    }
    text = capsys.readouterr().out
    assert "boxes given twice (same class, same corners): 1\n    2007_000001.jpg: cat" in text
    assert "2007_000002.jpg is 2007_000000.jpg" in text
    assert "2007_000005.jpg is 2007_000007.jpg of the other set" in text
    assert (tmp_path / "check" / "wrong.png").is_file()
    assert diagnose(tmp_path, *flags, "--strict")[0] == check_data.STRICT
    sound = ["--dataset", "voc12", "--split", "val", "--detect", "--strict"]
    assert diagnose(tmp_path, *sound)[0] == 0


def test_an_unreadable_record_is_named_and_the_rest_counted(tmp_path, priors, capsys):
    write_voc(tmp_path, pictures=8)
    encode(tmp_path, "--split", "train", "--shards", "2")
    shard = tmp_path / "records" / "voc12-train-00000-of-00002.tfrecord"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    status, report = diagnose(tmp_path, "--dataset", "voc12", "--detect")
    assert status == 1
    assert report["pictures"]["all"] == 5
    assert report["faults"]["unreadable"]["count"] == 1
    assert "5 pictures were read, the JSON states 6" in report["worth_a_look"]
    output = capsys.readouterr()
    assert f"{shard}, record 2: damaged" in output.out
    assert "some pictures cannot be read" in output.err


def test_a_raw_picture_that_cannot_be_used_is_named_with_its_reason(tmp_path, priors, capsys):
    voc_dir = write_voc(tmp_path, pictures=8)
    outside = [VocObject("cat", 1, 1, 90, 30)]
    path = write_annotation(voc_dir, "2007_000001", outside, 48, 64)
    status, report = diagnose(tmp_path, "--raw", "--dataset", "voc12", "--detect")
    assert (status, report["pictures"]["all"]) == (1, 5)
    assert f"{path}: object 1 (cat): x from 1 to 90 leaves the picture" in capsys.readouterr().out


@pytest.fixture
def own(tmp_path):
    """A folder in the VOC layout with classes of its own, and its label map."""
    names = ("red", "green", "blue")
    root = tmp_path / "own"
    voc_dir = write_voc(tmp_path / "voc", pictures=8, class_names=names)
    voc_dir.rename(root)
    write_label_map(root / "label_map.pbtxt", names)
    return root


def test_own_pictures_raw_and_as_records_and_as_bare_tfrecords(tmp_path, own, priors):
    label_map = ["--label_map", str(own / "label_map.pbtxt")]
    encode(tmp_path, "--root", str(own), "--split", "train", "--segmentation", *label_map)
    folder = tmp_path / "records"
    described, bare = folder / "own-train-seg.json", folder / "*.tfrecord"
    reports = []
    for flags, itself in (
        (["--root", own, "--split", "train", *label_map], "train"),
        (["--dataset", "custom", "--train_records", described], described),
        (["--dataset", "custom", "--train_records", bare, *label_map], bare),
    ):
        status, report = diagnose(tmp_path, *flags, "--against", itself)
        assert status == 0
        reports.append(report)
    assert list(reports[0]["classes"]) == ["red", "green", "blue"]
    assert reports[0]["boxes"]["objects"] == 8
    for report in reports:
        assert report["faults"]["shared_pictures"]["count"] == 5
        assert report["classes"] == reports[0]["classes"]
        assert report["mask_pixels"] == reports[0]["mask_pixels"]


def test_masks_alone_have_no_tables_of_boxes(tmp_path, own, priors, capsys):
    shutil.rmtree(own / "Annotations")
    label_map = own / "label_map.pbtxt"
    status, report = diagnose(tmp_path, "--root", own, "--split", "train", "--label_map", label_map)
    assert (status, report["has_boxes"]) == (0, False)
    text = capsys.readouterr().out
    assert "recall" not in text and "no object" not in text
    assert ["pictures", "with", "a", "mask", "5"] in [line.split() for line in text.splitlines()]


def test_a_classification_set_is_counted_by_class(tmp_path, capsys):
    write_folder(tmp_path / "train", {"cat": 3, "dog": 2})
    write_folder(tmp_path / "val", {"dog": 1})
    picture(tmp_path / "train" / "cat" / "again.jpg", size=(40, 48), colour=(0, 30, 120))
    picture(tmp_path / "train" / "cat" / "same.jpg", size=(40, 48), colour=(0, 30, 120))
    write_label_map(tmp_path / "map.pbtxt", ("dog", "ape", "cat"))
    for name in ("train", "val"):
        flags = ["--root", tmp_path / name, "--name", name, "--records", tmp_path, "--workers", 1]
        flags += ["--label_map", tmp_path / "map.pbtxt"]
        assert encode_folder.main([str(flag) for flag in flags]) == 0
    capsys.readouterr()
    flags = ["--dataset", "custom", "--train_records", tmp_path / "train.json", "--strict"]
    status, report = diagnose(tmp_path, *flags, "--against", tmp_path / "val.json")
    assert status == check_data.STRICT
    # The dog of val is drawn as the first cat of train is.
    assert counted(report["faults"]) == {"duplicate_pictures": 1, "shared_pictures": 1}
    pictures = {name: counts["pictures"] for name, counts in report["classes"].items()}
    assert pictures == {"dog": 2, "ape": 0, "cat": 5}
    assert report["worth_a_look"] == ["no picture of ape"]
    text = capsys.readouterr().out
    assert text.startswith("train\n\npictures") and "mask" not in text and "prior" not in text
    rows = [line.split() for line in text.splitlines()]
    for row in (["class", "pictures"], ["dog", "2"], ["ape", "0"], ["cat", "5"], ["all", "7"]):
        assert row in rows
    assert (tmp_path / "check" / "samples.png").is_file()


def test_classification_sets_and_others_are_looked_at_apart(tmp_path, own, capsys):
    label_map = ["--label_map", str(own / "label_map.pbtxt")]
    encode(tmp_path, "--root", str(own), "--split", "train", *label_map)
    write_folder(tmp_path / "set", {"red": 1})
    flags = ["--root", str(tmp_path / "set"), "--name", "red", "--data_root", str(tmp_path)]
    assert encode_folder.main([*flags, *label_map, "--workers", "1"]) == 0
    folder = tmp_path / "records"
    files = [folder / "own-train.json", folder / "red.json"]
    status, _ = diagnose(tmp_path, "--dataset", "custom", "--train_records", *files)
    assert status == 1
    assert "of red and own-train one has classes of whole pictures" in capsys.readouterr().err


def test_own_annotations_in_cocos_format(tmp_path, priors):
    for name in ("a", "b"):
        Image.fromarray(IMAGE + ord(name)).save(tmp_path / f"{name}.jpg")
    entry = {"image_id": 1, "category_id": 5, "iscrowd": 0}
    crowd = {"counts": [0, 48 * 64], "size": [48, 64]}
    square = [[10, 10, 20, 10, 20, 20, 10, 20]]
    content = {
        "images": [
            {"id": i, "file_name": f"{name}.jpg", "width": 64, "height": 48}
            for i, name in ((1, "a"), (2, "b"))
        ],
        "annotations": [
            {**entry, "id": 1, "bbox": [10, 10, 10, 10], "segmentation": square},
            {**entry, "id": 2, "bbox": [3, 3, 0, 5], "segmentation": square},
            {
                **entry,
                "id": 3,
                "category_id": 9,
                "bbox": [0, 0, 64, 48],
                "iscrowd": 1,
                "segmentation": crowd,
            },
        ],
        "categories": [{"id": 5, "name": "cup"}, {"id": 9, "name": "fork"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    status, report = diagnose(tmp_path, "--annotations", tmp_path / "all.json")
    assert status == 0
    assert counted(report["faults"]) == {"no_area": 1}
    counts = {n: (c["objects"], c["crowd"]) for n, c in report["classes"].items()}
    assert counts == {"cup": (1, 0), "fork": (0, 1)}
    assert report["pictures"]["without_objects"] == 1
    # The square of 10 x 10 pixels wins over the crowd, which is ignored.
    assert report["classes"]["cup"]["mask_pixels"] == 100
    assert report["mask_pixels"]["ignored"] == 48 * 64 - 100


def test_errors_say_what_to_do(tmp_path, own, capsys):
    def error_of(*flags):
        assert diagnose(tmp_path, *flags)[0] == 1
        return capsys.readouterr().err

    assert "python -m tools.encode_voc --year 12 --split train" in error_of("--dataset", "voc12")
    assert "--label_map" in error_of("--root", own)
    assert "--train_records" in error_of("--dataset", "custom")
    assert "nowhere.json" in error_of("--dataset", "custom", "--train_records", "nowhere.json")
    bare = tmp_path / "bare.tfrecord"
    bare.touch()
    assert "--label_map FILE" in error_of("--dataset", "custom", "--train_records", bare)
    assert "only be False" in error_of("--trunk", "vgg16", "--x4")
    for flags, told in (
        (["--raw", "--root", own], "--raw and --root name different data sets"),
        (["--train_records", bare], "--train_records has no effect without --dataset custom"),
        (["--images", own], "--images has no effect without --annotations"),
        (["--label_map", own], "--label_map has no effect on voc07"),
    ):
        assert told in error_of(*flags)
    assert not (tmp_path / "check").exists()


def test_a_mask_in_records_may_hold_what_the_encoder_refuses(tmp_path, priors, capsys):
    names = ("cat", "dog")
    write_label_map(tmp_path / "label_map.pbtxt", names)
    ids = np.full((48, 64), 9, np.uint8)
    bad = example("a", [[0, 0, 1, 1], [0, 0, 2, 1]], [1, 2], mask=mask_bytes(ids))
    with tf.io.TFRecordWriter(str(tmp_path / "r.tfrecord")) as writer:
        writer.write(serialize(bad))
    flags = ["--dataset", "custom", "--train_records", tmp_path / "r.tfrecord", "--strict"]
    status, report = diagnose(tmp_path, *flags, "--label_map", tmp_path / "label_map.pbtxt")
    assert status == check_data.STRICT
    assert counted(report["faults"]) == {"outside": 1, "mask_ids": 1}
    assert report["mask_pixels"]["outside"] == {"9": 48 * 64}
    assert "pixels of id 9, which is no class" in capsys.readouterr().out


def test_the_real_pictures_are_sound(shared_data, tmp_path, priors):
    status, report = diagnose(
        tmp_path, "--raw", "--dataset", "voc12", "--strict", "--pictures", 4, data_root=shared_data
    )
    assert (status, report["pictures"]["all"]) == (0, 33)
    assert report["pictures"]["with_masks"] == 33
