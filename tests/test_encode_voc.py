"""The encoder as a user runs it: flags in, records and a table out, errors without traceback."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from blitznet import keys
from blitznet.label_map import write_label_map
from datasets import records
from datasets.catalog import evaluation_sets, training_sets
from datasets.info import VOC
from helpers import CHECKOUT
from tools.encode_voc import main
from voc_fixture import draw_mask, objects_of, write_list, write_voc


def _encode(root, *flags):
    return main(["--data_root", str(root), "--workers", "1", *flags])


def _parsed(folder, record_set):
    info = records.open_records(folder, record_set)
    return [records.parse(record) for record in tf.data.TFRecordDataset(list(info.files))]


def test_records_hold_what_the_pictures_show(tmp_path, capsys):
    write_voc(tmp_path, pictures=8)
    assert _encode(tmp_path, "--split", "train", "--segmentation", "--shards", "2") == 0
    folder = tmp_path / "records"
    examples = _parsed(folder, *training_sets("voc12", "train", True))
    assert [e[keys.FILENAME].numpy() for e in examples] == [
        f"2007_{i:06d}.jpg".encode() for i in range(1, 6)
    ]
    for index, example in enumerate(examples, 1):
        height, width = int(example[keys.HEIGHT]), int(example[keys.WIDTH])
        objects = objects_of(index, width, height)
        assert [VOC.class_names[i - 1] for i in example[keys.LABELS]] == [o.name for o in objects]
        corners = [[o.ymin, o.xmin, o.ymax, o.xmax] for o in objects]
        pixels = example[keys.BOXES] * [height, width, height, width]
        np.testing.assert_allclose(pixels, np.reshape(corners, (-1, 4)), rtol=1e-6)
        mask = records.decode_mask(
            example[keys.ENCODED_MASK], example[keys.HAS_MASK], height, width
        )
        np.testing.assert_array_equal(mask, draw_mask(objects, width, height))
    rows = {tuple(line.rsplit(maxsplit=1)) for line in capsys.readouterr().out.splitlines()}
    # Pictures 1, 2, 4 and 5 have two objects each, 3 has none; picture 1: bird and boat.
    expected = {("bird", "1"), ("boat", "1"), ("(12 classes without objects)", "0")}
    expected |= {("all objects", "8")}
    expected |= {("of these difficult", "4"), ("pictures", "5"), ("of these with a mask", "5")}
    assert expected <= rows
    assert (f"{folder / 'voc12-train-seg.json'}: 2", "shards") in rows


def test_every_list_of_both_years_is_found_under_its_data_set(tmp_path):
    for year in ("07", "12"):
        write_voc(tmp_path, year, pictures=4, augmented=True)
    for dataset in ("voc07+12", "voc07+12-segfull", "voc12-trainval"):
        for record_set in training_sets(dataset, "train", True):
            command = record_set.command.split()[3:]
            assert _encode(tmp_path, *command) == 0
            info = records.open_records(tmp_path / "records", record_set)
            assert info.images_with_masks == (info.images if record_set.segmentation else 0)


def test_augmented_implies_segmentation(tmp_path):
    write_voc(tmp_path, pictures=4, augmented=True)
    assert _encode(tmp_path, "--split", "train", "--augmented") == 0
    assert records.has_records(tmp_path / "records", *training_sets("voc12-train", "train", True))


def test_second_run_says_that_the_set_is_complete(tmp_path, capsys):
    write_voc(tmp_path, pictures=4)
    for _ in range(2):
        assert _encode(tmp_path, "--split", "val", "--records", str(tmp_path / "elsewhere")) == 0
    assert "voc12-val is complete already; --overwrite" in capsys.readouterr().out
    assert records.has_records(tmp_path / "elsewhere", evaluation_sets("voc12", "val", False)[0])


def test_list_of_ones_own_is_found_by_its_split_and_by_its_name(tmp_path):
    voc_dir = write_voc(tmp_path, pictures=4)
    write_list(voc_dir, "Segmentation/Mine", ["2007_000002"])
    assert _encode(tmp_path, "--split", "Mine", "--segmentation") == 0
    by_split = training_sets("voc12", "Mine", True)
    by_name = evaluation_sets("voc12-Mine-seg", "train", True)
    assert by_split == by_name
    assert records.open_records(tmp_path / "records", *by_name).images == 1


def test_the_case_of_official_splits_does_not_matter(tmp_path):
    write_voc(tmp_path, pictures=4)
    assert _encode(tmp_path, "--split", "Val") == 0
    assert records.has_records(tmp_path / "records", *training_sets("voc12", "VAL", False))


def test_records_of_another_data_root_are_not_taken_for_these(tmp_path, capsys):
    for root in ("one", "two"):
        write_voc(tmp_path / root, pictures=4)
    flags = ("--split", "val", "--segmentation", "--records", str(tmp_path / "records"))
    assert _encode(tmp_path / "one", *flags) == 0
    message = _error(capsys, tmp_path / "two", *flags)
    one, two = (tmp_path / root / "VOCdevkit" / "VOC2012" for root in ("one", "two"))
    masks = "masks of SegmentationClass"
    assert f"source: {one}, {masks}, not {two}, {masks}" in message
    assert "--overwrite" in message


def test_label_map_gives_the_classes(tmp_path):
    write_voc(tmp_path, pictures=4, class_names=("disc", "bar", "ring"))
    write_label_map(tmp_path / "map.pbtxt", ("bar", "disc", "ring"))
    flags = ("--split", "train", "--segmentation", "--label_map", str(tmp_path / "map.pbtxt"))
    assert _encode(tmp_path, *flags) == 0
    info = records.open_records(tmp_path / "records", *training_sets("voc12", "train", True))
    # Pictures 1 and 2 show classes 2, 3 and 1, 2 of the list that drew them: ring, disc; bar, ring.
    assert info.class_names == ("bar", "disc", "ring")
    assert info.objects == {"bar": 1, "disc": 1, "ring": 2}


def test_a_list_of_ones_own_may_name_pictures_without_mask(tmp_path, capsys):
    """As VOC2007's Main/trainval does: 422 of its 5,011 pictures have one."""
    voc_dir = write_voc(tmp_path, "07", pictures=8)
    for official, name in (("Main/trainval", "all"), ("Main/train", "test")):
        lines = (voc_dir / "ImageSets" / f"{official}.txt").read_text().split()
        write_list(voc_dir, f"Segmentation/{name}", lines)
    flags = ("--year", "07", "--segmentation", "--split")
    assert _encode(tmp_path, *flags, "all") == 0
    examples = _parsed(tmp_path / "records", *training_sets("voc07-all-seg", "train", True))
    assert [bool(e[keys.HAS_MASK]) for e in examples] == [False] + [True] * 7
    height, width = int(examples[0][keys.HEIGHT]), int(examples[0][keys.WIDTH])
    mask = records.decode_mask(b"", examples[0][keys.HAS_MASK], height, width)
    assert (mask.numpy() == 255).all()
    capsys.readouterr()
    # An official list still demands them.
    assert "SegmentationClass/2007_000000.png: missing" in _error(capsys, tmp_path, *flags, "test")


