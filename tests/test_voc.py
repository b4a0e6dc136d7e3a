"""VOC's layout -> examples, by value, and every kind of bad input by its message."""

import io

import numpy as np
import pytest
from PIL import Image

from blitznet import keys
from datasets.info import VOC, DatasetInfo
from datasets.voc import BadExample, read_example, read_list
from voc_fixture import (
    VocObject,
    draw_mask,
    objects_of,
    write_annotation,
    write_list,
    write_mask,
    write_picture,
    write_voc,
)

CAT = VocObject("cat", 8, 4, 32, 24)
MASKS = "SegmentationClass"


@pytest.fixture
def voc_dir(tmp_path):
    """One picture `a`, 64 x 48 pixels, with a cat and its mask."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    write_picture(folder, "a", [CAT], 64, 48)
    write_annotation(folder, "a", [CAT], 64, 48)
    write_mask(folder / MASKS / "a.png", draw_mask([CAT], 64, 48))
    return folder


def _read(voc_dir, mask_folder=MASKS, info=VOC):
    return read_example(voc_dir, "a", info, mask_folder)


def test_example_by_hand(voc_dir):
    dog = VocObject("dog", 0, 12.5, 64, 48, difficult=True)
    write_annotation(voc_dir, "a", [CAT, dog], 64, 48)
    example = _read(voc_dir)
    assert example[keys.FILENAME] == "a.jpg"
    assert (example[keys.HEIGHT], example[keys.WIDTH]) == (48, 64)
    assert example[keys.ENCODED_IMAGE] == (voc_dir / "JPEGImages" / "a.jpg").read_bytes()
    # ymin, xmin, ymax, xmax over 48 and 64; no 1 is subtracted.
    expected = np.array([[4 / 48, 8 / 64, 24 / 48, 32 / 64], [12.5 / 48, 0, 1, 1]], np.float32)
    np.testing.assert_array_equal(example[keys.BOXES], expected)
    assert example[keys.LABELS].tolist() == [8, 12]
    assert example[keys.DIFFICULT].tolist() == [False, True]
    dtypes = [example[k].dtype for k in (keys.BOXES, keys.LABELS, keys.DIFFICULT)]
    assert dtypes == [np.float32, np.int32, np.bool_]


def test_what_coco_tells_of_objects_has_the_box_and_the_file_name(voc_dir):
    example = _read(voc_dir)
    assert example[keys.SOURCE_ID] == "a.jpg"
    assert example[keys.IS_CROWD].tolist() == [False]
    assert example[keys.AREA].tolist() == [20 * 24]  # y from 4 to 24, x from 8 to 32


def test_absent_mask_is_none_where_it_is_not_required(voc_dir):
    with_mask = _read(voc_dir)[keys.ENCODED_MASK]
    assert read_example(voc_dir, "a", VOC, MASKS, masks_required=False)[keys.ENCODED_MASK] == (
        with_mask
    )
    (voc_dir / MASKS / "a.png").unlink()
    assert read_example(voc_dir, "a", VOC, MASKS, masks_required=False)[keys.ENCODED_MASK] == b""


def test_masks_alone_need_no_annotation(voc_dir):
    with_boxes = _read(voc_dir)
    (voc_dir / "Annotations" / "a.xml").unlink()
    example = read_example(voc_dir, "a", VOC, MASKS, has_boxes=False)
    assert example[keys.BOXES].shape == (0, 4)
    assert example[keys.ENCODED_MASK] == with_boxes[keys.ENCODED_MASK]


def test_palette_mask_becomes_a_grey_png_of_the_same_ids(voc_dir):
    mask = Image.open(io.BytesIO(_read(voc_dir)[keys.ENCODED_MASK]))
    assert mask.mode == "L"
    expected = np.zeros((48, 64), np.uint8)
    expected[4:24, 8:32] = 255
    expected[5:23, 9:31] = 8
    np.testing.assert_array_equal(np.asarray(mask), expected)


def test_grey_mask_reads_as_the_palette_one(voc_dir):
    palette = _read(voc_dir)[keys.ENCODED_MASK]
    Image.fromarray(draw_mask([CAT], 64, 48)).save(voc_dir / MASKS / "a.png")
    assert _read(voc_dir)[keys.ENCODED_MASK] == palette


def test_without_mask_folder_the_mask_is_empty_even_if_there_is_one(voc_dir):
    assert _read(voc_dir, mask_folder=None)[keys.ENCODED_MASK] == b""


def test_picture_without_objects_has_empty_arrays(voc_dir):
    write_annotation(voc_dir, "a", [], 64, 48)
    example = _read(voc_dir)
    assert example[keys.BOXES].shape == (0, 4)
    assert example[keys.LABELS].shape == example[keys.DIFFICULT].shape == (0,)


def test_boxes_of_body_parts_are_not_objects(voc_dir):
    path = voc_dir / "Annotations" / "a.xml"
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
    path.write_text(path.read_text().replace("</object>", part))
    assert _read(voc_dir)[keys.LABELS].tolist() == [8]


def test_labels_follow_the_classes_of_the_data_set(voc_dir):
    mask = draw_mask([CAT], 64, 48, ("bird", "cat"))
    write_mask(voc_dir / MASKS / "a.png", mask)
    assert _read(voc_dir, info=DatasetInfo("two", ("bird", "cat")))[keys.LABELS].tolist() == [2]


def test_orientation_in_exif_is_ignored(voc_dir):
    write_picture(voc_dir, "a", [CAT], 64, 48, orientation=6)
    with Image.open(voc_dir / "JPEGImages" / "a.jpg") as picture:
        assert picture.getexif()[0x0112] == 6  # shown 48 wide, 64 high
    example = _read(voc_dir)
    assert (example[keys.HEIGHT], example[keys.WIDTH]) == (48, 64)


def test_grey_pictures_are_read(voc_dir):
    write_picture(voc_dir, "a", [CAT], 64, 48, mode="L")
    assert _read(voc_dir)[keys.WIDTH] == 64


def _bad(voc_dir, file, reason, **arguments):
    with pytest.raises(BadExample, match=reason) as caught:
        _read(voc_dir, **arguments)
    assert caught.value.file == str(voc_dir / file)
    assert str(caught.value).startswith(f"{voc_dir / file}: ")


@pytest.mark.parametrize("file", ["JPEGImages/a.jpg", "Annotations/a.xml", f"{MASKS}/a.png"])
def test_missing_file_is_bad(voc_dir, file):
    (voc_dir / file).unlink()
    _bad(voc_dir, file, "missing, though the list names it$")


def test_missing_mask_of_sbd_names_its_source(voc_dir):
    folder = "SegmentationClassAug"
    _bad(voc_dir, f"{folder}/a.png", "missing.*set_extra_annotations", mask_folder=folder)


@pytest.mark.parametrize("file", ["JPEGImages/a.jpg", f"{MASKS}/a.png"])
@pytest.mark.parametrize("kept", [0, 0.02, 0.5, 0.9])
def test_truncated_file_is_bad(voc_dir, file, kept):
    path = voc_dir / file
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    _bad(voc_dir, file, "truncated or not a")


def test_jpeg_without_its_last_byte_is_bad(voc_dir):
    path = voc_dir / "JPEGImages" / "a.jpg"
    path.write_bytes(path.read_bytes()[:-1])
    _bad(voc_dir, "JPEGImages/a.jpg", "truncated")


def test_png_named_jpg_is_bad(voc_dir):
    Image.new("RGB", (64, 48)).save(voc_dir / "JPEGImages" / "a.jpg", "PNG")
    _bad(voc_dir, "JPEGImages/a.jpg", "not a JPEG but PNG")


def test_cmyk_jpeg_is_bad_and_says_what_to_do(voc_dir):
    write_picture(voc_dir, "a", [CAT], 64, 48, mode="CMYK")
    _bad(voc_dir, "JPEGImages/a.jpg", "a CMYK JPEG: convert it to RGB")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("</annotation>", "", r"not XML \(.*line 1"),
        ("annotation>", "html>", "expected an <annotation>, not a <html>"),
        ("<width>64<", "<width>65<", "states 65 x 48 pixels, the JPEG has 64 x 48"),
        ("<height>48<", "<height>?<", "size: height is '\\?', not a number"),
        ("<xmin>8<", "<xmin>32<", r"object 1 \(cat\): xmin 32 >= xmax 32"),
        ("<ymax>24<", "<ymax>3.5<", r"object 1 \(cat\): ymin 4 >= ymax 3.5"),
        ("<xmax>32<", "<xmax>65<", r"object 1 \(cat\): x from 8 to 65 leaves .* 0 to 64"),
        ("<ymin>4<", "<ymin>-1<", r"object 1 \(cat\): y from -1 to 24 leaves .* 0 to 48"),
        ("<xmin>8<", "<xmin>nan<", r"object 1 \(cat\): xmin is 'nan', not a number"),
        ("<xmin>8</xmin>", "", r"object 1 \(cat\): xmin is None, not a number"),
        ("bndbox>", "box>", r"object 1 \(cat\): no <bndbox>"),
        ("<name>cat<", "<name>Cat<", r"object 1 \(Cat\): unknown class; .*aeroplane, bicycle"),
        ("<name>cat</name>", "", r"object 1 \(no name\): unknown class"),
        ("<difficult>0<", "<difficult>no<", r"object 1 \(cat\): difficult is 'no', not 0 or 1"),
    ],
)
def test_bad_annotation_names_the_object(voc_dir, old, new, reason):
    path = voc_dir / "Annotations" / "a.xml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    _bad(voc_dir, "Annotations/a.xml", reason)


def test_the_bad_object_is_counted_from_1(voc_dir):
    objects = [CAT, VocObject("dog", 9, 1, 5, 9)]
    write_annotation(voc_dir, "a", objects, 64, 48)
    _bad(voc_dir, "Annotations/a.xml", r"object 2 \(dog\): xmin 9 >= xmax 5")


def test_mask_of_another_size_is_bad(voc_dir):
    write_mask(voc_dir / MASKS / "a.png", np.zeros((64, 48), np.uint8))
    _bad(voc_dir, f"{MASKS}/a.png", "48 x 64 pixels, the JPEG has 64 x 48")


@pytest.mark.parametrize("unknown", [21, 254])
def test_mask_with_an_id_of_no_class_is_bad(voc_dir, unknown):
    mask = draw_mask([CAT], 64, 48)
    mask[0, 0] = unknown
    write_mask(voc_dir / MASKS / "a.png", mask)
    _bad(voc_dir, f"{MASKS}/a.png", f"has the id {unknown}, which is neither 0 to 20 nor 255")


def test_coloured_mask_is_bad(voc_dir):
    Image.new("RGB", (64, 48)).save(voc_dir / MASKS / "a.png")
    _bad(voc_dir, f"{MASKS}/a.png", "palette or grey PNG of class ids, not RGB")


def test_lists_of_one_class_leave_out_its_negatives(voc_dir):
    write_list(voc_dir, "Main/cat_train", ["a  1", "b -1", "", "c  0", "d"])
    assert read_list(voc_dir, "Main/cat_train") == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "Main/train.txt names no picture"),
        (["a -1"], "names no picture"),
        (["a", "b", "a"], "names a more than once"),
        (["a", "b cat.jpg"], "train.txt, line 2: expected `name` or `name flag`: 'b cat.jpg'"),
        (["a b c"], "line 1"),
    ],
)
def test_useless_list_is_an_error(voc_dir, lines, message):
    write_list(voc_dir, "Main/train", lines)
    with pytest.raises(ValueError, match=message):
        read_list(voc_dir, "Main/train")


@pytest.mark.parametrize(
    ("image_list", "message"),
    [
        ("Main/test", r"no list .*Main/test.txt: a text file .*in that folder: train\)"),
        ("Segmentation/train", r"in that folder: no list\)"),
        ("SegmentationAug/train", "download sbd.*set_extra_annotations.*SegmentationClassAug"),
    ],
)
def test_missing_list_says_what_makes_it(voc_dir, image_list, message):
    write_list(voc_dir, "Main/train", ["a"])
    with pytest.raises(FileNotFoundError, match=message):
        read_list(voc_dir, image_list)


def test_missing_data_set_says_what_fetches_it(tmp_path):
    message = "no folder .*VOC2007: expected ImageSets, .*tools.download voc07 voc12"
    with pytest.raises(FileNotFoundError, match=message):
        read_list(tmp_path / "VOCdevkit" / "VOC2007", "Main/train")


def test_the_fixture_is_good_in_every_picture(tmp_path):
    voc_dir = write_voc(tmp_path, pictures=8, augmented=True)
    names = read_list(voc_dir, "Main/trainval")
    assert read_list(voc_dir, "Segmentation/trainval") == names[1:]
    for index, name in enumerate(names):
        example = read_example(voc_dir, name, VOC, MASKS if index else None)
        width, height = example[keys.WIDTH], example[keys.HEIGHT]
        objects = objects_of(index, width, height)
        assert [VOC.class_names[i - 1] for i in example[keys.LABELS]] == [o.name for o in objects]
    for name in read_list(voc_dir, "SegmentationAug/train"):
        read_example(voc_dir, name, VOC, "SegmentationClassAug")


def test_real_pictures_all_read(shared_data):
    voc_dir = shared_data / "VOCdevkit" / "VOC2012"
    masked = read_list(voc_dir, "Segmentation/trainval")
    examples = [read_example(voc_dir, name, VOC, MASKS) for name in masked]
    assert len(examples) == 69
    # 2007_000032.xml: the first of four objects is an aeroplane, 104 78 375 183 of 500 x 281.
    first = examples[masked.index("2007_000032")]
    np.testing.assert_allclose(first[keys.BOXES][0], [78 / 281, 104 / 500, 183 / 281, 375 / 500])
    assert first[keys.LABELS].tolist() == [1, 1, 15, 15]
