"""Pixels as the original treats them: TensorFlow 1's resizing, the mean colour."""

import tensorflow as tf

# Mean colour (R, G, B) of the original's training pictures, on the scale 0..255.
MEAN_RGB = (123.151630838, 115.902882574, 103.062623801)


def legacy_resize(maps, size, method="bilinear"):
    """Resize `[B, H, W, D]` to `size` = (height, width) as TensorFlow 1 did by default.

    That sampling has neither half-pixel centres nor aligned corners. `method` is "bilinear",
    which answers float32, or "nearest", which keeps the dtype.
    """
    op = {"bilinear": tf.raw_ops.ResizeBilinear, "nearest": tf.raw_ops.ResizeNearestNeighbor}
    return op[method](images=maps, size=size, align_corners=False, half_pixel_centers=False)


def at_side(images, side):
    """Pictures `[B, H, W, 3]` in 0..255 as float32 `[B, side, side, 3]`, as a network takes them.

    `side` None leaves them at their own size.
    """
    return tf.cast(images, tf.float32) if side is None else legacy_resize(images, (side, side))
