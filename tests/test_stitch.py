"""Shift-and-stitch: against a dense network without strides, and shifted pictures one by one."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import toy_fcn
from blitznet.imaging import MEAN_RGB
from blitznet.layers import CaffeInput, Conv
from blitznet.models.fcn import build_fcn
from blitznet.postprocess.stitch import score_grid, stitched
from toy_fcn import pictures, trained

MARGIN = 9


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    toy_fcn.install(monkeypatch)


def strided():
    """Stride 4 by two pools: convolutions without padding of a picture padded by `MARGIN`."""
    images, conv = keras.Input((None, None, 3)), Conv()
    x = keras.layers.ZeroPadding2D(MARGIN)(CaffeInput()(images))
    x = keras.layers.MaxPooling2D(2, 2)(conv.plain(4, 3, "one", padding="valid", bias=0.1)(x))
    x = keras.layers.MaxPooling2D(2, 2)(conv.plain(5, 3, "two", padding="valid", bias=0.1)(x))
    return keras.Model(images, {"segmentation": conv.plain(3, 1, "score_fr")(x)})


def dense(model, images):
    """The same for a cell at every pixel: no strides, holes in the kernels instead (a trous)."""
    x = tf.pad(CaffeInput()(images), [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)])
    for name, dilation in (("one", 1), ("two", 2)):
        kernel, bias = model.get_layer(name).get_weights()
        x = tf.nn.conv2d(x, kernel, 1, "VALID", dilations=dilation) + bias
        x = tf.nn.pool(x, (2, 2), "MAX", (1, 1), "VALID", dilations=(dilation, dilation))
    kernel, bias = model.get_layer("score_fr").get_weights()
    return (tf.nn.conv2d(x, kernel, 1, "VALID") + bias).numpy()


@pytest.mark.parametrize("offset", [0, 1.5, 3])
@pytest.mark.parametrize("size", [(13, 10), (8, 9)])
def test_stitched_scores_are_those_of_the_network_without_strides(size, offset):
    """Cell i sees pixels 4 i - 9 to 4 i, so that dense scores j stand for pixel j + offset."""
    model, images = strided(), pictures(*size)
    found = stitched(model, images, 4, offset)
    assert found.shape == (2, *size, 3) and found.dtype == tf.float32
    every, first = dense(model, images), int(offset)
    expected = every[:, : size[0] - first, : size[1] - first]
    np.testing.assert_allclose(found[:, first:, first:], expected, rtol=0, atol=1e-3)
    assert expected.std() > 1


def shifted_score(model, image, grid, row, column):
    """The score of a pixel: shift the picture until a cell is on it, look at that cell."""
    first = int(grid.offset)
    down, right = (first - row) % grid.stride, (first - column) % grid.stride
    rest = grid.stride - 1
    canvas = np.ones((image.shape[0] + rest, image.shape[1] + rest, 3), np.float32)
    canvas *= np.float32(MEAN_RGB) / 255
    canvas[down : down + image.shape[0], right : right + image.shape[1]] = image
    network = keras.Model(model.input, model.get_layer("score_fr").output)
    scores = network(canvas[np.newaxis]).numpy()[0]
    return scores[(row + down - first) // grid.stride, (column + right - first) // grid.stride]


@pytest.mark.parametrize("geometry", ["same", "reference"])
@pytest.mark.parametrize("trunk", ["vgg16", "alexnet"])
def test_each_pixel_has_the_score_of_a_picture_shifted_for_it(trunk, geometry):
    model, grid = trained("fcn32s", trunk, geometry), score_grid("fcn32s", trunk, geometry)
    (image,) = pictures(21, 45, batch=1)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def stitch(images):
        return stitched(model, images, grid.stride, grid.offset)

    found = stitch(image[np.newaxis]).numpy()[0]
    assert found.shape == (21, 45, 4) and found.std() > 1e-2
    for row, column in [(0, 0), (3, 44), (12, 13), (15, 31), (16, 32), (20, 44)]:
        expected = shifted_score(model, image, grid, row, column)
        np.testing.assert_allclose(
            found[row, column], expected, rtol=0, atol=1e-4 * found.std(), err_msg=(row, column)
        )


def test_narrow_numbers_answer_float32():
    model = trained("fcn32s", precision="bfloat16")
    found = stitched(model, pictures(2, 3, batch=1), 32, 15.5)
    assert found.shape == (1, 2, 3, 4) and found.dtype == tf.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fcn16s", "vgg16", "same"), "for fcn32s, whose scores are one map; got fcn16s"),
        (("fcn32s", "resnet50", "same"), "unknown trunk of an FCN 'resnet50'"),
        (("fcn32s", "vgg16", "valid"), "unknown geometry 'valid'"),
    ],
)
def test_what_has_no_grid_of_its_own_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        score_grid(*arguments)


def test_networks_that_cannot_be_stitched_are_refused():
    images, model = pictures(8, 8), strided()
    with pytest.raises(ValueError, match="less than the stride 4, got 4"):
        stitched(model, images, 4, 4)
    with pytest.raises(ValueError, match="build fcn32s with image_size None"):
        stitched(build_fcn(3, image_size=32), images, 32, 15.5)
    other = keras.Model(model.input, model.get_layer("one").output, name="other")
    with pytest.raises(ValueError, match="other has no layer score_fr"):
        stitched(other, images, 4, 0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no cell for the last pixels"):
        stitched(model, pictures(13, 13), 2, 0)
