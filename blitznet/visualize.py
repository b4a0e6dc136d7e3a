"""Boxes, class maps and panels drawn on pictures, with OpenCV and NumPy.

Pictures are uint8 RGB `[H, W, 3]`; every function returns another picture and leaves its
arguments alone.
"""

import io

import numpy as np
from PIL import Image

from blitznet import lettering
from blitznet.lettering import Labels
from blitznet.opencv import cv2

IGNORED = 255
LEAST_SCORE = 0.3
MOST_BOXES = 20
_LEAST_TEXT_PANEL = 200
# Of a picture: smaller regions of a class are left without a name.
_LEAST_REGION = 0.005
# Regions are measured on every so many pixels that about this many are left along a side.
_REGION_SIDE = 400
_PAPER, _INK = (255, 255, 255), (32, 32, 32)


def class_colours(num_classes):
    """PASCAL VOC's palette, uint8 `[num_classes, 3]` RGB, for up to 256 class ids.

    The bits of the id are dealt in turn to red, green and blue, from the highest bit of each
    colour down (VOC development kit, `VOCcolormap.m`): 0 is black, 255 is (224, 224, 192).
    """
    if not 1 <= num_classes <= 256:
        raise ValueError(f"num_classes is {num_classes}: expected 1..256")
    ids = np.arange(num_classes)
    colours = np.zeros((num_classes, 3), np.int64)
    for bit in range(8):
        group, channel = divmod(bit, 3)
        colours[:, channel] |= (ids >> bit & 1) << (7 - group)
    return colours.astype(np.uint8)


def worth_drawing(scores):
    """Indices of the scores `[N]`, in descending order, that a person wants to see: the surest 20
    of at least 0.3.
    """
    return np.flatnonzero(np.asarray(scores) >= LEAST_SCORE)[:MOST_BOXES]


def draw(image, class_map, boxes, classes, scores, class_names, opacity=0.5):
    """Picture under its class map and labelled boxes.

    A class of pixels that no box has is named on its largest region, unless that has less than
    1/200 of the picture's pixels.

    Args:
      image: uint8 `[H, W, 3]` RGB.
      class_map: int `[H, W]` as `overlay_classes` takes it, or None; `opacity` likewise.
      boxes, classes, scores: as `draw_detections` takes them.
      class_names: names of the classes 1..C-1.

    Raises:
      ValueError: as those two.
    """
    if class_map is not None:
        image = overlay_classes(image, class_map, len(class_names) + 1, opacity)
    canvas = _checked(image).copy()
    labels = Labels(canvas)
    _draw_boxes(canvas, labels, boxes, np.asarray(classes), scores, class_names)
    if class_map is not None:
        _name_regions(labels, np.asarray(class_map), class_names, classes)
    # After all boxes, so that no line crosses a text.
    labels.write()
    return canvas


def draw_detections(image, boxes, classes, scores, class_names):
    """Picture with a coloured box and a label for each detection.

    image: uint8 `[H, W, 3]` RGB. boxes: `[N, 4]` normalised ymin, xmin, ymax, xmax.
    classes: int `[N]` in 1..C-1. scores: `[N]`, or None for ground truth. class_names: names
    of the classes 1..C-1, without the background. Sure detections are drawn over unsure ones.

    Raises ValueError for another kind of picture, box shape or class id.
    """
    return draw(image, None, boxes, classes, scores, class_names)


