"""COCO's format -> examples, by value, against pycocotools, and bad input by its message."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO as OfficialCoco

from blitznet import keys
from coco_fixture import annotation, crowd, image, rectangle, write_coco, write_json, write_picture
from datasets.coco import COCO, own_info, picture_folder, read_example, read_split
from datasets.coco_json import read_annotations
from datasets.info import BadExample
from datasets.record_sets import CocoSet

HEIGHT, WIDTH = 48, 64


def _read(tmp_path, *objects, name="a.jpg", segmentation=True, **changes):
    """The example of one picture with some annotations."""
    if not (tmp_path / name).exists():
        write_picture(tmp_path / name)
    entry = {**image(7, name), "objects": list(objects), **changes}
    return read_example(
        name, entry, folder=tmp_path, annotations="x.json", info=COCO, segmentation=segmentation
    )


def _mask(example):
    return np.asarray(Image.open(io.BytesIO(example[keys.ENCODED_MASK])))


def test_class_ids_are_without_gaps_and_category_ids_cocos():
    assert len(COCO.class_names) == len(COCO.category_ids) == 80
    assert list(COCO.category_ids) == sorted(set(COCO.category_ids))
    # instances_val2017.json: 11 is the last before the first gap, 12; 90 the last.
    ids = dict(zip(COCO.class_names, zip(range(1, 81), COCO.category_ids)))
    assert ids["person"] == (1, 1)
    assert ids["fire hydrant"] == (11, 11)
    assert ids["stop sign"] == (12, 13)
    assert ids["toothbrush"] == (80, 90)


def test_classes_are_those_of_the_real_files(shared_data):
    path = shared_data / "coco" / "annotations" / "instances_val2017.json"
    real = {c["id"]: c["name"] for c in json.loads(path.read_text())["categories"]}
    assert real == dict(zip(COCO.category_ids, COCO.class_names))


def test_example_by_hand(tmp_path):
    objects = (
        annotation(1, 7, (8, 4, 24, 20), 90, area=123.5),
        annotation(2, 7, (-4, 30, 16, 40), 13),
        {**annotation(3, 7, (0, 0, 2.5, 2), 1), "iscrowd": 1},
    )
    example = _read(tmp_path, *objects, segmentation=False)
    assert (example[keys.FILENAME], example[keys.SOURCE_ID]) == ("a.jpg", "7")
    assert (example[keys.HEIGHT], example[keys.WIDTH]) == (48, 64)
    assert example[keys.ENCODED_IMAGE] == (tmp_path / "a.jpg").read_bytes()
    assert example[keys.ENCODED_MASK] == b""
    # x, y, w, h in pixels -> ymin, xmin, ymax, xmax over 48 and 64; the second is clipped.
    expected = np.array(
        [[4 / 48, 8 / 64, 24 / 48, 32 / 64], [30 / 48, 0, 1, 12 / 64], [0, 0, 2 / 48, 2.5 / 64]],
        np.float32,
    )
    np.testing.assert_array_equal(example[keys.BOXES], expected)
    assert example[keys.LABELS].tolist() == [80, 12, 1]
    assert example[keys.IS_CROWD].tolist() == [False, False, True]
    assert example[keys.DIFFICULT].tolist() == [False] * 3
    # What the annotation says, which is half of the box here.
    assert example[keys.AREA].tolist() == [123.5, 320.0, 2.5]
    assert example[keys.EMPTY_BOXES] == 0


def test_picture_without_objects_is_kept(tmp_path):
    example = _read(tmp_path)
    assert example[keys.BOXES].shape == (0, 4)
    assert not _mask(example).any()


def test_area_that_is_not_said_is_the_boxes(tmp_path):
    entry = annotation(1, 7, (8, 4, 24, 20))
    del entry["area"], entry["iscrowd"]
    example = _read(tmp_path, entry)
    assert example[keys.AREA].tolist() == [480]
    assert example[keys.IS_CROWD].tolist() == [False]


@pytest.mark.parametrize("box", [(5, 5, 0, 4), (5, 5, 4, 0), (70, 5, 4, 4), (5, 5, 1e-9, 4)])
def test_boxes_of_no_area_are_left_out_and_counted(tmp_path, box):
    """COCO's train2017 has two of them; their pictures are as good as others."""
    example = _read(tmp_path, annotation(1, 7, box), annotation(2, 7, (8, 4, 24, 20), 2))
    assert example[keys.LABELS].tolist() == [2]
    assert [len(example[key]) for key in (keys.BOXES, keys.AREA, keys.IS_CROWD)] == [1, 1, 1]
    assert example[keys.EMPTY_BOXES] == 1


