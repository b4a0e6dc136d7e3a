"""Pictures of plain shapes on textured backgrounds, with the region of each shape.

The drawing half of `tools.quickstart_data` and `tools.classification_data`. A class is a shape
that usually has a hue of its own: three objects of four have it, the fourth any colour, as have
the backgrounds. So colour helps and shape decides. Shading, texture, size and tilt are random.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

from blitznet.opencv import cv2

SIDE_RANGE = (160, 220)
EXTENT_RANGE = (0.22, 0.75)  # of the shorter side
MAX_TILT = np.pi / 6
USUAL_COLOUR = 0.75
# Of pictures of one object.
LONE_SIDE_RANGE = (64, 128)
LONE_EXTENT_RANGE = (0.45, 0.9)
LONE_MIN_VISIBLE = 0.85
NUMBER_OF_OBJECTS = {1: 0.40, 2: 0.35, 3: 0.25}
MIN_VISIBLE = 0.35
MIN_BOX_SIDE = 10
_SUPERSAMPLE = 4
_TRIES = 20


@dataclass(frozen=True)
class SceneObject:
    """One shape: its class id (1..C-1), whether the picture's border cuts it, its full area."""

    label: int
    truncated: bool
    area: float


@dataclass(frozen=True)
class Scene:
    """image: uint8 `[H, W, 3]` RGB. regions: uint8 `[H, W]`, 0 or 1 + the object's index."""

    image: np.ndarray
    regions: np.ndarray
    objects: tuple

    def visible_share(self, index):
        """Visible part of an object's full area, 0..1 (within a pixel's rounding)."""
        return np.sum(self.regions == index + 1) / self.objects[index].area


def draw_scene(rng, empty=False):
    """Draws a `Scene` of 1 to 3 objects, later ones on top of earlier ones; none if `empty`."""
    scene = _backdrop(rng, SIDE_RANGE)
    number = rng.choice(list(NUMBER_OF_OBJECTS), p=list(NUMBER_OF_OBJECTS.values()))
    for _ in range(0 if empty else number):
        scene = _with_one_more(rng, scene)
    return Scene(_photographed(rng, scene.image), scene.regions, scene.objects)


def draw_object(rng, label):
    """Draws a small `Scene` of one object of the class id `label`, nearly all of it in sight.

    Sides are of LONE_SIDE_RANGE, the object's extent is of LONE_EXTENT_RANGE of the shorter one.
    """
    backdrop = _backdrop(rng, LONE_SIDE_RANGE)
    scene, coverage = _with_object(rng, backdrop, label, LONE_EXTENT_RANGE)
    while scene.visible_share(0) < LONE_MIN_VISIBLE:
        scene, coverage = _with_object(rng, backdrop, label, LONE_EXTENT_RANGE)
    image = _painted(rng, backdrop.image, coverage, label)
    return Scene(_photographed(rng, image), scene.regions, scene.objects)


def bounding_box(mask):
    """Pixel box xmin, ymin, xmax, ymax (0-based, inclusive) of the true pixels of `[H, W]`."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _backdrop(rng, side_range):
    """A scene without objects, of random sides; its image is float32."""
    height, width = rng.integers(*side_range, endpoint=True, size=2)
    image = _BACKGROUNDS[rng.integers(len(_BACKGROUNDS))](rng, height, width)
    return Scene(image, np.zeros((height, width), np.uint8), ())


def _with_one_more(rng, scene):
    """The scene with another object on top, or as it is if none of the tries leaves all visible."""
    for _ in range(_TRIES):
        label = int(rng.integers(len(CLASS_NAMES))) + 1
        candidate, coverage = _with_object(rng, scene, label, EXTENT_RANGE)
        if all(_visible_enough(candidate, n) for n in range(len(candidate.objects))):
            image = _painted(rng, scene.image, coverage, label)
            return Scene(image, candidate.regions, candidate.objects)
    return scene


def _with_object(rng, scene, label, extent_range):
    """The scene with an object on top that is yet to be painted, and the object's `_coverage`."""
    height, width = scene.regions.shape
    contours = _placed(rng, SHAPES[CLASS_NAMES[label - 1]](rng), height, width, extent_range)
    coverage = _coverage(contours, height, width)
    regions = np.where(coverage >= 0.5, np.uint8(len(scene.objects) + 1), scene.regions)
    points = np.concatenate(contours)
    truncated = bool((points < 0).any() or (points > [width, height]).any())
    area = cv2.contourArea(contours[0]) - sum(cv2.contourArea(c) for c in contours[1:])
    added = SceneObject(label, truncated, area)
    return Scene(scene.image, regions, (*scene.objects, added)), coverage


def _visible_enough(scene, index):
    if scene.visible_share(index) < MIN_VISIBLE:
        return False
    xmin, ymin, xmax, ymax = bounding_box(scene.regions == index + 1)
    return min(xmax - xmin, ymax - ymin) + 1 >= MIN_BOX_SIDE


# Shapes: contours [n, 2] round the origin; the first is the outline, others are holes.


def _circle(radius=1.0):
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _disc(rng):
    return [_circle() * [1, rng.uniform(0.75, 1)]]


