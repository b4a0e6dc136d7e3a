"""Sets of records: complete or not there at all, and no work or data lost on the way."""

import functools
import hashlib
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from blitznet import keys
from datasets import records, shards, voc
from datasets.info import VOC, BadExample, DatasetInfo
from datasets.record_sets import VocSet
from voc_fixture import write_voc

SET = VocSet("12", "trainval")
NAMES = [f"n{i}" for i in range(10)]
SWAPPED = ["n1", "n0", *NAMES[2:]]
OTHER_CLASSES = DatasetInfo("own", tuple(f"c{i}" for i in range(20)))


def fake_example(name, bad=()):
    """Picture `n<i>`: i % 3 objects of class i % 20 + 1, the first difficult, the second a crowd.

    Even ones have a mask, odd ones a box of no area.
    """
    if name in bad:
        raise BadExample(f"{name}.xml", "made to fail")
    i = int(name[1:])
    return {
        keys.FILENAME: f"{name}.jpg",
        keys.SOURCE_ID: name,
        keys.HEIGHT: 2,
        keys.WIDTH: 3,
        keys.ENCODED_IMAGE: name.encode(),
        keys.ENCODED_MASK: b"" if i % 2 else b"mask",
        keys.EMPTY_BOXES: i % 2,
        keys.BOXES: np.tile(np.float32([[0, 0, 1, 1]]), (i % 3, 1)),
        keys.LABELS: np.full(i % 3, i % 20 + 1, np.int32),
        keys.DIFFICULT: np.arange(i % 3) == 0,
        keys.IS_CROWD: np.arange(i % 3) == 1,
        keys.AREA: np.full(i % 3, 6, np.float32),
    }


def _write(folder, read=fake_example, names=NAMES, info=VOC, **options):
    options = {"shards": 3, "source": "/data/VOC2012", **options}
    return shards.write_records(folder, SET, info, names, read, **options)


