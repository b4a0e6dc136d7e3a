"""Boxes, class maps and panels drawn on pictures, with OpenCV and NumPy.

Pictures are uint8 RGB `[H, W, 3]`; every function returns another picture and leaves its
arguments alone.
"""

import io

import numpy as np
from PIL import Image

from blitznet.opencv import cv2

IGNORED = 255
LEAST_SCORE = 0.3
MOST_BOXES = 20
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT_HEIGHT_AT_SCALE_1 = 22
_LEAST_TEXT_PANEL = 200
# Of a picture: smaller regions of a class are left without a name.
_LEAST_REGION = 0.005
_PAPER, _INK = (255, 255, 255), (32, 32, 32)
_DARK_TEXT, _LIGHT_TEXT = (0, 0, 0), (255, 255, 255)


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
    """Picture under its class map, int `[H, W]` or None, and its boxes, as the functions below
    draw them; a class of pixels that no box names is named on its largest region.
    """
    if class_map is not None:
        image = overlay_classes(image, class_map, len(class_names) + 1, opacity)
        image = name_regions(image, class_map, class_names, classes)
    return draw_detections(image, boxes, classes, scores, class_names)


def draw_detections(image, boxes, classes, scores, class_names):
    """Picture with a coloured box and a label for each detection.

    image: uint8 `[H, W, 3]` RGB. boxes: `[N, 4]` normalised ymin, xmin, ymax, xmax.
    classes: int `[N]` in 1..C-1. scores: `[N]`, or None for ground truth. class_names: names
    of the classes 1..C-1, without the background. Sure detections are drawn over unsure ones.

    Raises ValueError for another kind of picture, box shape or class id.
    """
    canvas = _checked(image).copy()
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    classes = np.asarray(classes)
    wrong = (classes < 1) | (classes > len(class_names))
    if wrong.any():
        raise ValueError(f"class id {classes[wrong][0]} is outside 1..{len(class_names)}")
    order = np.arange(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    colours = class_colours(len(class_names) + 1)
    texts = [
        class_names[c - 1] + ("" if scores is None else f" {scores[n]:.2f}")
        for n, c in enumerate(classes)
    ]
    corners = _pixel_corners(boxes, canvas.shape)
    for n in order:
        colour = colours[classes[n]].tolist()
        cv2.rectangle(canvas, corners[n, :2], corners[n, 2:], colour, _line_width(canvas))
    # Labels come after all boxes, so that no line crosses a text; the surest choose their place
    # first and are written last, where there is no room for all.
    placed = {}
    for n in order[::-1]:
        placed[n] = _place_label(canvas, texts[n], corners[n], [bar for _, bar in placed.values()])
    for n in order:
        _draw_label(canvas, texts[n], *placed[n], colours[classes[n]].tolist())
    return canvas


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


def name_regions(image, class_map, class_names, named=()):
    """Picture with the name of each class upon its largest connected region.

    class_map: int `[H, W]`, 0 and 255 as in `overlay_classes`. class_names: names of the classes
    1..C-1. named: class ids to leave out, such as those of the boxes that are drawn. Classes
    whose largest region has less than 1/200 of the picture's pixels get no name.
    """
    canvas, class_map = _checked(image).copy(), np.asarray(class_map)
    colours = class_colours(len(class_names) + 1)
    for c in np.setdiff1d(class_map, [0, IGNORED, *named]):
        _, parts, stats, _ = cv2.connectedComponentsWithStats((class_map == c).astype(np.uint8))
        areas = stats[1:, cv2.CC_STAT_AREA]
        if areas.max() < _LEAST_REGION * class_map.size:
            continue
        largest = np.pad(parts == 1 + areas.argmax(), 1).astype(np.uint8)
        # Farthest from the region's edge: a centre of mass may lie outside of it.
        depth = cv2.distanceTransform(largest, cv2.DIST_L2, 5)[1:-1, 1:-1]
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        text = class_names[c - 1]
        scale, size = _label_size(text, canvas.shape)
        place = np.clip([column, row] - size // 2, 0, np.maximum(canvas.shape[1::-1] - size, 0))
        _draw_label(canvas, text, scale, (*place.tolist(), *size.tolist()), colours[c].tolist())
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
        scale = _scale_to_fit(title, 0.55 * bar, width - 4)
        base = round((bar + _TEXT_HEIGHT_AT_SCALE_1 * scale) / 2)
        cv2.putText(panel, title, (2, base), _FONT, scale, _INK, _thickness(scale), cv2.LINE_AA)
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
    scale = min(_scale_to_fit(line, min(0.5 * pitch, 18), height - 8) for line in lines)
    for n, line in enumerate(lines):
        place = (4, round((n + 1) * pitch))
        cv2.putText(panel, line, place, _FONT, scale, _INK, _thickness(scale), cv2.LINE_AA)
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


def _pixel_corners(boxes, shape):
    """First and last pixels int `[N, 4]` x1, y1, x2, y2 that the boxes cover in the picture."""
    height, width = shape[:2]
    edges = boxes[:, [1, 0, 3, 2]] * [width, height, width, height]
    corners = np.rint(edges).astype(int) - [0, 0, 1, 1]
    corners = np.clip(corners, 0, [width - 1, height - 1] * 2)
    return np.hstack([corners[:, :2], np.maximum(corners[:, :2], corners[:, 2:])])


def _line_width(image):
    return max(1, round(min(image.shape[:2]) / 180))


def _place_label(canvas, text, corners, taken):
    """Font scale, and the bar x, y, width, height in pixels that the text stands on.

    Above the box, or else where it covers least of the bars `taken`: inside the box's top, below
    it, inside its bottom, farther off, and row by row down the box, on its left or right.
    """
    height, width = canvas.shape[:2]
    scale, size = _label_size(text, canvas.shape)
    left, top, right, bottom = corners
    above, below = top - size[1], bottom + 1
    rows = [above, top, below, below - size[1], above - size[1], below + size[1]]
    rows = [y for y in [*rows, *range(top, bottom, size[1])] if y >= 0]
    places = [(x, y) for y in rows for x in (left, right + 1 - size[0])]
    places = np.clip(places, 0, np.maximum([width, height] - size, 0))
    covered = [sum(_common_area((*place, *size), bar) for bar in taken) for place in places]
    # The first of the best, so that a label stays above its box where it can.
    return scale, (*places[int(np.argmin(covered))].tolist(), *size.tolist())


def _label_size(text, shape):
    """Font scale, and width and height in pixels of the bar `[2]`, in a picture of this shape."""
    height, width = shape[:2]
    scale = _scale_to_fit(text, np.clip(0.03 * min(height, width), 9, 40), 0.9 * width - 4)
    (text_width, text_height), drop = cv2.getTextSize(text, _FONT, scale, _thickness(scale))
    margin = _margin(text_height)
    return scale, np.array([text_width + 2 * margin, text_height + drop // 2 + 2 * margin])


def _common_area(a, b):
    """Pixels that two bars x, y, width, height share."""
    sides = [min(a[i] + a[i + 2], b[i] + b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    return max(0, sides[0]) * max(0, sides[1])


def _draw_label(canvas, text, scale, bar, colour):
    left, top, width, height = bar
    cv2.rectangle(canvas, (left, top), (left + width - 1, top + height - 1), colour, -1)
    text_height = cv2.getTextSize(text, _FONT, scale, _thickness(scale))[0][1]
    luminance = np.dot(colour, [0.299, 0.587, 0.114])
    ink = _DARK_TEXT if luminance > 110 else _LIGHT_TEXT
    margin = _margin(text_height)
    base = (left + margin, top + margin + text_height)
    cv2.putText(canvas, text, base, _FONT, scale, ink, _thickness(scale), cv2.LINE_AA)


def _margin(text_height):
    """Pixels of the bar around its text."""
    return max(2, round(0.3 * text_height))


def _scale_to_fit(text, text_height, width):
    """Font scale for capitals of this height, less where the text would be wider than `width`."""
    scale = text_height / _TEXT_HEIGHT_AT_SCALE_1
    text_width = cv2.getTextSize(text, _FONT, scale, _thickness(scale))[0][0]
    return scale * min(1.0, max(1, width) / max(1, text_width))


def _thickness(scale):
    return max(1, round(1.6 * scale))


def _resized(image, width, height):
    # Enlarging keeps the pixels of a class map as they are drawn: no invented colours.
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)


def _framed(picture, gap):
    return cv2.copyMakeBorder(picture, *[gap] * 4, cv2.BORDER_CONSTANT, value=_PAPER)
