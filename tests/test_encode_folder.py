"""The encoder of folders as a user runs it: records, a label map and a table; errors are told."""

import json

import pytest
import tensorflow as tf

from blitznet import keys
from blitznet.label_map import read_label_map, write_label_map
from datasets import custom, pipeline, records
from folder_fixture import picture, write_folder
from tools.encode_folder import main

PETS = {"cat": 3, "dog": 2, "007": 1}


def _encode(root, *flags):
    """Encode `root / "train"` as the set `pets`; later flags win."""
    where = ["--root", root / "train", "--name", "pets", "--data_root", root, "--workers", 1]
    return main([str(flag) for flag in (*where, *flags)])


def _error(capsys, *arguments):
    assert _encode(*arguments) == 1
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    return captured[captured.index("error: ") :]


def _summary(root, name="pets"):
    return json.loads((root / "records" / f"{name}.json").read_text())


def _examples(root, name="pets"):
    files = [str(root / "records" / shard) for shard in _summary(root, name)["shards"]]
    return [records.parse(record) for record in tf.data.TFRecordDataset(files)]


def test_records_hold_the_pictures_and_their_classes(tmp_path, capsys):
    write_folder(tmp_path / "train", PETS)
    assert _encode(tmp_path, "--shards", 2) == 0
    summary = _summary(tmp_path)
    assert summary["classes"] == ["007", "cat", "dog"]
    assert summary["objects"] == {"007": 1, "cat": 3, "dog": 2}
    assert (summary["images"], summary["images_with_masks"], summary["split"]) == (6, 0, "pets")
    assert (summary["has_class_labels"], summary["has_boxes"]) == (True, False)
    assert len(summary["shards"]) == 2
    examples = _examples(tmp_path)
    found = {e[keys.SOURCE_ID].numpy().decode(): e for e in examples}
    assert len(found) == 6
    for name, example in found.items():
        label = ["007", "cat", "dog"].index(name.split("/")[0])
        assert example[keys.CLASS_LABEL].numpy() == label
        encoded = (tmp_path / "train" / name).read_bytes()
        assert example[keys.ENCODED_IMAGE].numpy() == encoded
        shape = records.decode_image(encoded).shape
        assert (example[keys.HEIGHT], example[keys.WIDTH]) == tuple(shape[:2])
        assert example[keys.LABELS].shape == [0]
    printed = capsys.readouterr().out
    rows = {tuple(line.rsplit(maxsplit=1)) for line in printed.splitlines()}
    expected = {("class", "pictures"), ("007", "1"), ("cat", "3"), ("dog", "2")}
    assert expected | {("all pictures", "6"), ("left out as bad", "0")} <= rows
    assert "objects" not in printed and "mask" not in printed
    label_map = tmp_path / "records" / "label_map.pbtxt"
    assert read_label_map(label_map) == ("007", "cat", "dog")
    assert f"{label_map}: the 3 classes, for --label_map" in printed


def test_a_held_out_set_that_lacks_a_class_takes_the_label_map_of_the_other(tmp_path, capsys):
    write_folder(tmp_path / "train", PETS)
    write_folder(tmp_path / "val", {"dog": 2, "007": 1})
    assert _encode(tmp_path) == 0
    val = ("--root", tmp_path / "val", "--name", "pets-val")
    label_map = tmp_path / "records" / "label_map.pbtxt"
    message = _error(capsys, tmp_path, *val)
    assert f"{label_map} has the classes 007, cat, dog, but {tmp_path / 'val'} has" in message
    assert f"007, dog: give --label_map {label_map} if they belong together" in message
    assert _encode(tmp_path, *val, "--label_map", label_map) == 0
    assert _summary(tmp_path, "pets-val")["classes"] == ["007", "cat", "dog"]
    assert _summary(tmp_path, "pets-val")["objects"] == {"007": 1, "cat": 0, "dog": 2}
    labels = [int(e[keys.CLASS_LABEL]) for e in _examples(tmp_path, "pets-val")]
    assert sorted(labels) == [0, 2, 2]
    assert "(1 classes without pictures)" in capsys.readouterr().out
    files = [str(tmp_path / "records" / f"{name}.json") for name in ("pets", "pets-val")]
    train, held_out = custom.open_custom(files, label_map)
    assert train.class_names == held_out.class_names
    records.check_class_labels([train, held_out], True)