def _contents(folder):
    """Bytes of every file below `folder`, hidden ones included."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _file_names(folder):
    dataset = tf.data.TFRecordDataset(list(records.open_records(folder, SET).files))
    return [records.parse(record)[keys.FILENAME].numpy().decode() for record in dataset]


class Reader:
    """Reads fake examples and remembers them; `stop_at` is where somebody presses Ctrl-C."""

    def __init__(self, stop_at=None, bad=()):
        self.stop_at, self.bad, self.names = stop_at, bad, []

    def __call__(self, name):
        if name == self.stop_at:
            raise KeyboardInterrupt
        self.names.append(name)
        return fake_example(name, self.bad)


def test_a_set_is_its_shards_in_the_order_of_the_list_and_a_json(tmp_path):
    assert _write(tmp_path)
    files = [f"voc12-trainval-0000{i}-of-00003.tfrecord" for i in range(3)]
    assert sorted(_contents(tmp_path)) == sorted([*files, "voc12-trainval.json"])
    assert not list(tmp_path.glob(".*"))
    assert _file_names(tmp_path) == [f"{name}.jpg" for name in NAMES]
    # Objects: pictures 1, 4, 7 have one, 2, 5, 8 two, each of the class after the index.
    counts = {1: 1, 2: 2, 4: 1, 5: 2, 7: 1, 8: 2}
    assert json.loads((tmp_path / "voc12-trainval.json").read_text()) == {
        "name": "voc12-trainval",
        "command": SET.command,
        "split": "trainval",
        "image_list": "Main/trainval",
        "ap_rule": "voc12",
        "category_ids": None,
        "has_boxes": True,
        "classes": list(VOC.class_names),
        "source": "/data/VOC2012",
        "names_sha256": hashlib.sha256(b"n0\nn1\nn2\nn3\nn4\nn5\nn6\nn7\nn8\nn9").hexdigest(),
        "ignore_label": 255,
        "images": 10,
        "images_with_masks": 5,
        "objects": {name: counts.get(i, 0) for i, name in enumerate(VOC.class_names)},
        "difficult_objects": 6,
        "crowd_objects": 3,
        "boxes_of_no_area": 5,
        "skipped": [],
        "shards": files,
    }


def test_a_classification_set_counts_pictures(tmp_path):
    """The class of picture i is i % 3 of three: no background."""

    def read(name):
        return {**fake_example("n0"), keys.CLASS_LABEL: int(name[1:]) % 3}

    info = DatasetInfo("own", ("cat", "dog", "cow", "ape"), of_pictures=True)
    _write(tmp_path, read, info=info, has_boxes=False)
    summary = json.loads((tmp_path / "voc12-trainval.json").read_text())
    assert summary["objects"] == {"cat": 4, "dog": 3, "cow": 3, "ape": 0}
    assert (summary["has_class_labels"], summary["has_boxes"]) == (True, False)
    assert summary["images"] == 10
    files = list(records.open_records(tmp_path, SET).files)
    labels = [int(records.parse(r)[keys.CLASS_LABEL]) for r in tf.data.TFRecordDataset(files)]
    assert labels == [0, 1, 2] * 3 + [0]


def test_progress_counts_every_picture(tmp_path):
    seen = []
    _write(tmp_path, progress=seen.append)
    assert seen == list(range(11))


def test_complete_set_is_left_alone_without_overwrite(tmp_path):
    _write(tmp_path)
    before, reader = _contents(tmp_path), Reader()
    assert not _write(tmp_path, reader, shards=2)
    assert reader.names == []
    assert _contents(tmp_path) == before


def test_lost_shard_is_written_again(tmp_path):
    _write(tmp_path)
    before = _contents(tmp_path)
    (tmp_path / "voc12-trainval-00001-of-00003.tfrecord").unlink()
    assert _write(tmp_path)
    assert _contents(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"names": NAMES[:9]}, "names_sha256: "),
        ({"names": SWAPPED}, "names_sha256: "),
        ({"info": OTHER_CLASSES}, r"classes: .*, not \['c0', 'c1'"),
        ({"source": "/other/VOC2012"}, "source: /data/VOC2012, not /other/VOC2012"),
    ],
    ids=["fewer", "exchanged", "classes", "source"],
)
def test_set_of_other_pictures_or_classes_is_not_taken_for_this_one(tmp_path, change, told):
    _write(tmp_path)
    before = _contents(tmp_path)
    with pytest.raises(FileExistsError) as caught:
        _write(tmp_path, **change)
    first, difference, last = str(caught.value).splitlines()
    assert first.startswith(f"{tmp_path / 'voc12-trainval.json'} describes another set")
    assert re.match(f"  {told}", difference)
    assert "--overwrite" in last
    assert _contents(tmp_path) == before
    assert _write(tmp_path, **change, overwrite=True)
    assert not _write(tmp_path, **change)


def test_set_of_unknown_source_is_not_taken_for_this_one(tmp_path):
    _write(tmp_path)
    path = tmp_path / "voc12-trainval.json"
    summary = json.loads(path.read_text())
    del summary["source"], summary["names_sha256"]
    path.write_text(json.dumps(summary))
    with pytest.raises(FileExistsError, match="source: None, not /data"):
        _write(tmp_path)


def test_stopped_run_goes_on_with_the_shard_that_it_was_at(tmp_path):
    _write(tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "a", Reader(stop_at="n5"))
    assert not records.has_records(tmp_path / "a", SET)
    assert not list((tmp_path / "a").rglob("*.tmp"))
    assert not list((tmp_path / "a").glob("*.tfrecord"))  # nothing that a reader might take
    reader, seen = Reader(), []
    assert _write(tmp_path / "a", reader, progress=seen.append)
    assert reader.names == NAMES[3:]  # shards hold 3, 3 and 4 pictures
    assert seen == list(range(3, 11))
    assert _contents(tmp_path / "a") == _contents(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["n10", *NAMES[1:]]},
        {"names": SWAPPED},
        {"source": "/other/VOC2012"},
        {"info": OTHER_CLASSES},
        {"overwrite": True},
    ],
    ids=["names", "exchanged", "source", "classes", "overwrite"],
)
def test_finished_shard_of_something_else_is_not_reused(tmp_path, change):
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, Reader(stop_at="n3"))
    reader = Reader()
    _write(tmp_path, reader, **change)
    assert reader.names == change.get("names", NAMES)


def test_set_is_whole_after_a_stop_between_the_shards_and_the_json(tmp_path, monkeypatch):
    _write(tmp_path / "undisturbed")
    write_json = shards._write_json

    def stop_at_the_set(path, content):
        if "shards" in content:
            raise KeyboardInterrupt
        write_json(path, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards, "_write_json", stop_at_the_set)
        _write(tmp_path / "a")
    assert not records.has_records(tmp_path / "a", SET)
    reader = Reader()
    assert _write(tmp_path / "a", reader)
    assert reader.names == []
    assert _contents(tmp_path / "a") == _contents(tmp_path / "undisturbed")


def test_overwrite_that_fails_leaves_the_old_set_as_it_was(tmp_path):
    _write(tmp_path)
    before = _contents(tmp_path)
    with pytest.raises(shards.BadExamples):
        _write(tmp_path, Reader(bad=["n9"]), overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, Reader(stop_at="n9"), overwrite=True)
    after = _contents(tmp_path)
    assert {file: after[file] for file in before} == before


def test_overwrite_replaces_the_set_and_its_surplus_shards(tmp_path):
    _write(tmp_path)
    other = tmp_path / "voc12-trainval-seg-00000-of-00001.tfrecord"
    other.touch()
    assert _write(tmp_path, names=NAMES[::-1], shards=2, overwrite=True)
    assert _file_names(tmp_path) == [f"{name}.jpg" for name in NAMES[::-1]]
    assert len(list(tmp_path.glob("voc12-trainval-0*.tfrecord"))) == 2
    assert other.exists()


def test_every_bad_example_of_the_set_is_reported(tmp_path):
    with pytest.raises(shards.BadExamples) as caught:
        _write(tmp_path, Reader(bad=["n1", "n2", "n9"]))
    assert [e.file for e in caught.value.examples] == ["n1.xml", "n2.xml", "n9.xml"]
    assert str(caught.value).splitlines() == [
        "3 bad examples:",
        *(f"  n{i}.xml: made to fail" for i in (1, 2, 9)),
        "mend them, or leave them out by --skip_bad",
    ]
    assert not records.has_records(tmp_path, SET)
    reader = Reader()
    _write(tmp_path, reader)
    assert reader.names == NAMES[:3] + NAMES[6:]  # the shard without fault is kept


def test_long_report_is_cut_with_the_total():
    lines = str(shards.BadExamples(BadExample(f"{i}", "bad") for i in range(23))).splitlines()
    assert lines[0] == "23 bad examples:"
    assert lines[20:22] == ["  19: bad", "  and 3 more"]


def test_skip_bad_leaves_them_out_and_lists_them(tmp_path):
    assert _write(tmp_path, Reader(bad=["n1", "n9"]), skip_bad=True)
    assert _file_names(tmp_path) == [f"n{i}.jpg" for i in (0, *range(2, 9))]
    summary = json.loads((tmp_path / "voc12-trainval.json").read_text())
    assert summary["images"] == 8
    assert summary["skipped"] == [{"file": f"n{i}.xml", "reason": "made to fail"} for i in (1, 9)]
    assert not _write(tmp_path, skip_bad=True)  # complete: what was left out is accounted for


def test_shard_with_gaps_is_read_again_after_a_stop(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, Reader(stop_at="n6", bad=["n1"]), skip_bad=True)
    reader = Reader()
    _write(tmp_path, reader)
    assert reader.names == NAMES[:3] + NAMES[6:]


def test_nothing_left_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(shards.BadExamples, match="10 bad examples"):
        _write(tmp_path, Reader(bad=NAMES), skip_bad=True)
    assert not records.has_records(tmp_path, SET)


def test_overwrite_leaves_alone_what_its_name_matches_only_as_a_pattern(tmp_path):
    other = tmp_path / "voc12-mine-00000-of-00001.tfrecord"
    other.touch()
    any_set = VocSet("12", "m*")
    shards.write_records(tmp_path, any_set, VOC, NAMES, fake_example, source="/data")
    assert other.exists()


def test_more_shards_than_pictures_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="11 shards for 10 pictures"):
        _write(tmp_path, shards=11)


@pytest.mark.parametrize(("pictures", "count"), [(500, 1), (501, 2)])
def test_default_is_one_shard_per_500_pictures(tmp_path, pictures, count):
    _write(tmp_path, names=[f"n{i}" for i in range(pictures)], shards=None)
    assert len(records.open_records(tmp_path, SET).files) == count


def test_each_shard_is_handed_the_annotations_of_its_own_pictures(tmp_path, monkeypatch):
    handed = []

    def in_this_process(write, jobs, workers, progress):
        handed.extend((job.names, job.annotations) for job in jobs)
        return [write(job, lambda: None) for job in jobs]

    def read(name, annotation):
        assert annotation == f"of {name}"
        return fake_example(name)

    monkeypatch.setattr(shards, "run_in_pool", in_this_process)
    known = {name: f"of {name}" for name in [*NAMES, "another"]}
    assert _write(tmp_path, read, annotations=known, workers=2)
    assert handed == [
        (tuple(part), tuple(f"of {name}" for name in part))
        for part in (NAMES[:3], NAMES[3:6], NAMES[6:])
    ]
    assert _file_names(tmp_path) == [f"{name}.jpg" for name in NAMES]


@pytest.mark.slow
def test_processes_write_the_same_bytes_as_this_one(tmp_path):
    voc_dir = write_voc(tmp_path, pictures=6)
    names = voc.read_list(voc_dir, SET.image_list)
    (voc_dir / "JPEGImages" / f"{names[4]}.jpg").unlink()
    read = functools.partial(voc.read_example, voc_dir, info=VOC)
    seen = []
    for folder, workers in (("one", 1), ("two", 2)):
        options = {"workers": workers, "skip_bad": True, "progress": seen.append}
        _write(tmp_path / folder, read, names, **options)
    assert seen[-1] == 6
    assert records.open_records(tmp_path / "one", SET).images == 5
    assert _contents(tmp_path / "one") == _contents(tmp_path / "two")
