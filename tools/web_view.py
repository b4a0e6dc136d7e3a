"""What the web page shows of a picture: drawing, list and sentences. No Gradio, no network here."""

import html
import time
from dataclasses import dataclass, replace

import numpy as np

from blitznet import visualize
from blitznet.opencv import cv2
from blitznet.picture_files import read_picture
from blitznet.prediction import Prediction

# Of the longer side, in pixels: more is more than a screen shows, less has no room for labels.
MOST_SIDE, LEAST_SIDE = 1280, 800
MOST_LISTED = 50
# Below, a network that answers 200 boxes for each picture names nearly every class it knows.
LEAST_CONFIDENCE = 0.05


@dataclass(frozen=True, eq=False)
class View:
    """A picture with what was found in it; all that a session keeps.

    Attributes:
      name: of its file.
      size: (height, width) of the picture itself.
      picture: uint8 RGB `[H, W, 3]` at the size that is shown.
      prediction: of at least `LEAST_CONFIDENCE`; its class map is `[H, W]` too.
      reading, network: seconds that these took.
    """

    name: str
    size: tuple
    picture: np.ndarray
    prediction: Prediction
    reading: float
    network: float


def look(predictor, source, name):
    """The `View` of a picture file, a path or bytes, which errors call `name`.

    A network that sees pictures at their own sizes gets one no larger than it is shown.

    Raises what `read_picture` does.
    """
    began = time.perf_counter()
    picture = read_picture(source, name)
    size = picture.shape[:2]
    height, width = shown_size(*size)
    reduced = height < size[0] or width < size[1]
    if reduced and predictor.own_sizes:
        # A photograph of a telephone would take it gigabytes and minutes.
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    read = time.perf_counter()
    (prediction,) = predictor.predict([picture])
    prediction = prediction.at_least(LEAST_CONFIDENCE)
    done = time.perf_counter()
    how = cv2.INTER_AREA if reduced else cv2.INTER_LINEAR
    if prediction.class_map is not None:
        classes = cv2.resize(prediction.class_map, (width, height), interpolation=cv2.INTER_NEAREST)
        prediction = replace(prediction, class_map=classes)
    picture = cv2.resize(picture, (width, height), interpolation=how)
    return View(name, size, picture, prediction, read - began, done - read)


def shown_size(height, width):
    """(height, width) of the same shape, its longer side within what is shown."""
    side = max(height, width)
    scale = np.clip(side, LEAST_SIDE, MOST_SIDE) / side
    return max(1, round(height * scale)), max(1, round(width * scale))


def classes_found(prediction):
    """Ids of the classes with a box or a pixel, ascending."""
    in_map = [] if prediction.class_map is None else np.unique(prediction.class_map)
    return [int(c) for c in np.union1d(prediction.classes, in_map) if c > 0]


def selected(prediction, classes, min_score):
    """The prediction with the given class ids alone, and the surest `MOST_LISTED` detections of
    at least `min_score`.
    """
    kept = np.isin(prediction.classes, classes) & (prediction.scores >= min_score)
    kept = np.flatnonzero(kept)[:MOST_LISTED]
    class_map = prediction.class_map
    if class_map is not None:
        class_map = np.where(np.isin(class_map, classes), class_map, np.uint8(0))
    return replace(
        prediction,
        boxes=prediction.boxes[kept],
        scores=prediction.scores[kept],
        classes=prediction.classes[kept],
        names=tuple(prediction.names[n] for n in kept),
        class_map=class_map,
    )


def draw(view, classes, min_score, opacity):
    """The picture, uint8 RGB `[H, W, 3]`, with the masks and boxes of the selected classes.

    `opacity` is that of the masks, 0 to 1; at 0 their contours go too.
    """
    shown = selected(view.prediction, classes, min_score)
    if opacity == 0:
        shown = replace(shown, class_map=None)
    return shown.draw(view.picture, min_score=0, opacity=opacity)


def found_html(view, classes, min_score):
    """The list beside the picture: detections with scores, then classes with their areas."""
    every, shown = view.prediction, selected(view.prediction, classes, min_score)
    parts = []
    if len(every.scores) or every.class_map is None:
        rows = zip(shown.names, shown.classes, shown.scores)
        parts += _list("Objects", [(name, c, score, f"{score:.2f}") for name, c, score in rows])
        hidden = len(every.scores) - len(shown.scores)
        if hidden:
            parts.append(f'<p class="quiet">{hidden} less sure or switched off</p>')
    if shown.class_map is not None:
        shares = np.bincount(shown.class_map.ravel(), minlength=1) / shown.class_map.size
        areas = [
            (shown.class_names[c - 1], c, shares[c], _percent(shares[c]))
            for c in np.argsort(-shares, kind="stable")
            if c and shares[c]
        ]
        parts += _list("Areas", areas)
    return "\n".join(parts)


def _list(title, rows):
    """A heading, and a line for each row: name, class id, share of the bar, text."""
    if not rows:
        return [f'<h3>{title}</h3><p class="quiet">none</p>']
    colours = visualize.class_colours(1 + max(c for _, c, _, _ in rows))
    lines = [
        f'<li><span class="swatch" style="background:rgb({",".join(map(str, colours[c]))})"></span>'
        f'<span class="name">{html.escape(name)}</span>'
        f'<span class="bar"><span style="width:{share:.1%}"></span></span>'
        f"<data>{html.escape(text)}</data></li>"
        for name, c, share, text in rows
    ]
    return [f"<h3>{title}</h3><ul>", *lines, "</ul>"]


def _percent(share):
    return "< 0.1%" if share < 0.0005 else f"{share:.1%}"


def timing_html(view, drawing):
    """The line under the picture: its name, size, and milliseconds of each part."""
    height, width = view.size
    parts = [("reading", view.reading), ("network", view.network), ("drawing", drawing)]
    times = " · ".join(f"{what} <b>{seconds * 1e3:.0f} ms</b>" for what, seconds in parts)
    return f"{html.escape(view.name)}, {width} × {height} pixels · {times}"