def _own(tmp_path, pictures=4):
    """Flags of a folder of the user's own, `animals`, with a label map."""
    write_voc(tmp_path, pictures=pictures, class_names=("disc", "bar"))
    (tmp_path / "VOCdevkit" / "VOC2012").rename(tmp_path / "animals")
    write_label_map(tmp_path / "map.pbtxt", ("disc", "bar"))
    root, label_map = str(tmp_path / "animals"), str(tmp_path / "map.pbtxt")
    return ["--root", root, "--label_map", label_map]


def test_a_folder_of_ones_own_is_named_after_it(tmp_path):
    flags = _own(tmp_path)
    assert _encode(tmp_path, *flags, "--split", "val", "--segmentation") == 0
    assert _encode(tmp_path, *flags, "--split", "val", "--name", "mine") == 0
    summaries = [
        json.loads((tmp_path / "records" / f"{name}.json").read_text())
        for name in ("animals-val-seg", "mine-val")
    ]
    assert [s["images_with_masks"] for s in summaries] == [1, 0]
    for summary in summaries:
        assert (summary["classes"], summary["ap_rule"]) == (["disc", "bar"], "voc12")
        assert summary["has_boxes"]


def test_masks_alone_are_found_out_and_told(tmp_path, capsys):
    flags = _own(tmp_path)
    shutil.rmtree(tmp_path / "animals" / "Annotations")
    message = _error(capsys, tmp_path, *flags, "--split", "train")
    assert f"no folder {tmp_path / 'animals' / 'Annotations'}; --segmentation" in message
    assert _encode(tmp_path, *flags, "--split", "train", "--segmentation") == 0
    assert "Annotations: masks alone, without boxes" in capsys.readouterr().out
    summary = json.loads((tmp_path / "records" / "animals-train-seg.json").read_text())
    assert (summary["has_boxes"], summary["images"]) == (False, 2)
    assert sum(summary["objects"].values()) == 0