def overlay_classes(image, class_map, num_classes, opacity=0.5):
    """Picture under translucent class colours with thin contours.

    class_map: int `[H, W]` of class ids 0..num_classes-1; background (0) and ignored pixels
    (255) show the picture as it is. opacity: 0 (picture) to 1 (colours).

    Raises ValueError for a class map of another size or with ids outside.
    """
    image, class_map = _checked(image), np.asarray(class_map)
    if class_map.shape != image.shape[:2]:
        raise ValueError(
            f"class map has shape {list(class_map.shape)}, the picture {list(image.shape[:2])}"
        )
    shown = (class_map != 0) & (class_map != IGNORED)
    wrong = shown & ((class_map < 0) | (class_map >= num_classes))
    if wrong.any():
        raise ValueError(f"class id {class_map[wrong][0]} is outside 0..{num_classes - 1}")
    colours = class_colours(num_classes)
    canvas = image.copy()
    tint = colours[class_map[shown]].astype(np.float64)
    canvas[shown] = np.rint(opacity * tint + (1 - opacity) * image[shown])
    for c in np.unique(class_map[shown]):
        region = (class_map == c).astype(np.uint8)
        inside = cv2.erode(region, np.ones((3, 3), np.uint8))
        canvas[(region == 1) & (inside == 0)] = colours[c]
    return canvas


