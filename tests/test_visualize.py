"""Drawings: colours at known pixels, labels that stay inside, masks that read back."""

import io

import numpy as np
import pytest
from PIL import Image

from blitznet import lettering, visualize
from blitznet.visualize import (
    class_colours,
    contact_sheet,
    draw,
    draw_detections,
    name_classes,
    overlay_classes,
    palette_png,
    side_by_side,
    stacked,
)

GREY = np.full((64, 64, 3), 120, np.uint8)
NAMES = ["cat", "dog"]


def test_palette_is_pascal_vocs():
    colours = class_colours(256)
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    assert {i: tuple(colours[i].tolist()) for i in known} == known
    assert len(np.unique(colours, axis=0)) == 256
    with pytest.raises(ValueError, match="num_classes is 257"):
        class_colours(257)


def test_box_is_drawn_on_the_pixels_that_it_covers():
    drawn = draw_detections(GREY, [[0.375, 0.5, 0.875, 1.0]], [2], None, NAMES)
    green = (drawn == [0, 128, 0]).all(axis=-1)
    # Rows 24..55 and columns 32..63 are covered; the label stands above.
    assert green[24, 32:].all() and green[55, 32:].all()
    assert green[24:56, 32].all() and green[24:56, 63].all()
    assert not green[56:].any() and not green[:, :10].any()
    assert (drawn[28:52, 36:60] == 120).all()


def test_drawing_leaves_the_picture_alone():
    before = GREY.copy()
    draw_detections(GREY, [[0, 0, 1, 1]], [1], [0.5], NAMES)
    overlay_classes(GREY, np.ones((64, 64), int), 3)
    np.testing.assert_array_equal(GREY, before)


def test_no_detections_gives_an_equal_picture():
    np.testing.assert_array_equal(draw_detections(GREY, np.zeros((0, 4)), [], [], NAMES), GREY)


@pytest.fixture
def filled(monkeypatch):
    """List of the bars that labels are written on: left, top, right, bottom, as they are drawn."""
    bars = []
    rectangle = lettering.cv2.rectangle

    def spy(canvas, first, second, colour, thickness):
        if thickness == -1:
            bars.append((*first, *second))
        return rectangle(canvas, first, second, colour, thickness)

    monkeypatch.setattr(lettering.cv2, "rectangle", spy)
    return bars


@pytest.mark.parametrize(
    "box",
    [[0, 0, 0.3, 0.3], [0, 0.9, 0.2, 1], [0.9, 0.9, 1, 1], [-1, -1, 2, 2], [0.5, 0.5, 0.5, 0.5]],
)
@pytest.mark.parametrize("name", ["ox", "a name much longer than the picture is wide"])
def test_label_is_filled_and_kept_inside(filled, box, name):
    draw_detections(GREY, [box], [1], [0.5], [name])
    ((left, top, right, bottom),) = filled
    assert 0 <= left < right <= 63
    assert 0 <= top < bottom <= 63


def test_labels_of_equal_boxes_stand_apart(filled):
    """Five labels: none on another, the surest one above the box."""
    picture = np.full((200, 200, 3), 120, np.uint8)
    boxes, scores = [[0.25, 0.25, 0.9, 0.9]] * 5, [0.5, 0.9, 0.6, 0.7, 0.8]
    draw_detections(picture, boxes, [1] * 5, scores, NAMES)
    assert len(filled) == 5
    covered = np.zeros((200, 200), int)
    for left, top, right, bottom in filled:
        covered[top : bottom + 1, left : right + 1] += 1
    assert covered.max() == 1
    left, _, _, bottom = filled[-1]
    assert (left, bottom) == (50, 49), "written last, its bar ends where the box begins"


def test_text_is_light_on_dark_and_dark_on_light():
    names = [f"c{i}" for i in range(1, 256)]
    box = [[0.5, 0.1, 0.9, 0.9]]
    on_dark = draw_detections(GREY, box, [4], [0.5], names)
    on_light = draw_detections(GREY, box, [255], [0.5], names)
    assert (on_dark.min(axis=-1) > 200).any()
    assert not (on_dark == 0).all(axis=-1).any()
    assert (on_light.max(axis=-1) < 60).any()


def test_surer_detections_are_drawn_on_top():
    box = [[0.25, 0.25, 0.75, 0.75]] * 2
    drawn = draw_detections(GREY, box, [1, 2], [0.9, 0.3], NAMES)
    assert drawn[40, 16].tolist() == [128, 0, 0]


