"""The ImageNet start: the trunk answers what keras.applications' network of the file answers."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import training
from blitznet import imagenet
from blitznet.convert.keras_applications import PUBLISHED
from blitznet.imaging import MEAN_RGB
from blitznet.variables import variables_by_path
from imagenet_fixture import (
    SIDE,
    assert_close,
    randomise,
    trunk_model,
    weights_by_layer,
    write_published,
)
from tiny_run import tensors, training_flags

ENDS = {
    "resnet50": ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
    "vgg16": ("block3_conv3", "block4_conv3", "block5_conv3"),
}
NETWORKS = {"resnet50": keras.applications.ResNet50, "vgg16": keras.applications.VGG16}


class Pair:
    """A network of keras.applications, its file, and the trunk that started from the file."""

    def __init__(self, trunk, folder):
        self.trunk = trunk
        self.there = NETWORKS[trunk](weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
        randomise(self.there)
        name = next(file.name for file in PUBLISHED[trunk] if "notop" in file.name)
        self.file = write_published(folder / name, weights_by_layer(self.there))
        self.model, self.here = trunk_model(trunk)
        self.loaded, self.skipped = imagenet.load(self.file, trunk, self.model)
        self.picture = np.random.default_rng(3).uniform(0, 1, (1, SIDE, SIDE, 3)).astype("f")
        self.maps = [maps.numpy() for maps in self.here(self.picture, training=False)]

    def theirs(self):
        """keras.applications' maps of the picture."""
        pixels = keras.applications.resnet50.preprocess_input(self.picture * 255)
        ends = [self.there.get_layer(name).output for name in ENDS[self.trunk]]
        return self._numpy(keras.Model(self.there.input, ends)(pixels, training=False))

    def theirs_on_our_mean(self):
        """Their maps, the picture framed by this project's mean colour instead of theirs."""
        first, width, stride, end = {
            "resnet50": ("conv1_conv", 3, 2, "conv1_conv"),
            "vgg16": ("block1_conv1", 1, 1, "block1_conv1"),
        }[self.trunk]
        framed = np.full((1, SIDE + 2 * width, SIDE + 2 * width, 3), MEAN_RGB, np.float32)
        framed[:, width:-width, width:-width] = self.picture * 255
        pixels = keras.applications.resnet50.preprocess_input(framed)
        kernel, bias = self.there.get_layer(first).get_weights()
        x = tf.nn.conv2d(pixels, kernel, stride, "VALID") + bias
        x = tf.nn.relu(x) if self.trunk == "vgg16" else x
        ends = [self.there.get_layer(name).output for name in ENDS[self.trunk]]
        rest = keras.Model(self.there.get_layer(end).output, ends)
        return self._numpy(rest(x, training=False))

    @staticmethod
    def _numpy(maps):
        return [m.numpy() for m in maps]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Function: the `Pair` of a trunk, made once."""
    made = {}

    def pair(trunk):
        if trunk not in made:
            made[trunk] = Pair(trunk, tmp_path_factory.mktemp(trunk))
        return made[trunk]

    return pair


@pytest.mark.parametrize("trunk", list(NETWORKS))
def test_features_are_those_of_keras_applications(pairs, trunk):
    """On all cells, once the frame of zeros is the same colour in both."""
    pair = pairs(trunk)
    for here, there in zip(pair.maps, pair.theirs_on_our_mean()):
        assert there.std() > 1e-2
        assert_close(here, there)


@pytest.mark.parametrize("trunk", list(NETWORKS))
def test_their_own_zero_padding_is_seen_at_the_border_alone(pairs, trunk):
    """Stride 4: five cells from the border on, nothing differs; there, by less than a grey level
    of 255 would change."""
    pair = pairs(trunk)
    here, there = pair.maps[0], pair.theirs()[0]
    inside = slice(5, -5)
    assert here[:, inside, inside].size > 0
    assert_close(here[:, inside, inside], there[:, inside, inside])
    difference = np.abs(here - there).max()
    assert 1e-4 * there.std() < difference < 0.1 * there.std()


@pytest.mark.parametrize("trunk", list(NETWORKS))
def test_the_file_of_these_tests_is_one_that_keras_applications_reads(pairs, trunk):
    pair = pairs(trunk)
    again = NETWORKS[trunk](weights=str(pair.file), include_top=False, input_shape=(SIDE, SIDE, 3))
    for found, expected in zip(again.get_weights(), pair.there.get_weights()):
        np.testing.assert_array_equal(found, expected)


def test_every_variable_of_the_trunk_is_taken_over(pairs):
    pair = pairs("resnet50")
    assert pair.skipped == []
    # 53 convolutions, each with four numbers of batch norm a channel.
    assert pair.loaded == sorted(variables_by_path(pair.model)) and len(pair.loaded) == 53 * 5
    pair = pairs("vgg16")
    assert pair.skipped == ["fc6/bias", "fc6/kernel", "fc7/bias", "fc7/kernel"]
    assert len(pair.loaded) == 13 * 2


def test_a_whole_model_that_keras_saved_is_read_too(pairs, tmp_path):
    pair = pairs("vgg16")
    pair.there.save(tmp_path / "vgg.h5")
    model, _ = trunk_model("vgg16")
    imagenet.load(tmp_path / "vgg.h5", "vgg16", model)
    expected = pair.model.get_layer("conv5_3").get_weights()
    for found, value in zip(model.get_layer("conv5_3").get_weights(), expected):
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("trunk", list(NETWORKS))
def test_places_and_sums_are_those_of_the_installed_keras(trunk):
    source = inspect.getsource(inspect.getmodule(NETWORKS[trunk]))
    for file in PUBLISHED[trunk]:
        assert file.md5 in source
        assert f"keras-applications/{file.url.split('/')[-2]}/" in source.replace('"\n    "', "")


class TestFind:
    """The folder of weights first, then what keras.applications would download."""

    def test_the_folder_comes_before_any_download(self, tmp_path, monkeypatch):
        monkeypatch.delattr(keras.utils, "get_file")
        full, no_top = PUBLISHED["vgg16"]
        (tmp_path / no_top.name).touch()
        assert imagenet.find("vgg16", tmp_path) == tmp_path / no_top.name
        (tmp_path / full.name).touch()
        assert imagenet.find("vgg16", tmp_path) == tmp_path / full.name

    def test_the_download_is_that_of_keras_applications(self, tmp_path, monkeypatch):
        asked = {}

        def get_file(name, url, **arguments):
            asked.update(arguments, name=name, url=url)
            return str(tmp_path / name)

        monkeypatch.setattr(keras.utils, "get_file", get_file)
        name = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
        assert imagenet.find("resnet50", tmp_path / "weights") == tmp_path / name
        root = "https://storage.googleapis.com/tensorflow/keras-applications/"
        assert asked == {
            "name": name,
            "url": f"{root}resnet/{name}",
            "cache_subdir": "models",
            "file_hash": "4d473c1dd8becc155b73f8504c6f6626",
        }
        assert not (tmp_path / "weights").exists()

    def test_other_trunks_have_none(self, tmp_path):
        with pytest.raises(ValueError, match="(?s)resnet18.*--init_from.*--random_trunk_init"):
            imagenet.find("resnet18", tmp_path)


def start_flags(tiny_data, archive, *flags):
    """The command line of a run on a ResNet-50 that starts as `flags` say."""
    flags = training_flags(tiny_data, "--trunk", "resnet50", "--detect", *flags, archive=archive)
    flags.remove("--random_trunk_init")
    return flags


@pytest.mark.slow
def test_a_fresh_run_starts_from_the_folder_of_weights(
    pairs, tiny_data, tmp_path, eagerly, monkeypatch, capsys
):
    pair = pairs("resnet50")
    monkeypatch.setenv("BLITZNET_WEIGHTS", str(pair.file.parent))
    rhythm = ["--max_iterations", 1, "--warmup_lr", 1e-30]
    assert training.main(start_flags(tiny_data, tmp_path, *rhythm)) == 0
    printed = capsys.readouterr().out
    assert f"{pair.file}: 265 variables taken over" in printed
    found = tensors(tmp_path / "r" / "model.ckpt-1")
    rest = sum(name.startswith("net/") for name in found) - 265
    assert f"values of their own stay in {rest} beside the trunk\n" in printed
    for name in ("conv1/kernel", "block4_unit3_conv2/kernel", "block2_unit1_shortcut_bn/gamma"):
        expected = variables_by_path(pair.model)[name]
        # One step moves a value by the rate at most, which only shows at those that are 0.
        np.testing.assert_allclose(found[f"net/{name}"], expected, rtol=0, atol=2e-30)


def test_without_network_all_ways_to_start_are_named(tiny_data, tmp_path, monkeypatch, capsys):
    def get_file(*arguments, **named):
        raise Exception("URL fetch failure on https://...: None -- no such host")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    monkeypatch.setenv("BLITZNET_WEIGHTS", str(tmp_path / "weights"))
    assert training.main(start_flags(tiny_data, tmp_path)) == 1
    error = capsys.readouterr().err
    file = PUBLISHED["resnet50"][0]
    for text in (file.url, f"put {file.name} into {tmp_path / 'weights'}", "no such host"):
        assert text in error
    for flag in ("--imagenet_weights FILE", "--init_from", "--random_trunk_init"):
        assert flag in error
    assert not (tmp_path / "r").exists() and not (tmp_path / "weights").exists()


def test_a_wrong_file_ends_the_run_before_anything_is_written(pairs, tiny_data, tmp_path, capsys):
    file = pairs("vgg16").file
    assert training.main(start_flags(tiny_data, tmp_path, "--imagenet_weights", file)) == 1
    error = capsys.readouterr().err
    assert f"error: {file} does not fit the trunk resnet50" in error
    assert "missing: conv1_conv" in error
    assert not (tmp_path / "r").exists()
