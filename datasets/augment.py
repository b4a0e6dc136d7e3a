"""Training augmentation on one example; image, boxes, labels and mask move together.

Geometry is collected as a `window`: the frame of the augmented picture in the coordinates of
the stored one, `ymin, xmin, ymax, xmax`, which may reach beyond [0, 1]. Boxes always refer to
the current frame. `render` samples the pixels once, at the end, so a zoom-out by four never
makes a canvas of sixteen times the pixels.

Every random operation takes a seed `[2]` and is a pure function of it. Spec section 10.
"""

import tensorflow as tf

from blitznet import keys
from blitznet.imaging import MEAN_RGB

WINDOW = "window"
BACKGROUND = 0

_PER_OBJECT = {keys.BOXES, keys.LABELS, keys.DIFFICULT, keys.IS_CROWD, keys.AREA}
_MEAN_COLOUR = tuple(value / 255.0 for value in MEAN_RGB)
_CROP_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


def whole_frame(example):
    """The example with a window that shows the stored picture as it is."""
    return {**example, WINDOW: tf.constant([0.0, 0.0, 1.0, 1.0])}


def keep(example, chosen):
    """The example with only those objects for which `chosen` bool `[N]` is true."""
    per_object = _PER_OBJECT & example.keys()
    return {**example, **{key: tf.boolean_mask(example[key], chosen) for key in per_object}}


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
    return {**example, keys.IMAGE: tf.clip_by_value(image, 0.0, 1.0)}


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
    """Mirror left and right with probability 1/2.

    Before `render`, whose sampling is not symmetric: mirrored afterwards, image and mask would
    be shifted against each other by nearly a pixel of the mask.
    """

    def mirrored():
        pixels = [key for key in (keys.IMAGE, keys.MASK) if key in example]
        return {
            **example,
            **{key: tf.reverse(example[key], axis=[1]) for key in pixels},
            **{key: _mirrored(example[key]) for key in (WINDOW, keys.BOXES)},
        }

    flip = tf.random.stateless_uniform([], seed) < 0.5
    return tf.cond(flip, mirrored, lambda: dict(example))


def render(example, image_size, mask_side, unlabelled):
    """Sample the window: IMAGE `[S, S, 3]` bilinear, MASK `[F, F]` nearest (TF1 sampling).

    Beyond the stored picture the image shows the mean colour; the mask is background, or
    `unlabelled` where the example has no mask. Boxes under 2 / S wide or high are dropped.
    """
    window = example[WINDOW]
    image = sample_bilinear(example[keys.IMAGE], window, image_size, tf.constant(_MEAN_COLOUR))
    example = {**example, keys.IMAGE: image}
    if mask_side:
        fill = tf.cast(tf.where(example[keys.HAS_MASK], BACKGROUND, unlabelled), tf.uint8)
        example[keys.MASK] = sample_nearest(example[keys.MASK], window, mask_side, fill)
    boxes = example[keys.BOXES]
    return keep(example, tf.reduce_all(boxes[:, 2:] - boxes[:, :2] >= 2 / image_size, axis=1))


def sample_bilinear(image, window, side, fill):
    """`[H, W, D]` -> float `[side, side, D]`: the window, TF1 sampling, `fill` `[D]` outside."""
    rows, row_inside = _positions(window[0], window[2], tf.shape(image)[0], side)
    columns, column_inside = _positions(window[1], window[3], tf.shape(image)[1], side)
    sampled = _interpolate(_interpolate(image, rows, axis=0), columns, axis=1)
    return tf.where((row_inside[:, None] & column_inside)[..., None], sampled, fill)


def sample_nearest(mask, window, side, fill):
    """`[H, W]` -> `[side, side]`: the window by TF1 nearest sampling, `fill` outside."""
    rows, row_inside = _positions(window[0], window[2], tf.shape(mask)[0], side)
    columns, column_inside = _positions(window[1], window[3], tf.shape(mask)[1], side)
    for axis, positions in enumerate((rows, columns)):
        mask = tf.gather(mask, tf.cast(positions, tf.int32), axis=axis)
    return tf.where(row_inside[:, None] & column_inside, mask, fill)


def _positions(low, high, length, side):
    """Where `side` samples of [low, high] x `length` pixels lie, clipped; which are inside."""
    length = tf.cast(length, tf.float32)
    step = (high - low) * length / side
    at = low * length + tf.range(side, dtype=tf.float32) * step
    inside = (at >= 0) & (at < length)
    return tf.clip_by_value(at, 0.0, length - 1 / 1024), inside


def _interpolate(image, at, axis):
    lower = tf.cast(at, tf.int32)
    upper = tf.minimum(lower + 1, tf.shape(image)[axis] - 1)
    weight = tf.reshape(at - tf.cast(lower, tf.float32), [-1, 1, 1] if axis == 0 else [-1, 1])
    low, high = tf.gather(image, lower, axis=axis), tf.gather(image, upper, axis=axis)
    return low + (high - low) * weight


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