@pytest.mark.parametrize("class_id", [0, 3])
def test_class_id_without_a_name_is_refused(class_id):
    with pytest.raises(ValueError, match=f"class id {class_id} is outside 1..2"):
        draw_detections(GREY, [[0, 0, 1, 1]], [class_id], [0.5], NAMES)


@pytest.mark.parametrize("picture", [GREY.astype(np.float32), GREY[..., 0], GREY[:0]])
def test_other_kinds_of_picture_are_refused(picture):
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\] RGB"):
        draw_detections(picture, np.zeros((0, 4)), [], None, NAMES)


def test_overlay_blends_inside_contours_the_edge_and_leaves_the_rest():
    class_map = np.zeros((64, 64), np.uint8)
    class_map[10:30, 10:30] = 1
    class_map[40:50] = 255
    drawn = overlay_classes(GREY, class_map, 3, opacity=0.25)
    expected = GREY.copy()
    expected[10:30, 10:30] = [128, 0, 0]
    expected[11:29, 11:29] = [122, 90, 90]  # 0.25 * (128, 0, 0) + 0.75 * 120
    np.testing.assert_array_equal(drawn, expected)


def test_overlay_refuses_other_sizes_and_ids():
    with pytest.raises(ValueError, match=r"class map has shape \[32, 64\]"):
        overlay_classes(GREY, np.zeros((32, 64), int), 3)
    with pytest.raises(ValueError, match=r"class id 3 is outside 0..2"):
        overlay_classes(GREY, np.full((64, 64), 3), 3)


def regions(size, *places):
    """A class map of zeros but for (class, slice of rows, slice of columns)."""
    class_map = np.zeros((size, size), np.uint8)
    for c, rows, columns in places:
        class_map[rows, columns] = c
    return class_map


NO_BOXES = np.zeros((0, 4)), [], []


def test_a_region_is_named_inside_itself_and_small_ones_are_not(filled):
    """A ring: its centre of mass lies in the hole, its name where the ring is widest."""
    picture = np.full((200, 200, 3), 120, np.uint8)
    ring = (2, slice(20, 180), slice(20, 180)), (0, slice(60, 160), slice(40, 140))
    small = (2, slice(190, 200), slice(190, 200)), (1, slice(100, 110), slice(80, 90))
    class_map = regions(200, *ring, *small)
    named = draw(picture, class_map, *NO_BOXES, NAMES)
    ((left, top, right, bottom),) = filled
    # The widest place is the corner of the upper and the right band, 40 pixels each.
    assert 130 < (left + right) / 2 < 180 and 20 < (top + bottom) / 2 < 70
    assert (named[top, left] == [0, 128, 0]).all() and (picture == 120).all()
    below = overlay_classes(picture, class_map, 3)
    rest = np.ones((200, 200), bool)
    rest[top : bottom + 1, left : right + 1] = False
    np.testing.assert_array_equal(named[rest], below[rest])


def test_large_regions_are_named_at_the_same_place(filled):
    """Of 2,400 pixels every sixth is looked at."""
    picture, class_map = np.zeros((2400, 2400, 3), np.uint8), np.zeros((2400, 2400), np.uint8)
    class_map[600:1200, 1200:1800] = 1
    draw(picture, class_map, *NO_BOXES, NAMES)
    ((left, top, right, bottom),) = filled
    assert abs((left + right) / 2 - 1500) < 12 and abs((top + bottom) / 2 - 900) < 12


def test_regions_whose_class_has_a_box_have_no_name_of_their_own(filled):
    class_map = regions(64, (1, slice(0, 30), slice(None)), (2, slice(34, 64), slice(None)))
    box = [[0.6, 0.1, 0.9, 0.9]]
    draw(GREY, class_map, box, [2], [0.5], NAMES)
    assert len(filled) == 2, "the box's, and the other class's"
    below = overlay_classes(GREY, class_map, 3)
    both = regions(64, (2, slice(34, 64), slice(None)))
    np.testing.assert_array_equal(
        draw(GREY, both, box, [2], [0.5], NAMES),
        draw_detections(overlay_classes(GREY, both, 3), box, [2], [0.5], NAMES),
    )
    assert np.any(draw(GREY, class_map, *NO_BOXES, NAMES) != below)


def test_names_of_regions_and_labels_of_boxes_stand_apart(filled):
    """Thin strips above one another, and a box's label between them."""
    picture = np.full((200, 200, 3), 120, np.uint8)
    strips = [(n + 1, slice(80 + 12 * n, 92 + 12 * n), slice(None)) for n in range(3)]
    names = ["ant", "bee", "cow", "dog"]
    draw(picture, regions(200, *strips), [[0.5, 0.4, 0.9, 0.9]], [4], [0.9], names)
    assert len(filled) == 4
    covered = np.zeros((200, 200), int)
    for left, top, right, bottom in filled:
        covered[top : bottom + 1, left : right + 1] += 1
    assert covered.max() == 1


