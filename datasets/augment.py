"""Training augmentation on one example; image, boxes, labels and mask move together.

Geometry is collected as a `window`: the frame of the augmented picture in the coordinates of
the stored one, or where `mirrored` is true of the stored one with left and right exchanged,
`ymin, xmin, ymax, xmax`, which may reach beyond [0, 1]. Boxes always refer to the current frame.
`render` samples the pixels once, at the end, so a zoom-out by four never makes a canvas of
sixteen times the pixels.

Every random operation takes a seed `[2]` and is a pure function of it. Spec section 10.
"""

import tensorflow as tf

from blitznet import keys
from blitznet.imaging import MEAN_RGB

WINDOW = "window"
MIRRORED = "mirrored"
BACKGROUND = 0

_PER_OBJECT = {keys.BOXES, keys.LABELS, keys.DIFFICULT, keys.IS_CROWD, keys.AREA}
_MEAN_COLOUR = tuple(value / 255.0 for value in MEAN_RGB)
_CROP_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


def whole_frame(example):
    """The example with a window that shows the stored picture as it is."""
    window = tf.constant([0.0, 0.0, 1.0, 1.0])
    return {**example, WINDOW: window, MIRRORED: tf.constant(False)}


def keep(example, chosen):
    """The example with only those objects for which `chosen` bool `[N]` is true."""
    index = tf.where(chosen)[:, 0]
    per_object = _PER_OBJECT & example.keys()
    return {**example, **{key: tf.gather(example[key], index) for key in per_object}}


def photometric(example, seed):
    """Random brightness, saturation, hue and contrast, in one of four orders.

    IMAGE is float `[H, W, 3]` in [0, 1] before and after.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 5))

    def brightness(image):
        return tf.image.stateless_random_brightness(image, 32 / 256, seeds[0])

    def saturation(image):
        return tf.image.stateless_random_saturation(image, 0.5, 1.5, seeds[1])

    def hue(image):
        return tf.image.stateless_random_hue(image, 0.07, seeds[2])

    def contrast(image):
        return tf.image.stateless_random_contrast(image, 0.5, 1.5, seeds[3])

    def in_order(*operations):
        def apply():
            image = example[keys.IMAGE]
            for operation in operations:
                image = operation(image)
            return image

        return apply

    orders = (
        in_order(brightness, saturation, hue, contrast),
        in_order(saturation, brightness, contrast, hue),
        in_order(contrast, hue, brightness, saturation),
        in_order(hue, saturation, contrast, brightness),
    )
    image = tf.switch_case(_random_int(seeds[4], len(orders)), orders)
    # One pass over the pixels, where tf.clip_by_value takes two.
    image = tf.raw_ops.ClipByValue(t=image, clip_value_min=0.0, clip_value_max=1.0)
    return {**example, keys.IMAGE: image}


def zoom_out(example, seed, probability):
    """With `probability`, the frame grows 1.05 to 4 times round a uniformly placed picture."""
    u = tf.random.stateless_uniform([4], seed)
    factor = tf.where(u[0] < probability, 1.05 + u[1] * (4.0 - 1.05), 1.0)
    corner = -u[2:] * (factor - 1.0)
    return _reframe(example, tf.concat([corner, corner + factor], axis=0))


def random_crop(example, seed):
    """One of six samplers, each asking that a crop shows at least so much of some object.

    Boxes whose centre leaves the crop are dropped with their labels, the rest are clipped.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    shape = tf.cast(tf.shape(example[keys.IMAGE]), tf.float32)
    window = example[WINDOW]
    frame_pixels = shape[:2] * (window[2:] - window[:2])
    _, _, crop = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([tf.cast(tf.round(frame_pixels), tf.int32), [3]], axis=0),
        tf.clip_by_value(example[keys.BOXES], 0.0, 1.0)[None],
        seed=seeds[0],
        min_object_covered=tf.gather(_CROP_OVERLAPS, _random_int(seeds[1], len(_CROP_OVERLAPS))),
        aspect_ratio_range=(0.5, 2.0),
        area_range=(0.3, 1.0),
        max_attempts=50,
        use_image_if_no_bounding_boxes=True,
    )
    example = _reframe(example, crop[0, 0])
    boxes = example[keys.BOXES]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = tf.reduce_all((centre >= 0) & (centre <= 1), axis=1)
    return keep({**example, keys.BOXES: tf.clip_by_value(boxes, 0.0, 1.0)}, inside)


def random_flip(example, seed):
    """Mirror left and right with probability 1/2: `render` takes the columns in that order.

    Mirrored after `render`, whose sampling is not symmetric, image and mask would be shifted
    against each other by nearly a pixel of the mask.
    """
    flip = tf.random.stateless_uniform([], seed) < 0.5
    mirrored = {
        key: tf.where(flip, _mirrored(example[key]), example[key]) for key in (WINDOW, keys.BOXES)
    }
    return {**example, **mirrored, MIRRORED: flip}


def render(example, image_size, mask_side, unlabelled):
    """Sample the window: IMAGE `[S, S, 3]` bilinear, MASK `[F, F]` nearest (TF1 sampling).

    Beyond the stored picture the image shows the mean colour; the mask is background, or
    `unlabelled` where the example has no mask. Boxes under 2 / S wide or high are dropped.
    """
    window, mirrored = example[WINDOW], example[MIRRORED]
    colour = tf.constant(_MEAN_COLOUR)
    image = sample_bilinear(example[keys.IMAGE], window, image_size, colour, mirrored)
    example = {**example, keys.IMAGE: image}
    if mask_side:
        fill = tf.cast(tf.where(example[keys.HAS_MASK], BACKGROUND, unlabelled), tf.uint8)
        example[keys.MASK] = sample_nearest(example[keys.MASK], window, mask_side, fill, mirrored)
    boxes = example[keys.BOXES]
    return keep(example, tf.reduce_all(boxes[:, 2:] - boxes[:, :2] >= 2 / image_size, axis=1))


