"""A folder for each class: which classes and files there are, and what an example holds."""

import re

import numpy as np
import pytest

from blitznet import keys
from datasets import folder
from datasets.info import BadExample, DatasetInfo
from folder_fixture import picture, write_folder

INFO = DatasetInfo("pets", ("cat", "dog"), of_pictures=True)


def test_classes_are_the_sorted_sub_folders_and_files_lie_at_any_depth(tmp_path):
    write_folder(tmp_path, {"dog": 2, "Zebra": 1, "cat": 1})
    picture(tmp_path / "cat" / "young" / "black" / "tom.png")
    picture(tmp_path / "dog" / "y.JPEG")
    (tmp_path / "dog" / "notes.txt").touch()
    (tmp_path / "label_map.pbtxt").touch()  # beside the classes: not of the set
    classes, files = folder.read_folder(tmp_path)
    assert classes == ("Zebra", "cat", "dog")
    assert sorted(files) == [
        "Zebra/0.jpg",
        "cat/0.jpg",
        "cat/young/black/tom.png",
        "dog/0.jpg",
        "dog/1.jpg",
        "dog/notes.txt",
        "dog/y.JPEG",
    ]


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    write_folder(tmp_path, {"cat": 1, ".git": 1, ".trash": 1})
    picture(tmp_path / "cat" / ".cache" / "a.jpg")
    for place in (".DS_Store", "cat/._0.jpg", ".a.jpg"):
        (tmp_path / place).touch()
    assert folder.read_folder(tmp_path) == (("cat",), ["cat/0.jpg"])


def test_a_picture_beside_the_classes_is_told_of(tmp_path):
    write_folder(tmp_path, {"cat": 1})
    picture(tmp_path / "lost.PNG")
    _, files = folder.read_folder(tmp_path)
    assert sorted(files) == ["cat/0.jpg", "lost.PNG"]
    with pytest.raises(BadExample, match="lost.PNG: lies in the folder of no class"):
        folder.read_example(tmp_path, "lost.PNG", INFO)


