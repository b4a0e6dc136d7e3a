"""The drawn data set: same seed same bytes, boxes that fit their masks, nothing overwritten."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from blitznet.label_map import read_label_map
from blitznet.visualize import class_colours
from tools import quickstart_data
from tools.quickstart_scene import CLASS_NAMES, SHAPES, bounding_box, draw_scene

TRAIN, VAL = 24, 12


def _draw(root, *more):
    command = ["--data_root", str(root), "--train", str(TRAIN), "--val", str(VAL), *more]
    return quickstart_data.main(command)


def _files(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("quickstart")
    assert _draw(root) == 0
    return root


@pytest.fixture(scope="module")
def voc(root):
    return root / "VOCdevkit" / "VOC2012"


def _names(voc):
    return (voc / "ImageSets/Main/trainval.txt").read_text().split()


def _objects(voc, name):
    """(class name, [xmin, ymin, xmax, ymax] as written, truncated) of each object."""
    return [
        (
            item.findtext("name"),
            [int(item.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")],
            item.findtext("truncated") == "1",
        )
        for item in ET.parse(voc / f"Annotations/{name}.xml").iter("object")
    ]


def _mask(voc, name):
    return np.array(Image.open(voc / f"SegmentationClass/{name}.png"))


def test_same_seed_gives_the_same_bytes_and_another_seed_other_pictures(root, tmp_path):
    _draw(tmp_path / "again")
    assert _files(tmp_path / "again") == _files(root)
    _draw(tmp_path / "other", "--seed", "1")
    picture = "VOCdevkit/VOC2012/JPEGImages/train_000000.jpg"
    assert _files(tmp_path / "other")[picture] != _files(root)[picture]


def test_picture_does_not_depend_on_the_length_of_the_lists(root, tmp_path):
    quickstart_data.main(["--data_root", str(tmp_path), "--train", "1", "--val", "1"])
    short, whole = _files(tmp_path), _files(root)
    for split in ("train", "val"):
        picture = f"VOCdevkit/VOC2012/JPEGImages/{split}_000000.jpg"
        assert short[picture] == whole[picture]


def test_lists_name_exactly_the_files_and_trainval_is_both(root, voc):
    for folder in ("Main", "Segmentation"):
        lists = {
            split: (voc / f"ImageSets/{folder}/{split}.txt").read_text().split()
            for split in ("train", "val", "trainval")
        }
        assert [len(lists[split]) for split in ("train", "val")] == [TRAIN, VAL]
        assert lists["trainval"] == lists["train"] + lists["val"]
        assert not set(lists["train"]) & set(lists["val"])
    for path in ("JPEGImages", "Annotations", "SegmentationClass"):
        assert sorted(file.stem for file in (voc / path).iterdir()) == sorted(_names(voc))
    assert read_label_map(root / "label_map.pbtxt") == CLASS_NAMES


def test_annotations_agree_with_the_pictures(voc):
    for name in _names(voc):
        annotation = ET.parse(voc / f"Annotations/{name}.xml")
        width, height = Image.open(voc / f"JPEGImages/{name}.jpg").size
        assert annotation.findtext("filename") == f"{name}.jpg"
        assert int(annotation.findtext("size/width")) == width
        assert int(annotation.findtext("size/height")) == height
        assert _mask(voc, name).shape == (height, width)
        for class_name, (xmin, ymin, xmax, ymax), _ in _objects(voc, name):
            assert class_name in CLASS_NAMES
            assert 1 <= xmin < xmax <= width
            assert 1 <= ymin < ymax <= height


def test_masks_hold_the_annotated_classes_and_borders_in_vocs_palette(voc):
    for name in _names(voc):
        picture = Image.open(voc / f"SegmentationClass/{name}.png")
        assert picture.mode == "P"
        assert picture.getpalette()[: 3 * 256] == class_colours(256).ravel().tolist()
        objects = _objects(voc, name)
        annotated = {CLASS_NAMES.index(class_name) + 1 for class_name, *_ in objects}
        expected = annotated | {0} | ({255} if objects else set())
        assert set(np.unique(picture)) == expected


def test_some_pictures_have_no_object_and_some_several(voc):
    counts = [len(_objects(voc, name)) for name in _names(voc)]
    assert counts.count(0) == (TRAIN + VAL) // 12
    assert max(counts) in (3, 4)


def test_box_of_a_lone_object_is_tight_round_its_mask(voc):
    checked = 0
    for name in _names(voc):
        objects = _objects(voc, name)
        if len(objects) != 1:
            continue
        mask = _mask(voc, name)
        height, width = mask.shape
        # The border lies half inside the object: what is not background is one pixel wider.
        xmin, ymin, xmax, ymax = bounding_box(mask != 0)
        ((_, written, _),) = objects
        for edge, outer, inner, end in zip(
            written,
            (xmin + 1, ymin + 1, xmax + 1, ymax + 1),
            (xmin + 2, ymin + 2, xmax, ymax),
            (1, 1, width, height),
        ):
            assert edge == inner or (outer == end and edge == end)
        checked += 1
    assert checked >= 5


def test_border_is_two_pixels_wide_along_every_edge():
    scene = draw_scene(np.random.default_rng(3))
    mask = quickstart_data._class_mask(scene)
    for dy, dx in ((0, 1), (1, 0)):
        here = scene.regions[: scene.regions.shape[0] - dy, : scene.regions.shape[1] - dx]
        differs = here != scene.regions[dy:, dx:]
        assert (mask[: here.shape[0], : here.shape[1]][differs] == 255).all()
        assert (mask[dy:, dx:][differs] == 255).all()


def test_every_object_keeps_a_visible_part_and_truncation_means_the_border():
    truncated = 0
    for seed in range(30):
        scene = draw_scene(np.random.default_rng(seed))
        for index, item in enumerate(scene.objects):
            region = scene.regions == index + 1
            assert scene.visible_share(index) >= 0.35
            xmin, ymin, xmax, ymax = bounding_box(region)
            assert min(xmax - xmin, ymax - ymin) >= 9
            if item.truncated:
                truncated += 1
            elif len(scene.objects) == 1:
                # OpenCV fills the outline too, which counts on the smallest objects.
                assert region.sum() == pytest.approx(item.area, rel=0.1)
    assert truncated >= 3


def _convexity(contours):
    """Area of the outline over that of its convex hull; and whether it has a hole."""
    hull = quickstart_data.cv2.convexHull(contours[0].astype(np.float32))
    area = quickstart_data.cv2.contourArea
    return area(contours[0].astype(np.float32)) / area(hull), len(contours) > 1


def test_shapes_differ_in_more_than_colour():
    rng = np.random.default_rng(0)
    for _ in range(10):
        shapes = {name: shape(rng) for name, shape in SHAPES.items()}
        for name in ("disc", "square", "triangle"):
            assert _convexity(shapes[name]) == (pytest.approx(1, abs=0.01), False)
        assert _convexity(shapes["star"])[0] < 0.65
        assert 0.6 < _convexity(shapes["cross"])[0] < 0.9
        assert _convexity(shapes["ring"])[1]
        assert [len(shapes[n][0]) for n in ("square", "triangle", "star", "cross")] == [
            4,
            3,
            10,
            12,
        ]


def test_same_parameters_are_left_as_they_are(root, capsys):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert _draw(root) == 0
    assert "already there" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def _small(root, *more):
    return quickstart_data.main(["--data_root", str(root), "--train", "1", "--val", "1", *more])


def test_other_parameters_need_overwrite(tmp_path, capsys):
    assert _small(tmp_path) == 0
    before = _files(tmp_path)
    assert _small(tmp_path, "--seed", "7") == 1
    error = capsys.readouterr().err
    assert "'seed': 0" in error and "'seed': 7" in error and "--overwrite" in error
    assert _files(tmp_path) == before
    assert _small(tmp_path, "--seed", "7", "--overwrite") == 0
    parameters = tmp_path / "VOCdevkit/VOC2012/quickstart.json"
    assert json.loads(parameters.read_text()) == {"seed": 7, "train": 1, "val": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VOCdevkit", "label_map.pbtxt"]


def test_real_voc_is_never_replaced(tmp_path, capsys):
    image = tmp_path / "VOCdevkit/VOC2012/JPEGImages/2007_000027.jpg"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"real")
    assert _small(tmp_path, "--overwrite") == 1
    assert "was not drawn by this tool" in capsys.readouterr().err
    assert _files(tmp_path) == {str(image.relative_to(tmp_path)): b"real"}


@pytest.mark.parametrize("text", ['item { id: 1 name: "cat" }', "no label map"])
def test_label_map_of_another_set_is_kept(tmp_path, capsys, text):
    label_map = tmp_path / "label_map.pbtxt"
    label_map.write_text(text)
    assert _small(tmp_path) == 1
    assert "label_map.pbtxt" in capsys.readouterr().err
    assert _files(tmp_path) == {"label_map.pbtxt": text.encode()}


def test_failure_midway_leaves_the_previous_set(tmp_path, monkeypatch):
    _small(tmp_path)
    before = _files(tmp_path)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(quickstart_data, "_write_picture", fail)
    with pytest.raises(OSError, match="disk full"):
        _small(tmp_path, "--seed", "1", "--overwrite")
    assert _files(tmp_path) == before


@pytest.mark.parametrize("flags", [["--train", "0"], ["--seed", "-1"]])
def test_impossible_numbers_are_refused_by_the_parser(tmp_path, flags):
    with pytest.raises(SystemExit):
        _small(tmp_path, *flags)
    assert not list(tmp_path.iterdir())