@pytest.mark.parametrize("order", [1, -1])
def test_the_smaller_of_overlapping_objects_wins_whatever_the_order(tmp_path, order):
    objects = [annotation(1, 7, (4, 6, 40, 30), 1), annotation(2, 7, (20, 16, 12, 30), 90)]
    expected = np.zeros((48, 64), np.uint8)
    expected[6:36, 4:44] = 1
    expected[16:46, 20:32] = 80
    np.testing.assert_array_equal(_mask(_read(tmp_path, *objects[::order])), expected)


def test_crowds_are_ignored_in_the_mask_and_objects_in_them_are_not(tmp_path):
    pixels = np.zeros((48, 64), bool)
    pixels[2:30, 10:50] = True
    pixels[40:44, :] = True
    objects = [annotation(1, 7, (12, 4, 10, 10), 2), crowd(2, 7, pixels, 1)]
    expected = np.where(pixels, 255, 0)
    expected[4:14, 12:22] = 2
    example = _read(tmp_path, *objects)
    np.testing.assert_array_equal(_mask(example), expected)
    assert example[keys.IS_CROWD].tolist() == [False, True]
    # The crowd's box, from the fixture: columns 0 to 63, rows 2 to 43.
    np.testing.assert_allclose(example[keys.BOXES][1], [2 / 48, 0, 44 / 48, 1])


def test_run_lengths_in_the_librarys_coding_read_the_same(tmp_path):
    pixels = np.zeros((48, 64), bool)
    pixels[10:20, 3:50] = True
    plain = crowd(1, 7, pixels)
    code = rle.encode(np.asfortranarray(pixels.astype(np.uint8)))
    coded = {**plain, "segmentation": {"size": [48, 64], "counts": code["counts"].decode()}}
    np.testing.assert_array_equal(_mask(_read(tmp_path, plain)), _mask(_read(tmp_path, coded)))


def test_an_outline_without_a_box_has_the_one_round_it(tmp_path):
    entry = annotation(1, 7, (8, 4, 24, 20), 90)
    del entry["bbox"], entry["area"]
    example = _read(tmp_path, entry)
    np.testing.assert_allclose(example[keys.BOXES], [[4 / 48, 8 / 64, 24 / 48, 32 / 64]])
    assert (example[keys.AREA].tolist(), np.sum(_mask(example) == 80)) == ([480], 480)


def test_objects_of_several_polygons_are_one(tmp_path):
    parts = rectangle(0, 0, 8, 8) + rectangle(20, 20, 8, 8)
    mask = _mask(_read(tmp_path, annotation(1, 7, (0, 0, 28, 28), segmentation=parts)))
    assert np.sum(mask == 1) == 2 * 64
    assert mask[10, 10] == 0


def test_masks_of_real_pictures_are_pycocotools_own(shared_data):
    """Pixels of one object alone, and of none, against `annToMask` of each annotation."""
    coco_dir = shared_data / "coco"
    record_set = CocoSet("val2017", segmentation=True)
    annotations = read_split(coco_dir, record_set)
    official = OfficialCoco.__new__(OfficialCoco)
    official.imgs = {entry["id"]: entry for entry in annotations.pictures.values()}
    folder = picture_folder(coco_dir, "val2017")
    assert len(annotations.pictures) == 15
    for name, entry in annotations.pictures.items():
        example = read_example(
            name, entry, folder=folder, annotations="x", info=COCO, segmentation=True
        )
        assert len(example[keys.LABELS]) == len(entry["objects"])
        drawn = [official.annToMask(each).astype(bool) for each in entry["objects"]]
        found, count = _mask(example), np.sum(drawn, axis=0)
        assert not found[count == 0].any()
        for pixels, each in zip(drawn, entry["objects"]):
            label = 255 if each["iscrowd"] else COCO.category_ids.index(each["category_id"]) + 1
            assert set(found[pixels & (count == 1)]) <= {label}


