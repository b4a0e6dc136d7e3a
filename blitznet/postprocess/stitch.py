"""Shift-and-stitch: scores for every pixel from a network that has them for every 32nd."""

import tensorflow as tf
from tensorflow import keras

from blitznet import choices, keys
from blitznet.grids import GEOMETRIES
from blitznet.imaging import MEAN_RGB
from blitznet.trunks import get_fcn_trunk

_SCORES = "score_fr"


def score_grid(arch, trunk, geometry):
    """The `grids.Grid` of an FCN's coarsest scores: `stride` and `offset` for `stitched`.

    Args:
      arch, trunk, geometry: as for `models.fcn.build_fcn`.

    Raises:
      ValueError: another arch than fcn32s, whose scores are sums of several maps, or a trunk or
        geometry that is none.
    """
    if arch != "fcn32s":
        raise ValueError(f"shift-and-stitch is for fcn32s, whose scores are one map; got {arch}")
    choices.check("geometry", geometry, GEOMETRIES)
    return get_fcn_trunk(trunk).grids(GEOMETRIES[geometry])["fc7"]


def stitched(model, images, stride, offset):
    """What the network's coarse scores are at every pixel (arXiv 1411.4038, section 3.2).

    The network sees the picture `stride ** 2` times, shifted by 0 to `stride - 1` pixels right and
    down, and the scores are interlaced: each stands at the pixel that its cell's centre was on
    or, where centres are between pixels, half a pixel before. What moves in is the mean colour,
    zero for the network as its own padding is. One shift is computed after the other, so that the
    memory is that of one pass and of the answer. A graph is made of it at every call, unless it is
    part of one.

    Args:
      model: an FCN-32s, as built or for inference.
      images: RGB `[B, H, W, 3]` in [0, 1], of any size.
      stride, offset: cell i of the scores has its centre at pixel `stride * i + offset`: those of
        `score_grid`. The offset is 0 or more and less than the stride.

    Returns:
      Class logits, float32 `[B, H, W, C]`.

    Raises:
      ValueError: the model has no coarse scores, or the offset is outside of the stride.
      tf.errors.InvalidArgumentError: it has too few cells for a picture of that size.
    """
    if not 0 <= offset < stride:
        raise ValueError(f"the offset is 0 or more and less than the stride {stride}, got {offset}")
    coarse = _coarse(model)
    images = tf.convert_to_tensor(images)
    size = tf.shape(images)
    batch, height, width = size[0], size[1], size[2]
    canvas = _on_mean_colour(images, stride - 1)
    window = [batch, height + stride - 1, width + stride - 1, 3]

    def scores_from(start):
        return coarse(tf.slice(canvas, [0, start[0], start[1], 0], window), training=False)

    @tf.function
    def all_scores():
        # A window that begins later shows the picture shifted less.
        starts = tf.stack(tf.meshgrid(tf.range(stride), tf.range(stride), indexing="ij"), axis=-1)
        return tf.map_fn(
            scores_from,
            tf.reshape(starts, (-1, 2)),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )

    first = stride - 1 - int(offset)
    return _interlaced(all_scores(), stride, first, height, width, coarse)


def _coarse(model):
    """The network up to its coarse scores, in float32."""
    if not any(layer.name == _SCORES for layer in model.layers):
        raise ValueError(f"{model.name} has no layer {_SCORES}: it is no FCN")
    scores = model.get_layer(_SCORES).output
    if any(side is not None for side in model.input.shape[1:3]):
        raise ValueError(f"shifted pictures are larger: build {model.name} with image_size None")
    if tf.as_dtype(scores.dtype) != tf.float32:
        scores = keras.layers.Activation("linear", dtype="float32")(scores)
    return keras.Model(model.input, scores)


def _on_mean_colour(images, margin):
    """The pictures with `margin` pixels of the mean colour all round."""
    sides = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    mean = tf.constant(MEAN_RGB, images.dtype) / 255.0
    return tf.pad(images, sides) + mean * tf.pad(tf.zeros_like(images), sides, constant_values=1)


def _interlaced(scores, stride, first, height, width, coarse):
    """Scores `[stride * stride, B, h, w, C]` of shifted pictures -> `[B, H, W, C]`.

    `first`: the row and the column at which the picture begins among the interlaced ones.
    """
    cells = tf.shape(scores)
    batch, rows, columns = cells[1], cells[2], cells[3]
    enough = tf.minimum(rows * stride - height, columns * stride - width)
    tf.debugging.assert_greater_equal(
        enough, first, f"{coarse.name} has no cell for the last pixels of the picture"
    )
    classes = scores.shape[-1]
    scores = tf.reshape(scores, (stride, stride, batch, rows, columns, classes))
    scores = tf.transpose(scores, (2, 3, 0, 4, 1, 5))
    dense = tf.reshape(scores, (batch, rows * stride, columns * stride, classes))
    return dense[:, first : first + height, first : first + width]


def make_predict(network, shape):
    """As `engine.make_predict`, by shift-and-stitch: `images` -> dict with `segmentation`.

    Args:
      network: an FCN-32s that takes pictures of any size, as built or for inference.
      shape: what it was made of (`archs.build`).

    Raises:
      ValueError: another architecture.
    """
    grid = score_grid(shape["arch"], shape["trunk"], shape.get("geometry"))

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    def predict(images):
        scores = stitched(network, images, grid.stride, grid.offset)
        return {keys.SEGMENTATION: tf.debugging.check_numerics(scores, "scores are not finite")}

    return predict