def render_whole(example):
    """Show the stored picture at its own size: IMAGE `[H, W, 3]`, MASK `[H, W]` if there is one.

    For examples whose window is the whole picture.
    """

    def shown(pixels):
        return tf.where(example[MIRRORED], tf.reverse(pixels, [1]), pixels)

    present = example.keys() & {keys.IMAGE, keys.MASK}
    return {**example, **{key: shown(example[key]) for key in present}}


def sample_bilinear(image, window, side, fill, mirrored=False):
    """`[H, W, D]` -> float `[side, side, D]`: the window, TF1 sampling, `fill` `[D]` outside.

    With `mirrored`, a bool scalar, the window refers to the image with left and right exchanged.
    Only what the window shows of the image is computed.
    """
    depth = image.shape[-1]
    height, width = tf.unstack(tf.shape(image)[:2])
    rows, above = _visible(window[0], window[2], height, side)
    columns, left = _visible(window[1], window[3], width, side)
    # Rows are vectors here: arithmetic and broadcasting over a last axis of three are slow.
    lower, upper, weight = _neighbours(rows, height)
    lines = tf.reshape(image, [height, width * depth])
    lines = _between(tf.gather(lines, lower), tf.gather(lines, upper), weight[:, None])

    lower, upper, weight = _neighbours(columns, width)
    pixels = tf.reshape(lines, [tf.size(rows), width, depth])
    low, high = (
        tf.reshape(
            tf.gather(pixels, _as_stored(index, width, mirrored), axis=1),
            [tf.size(rows), tf.size(columns) * depth],
        )
        for index in (lower, upper)
    )
    shown = _between(low, high, tf.repeat(weight, depth))
    framed = _framed(shown, above, left * depth, tf.tile(fill, [side]), side)
    return tf.reshape(framed, [side, side, depth])


def sample_nearest(mask, window, side, fill, mirrored=False):
    """`[H, W]` -> `[side, side]`: the window by TF1 nearest sampling, `fill` outside.

    `mirrored` as for `sample_bilinear`.
    """
    height, width = tf.unstack(tf.shape(mask))
    rows, row_inside = _positions(window[0], window[2], height, side)
    columns, column_inside = _positions(window[1], window[3], width, side)
    mask = tf.gather(mask, tf.cast(rows, tf.int32))
    columns = _as_stored(tf.cast(columns, tf.int32), width, mirrored)
    mask = tf.gather(mask, columns, axis=1)
    return tf.where(row_inside[:, None] & column_inside, mask, fill)


def _positions(low, high, length, side):
    """Where `side` samples of [low, high] x `length` pixels lie, clipped; which are inside."""
    length = tf.cast(length, tf.float32)
    step = (high - low) * length / side
    at = low * length + tf.range(side, dtype=tf.float32) * step
    inside = (at >= 0) & (at < length)
    return tf.clip_by_value(at, 0.0, length - 1 / 1024), inside


def _visible(low, high, length, side):
    """Those of the `_positions` that are inside, which follow each other; how many come before."""
    at, inside = _positions(low, high, length, side)
    shown = tf.where(inside)[:, 0]
    before = tf.cast(tf.reduce_min(tf.concat([shown, [side]], axis=0)), tf.int32)
    return tf.gather(at, shown), before


def _neighbours(at, length):
    """Indices of the two pixels round each position, and the weight of the second."""
    lower = tf.cast(at, tf.int32)
    return lower, tf.minimum(lower + 1, length - 1), at - tf.cast(lower, tf.float32)


def _as_stored(columns, width, mirrored):
    return tf.where(mirrored, width - 1 - columns, columns)


def _between(low, high, weight):
    return low + (high - low) * weight


def _framed(shown, above, left, edge, side):
    """`shown` `[n, m]` so far down and right in `[side, M]` of which every row is `edge` `[M]`."""
    count, length = tf.unstack(tf.shape(shown))

    def surround(rows, columns):
        return tf.broadcast_to(columns, [rows, tf.size(columns)])

    def frame():
        beside = surround(count, edge[:left]), shown, surround(count, edge[left + length :])
        lines = tf.concat(beside, axis=1)
        rest = surround(side - count - above, edge)
        return tf.concat([surround(above, edge), lines, rest], axis=0)

    full = (count == side) & (length == tf.size(edge))
    return tf.cond(full, lambda: shown, frame)


def _mirrored(boxes):
    """`[..., 4]` `yxyx` with left and right exchanged."""
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=-1)


def _reframe(example, frame):
    """Make `frame`, given in the current frame's coordinates, the current frame."""
    window = example[WINDOW]
    corner, size = window[:2], window[2:] - window[:2]
    frame_corner, frame_size = frame[:2], frame[2:] - frame[:2]
    boxes = (tf.reshape(example[keys.BOXES], [-1, 2, 2]) - frame_corner) / frame_size
    return {
        **example,
        WINDOW: tf.concat([corner + frame[:2] * size, corner + frame[2:] * size], axis=0),
        keys.BOXES: tf.reshape(boxes, [-1, 4]),
    }


def _random_int(seed, count):
    return tf.random.stateless_uniform([], seed, 0, count, tf.int32)
