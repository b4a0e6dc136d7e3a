"""The drawn classification set: its folders, its pictures, same seed same bytes, safe places."""

import json

import numpy as np
import pytest
from PIL import Image

from datasets import folder
from tools import classification_data
from tools.quickstart_scene import CLASS_NAMES, bounding_box, draw_object

TRAIN, VAL = 26, 12


def _draw(root, *more):
    flags = ["--output", str(root), "--train", str(TRAIN), "--val", str(VAL), *more]
    return classification_data.main(flags)


def _files(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")  # empty: free to be drawn in
    assert _draw(root) == 0
    return root


def test_both_splits_are_folders_of_the_same_classes(root):
    # 26 of six kinds: five of the first two, four of the others; 12: two of each.
    for split, counts in (("train", (5, 5, 4, 4, 4, 4)), ("val", (2,) * 6)):
        classes, files = folder.read_folder(root / split)
        assert classes == tuple(sorted(CLASS_NAMES))
        found = [sum(file.startswith(f"{name}/") for file in files) for name in CLASS_NAMES]
        assert found == list(counts)
        info = folder.own_info(root / split, classes, files)
        for file in files:
            folder.read_example(root / split, file, info)
    assert sorted(p.name for p in root.iterdir()) == ["classification_data.json", "train", "val"]


def test_pictures_have_64_to_128_pixels_a_side_and_are_all_different(root):
    sizes, contents = [], set()
    for path in root.rglob("*.jpg"):
        with Image.open(path) as picture:
            assert picture.mode == "RGB"
            sizes += picture.size
        contents.add(path.read_bytes())
    assert 64 <= min(sizes) < 80 and 112 < max(sizes) <= 128
    assert len(contents) == TRAIN + VAL


@pytest.mark.parametrize("label", range(1, len(CLASS_NAMES) + 1))
def test_a_picture_shows_one_object_of_its_class_nearly_whole(label):
    for seed in range(12):
        scene = draw_object(np.random.default_rng(seed), label)
        (shown,) = scene.objects
        assert shown.label == label
        assert set(np.unique(scene.regions)) == {0, 1}
        assert scene.image.dtype == np.uint8
        assert scene.image.shape == (*scene.regions.shape, 3)
        assert scene.visible_share(0) >= 0.85
        xmin, ymin, xmax, ymax = bounding_box(scene.regions == 1)
        extent = max(xmax - xmin, ymax - ymin) + 1
        # The border cuts off at most some of it; a pixel is for the outline.
        assert 0.45 * 0.7 <= extent / min(scene.regions.shape) <= 0.9 + 1 / 32
        inside, outside = (scene.image[scene.regions == i].mean(axis=0) for i in (1, 0))
        assert np.abs(inside - outside).sum() > 25


def test_same_seed_gives_the_same_bytes_and_another_seed_other_pictures(root, tmp_path):
    assert _draw(tmp_path / "again") == 0
    assert _files(tmp_path / "again") == _files(root)
    assert _draw(tmp_path / "other", "--seed", "1") == 0
    picture = "train/disc/000000.jpg"
    assert _files(tmp_path / "other")[picture] != _files(root)[picture]


def test_a_picture_does_not_depend_on_the_length_of_the_split(root, tmp_path):
    assert _draw(tmp_path / "short", "--train", "6", "--val", "6") == 0
    short, whole = _files(tmp_path / "short"), _files(root)
    pictures = [name for name in short if name.endswith(".jpg")]
    assert len(pictures) == 12
    assert all(short[name] == whole[name] for name in pictures)


def test_a_set_stays_until_it_is_to_be_overwritten(root, tmp_path, capsys):
    assert _draw(tmp_path / "set") == 0
    before = _files(tmp_path / "set")
    assert _draw(tmp_path / "set") == 0
    assert "already there, the same parameters" in capsys.readouterr().out
    assert _draw(tmp_path / "set", "--seed", "7") == 1
    error = capsys.readouterr().err
    assert "'seed': 0" in error and "'seed': 7" in error
    assert "choose another --output or give --overwrite" in error
    assert _files(tmp_path / "set") == before
    assert _draw(tmp_path / "set", "--seed", "7", "--overwrite", "--train", "6") == 0
    parameters = json.loads((tmp_path / "set" / "classification_data.json").read_text())
    assert parameters == {"seed": 7, "train": 6, "val": VAL}
    assert len(list((tmp_path / "set" / "train").rglob("*.jpg"))) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_files_of_others_are_left_alone(tmp_path, capsys):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.jpg").write_bytes(b"mine")
    assert _draw(tmp_path, "--overwrite") == 1
    assert "was not drawn by this tool" in capsys.readouterr().err
    assert _files(tmp_path) == {"train/mine.jpg": b"mine"}
    assert _draw(tmp_path / "train" / "mine.jpg") == 1
    assert "mine.jpg" in capsys.readouterr().err


def test_a_failure_midway_leaves_the_previous_set(tmp_path, monkeypatch, capsys):
    assert _draw(tmp_path / "set") == 0
    before = _files(tmp_path)

    def fail(rng, label):
        raise OSError("disk full")

    monkeypatch.setattr(classification_data, "draw_object", fail)
    assert _draw(tmp_path / "set", "--overwrite") == 1
    assert "disk full" in capsys.readouterr().err
    assert _files(tmp_path) == before


@pytest.mark.parametrize("flags", [["--train", "5"], ["--val", "0"], ["--seed", "-1"]])
def test_impossible_numbers_are_refused_by_the_parser(tmp_path, flags):
    with pytest.raises(SystemExit):
        _draw(tmp_path, *flags)
    assert not list(tmp_path.iterdir())
