"""An FCN that starts from ImageNet: in its middle it answers what the classifier answers."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import caffe_net
import toy_fcn
import toy_vgg
from blitznet import imagenet
from blitznet.convert.caffe import CLASSIFIER_MEANS
from blitznet.imaging import MEAN_RGB
from blitznet.models.fcn import build_fcn
from caffe_fixture import write_caffemodel, write_v1_caffemodel
from imagenet_fixture import (
    assert_close,
    randomise,
    trunk_model,
    weights_by_layer,
    write_bundle,
    write_published,
)

SIDE = 224
FULL = "vgg16_weights_tf_dim_ordering_tf_kernels.h5"


def narrow_vgg(classes):
    """keras.applications' VGG16 layer by layer, with the channels of the toy FCN, to logits."""
    images = x = keras.Input((SIDE, SIDE, 3))
    for block, (depth, count) in enumerate(caffe_net.VGG_DEPTHS, start=1):
        for i in range(1, count + 1):
            name = f"block{block}_conv{i}"
            x = keras.layers.Conv2D(depth, 3, padding="same", activation="relu", name=name)(x)
        x = keras.layers.MaxPooling2D(2, 2, name=f"block{block}_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = keras.layers.Dense(caffe_net.VGG_FC, activation="relu", name=name)(x)
    return keras.Model(images, keras.layers.Dense(classes, name="predictions")(x))


def logits_on_our_mean(network, picture):
    """A classifier's logits, the picture framed by this project's mean colour, not by theirs."""
    framed = np.full((1, SIDE + 2, SIDE + 2, 3), MEAN_RGB, np.float32)
    framed[:, 1:-1, 1:-1] = picture * 255
    pixels = keras.applications.vgg16.preprocess_input(framed)
    first = network.get_layer("block1_conv1")
    kernel, bias = first.get_weights()
    x = tf.nn.relu(tf.nn.conv2d(pixels, kernel, 1, "VALID") + bias)
    return keras.Model(first.output, network.output)(x, training=False).numpy()


def assert_middle_is_the_classifier(network, classes, folder):
    """Of the 7 x 7 scores of an FCN, cell (3, 3) is what a classifier answers at 224 pixels.

    fc6 reads the whole of pool5 there, as fc1 does. All is equal once both frame the picture
    by one colour; their own frame differs by less than a grey level of 255.
    """
    randomise(network)
    file = write_published(folder / FULL, weights_by_layer(network))
    fcn = build_fcn(classes, SIDE, trunk="vgg16", geometry="same")
    loaded, skipped = imagenet.load(file, "vgg16", fcn)
    assert (len(loaded), skipped) == (15 * 2, [])
    kernel, bias = network.get_layer("predictions").get_weights()
    fcn.get_layer("score_fr").set_weights([kernel[None, None], bias])

    picture = np.random.default_rng(3).uniform(0, 1, (1, SIDE, SIDE, 3)).astype("f")
    scores = keras.Model(fcn.input, fcn.get_layer("score_fr").output)
    found = scores(picture, training=False).numpy()
    assert found.shape == (1, 7, 7, classes)
    expected = logits_on_our_mean(network, picture)
    assert expected.std() > 1e-2
    assert_close(found[:, 3, 3], expected)
    elsewhere = np.abs(found - expected[:, None, None]).max(-1)[0]
    assert (elsewhere.reshape(-1) > 0.01 * expected.std()).sum() == 7 * 7 - 1

    pixels = keras.applications.vgg16.preprocess_input(picture * 255)
    theirs = network(pixels, training=False).numpy()
    difference = np.abs(found[:, 3, 3] - theirs).max()
    assert 1e-4 * theirs.std() < difference < 0.1 * theirs.std()


@pytest.mark.slow
def test_the_middle_of_vgg16_is_keras_applications_classifier(tmp_path):
    network = keras.applications.VGG16(weights=None, classes=1000, classifier_activation=None)
    assert_middle_is_the_classifier(network, 1000, tmp_path)


class TestToy:
    """FCNs of a few channels."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        toy_fcn.install(monkeypatch)
        toy_vgg.install(monkeypatch)

    def test_the_middle_is_the_classifier(self, tmp_path):
        assert_middle_is_the_classifier(narrow_vgg(10), 10, tmp_path)

    def test_without_its_top_a_file_leaves_fc6_and_fc7(self, tmp_path):
        layers = weights_by_layer(narrow_vgg(10))
        layers = {name: arrays for name, arrays in layers.items() if name.startswith("block")}
        fcn = build_fcn(10)
        loaded, skipped = imagenet.load(write_published(tmp_path / "v.h5", layers), "vgg16", fcn)
        assert skipped == ["fc6/bias", "fc6/kernel", "fc7/bias", "fc7/kernel"]
        kernel = dict(layers["block3_conv2"])["kernel"]
        np.testing.assert_array_equal(fcn.get_layer("conv3_2").kernel, kernel)

    @pytest.fixture
    def slim(self):
        """Dict variable name of TensorFlow's slim -> array, of a toy VGG-16 with its top."""
        blobs = caffe_net.vgg_blobs("fcn32s")
        values = {}
        for name, blob in blobs.items():
            layer, index = name.split("/")
            place = f"vgg_16/{layer.split('_')[0]}/{layer}" if "_" in layer else f"vgg_16/{layer}"
            if index == "0":
                values[f"{place}/weights"] = blob.transpose(2, 3, 1, 0)
            else:
                values[f"{place}/biases"] = blob
        return {n: v for n, v in values.items() if "score" not in n}

    def test_a_checkpoint_of_slim_has_fc6_and_fc7_as_they_are_here(self, slim, tmp_path):
        fcn = build_fcn(3)
        loaded, skipped = imagenet.load(write_bundle(tmp_path / "c", slim), "vgg16", fcn)
        assert (len(loaded), skipped) == (15 * 2, [])
        for layer in ("fc6", "fc7"):
            kernel, bias = fcn.get_layer(layer).get_weights()
            np.testing.assert_array_equal(kernel, slim[f"vgg_16/{layer}/weights"])
            np.testing.assert_array_equal(bias, slim[f"vgg_16/{layer}/biases"])

    def test_the_small_fc6_of_a_blitznet_is_refused(self, slim, tmp_path):
        for layer, shape in {"fc6": (3, 3, 16, 32), "fc7": (1, 1, 32, 32)}.items():
            slim[f"vgg_16/{layer}/weights"] = np.zeros(shape, np.float32)
        file = write_bundle(tmp_path / "c", slim)
        told = r"shape of fc6/kernel: expected \(7, 7, 16, 128\), found \(3, 3, 16, 32\)"
        with pytest.raises(ValueError, match=told):
            imagenet.load(file, "vgg16", build_fcn(3))


def classifier(blobs):
    """The blobs of a net as Caffe's classifier holds them: dense layers, and fc8 behind them."""
    blobs = {name: blob for name, blob in blobs.items() if "score" not in name}
    for layer in ("fc6", "fc7"):
        blobs[f"{layer}/0"] = blobs[f"{layer}/0"].reshape(len(blobs[f"{layer}/0"]), -1)
    return {**blobs, "fc8/0": np.ones((5, 128), np.float32), "fc8/1": np.ones(5, np.float32)}


class TestCaffe:
    """Classifiers that Caffe trained."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        toy_fcn.install(monkeypatch)

    @pytest.mark.parametrize("write", [write_caffemodel, write_v1_caffemodel])
    def test_alexnet_answers_what_caffes_layers_compute(self, write, tmp_path):
        blobs = caffe_net.alexnet_blobs()
        file = write(tmp_path / "bvlc_alexnet.caffemodel", classifier(blobs))
        fcn = build_fcn(3, trunk="alexnet", geometry="reference")
        loaded, skipped = imagenet.load(file, "alexnet", fcn)
        # Five convolutions, three of them in two groups, and the two that were dense.
        assert (len(loaded), skipped) == (10 * 2, [])
        picture = np.random.default_rng(2).uniform(0, 1, (48, 40, 3)).astype("f")
        fc7 = keras.Model(fcn.input, fcn.get_layer("fc7").output)(picture[None], training=False)
        frame = np.subtract(MEAN_RGB, CLASSIFIER_MEANS["alexnet"])[::-1]
        x = caffe_net.pixels(picture)
        expected = caffe_net.alexnet_features(x, blobs, 100, frame).transpose(1, 2, 0)
        assert expected.std() > 1e-2
        assert_close(fc7[0].numpy(), expected)

    @pytest.mark.parametrize("write", [write_caffemodel, write_v1_caffemodel])
    def test_vgg16_starts_an_fcn(self, write, tmp_path):
        blobs = caffe_net.vgg_blobs("fcn32s")
        file = write(tmp_path / "VGG_ILSVRC_16_layers.caffemodel", classifier(blobs))
        fcn = build_fcn(3)
        loaded, skipped = imagenet.load(file, "vgg16", fcn)
        assert (len(loaded), skipped) == (15 * 2, [])
        for layer in ("conv1_2", "conv5_3", "fc6", "fc7"):
            kernel, bias = fcn.get_layer(layer).get_weights()
            np.testing.assert_array_equal(kernel, blobs[f"{layer}/0"].transpose(2, 3, 1, 0))
            np.testing.assert_array_equal(bias, blobs[f"{layer}/1"])
        # A picture of any one colour: the mean colours' difference is in the biases.
        colour = np.float32([90, 120, 200])
        kernel, bias = fcn.get_layer("conv1_1").get_weights()
        found = kernel.sum((0, 1)).T @ (colour - MEAN_RGB)[::-1] + bias
        theirs = blobs["conv1_1/0"].sum((2, 3)) @ (colour - [123.68, 116.779, 103.939])[::-1]
        np.testing.assert_allclose(found, theirs + blobs["conv1_1/1"], rtol=1e-5)

    def test_a_blitznet_takes_ssds_version_alone(self, tmp_path, monkeypatch):
        toy_vgg.install(monkeypatch)
        model, _ = trunk_model("vgg16")
        rng = np.random.default_rng(1)
        blobs = {}
        for layer in ("fc6", "fc7", *(f"conv{b}_{i}" for b in range(1, 6) for i in (1, 2, 3))):
            if layer not in ("conv1_3", "conv2_3"):
                shape = model.get_layer(layer).kernel.shape
                caffe_net.add_conv(blobs, layer, tuple(shape[i] for i in (3, 2, 0, 1)), rng)
        file = write_caffemodel(tmp_path / "VGG_fc_reduced.caffemodel", blobs)
        assert len(imagenet.load(file, "vgg16", model)[0]) == 15 * 2
        kernel = blobs["fc6/0"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(model.get_layer("fc6").kernel, kernel)

        blobs["fc6/0"] = np.zeros((512, 49 * 64), np.float32)
        file = write_caffemodel(tmp_path / "VGG.caffemodel", blobs)
        told = r"shape of fc6/0: expected \(128, 64, 3, 3\), found \(512, 3136\)"
        with pytest.raises(ValueError, match=f"(?s){file} does not fit the trunk vgg16.*{told}"):
            imagenet.load(file, "vgg16", model)

    def test_another_network_changes_nothing(self, tmp_path):
        blobs = classifier(caffe_net.alexnet_blobs())
        del blobs["conv4/1"]
        file = write_caffemodel(tmp_path / "net.caffemodel", {**blobs, "conv6/0": np.ones(2)})
        fcn = build_fcn(3, trunk="alexnet")
        before = fcn.get_weights()
        told = "2 differences.*missing: conv4/1.*left over: conv6/0"
        with pytest.raises(ValueError, match=f"(?s){file} does not fit the trunk alexnet.*{told}"):
            imagenet.load(file, "alexnet", fcn)
        for found, expected in zip(fcn.get_weights(), before):
            np.testing.assert_array_equal(found, expected)

    def test_alexnet_has_no_other_weights(self, tmp_path):
        told = (
            "(?s)no published.*alexnet.*--imagenet_weights FILE.caffemodel.*--init_from.*--random"
        )
        with pytest.raises(ValueError, match=told):
            imagenet.find("alexnet", tmp_path)
        with pytest.raises(ValueError, match=told):
            imagenet.load(tmp_path / "alexnet.h5", "alexnet", build_fcn(3, trunk="alexnet"))
        with pytest.raises(FileNotFoundError, match="no Caffe model"):
            imagenet.load(tmp_path / "a.caffemodel", "alexnet", build_fcn(3, trunk="alexnet"))

    def test_no_other_trunk_has_a_classifier_of_caffe(self, tmp_path):
        file = write_caffemodel(tmp_path / "net.caffemodel", caffe_net.alexnet_blobs())
        with pytest.raises(ValueError, match=f"{file}: .* the trunks alexnet, vgg16, not resnet50"):
            imagenet.load(file, "resnet50", build_fcn(3))
