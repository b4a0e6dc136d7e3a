"""The SavedModel of a network that takes pictures of any size, each at its own."""

import numpy as np
import pytest
import tensorflow as tf

import fcn_run
import toy_fcn
from blitznet import export, runs, warmup
from serve_fixture import encoded
from tools import saved_model_outputs


@pytest.fixture(scope="module", autouse=True)
def toys():
    """Trunks of few channels, also where a run is loaded."""
    with pytest.MonkeyPatch.context() as patch:
        toy_fcn.install(patch)
        yield


@pytest.fixture(scope="module")
def archive(toys, tmp_path_factory):
    return fcn_run.write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def exported(archive, tmp_path_factory):
    """Folder of the SavedModel of "r", which has verified itself."""
    output = tmp_path_factory.mktemp("exported")
    assert fcn_run.export(archive, output) == 0
    return output / "10"


@pytest.fixture(scope="module")
def model(archive):
    return runs.load(archive / "r")[0]


def files(pictures):
    return np.array([encoded(picture) for picture in pictures], object)


def parts(answer):
    """The class maps of an answer, each of its picture's size; what is beyond must be 255."""
    found = []
    for classes, (height, width) in zip(answer["semantic_classes"], answer["semantic_sizes"]):
        beyond = np.ones(classes.shape, bool)
        beyond[:height, :width] = False
        assert np.all(classes[beyond] == 255)
        found.append(classes[:height, :width])
    return found


@pytest.mark.parametrize("loader", ["by_python", "by_session"])
def test_files_of_mixed_sizes_get_the_live_networks_class_maps(exported, model, loader):
    pictures = fcn_run.PICTURES
    load = getattr(saved_model_outputs, loader)
    answer = load(str(exported), "serving_default", files(pictures))
    assert answer["semantic_sizes"].tolist() == [list(size) for size in fcn_run.SIZES]
    # The largest height is one picture's, the largest width another's.
    assert answer["semantic_classes"].shape == (len(pictures), 48, 90)
    shown = set()
    for found, picture in zip(parts(answer), pictures):
        expected = fcn_run.class_map(model, picture)
        assert found.shape == expected.shape
        assert np.mean(found != expected) < 1e-3
        shown |= set(np.unique(expected))
    assert len(shown) > 1, "nothing was compared"


@pytest.mark.parametrize("loader", ["by_python", "by_session"])
def test_pictures_of_one_size_go_in_as_arrays(exported, model, loader):
    images = np.stack([fcn_run.blots(33, 51, seed) for seed in (1, 2)])
    answer = getattr(saved_model_outputs, loader)(str(exported), "images", images)
    assert answer["semantic_sizes"].tolist() == [[33, 51], [33, 51]]
    for found, picture in zip(answer["semantic_classes"], images, strict=True):
        assert np.mean(found != fcn_run.class_map(model, picture)) < 1e-3


def test_the_signatures_say_what_they_take_and_give(exported):
    signatures = tf.saved_model.load(str(exported)).signatures
    inputs = {name: s.structured_input_signature[1] for name, s in signatures.items()}
    assert {n: [(v.name, v.dtype) for v in i.values()] for n, i in inputs.items()} == {
        "serving_default": [("image_bytes", tf.string)],
        "images": [("images", tf.uint8)],
    }
    for signature in signatures.values():
        outputs = {n: (v.dtype, list(v.shape)) for n, v in signature.structured_outputs.items()}
        assert outputs == {
            "semantic_classes": (tf.uint8, [None, None, None]),
            "semantic_sizes": (tf.int32, [None, 2]),
        }


def test_a_pictures_answer_does_not_depend_on_the_others(exported):
    function = tf.saved_model.load(str(exported)).signatures["serving_default"]

    def answers(pictures):
        answer = function(image_bytes=tf.constant(files(pictures)))
        return parts({name: value.numpy() for name, value in answer.items()})

    pictures = [*fcn_run.PICTURES, fcn_run.blots(200, 11, 9)]
    alone = [answers([picture])[0] for picture in pictures]
    for order in ([0, 1, 2, 3, 4], [4, 1, 0, 3, 2], [2, 2, 1]):
        together = answers([pictures[i] for i in order])
        for found, i in zip(together, order, strict=True):
            np.testing.assert_array_equal(found, alone[i])


@pytest.fixture(scope="module")
def functions(model):
    return export.ServingFunctions(model, None, None)


def test_files_that_are_no_pictures_are_named(functions):
    some = list(files(fcn_run.PICTURES[:2]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes \[1 3\]"):
        functions.from_bytes([some[0], b"text", some[1], b""])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes \[0\]"):
        functions.from_bytes([b"text"])


def test_no_pictures_are_told(functions):
    with pytest.raises(tf.errors.InvalidArgumentError, match="the batch is empty"):
        functions.from_bytes(tf.zeros([0], tf.string))
    with pytest.raises(tf.errors.InvalidArgumentError, match="the batch is empty"):
        functions.from_images(tf.zeros([0, 9, 9, 3], tf.uint8))


def test_class_maps_that_are_too_large_together_are_refused(functions):
    """Of a picture of 12,000 rows and one of 12,000 columns, both would be of 12,000 x 12,000."""
    tall = np.zeros((12_000, 1, 3), np.uint8)
    told = r"2 class maps, each filled up to \[12000 12000\] pixels, are too large"
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        functions.from_bytes(list(files([tall, tall.transpose(1, 0, 2)])))
    assert functions.from_bytes([encoded(tall)])["semantic_classes"].shape == (1, 12_000, 1)


def test_the_warm_up_file_has_a_picture_of_a_usual_size(exported):
    requests = dict(warmup.read(exported))
    assert requests["images"]["images"].shape == (1, 375, 500, 3)
    (file,) = requests["serving_default"]["image_bytes"]
    assert tf.io.decode_jpeg(file).shape == (375, 500, 3)


def test_a_run_of_one_size_is_exported_for_it(archive, tmp_path):
    model = runs.load(archive / "fixed")[0]
    export.save(export.ServingFunctions(model, None, None), model, fcn_run.NAMES, tmp_path / "10")
    picture = fcn_run.blots(64, 64)
    answer = saved_model_outputs.by_session(
        str(tmp_path / "10"), "serving_default", files([picture, *fcn_run.PICTURES])
    )
    assert {name: value.shape for name, value in answer.items()} == {
        "semantic_classes": (1 + len(fcn_run.PICTURES), 64, 64)
    }
    assert np.mean(answer["semantic_classes"][0] != fcn_run.class_map(model, picture)) < 1e-3