def test_pictures_in_folders_and_pngs_are_read(tmp_path):
    example = _read(tmp_path, name="deep/b.png")
    assert example[keys.FILENAME] == "deep_b.png"
    assert example[keys.ENCODED_IMAGE] == (tmp_path / "deep" / "b.png").read_bytes()


def _bad(tmp_path, reason, *objects, file="x.json", **changes):
    with pytest.raises(BadExample, match=reason) as caught:
        _read(tmp_path, *objects, **changes)
    assert caught.value.file == file


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bbox": None}, "bbox is None, not x, y, width, height"),
        ({"bbox": [1, 2, 3]}, r"bbox is \[1, 2, 3\]"),
        ({"bbox": [1, 2, -3, 4]}, r"bbox is \[1, 2, -3, 4\]"),
        ({"bbox": [1, 2, 3, float("nan")]}, "bbox is .*nan"),
        ({"bbox": "1 2 3 4"}, "bbox is 1 2 3 4"),
        ({"category_id": 12}, "unknown category 12; the ids are 1, 2, 3"),
        ({"area": "big"}, "area is 'big'"),
        ({"area": -1}, "area is -1"),
        ({"iscrowd": 2}, "iscrowd is 2, not 0 or 1"),
        ({"segmentation": []}, "neither polygons nor run lengths of 64 x 48 pixels; without"),
        ({"segmentation": None}, "neither polygons nor"),
        ({"segmentation": [[1, 2, 3, 4]]}, "polygon is x, y of three points or more"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "three points"),
        ({"segmentation": {"size": [64, 48], "counts": [3072]}}, "neither polygons nor"),
        ({"segmentation": {"size": [48, 64], "counts": [3]}}, "not of 3072 pixels"),
        ({"segmentation": {"size": [48, 64], "counts": [3073, -1]}}, "not of 3072 pixels"),
        ({"segmentation": {"size": [48, 64]}}, "'counts' is no list"),
        ({"segmentation": {"size": [48, 64], "counts": "####"}}, "segmentation: Invalid RLE"),
    ],
)
def test_bad_annotation_is_named(tmp_path, changes, reason):
    entry = {**annotation(33, 7, (8, 4, 24, 20)), **changes}
    _bad(tmp_path, f"annotation 33 of a.jpg: .*{reason}", entry)


@pytest.mark.parametrize("key", ["bbox", "category_id"])
def test_annotation_without_a_key_is_named(tmp_path, key):
    entry = annotation(33, 7, (8, 4, 24, 20))
    del entry[key], entry["segmentation"]
    _bad(tmp_path, f"annotation 33 of a.jpg: no '{key}'", entry)


def test_outlines_do_not_matter_without_masks(tmp_path):
    entry = annotation(33, 7, (8, 4, 24, 20), segmentation="nonsense")
    assert len(_read(tmp_path, entry, segmentation=False)[keys.LABELS]) == 1


def test_pictures_that_are_missing_damaged_or_of_another_size_are_named(tmp_path):
    path = write_picture(tmp_path / "a.jpg")
    reason = "64 x 48 pixels, but x.json states 65 x 48"
    _bad(tmp_path, reason, file=str(path), width=65)
    path.write_bytes(path.read_bytes()[:-40])
    _bad(tmp_path, "truncated or not a JPEG", file=str(path))
    Image.new("RGB", (64, 48)).save(path, "BMP")
    _bad(tmp_path, "not a JPEG or PNG but BMP: convert it", file=str(path))
    with pytest.raises(BadExample, match="gone.jpg: missing, though x.json lists it"):
        read_example(
            "gone.jpg",
            {**image(1), "objects": []},
            folder=tmp_path,
            annotations="x.json",
            info=COCO,
        )