def test_the_order_of_a_label_map_is_that_of_the_classes(tmp_path):
    write_folder(tmp_path / "train", PETS)
    write_label_map(tmp_path / "map.pbtxt", ("dog", "cat", "007"))
    assert _encode(tmp_path, "--label_map", tmp_path / "map.pbtxt") == 0
    for example in _examples(tmp_path):
        name = example[keys.SOURCE_ID].numpy().decode().split("/")[0]
        assert ("dog", "cat", "007")[int(example[keys.CLASS_LABEL])] == name
    assert not (tmp_path / "records" / "label_map.pbtxt").exists()


def test_bad_files_are_all_named_or_left_out(tmp_path, capsys):
    write_folder(tmp_path / "train", PETS)
    bad = [tmp_path / "train" / name for name in ("cat/a.gif", "dog/Thumbs.db", "lost.jpg")]
    picture(bad[0])
    bad[1].write_bytes(b"no picture")
    picture(bad[2])
    message = _error(capsys, tmp_path)
    assert "3 bad examples" in message
    for path, reason in zip(bad, ("not a JPEG or PNG but GIF", "truncated or not a", "lies in")):
        assert f"{path}: {reason}" in message
    assert _encode(tmp_path, "--skip_bad") == 0
    summary = _summary(tmp_path)
    assert sorted(entry["file"] for entry in summary["skipped"]) == sorted(map(str, bad))
    assert summary["images"] == sum(summary["objects"].values()) == 6
    assert "left out: 3 bad examples" in capsys.readouterr().out


def test_a_complete_set_is_left_as_it_is_until_overwrite(tmp_path, capsys):
    write_folder(tmp_path / "train", PETS)
    for _ in range(2):
        assert _encode(tmp_path) == 0
    assert "pets is complete already; --overwrite" in capsys.readouterr().out
    picture(tmp_path / "train" / "dog" / "new.png")
    assert "describes another set" in _error(capsys, tmp_path)
    assert _encode(tmp_path, "--overwrite") == 0
    assert _summary(tmp_path)["objects"]["dog"] == 3


def test_what_is_not_there_is_told(tmp_path, capsys):
    assert f"no folder {tmp_path / 'train'}" in _error(capsys, tmp_path)
    write_folder(tmp_path / "train", PETS)
    (tmp_path / "train" / "cow").mkdir()
    assert f"no file in {tmp_path / 'train' / 'cow'}" in _error(capsys, tmp_path)
    message = _error(capsys, tmp_path, "--label_map", tmp_path / "absent.pbtxt")
    assert "no label map" in message
    write_label_map(tmp_path / "map.pbtxt", ("dog", "cat", "007"))
    message = _error(capsys, tmp_path, "--label_map", tmp_path / "map.pbtxt")
    assert "map.pbtxt lacks the class cow, a folder of" in message
    message = _error(capsys, tmp_path, "--name", "voc12-train")
    assert "--name voc12-train is the name of an official set" in message


@pytest.mark.parametrize("flags", [[], ["--root", "x"], ["--name", "x"]])
def test_missing_flags_end_with_the_usage(flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(flags)
    assert "usage: python -m tools.encode_folder" in capsys.readouterr().err


def test_evaluation_batches_tell_the_classes(tmp_path):
    write_folder(tmp_path / "train", {"cat": 3, "dog": 2})
    assert _encode(tmp_path) == 0
    info = custom.open_one([str(tmp_path / "records" / "pets.json")])
    batches = list(pipeline.evaluation_dataset([info], 32, 4))
    assert [batch[keys.IMAGE].shape for batch in batches] == [(4, 32, 32, 3), (1, 32, 32, 3)]
    labels = tf.concat([batch[keys.CLASS_LABEL] for batch in batches], 0).numpy()
    names = tf.concat([batch[keys.SOURCE_ID] for batch in batches], 0).numpy()
    assert labels.tolist() == [int(name.startswith(b"dog")) for name in names]
    assert sorted(labels) == [0, 0, 0, 1, 1]


@pytest.mark.slow
def test_two_processes_write_the_same_records(tmp_path):
    write_folder(tmp_path / "train", PETS)
    for workers in (1, 2):
        flags = ("--records", tmp_path / str(workers), "--workers", workers, "--shards", 3)
        assert _encode(tmp_path, *flags) == 0
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / str(workers)).iterdir()}
        for workers in (1, 2)
    ]
    assert contents[0] == contents[1] and len(contents[0]) == 5