def test_the_order_mixes_the_classes_and_is_always_the_same(tmp_path):
    """Training reads eight shards at a time, 500 pictures each: not eight classes."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(200):
            (tmp_path / name / f"{i}.jpg").touch()
    _, files = folder.read_folder(tmp_path)
    assert folder.read_folder(tmp_path)[1] == files
    of_a = np.array([file.startswith("a/") for file in files])
    assert of_a.sum() == 200
    # A tenth of the set holds 20 of each, give or take three deviations of 2.2.
    assert all(13 <= part.sum() <= 27 for part in np.split(of_a, 10))
    # The order of two files does not depend on the others.
    (tmp_path / "a" / "0.jpg").unlink()
    assert folder.read_folder(tmp_path)[1] == [file for file in files if file != "a/0.jpg"]


def test_linked_folders_are_followed_but_not_twice(tmp_path):
    write_folder(tmp_path / "elsewhere", {"x": 1})
    (tmp_path / "set" / "cat").mkdir(parents=True)
    (tmp_path / "set" / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "x")
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere" / "x")
    classes, files = folder.read_folder(tmp_path / "set")
    assert (classes, sorted(files)) == (("cat", "dog"), ["cat/more/0.jpg", "dog/0.jpg"])
    loop = tmp_path / "set" / "cat" / "loop"
    loop.symlink_to(tmp_path / "set" / "cat")
    with pytest.raises(ValueError, match=re.escape(f"{loop} leads to {loop.parent}, which")):
        folder.read_folder(tmp_path / "set")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "has no sub-folder: expected one a class"),
        (["0.jpg"], "has no sub-folder"),
        (["cat/", "dog/"], "no file in the sub-folders cat, dog"),
        (["train/cat/0.jpg", "val/cat/0.jpg"], "train, val, which are splits(.|\n)*e.g. .*/train"),
        (["cat/\udce9.jpg"], r"the name 'cat/\\udce9.jpg' is not UTF-8"),
    ],
)
def test_what_is_no_classification_set_is_told(tmp_path, names, message):
    for name in names:
        path = tmp_path / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    with pytest.raises(ValueError, match=message):
        folder.read_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder .*absent: expected a sub-folder"):
        folder.read_folder(tmp_path / "absent")


def test_classes_of_the_folders(tmp_path):
    info = folder.own_info(tmp_path, ("cat", "dog"), ["cat/0.jpg", "dog/0.jpg"])
    assert (info.class_names, info.num_classes, info.of_pictures) == (("cat", "dog"), 2, True)
    with pytest.raises(ValueError, match=f"no file in {tmp_path / 'dog'}: put pictures there"):
        folder.own_info(tmp_path, ("cat", "dog"), ["cat/0.jpg"])


def test_classes_of_a_label_map_keep_its_order_and_may_lack_a_folder():
    names = ("dog", "ape", "cat")
    info = folder.own_info("pets", ("cat", "dog"), ["cat/0.jpg"], "map.pbtxt", names)
    assert (info.class_names, info.num_classes) == (names, 3)
    message = "map.pbtxt lacks the class cow, a folder of pets; it has dog, ape, cat"
    with pytest.raises(ValueError, match=message):
        folder.own_info("pets", ("cat", "cow"), ["cat/0.jpg"], "map.pbtxt", names)


def test_imagenets_thousand_classes_are_possible():
    names = tuple(f"n{i:08d}" for i in range(1000))
    info = folder.own_info("imagenet", names, [f"{name}/0.jpg" for name in names])
    assert info.num_classes == 1000


@pytest.mark.parametrize("name", ["dog/deep/a.jpg", "dog/a.png"])
def test_an_example_is_the_picture_and_its_class(tmp_path, name):
    encoded = picture(tmp_path / name, size=(64, 48))
    example = folder.read_example(tmp_path, name, INFO)
    for key in (keys.BOXES, keys.LABELS, keys.DIFFICULT, keys.IS_CROWD, keys.AREA):
        assert len(example.pop(key)) == 0
    assert example == {
        keys.FILENAME: name.replace("/", "_"),
        keys.SOURCE_ID: name,
        keys.HEIGHT: 48,
        keys.WIDTH: 64,
        keys.ENCODED_IMAGE: encoded,
        keys.ENCODED_MASK: b"",
        keys.CLASS_LABEL: 1,
    }


def test_the_first_class_is_0_and_the_order_is_that_of_the_info(tmp_path):
    picture(tmp_path / "cat" / "a.jpg")
    assert folder.read_example(tmp_path, "cat/a.jpg", INFO)[keys.CLASS_LABEL] == 0
    turned = DatasetInfo("pets", ("dog", "cat"), of_pictures=True)
    assert folder.read_example(tmp_path, "cat/a.jpg", turned)[keys.CLASS_LABEL] == 1


def test_what_cannot_be_used_is_named(tmp_path):
    whole = picture(tmp_path / "cat" / "whole.jpg")
    (tmp_path / "cat" / "cut.jpg").write_bytes(whole[:300])
    (tmp_path / "cat" / "notes.txt").write_text("tabby")
    picture(tmp_path / "cat" / "moving.gif")
    picture(tmp_path / "cat" / "print.jpg", mode="CMYK")
    picture(tmp_path / "cat" / "clear.png", mode="RGBA")
    picture(tmp_path / "cow" / "a.jpg")
    (tmp_path / "cat" / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    reasons = {
        "cat/cut.jpg": "truncated",
        "cat/notes.txt": "truncated or not a JPEG or PNG",
        "cat/moving.gif": "not a JPEG or PNG but GIF: convert it",
        "cat/print.jpg": "a CMYK JPEG: convert it to RGB",
        "cat/clear.png": "a RGBA PNG: convert it to RGB",
        "cat/link.jpg": "missing, perhaps a link to nothing",
        "cow/a.jpg": "lies in the folder of no class",
    }
    for name, reason in reasons.items():
        with pytest.raises(BadExample) as caught:
            folder.read_example(tmp_path, name, INFO)
        assert caught.value.file == str(tmp_path / name)
        assert caught.value.reason.startswith(reason)
