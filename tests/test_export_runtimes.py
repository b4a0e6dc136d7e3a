"""Each format in its own runtime: NMS on the cases where implementations part, rounded weights."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from blitznet import keys
from blitznet.export import onnx, openvino, tflite
from blitznet.export.answers import portable_function
from blitznet.export.formats import FORMATS, check_installed
from blitznet.postprocess.detection import detections
from detection_cases import CASES, PRIORS, SETTINGS, assert_same_detections, coder, raw
from tools.runtimes import Runtime, RuntimeFailed

SAVE = {"tflite": tflite.save, "onnx": onnx.save, "openvino": openvino.save}


def need(name):
    """Skip where a format's packages are missing."""
    try:
        check_installed(name)
    except ImportError as error:
        pytest.skip(str(error))


class Unpack(keras.layers.Layer):
    """The first numbers of a picture as `[1, P, C]` and `[1, P, 4]`."""

    def __init__(self, classes, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes

    def call(self, images):
        numbers = tf.reshape(images, [1, -1])[:, : PRIORS * (self.classes + 4)]
        table = tf.reshape(numbers, [1, PRIORS, self.classes + 4])
        return {
            keys.CONFIDENCE: table[..., : self.classes],
            keys.LOCATION: table[..., self.classes :],
        }


def pass_on(classes):
    """A network that answers what its picture holds."""
    side = math.ceil(math.sqrt(PRIORS * (classes + 4) / 3))
    images = keras.Input((side, side, 3), batch_size=1)
    return keras.Model(images, Unpack(classes)(images))


def picture_of(confidence, location, side):
    """`images` float32 `[1, side, side, 3]` of which `pass_on` makes these."""
    numbers = np.concatenate([confidence, location], axis=-1).ravel() * 255
    return np.pad(numbers, [0, side * side * 3 - numbers.size]).reshape(1, side, side, 3)


@pytest.fixture(scope="module", params=list(SAVE))
def write(request, tmp_path_factory):
    """`(format, function)`: writes the post-processing for C classes, alone; the folder."""
    need(request.param)

    def written(classes):
        folder = tmp_path_factory.mktemp(f"{request.param}-{classes}")
        model = pass_on(classes)
        function = portable_function(model, coder(), SETTINGS)
        precision = () if request.param == "openvino" else ("float32",)
        SAVE[request.param](function, model, ("x",) * (classes - 1), folder, *precision)
        return folder, model.input_shape[1]

    return request.param, written


@pytest.mark.parametrize(
    "classes",
    [pytest.param(2, marks=pytest.mark.slow), 4, pytest.param(81, marks=pytest.mark.slow)],
)
def test_the_detections_are_those_of_the_combined_nms(write, classes):
    name, written = write
    folder, side = written(classes)
    with Runtime(name, folder) as runtime:
        assert runtime.names() == ["background", *["x"] * (classes - 1)]
        for case in CASES:
            confidence, location = raw(case, classes)
            expected = detections(confidence, location, coder(), SETTINGS)
            found = runtime.answer(images=picture_of(confidence, location, side))
            try:
                assert_same_detections(found, expected, case)
            except AssertionError as error:
                raise AssertionError(f"{name}, {classes} classes, {case}: {error}") from None


def test_times_are_of_as_many_calls(write):
    name, written = write
    folder, side = written(4)
    with Runtime(name, folder) as runtime:
        seconds = runtime.time(3, images=np.zeros((1, side, side, 3), np.float32))
    assert len(seconds) == 3 and min(seconds) > 0


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_not_there_is_told(name, tmp_path):
    need(name)
    with Runtime(name, tmp_path) as runtime, pytest.raises(RuntimeFailed, match=f"^{name}: "):
        runtime.answer(images=np.zeros((1, 8, 8, 3), np.float32))


def test_a_process_that_ends_is_told():
    with Runtime("savedmodel", "nowhere") as runtime:
        runtime._process.kill()
        with pytest.raises(RuntimeFailed, match="its process ended with -9"):
            runtime.names()


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    ("small", "large"), [(1, 3), (3, 5), (10, 19), (10, 38), (5, 38), (38, 75)]
)
def test_resizes_go_by_size_into_onnx(small, large, mode, tmp_path):
    """By tf2onnx's own factor, 3 becomes 4 instead of 5, and 10 becomes 37 instead of 38."""
    need("onnx")
    from blitznet.imaging import legacy_resize

    class Resize(keras.layers.Layer):
        def call(self, images):
            return legacy_resize(images, (large, large), mode)

    images = keras.Input((small, small, 3), batch_size=1)
    model = keras.Model(images, Resize()(images))
    signature = [tf.TensorSpec([1, small, small, 3], name="images")]
    function = tf.function(lambda images: {"maps": model(images)}, input_signature=signature)
    onnx.save(function, model, (), tmp_path, "float32")
    picture = np.random.default_rng(0).uniform(0, 1, (1, small, small, 3)).astype(np.float32)
    with Runtime("onnx", tmp_path) as runtime:
        found = runtime.answer(images=picture)["maps"]
    np.testing.assert_allclose(found, legacy_resize(picture, (large, large), mode), atol=1e-5)