def palette_png(class_map):
    """PNG file (bytes) of a class map `[H, W]`, ids 0..255, with VOC's palette as VOC stores it."""
    class_map = np.asarray(class_map)
    if class_map.ndim != 2 or class_map.size == 0:
        raise ValueError(f"class map has shape {list(class_map.shape)}: expected [H, W]")
    if class_map.min() < 0 or class_map.max() > 255:
        raise ValueError(f"class ids {class_map.min()}..{class_map.max()} exceed 0..255")
    picture = Image.fromarray(class_map.astype(np.uint8))
    picture.putpalette(class_colours(256).tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def side_by_side(images, titles, gap=8):
    """One picture of panels in a row, each under its title, at the height of the tallest.

    images: pictures of any sizes; lower ones are enlarged. titles: one string per picture.
    """
    if len(images) != len(titles) or not images:
        raise ValueError(f"{len(images)} pictures and {len(titles)} titles: expected as many")
    height = max(len(image) for image in images)
    bar = min(30, max(20, round(0.07 * height)))
    panels = []
    for image, title in zip(images, titles):
        width = max(1, round(_checked(image).shape[1] * height / len(image)))
        panel = np.full((bar + height, width, 3), _PAPER, np.uint8)
        panel[bar:] = image if len(image) == height else _resized(image, width, height)
        scale = lettering.scale_to_fit(title, 0.55 * bar, width - 4)
        base = round((bar + lettering.capitals(scale)) / 2)
        lettering.write(panel, title, (2, base), scale, _INK)
        panels += [np.full((bar + height, gap, 3), _PAPER, np.uint8), panel]
    return _framed(np.hstack(panels[1:]), gap)


def stacked(images):
    """Pictures of any sizes as one array `[N, H, W, 3]`, of the largest height and width.

    Smaller ones are continued with paper to the right and below.
    """
    height, width = (max(_checked(image).shape[axis] for image in images) for axis in (0, 1))
    stack = np.full((len(images), height, width, 3), _PAPER, np.uint8)
    for place, image in zip(stack, images):
        place[: image.shape[0], : image.shape[1]] = image
    return stack


def name_classes(image, scores, class_names, label=None, count=5):
    """The picture beside the names of the `count` classes that score highest, best first.

    image: uint8 `[H, W, 3]` RGB. scores: `[N]`, such as probabilities; of equal ones the lower
    class id comes first. class_names: N names. label: the true class in 0..N-1, whose name then
    stands above the picture.

    Raises ValueError for another number of scores or another kind of picture.
    """
    scores = np.asarray(scores)
    if scores.shape != (len(class_names),):
        raise ValueError(f"scores have shape {list(scores.shape)}: expected [{len(class_names)}]")
    best = np.argsort(-scores, kind="stable")[:count]
    height = max(_LEAST_TEXT_PANEL, _checked(image).shape[0])
    names = _text_panel([f"{scores[n]:.2f} {class_names[n]}" for n in best], height)
    title = "picture" if label is None else f"ground truth: {class_names[label]}"
    return side_by_side([image, names], [title, "prediction"])


def _text_panel(lines, height):
    """A square picture of this height with one line of text below the other."""
    panel = np.full((height, height, 3), _PAPER, np.uint8)
    pitch = height / (len(lines) + 1)
    scale = min(lettering.scale_to_fit(line, min(0.5 * pitch, 18), height - 8) for line in lines)
    for n, line in enumerate(lines):
        lettering.write(panel, line, (4, round((n + 1) * pitch)), scale, _INK)
    return panel


def contact_sheet(images, columns, gap=8):
    """One picture of all in a grid, row by row, each at its own size in the middle of its cell."""
    if not images or columns < 1:
        raise ValueError(f"{len(images)} pictures in {columns} columns: expected at least one")
    columns = min(columns, len(images))
    height = max(_checked(image).shape[0] for image in images) + gap
    width = max(image.shape[1] for image in images) + gap
    rows = -(-len(images) // columns)
    sheet = np.full((rows * height - gap, columns * width - gap, 3), _PAPER, np.uint8)
    for n, image in enumerate(images):
        top = n // columns * height + (height - gap - image.shape[0]) // 2
        left = n % columns * width + (width - gap - image.shape[1]) // 2
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return _framed(sheet, gap)


def _checked(image):
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f"picture has type {image.dtype} and shape {list(image.shape)}: "
            "expected uint8 [H, W, 3] RGB"
        )
    return image


def _draw_boxes(canvas, labels, boxes, classes, scores, class_names):
    """Draw boxes, unsure ones first, and place their labels, sure ones first."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    wrong = (classes < 1) | (classes > len(class_names))
    if wrong.any():
        raise ValueError(f"class id {classes[wrong][0]} is outside 1..{len(class_names)}")
    order = np.arange(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    colours = class_colours(len(class_names) + 1)
    corners = _pixel_corners(boxes, canvas.shape)
    for n in order:
        colour = colours[classes[n]].tolist()
        cv2.rectangle(canvas, corners[n, :2], corners[n, 2:], colour, _line_width(canvas))
    for n in order[::-1]:
        text = class_names[classes[n] - 1] + ("" if scores is None else f" {scores[n]:.2f}")
        labels.beside(text, corners[n], colours[classes[n]].tolist())


def _name_regions(labels, class_map, class_names, named):
    """Place the name of each class but those of `named` upon its largest connected region."""
    step = max(1, max(class_map.shape) // _REGION_SIDE)
    sampled = class_map[::step, ::step]
    colours = class_colours(len(class_names) + 1)
    for c in np.setdiff1d(sampled, [0, IGNORED, *named]):
        _, parts, stats, _ = cv2.connectedComponentsWithStats((sampled == c).astype(np.uint8))
        areas = stats[1:, cv2.CC_STAT_AREA]
        if areas.max() < _LEAST_REGION * sampled.size:
            continue
        largest = np.pad(parts == 1 + areas.argmax(), 1).astype(np.uint8)
        # Farthest from the region's edge: a centre of mass may lie outside of it.
        depth = cv2.distanceTransform(largest, cv2.DIST_L2, 5)[1:-1, 1:-1]
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        labels.upon(class_names[c - 1], (column * step, row * step), colours[c].tolist())


def _pixel_corners(boxes, shape):
    """First and last pixels int `[N, 4]` x1, y1, x2, y2 that the boxes cover in the picture."""
    height, width = shape[:2]
    edges = boxes[:, [1, 0, 3, 2]] * [width, height, width, height]
    corners = np.rint(edges).astype(int) - [0, 0, 1, 1]
    corners = np.clip(corners, 0, [width - 1, height - 1] * 2)
    return np.hstack([corners[:, :2], np.maximum(corners[:, :2], corners[:, 2:])])


def _line_width(image):
    return max(1, round(min(image.shape[:2]) / 180))


def _resized(image, width, height):
    # Enlarging keeps the pixels of a class map as they are drawn: no invented colours.
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)


def _framed(picture, gap):
    return cv2.copyMakeBorder(picture, *[gap] * 4, cv2.BORDER_CONSTANT, value=_PAPER)