@pytest.mark.parametrize("side", [1, 2])
def test_the_smallest_pictures_are_drawn(side):
    picture = np.zeros((side, side, 3), np.uint8)
    assert draw(picture, np.ones((side, side), int), *NO_BOXES, NAMES).shape == picture.shape


def test_palette_png_reads_back_as_ids_and_as_colours():
    class_map = np.arange(256).reshape(8, 32)
    picture = Image.open(io.BytesIO(palette_png(class_map)))
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.array(picture), class_map)
    np.testing.assert_array_equal(np.array(picture.convert("RGB")), class_colours(256)[class_map])


@pytest.mark.parametrize("class_map", [np.zeros(4, int), np.full((2, 2), 256), -np.ones((2, 2))])
def test_palette_png_refuses_what_a_byte_cannot_hold(class_map):
    with pytest.raises(ValueError, match="class map has shape|exceed 0..255"):
        palette_png(class_map)


def test_side_by_side_enlarges_lower_pictures_without_new_colours():
    low = np.zeros((32, 16, 3), np.uint8)
    low[16:] = 200
    row = side_by_side([GREY, low], ["one", "two"], gap=4)
    assert row.shape == (4 + 20 + 64 + 4, 4 + 64 + 4 + 32 + 4, 3)
    np.testing.assert_array_equal(row[24:88, 4:68], GREY)
    np.testing.assert_array_equal(row[24:56, 72:104], 0)
    np.testing.assert_array_equal(row[56:88, 72:104], 200)
    assert (row[4:24, 4:68] < 100).any(), "the title is written"
    with pytest.raises(ValueError, match="2 pictures and 1 titles"):
        side_by_side([GREY, low], ["one"])


def test_pictures_of_two_sizes_are_stacked_on_white_paper():
    tall, wide = np.full((3, 1, 3), 7, np.uint8), np.full((1, 2, 3), 9, np.uint8)
    found = stacked([tall, wide])
    assert found.dtype == np.uint8 and found.shape == (2, 3, 2, 3)
    assert found[..., 0].tolist() == [[[7, 255]] * 3, [[9, 9], [255, 255], [255, 255]]]


def test_contact_sheet_places_pictures_row_by_row():
    pictures = [np.full((10, 20, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(pictures, columns=2, gap=2)
    assert sheet.shape == (2 + 10 + 2 + 10 + 2, 2 + 20 + 2 + 20 + 2, 3)
    assert (sheet[2:12, 2:22] == 10).all()
    assert (sheet[2:12, 24:44] == 20).all()
    assert (sheet[14:24, 2:22] == 30).all()
    assert (sheet[14:24, 24:44] == 255).all()


def test_the_surest_twenty_of_enough_score_are_worth_drawing():
    scores = np.linspace(0.9, 0.0, 91)
    np.testing.assert_array_equal(visualize.worth_drawing(scores), np.arange(20))
    np.testing.assert_array_equal(visualize.worth_drawing([0.5, 0.3, 0.29]), [0, 1])
    assert len(visualize.worth_drawing([])) == 0


def test_the_likeliest_classes_stand_beside_the_picture_best_first():
    names = ["cat", "dog", "emu"]
    drawn = name_classes(GREY, [0.2, 0.5, 0.3], names, count=2)
    same = name_classes(GREY, [0.5, 0.3, 0.2], ["dog", "emu", "cat"], count=2)
    np.testing.assert_array_equal(drawn, same)
    tied = name_classes(GREY, [0.5, 0.5, 0.0], names, count=2)
    np.testing.assert_array_equal(tied, name_classes(GREY, [0.5, 0.5], names[:2]))
    assert np.any(tied != name_classes(GREY, [0.5, 0.5], ["dog", "cat"]))
    assert np.any(drawn != name_classes(GREY, [0.2, 0.5, 0.3], names, 1, count=2)), "its name"
    # A small picture is enlarged to 200 pixels, so that the names can be read.
    assert drawn.shape == name_classes(np.full((200, 200, 3), 120, np.uint8), [1], ["a"]).shape
    with pytest.raises(ValueError, match=r"scores have shape \[2\]: expected \[3\]"):
        name_classes(GREY, [0.5, 0.5], names)