def _change(tmp_path, **changes):
    """Path of a good file with some of its lists replaced."""
    path = write_json(tmp_path / "a.json", [image(1)], [annotation(1, 1, (1, 2, 3, 4))])
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "the list 'images' is empty"),
        ({"images": "x"}, "has no list 'images' of objects: expected COCO's format"),
        ({"images": [3]}, "has no list 'images'"),
        ({"annotations": None}, "has no list 'annotations'"),
        ({"categories": None}, "has no list 'categories'"),
        ({"images": [{"id": 1}]}, "entry 1 of 'images': 'file_name' is 'missing'"),
        ({"images": [image(1), {"file_name": "b"}]}, "entry 2 of 'images': 'id' is 'missing'"),
        ({"images": [{**image(1), "width": "64"}]}, "entry 1 of 'images': 'width' is '64'"),
        ({"images": [image(1), image(1)]}, "entry 2 of 'images' repeats the id 1 or the file"),
        ({"images": [image(1, "a"), image(2, "a")]}, "entry 2 of 'images' repeats .* name a"),
        ({"annotations": [{"id": 1}]}, "entry 1 of 'annotations': 'image_id' is 'missing'"),
        (
            {"annotations": [annotation(1, 5, (1, 2, 3, 4))]},
            "entry 1 of 'annotations': there is no picture with the id 5",
        ),
        ({"categories": [{"id": 1}]}, "entry 1 of 'categories': 'name' is 'missing'"),
        (
            {"categories": [{"id": i, "name": "cat"} for i in (7, 3)]},
            "entry 2 of 'categories' repeats the id 3 or the name cat",
        ),
    ],
)
def test_bad_file_is_named_with_its_entry(tmp_path, changes, message):
    path = _change(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        read_annotations(path)


@pytest.mark.parametrize("content", [b"", b'{"images": [', b"\xff\xfe", b"[]"])
def test_file_that_is_no_json_of_annotations_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} (is not JSON, or truncated|has no list)"):
        read_annotations(path)


def test_missing_annotations_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no annotations .*a.json: expected a JSON"):
        read_annotations(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train2014", "no .*instances_train2014.json: .*annotations_trainval2014.zip in .*/coco"),
        ("val2017", "annotations_trainval2017.zip"),
        ("test-dev2017", "no .*image_info_test-dev2017.json: .*image_info_test2017.zip"),
        (
            "minival2014",
            "no .*instances_minival2014.json: the authors .*download coco14 .*minival2014.txt",
        ),
        ("valminusminival2014", "no .*instances_valminusminival2014.json: the authors"),
    ],
)
def test_missing_file_of_a_split_says_where_it_comes_from(tmp_path, split, message):
    with pytest.raises(FileNotFoundError, match=message):
        read_split(tmp_path / "coco", CocoSet(split))


def test_minival_may_be_given_by_its_ids(tmp_path):
    coco_dir = write_coco(tmp_path, "val2014", ids=range(1, 7))
    ids = coco_dir / "annotations" / "minival2014.txt"
    ids.write_text("2\n5\n")

    def pictures(split):
        return [p["id"] for p in read_split(coco_dir, CocoSet(split)).pictures.values()]

    assert pictures("minival2014") == [2, 5]
    assert pictures("valminusminival2014") == [1, 3, 4, 6]
    for content, found in (("2 9\n", "not 9"), ("", "not an empty file")):
        ids.write_text(content)
        with pytest.raises(ValueError, match=f"minival2014.txt: expected picture ids .*{found}"):
            pictures("minival2014")
    # The published file goes before.
    write_json(coco_dir / "annotations" / "instances_minival2014.json", [image(3)])
    assert pictures("minival2014") == [3]


def test_categories_of_others_are_not_taken_for_cocos(tmp_path):
    path = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    write_json(path, [image(1)], categories={1: "person", 2: "dog"})
    with pytest.raises(ValueError, match="categories that COCO has not: {2: 'dog'}; .*--name"):
        read_split(tmp_path / "coco", CocoSet("val2017"))


def test_pictures_lie_in_either_place(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*images/val2017 nor .*zips/val2017"):
        picture_folder(tmp_path, "val2017")
    for folder in (tmp_path / "val2017", tmp_path / "images" / "val2017"):
        folder.mkdir(parents=True)
        assert picture_folder(tmp_path, "val2017") == folder


def test_categories_of_ones_own_become_classes_in_the_order_of_their_ids(tmp_path):
    path = write_json(tmp_path / "a.json", [image(1)], categories={7: "dog", 3: "cat"})
    found = read_annotations(path)
    info = own_info(found)
    assert (info.class_names, info.category_ids) == (("cat", "dog"), (3, 7))
    # A label map decides the order and may know more; that class gets the next free id.
    info = own_info(found, "l.pbtxt", ("dog", "cow", "cat"))
    assert (info.class_names, info.category_ids) == (("dog", "cow", "cat"), (7, 8, 3))
    with pytest.raises(ValueError, match="l.pbtxt lacks the categories dog of .*a.json; it has"):
        own_info(found, "l.pbtxt", ("cat",))