def _ring(rng):
    hole = rng.uniform(0.45, 0.58)
    return [contour * [1, 0.9] for contour in (_circle(), _circle(hole))]


def _square(rng):
    return [np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [1, rng.uniform(0.7, 1)]]


def _triangle(rng):
    return [np.array([[0, -1], [0.9, 0.7], [-0.9, 0.7]]) * [rng.uniform(0.75, 1.1), 1]]


def _star(rng):
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, rng.uniform(0.40, 0.48), 1.0)
    return [np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)]


def _cross(rng):
    arm = rng.uniform(0.28, 0.38)
    quarter = np.array([[-arm, -1], [arm, -1], [arm, -arm]])
    turns = [np.array([[c, s], [-s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return [np.concatenate([quarter @ turn for turn in turns])]


SHAPES = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
}
CLASS_NAMES = tuple(SHAPES)


def _placed(rng, contours, height, width, extent_range):
    """The contours tilted, scaled to a random extent and moved, float32 x, y in pixels.

    `extent_range` is of the shorter side.
    """
    angle = rng.uniform(-MAX_TILT, MAX_TILT)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = [contour @ turn for contour in contours]
    extent = rng.uniform(*extent_range) * min(height, width)
    scale = extent / np.ptp(turned[0], axis=0).max()
    margin = 0.3 * extent
    centre = rng.uniform([margin, margin], [width - margin, height - margin])
    return [(contour * scale + centre).astype(np.float32) for contour in turned]


def _coverage(contours, height, width):
    """Share of each pixel that the shape covers, float32 `[H, W]` in 0..1."""
    fine = np.zeros((height * _SUPERSAMPLE, width * _SUPERSAMPLE), np.uint8)
    corners = [np.rint(c * _SUPERSAMPLE - 0.5).astype(np.int32) for c in contours]
    cv2.fillPoly(fine, corners, 255)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255)


def _painted(rng, image, coverage, label):
    """The picture with a shaded, textured object of a colour unlike what is behind it."""
    height, width = coverage.shape
    behind = image[coverage >= 0.5].mean(axis=0)
    colour = _object_colour(rng, label)
    while np.abs(colour - behind).sum() < 160:
        colour = _object_colour(rng, label)
    shade = 1 + rng.uniform(0.1, 0.3) * (_slope(rng, height, width) - 0.5)
    texture = _TEXTURES[rng.integers(len(_TEXTURES))](rng, height, width)
    surface = colour * (shade + rng.uniform(0.1, 0.3) * (texture - 0.5))[..., None]
    alpha = coverage[..., None]
    return np.clip(alpha * surface + (1 - alpha) * image, 0, 255)


def _object_colour(rng, label):
    """A colour of the class's usual hue, more often than not."""
    if rng.random() >= USUAL_COLOUR:
        return _colour(rng)
    hue = (label / len(CLASS_NAMES) + rng.normal(0, 0.03)) % 1
    return np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.5, 1), rng.uniform(0.4, 1))) * 255


# Backgrounds: float32 [H, W, 3] in 0..255, from textures [H, W] in 0..1.


def _colour(rng):
    return rng.uniform(15, 240, size=3)


def _slope(rng, height, width):
    """A linear ramp in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.cos(angle) * x / width + np.sin(angle) * y / height
    return (ramp - ramp.min()) / np.ptp(ramp)


def _noise(rng, height, width):
    """Value noise: octaves of random grids, enlarged and summed."""
    total = np.zeros((height, width), np.float32)
    for cells, weight in ((4, 1.0), (9, 0.6), (22, 0.4), (60, 0.2)):
        grid = rng.random((cells, cells), dtype=np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return (total - total.min()) / np.ptp(total)


def _stripes(rng, height, width):
    """Waves of a random direction and period, bent by noise."""
    phase = _slope(rng, height, width) * rng.uniform(4, 14) + 0.6 * _noise(rng, height, width)
    return 0.5 + 0.5 * np.sin(2 * np.pi * phase)


_TEXTURES = (_slope, _noise, _stripes)


def _between_colours(rng, texture):
    """Two colours mixed by the texture; not far apart, so that objects stand out."""
    first = _colour(rng)
    second = np.clip(first + rng.uniform(-70, 70, size=3), 0, 255)
    return (first + (second - first) * texture[..., None]).astype(np.float32)


def _textured_background(texture):
    return lambda rng, height, width: _between_colours(rng, texture(rng, height, width))


def _line_clutter(rng, height, width):
    """Thin lines in all directions over a ramp: edges that belong to no object."""
    image = _between_colours(rng, _slope(rng, height, width))
    for _ in range(rng.integers(15, 40)):
        ends = rng.integers([-20, -20], [width + 20, height + 20], size=(2, 2)).tolist()
        cv2.line(image, ends[0], ends[1], _colour(rng).tolist(), 1, cv2.LINE_AA)
    return image


_BACKGROUNDS = (*map(_textured_background, _TEXTURES), _line_clutter)


def _photographed(rng, image):
    """Slight blur in half of the pictures, grain in all; uint8."""
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0))
    grain = rng.normal(0, rng.uniform(1, 7), size=image.shape)
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)