def test_a_year_does_not_pass_for_masks_alone(tmp_path, capsys):
    voc_dir = write_voc(tmp_path, pictures=4)
    shutil.rmtree(voc_dir / "Annotations")
    message = _error(capsys, tmp_path, "--split", "train", "--segmentation")
    assert "2007_000001.xml: missing" in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--root", "x"], "--root needs --label_map"),
        (["--root", "x", "--year", "12"], "--year and --root name different pictures"),
        (["--name", "x"], "--name goes with --root"),
        (["--root", "voc12", "--label_map", "y"], "voc12-train is the name of an official set"),
    ],
)
def test_flags_that_do_not_go_together_are_told(tmp_path, capsys, flags, message):
    assert message in _error(capsys, tmp_path, "--split", "train", *flags)


def _error(capsys, *arguments):
    assert _encode(*arguments) == 1
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    return captured[captured.index("error: ") :]


def test_missing_data_is_an_error_with_its_source(tmp_path, capsys):
    message = _error(capsys, tmp_path, "--split", "train", "--year", "07")
    assert f"no folder {tmp_path / 'VOCdevkit' / 'VOC2007'}: expected ImageSets" in message
    write_voc(tmp_path, pictures=4)
    assert "no list" in _error(capsys, tmp_path, "--split", "test")
    assert "no label map" in _error(capsys, tmp_path, "--split", "val", "--label_map", "x.pbtxt")
    write_list(tmp_path / "VOCdevkit" / "VOC2012", "Main/none", [])
    assert "names no picture" in _error(capsys, tmp_path, "--split", "none")
    write_list(tmp_path / "VOCdevkit" / "VOC2012", "Main/deep", ["2007_000001", "s/q"])
    message = _error(capsys, tmp_path, "--split", "deep")
    assert "Main/deep.txt, line 2: expected the name of a picture" in message
    assert "without folder: 's/q'" in message


def test_bad_pictures_are_all_named_or_left_out(tmp_path, capsys):
    voc_dir = write_voc(tmp_path, pictures=4)
    picture = voc_dir / "JPEGImages" / "2007_000001.jpg"
    picture.write_bytes(picture.read_bytes()[:300])
    annotation = voc_dir / "Annotations" / "2007_000002.xml"
    annotation.write_text(annotation.read_text().replace("<xmin>", "<xmin>9"))
    message = _error(capsys, tmp_path, "--split", "train")
    assert "2 bad examples" in message
    assert f"{picture}: truncated" in message
    assert f"{annotation}: object 1 (bottle): xmin" in message
    assert _encode(tmp_path, "--split", "train", "--skip_bad") == 0
    summary = json.loads((tmp_path / "records" / "voc12-train.json").read_text())
    assert [entry["file"] for entry in summary["skipped"]] == [str(picture), str(annotation)]
    assert summary["images"] == 1
    printed = capsys.readouterr().out
    assert "left out: 2 bad examples:" in printed
    for entry in summary["skipped"]:
        assert f"  {entry['file']}: {entry['reason']}\n" in printed
    assert f"(all of them in {tmp_path / 'records' / 'voc12-train.json'})" in printed


@pytest.mark.parametrize("flags", [[], ["--split", "val", "--workers", "0"], ["--year", "2012"]])
def test_wrong_flags_end_with_the_usage(flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(flags)
    assert "usage: python -m tools.encode_voc" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_killed_run_leaves_no_half_set_and_the_next_completes_it(tmp_path, sign):
    voc_dir = write_voc(tmp_path, pictures=4)
    names = [f"2007_{i:06d}" for i in range(4)]
    for i in range(4, 2000):  # enough work to be stopped in the middle
        names.append(f"copy_{i:06d}")
        for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
            source = voc_dir / folder / f"{names[i % 4]}.{suffix}"
            os.link(source, voc_dir / folder / f"{names[i]}.{suffix}")
    write_list(voc_dir, "Main/many", names)
    flags = ["--data_root", str(tmp_path), "--split", "many", "--shards", "40", "--workers"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.encode_voc", *flags, "2"],
        cwd=CHECKOUT,
        stderr=subprocess.DEVNULL,
    )
    folder = tmp_path / "records"
    staging = folder / ".voc12-many.partial"
    deadline = time.monotonic() + 120
    while len(list(staging.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(sign)
    code = process.wait(timeout=60)
    assert code == (-signal.SIGKILL if sign == signal.SIGKILL else 130)
    assert [p.name for p in folder.iterdir()] == [staging.name]
    if sign != signal.SIGKILL:
        assert not list(staging.glob("*.tmp"))
    time.sleep(1)  # the workers of a killed run end too
    finished = len(list(staging.glob("*.json")))
    assert 3 <= finished < 40
    time.sleep(0.5)
    assert len(list(staging.glob("*.json"))) == finished
    assert main([*flags, "1"]) == 0
    summary = json.loads((folder / "voc12-many.json").read_text())
    assert (summary["images"], len(summary["shards"])) == (2000, 40)
    assert not staging.exists()
