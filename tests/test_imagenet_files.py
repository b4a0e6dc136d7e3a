"""Files of ImageNet weights: VGG-16's fully connected layers, bad files, TensorFlow 1's names."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import toy_vgg
from blitznet import imagenet
from blitznet.convert.tf1_blitznet import tf1_name
from blitznet.variables import variables_by_path
from imagenet_fixture import SIDE, assert_close, trunk_model, write_bundle, write_published


class TestToyVgg:
    """Files of a VGG-16 of an eighth of the channels."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        toy_vgg.install(monkeypatch)

    @pytest.fixture
    def model(self):
        return trunk_model("vgg16")[0]

    @pytest.fixture
    def layers(self, model):
        """The layers of the published file with its top."""
        rng = np.random.default_rng(2)
        layers = {}
        depth = 3
        for block, (width, count) in enumerate(((8, 2), (16, 2), (32, 3), (64, 3), (64, 3)), 1):
            for i in range(1, count + 1):
                shape = (3, 3, depth, width)
                layers[f"block{block}_conv{i}"] = [("W_1", shape), ("b_1", (width,))]
                depth = width
        for name, inputs in (("fc1", 49 * 64), ("fc2", 512), ("predictions", 512)):
            layers[name] = [("W_1", (inputs, 512)), ("b_1", (512,))]
        return {
            name: [(kind, rng.standard_normal(shape, np.float32)) for kind, shape in arrays]
            for name, arrays in layers.items()
        }

    def test_fully_connected_layers_are_subsampled(self, model, layers, tmp_path):
        file = write_published(tmp_path / "vgg.h5", layers)
        loaded, skipped = imagenet.load(file, "vgg16", model)
        assert (len(loaded), skipped) == (15 * 2, [])
        (_, fc1), (_, bias1) = layers["fc1"]
        (_, fc2), (_, bias2) = layers["fc2"]
        kernel, bias = model.get_layer("fc6").get_weights()
        for i, j, depth, n in ((0, 0, 0, 0), (1, 2, 5, 7), (2, 1, 63, 127), (2, 2, 10, 64)):
            # Flattening goes over rows, columns and channels, the last of them fastest.
            assert kernel[i, j, depth, n] == fc1[(3 * i * 7 + 3 * j) * 64 + depth, 4 * n]
        np.testing.assert_array_equal(bias, bias1[::4])
        kernel, bias = model.get_layer("fc7").get_weights()
        assert kernel[0, 0, 3, 5] == fc2[12, 20] and kernel[0, 0, 127, 1] == fc2[508, 4]
        np.testing.assert_array_equal(bias, bias2[::4])

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda layers: layers.pop("block4_conv2"), "missing: block4_conv2"),
            (lambda layers: layers.pop("fc2"), "missing: fc2"),
            (
                lambda layers: layers.update(block3_conv4=layers["block3_conv3"]),
                "left over: block3_conv4",
            ),
            (
                lambda layers: layers["block1_conv2"].pop(),
                "block1_conv2 has 1 arrays, expected 2",
            ),
            (
                lambda layers: layers.update(block5_conv1=layers["block4_conv1"]),
                r"shape of conv5_1/kernel: expected \(3, 3, 64, 64\), found \(3, 3, 32, 64\)",
            ),
            (
                lambda layers: layers.update(fc1=layers["fc2"]),
                "fc1 has 512 inputs, expected 7 x 7 x 64",
            ),
        ],
    )
    def test_another_network_is_named_and_changes_nothing(
        self, model, layers, tmp_path, change, told
    ):
        change(layers)
        file = write_published(tmp_path / "other.h5", layers)
        before = model.get_weights()
        with pytest.raises(ValueError, match=f"(?s){file} does not fit the trunk vgg16.*{told}"):
            imagenet.load(file, "vgg16", model)
        for found, expected in zip(model.get_weights(), before):
            np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
    def test_a_truncated_file_is_damaged(self, model, layers, tmp_path, share):
        file = write_published(tmp_path / "vgg.h5", layers)
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=f"(?s){file} .*it is damaged"):
            imagenet.load(file, "vgg16", model)

    def test_what_is_no_file_of_weights_is_said_to_be_none(self, model, tmp_path):
        file = tmp_path / "notes.txt"
        with pytest.raises(FileNotFoundError, match=str(file)):
            imagenet.load(file, "vgg16", model)
        file.write_text("no weights\n" * 100)
        with pytest.raises(ValueError, match=f"(?s){file} .*neither Keras' HDF5 nor"):
            imagenet.load(file, "vgg16", model)


def tf1_values(model, seed=4):
    """Dict checkpoint variable name -> random array, for all variables of a trunk."""
    rng = np.random.default_rng(seed)
    variables = variables_by_path(model).items()
    return {tf1_name(p, model): rng.standard_normal(v.shape, np.float32) for p, v in variables}


class TestTensorFlow1:
    """`resnet50_full.ckpt` and its like, by the original's names."""

    @pytest.mark.parametrize("logits", [True, False])
    def test_resnet50_is_taken_as_it_is(self, tmp_path, logits):
        model, _ = trunk_model("resnet50")
        values = tf1_values(model)
        extra = {"global_step": np.int64(7)}
        if logits:
            extra["resnet_v1_50/logits/weights"] = np.zeros((1, 1, 2048, 1000), np.float32)
        file = write_bundle(tmp_path / "resnet50_full.ckpt", {**values, **extra})
        loaded, skipped = imagenet.load(file, "resnet50", model)
        assert (len(loaded), skipped) == (53 * 5, [])
        for path, variable in variables_by_path(model).items():
            np.testing.assert_array_equal(variable, values[tf1_name(path, model)])

    def test_a_checkpoint_of_the_first_format_is_one_file(self, tmp_path, monkeypatch):
        toy_vgg.install(monkeypatch)
        model, _ = trunk_model("vgg16")
        values = tf1_values(model)
        file = tmp_path / "vgg.ckpt"
        tf.raw_ops.Save(
            filename=str(file),
            tensor_names=list(values),
            data=[tf.constant(value) for value in values.values()],
        )
        assert len(imagenet.load(file, "vgg16", model)[0]) == 15 * 2
        kernel = model.get_layer("conv4_2").kernel
        np.testing.assert_array_equal(kernel, values["vgg_16/conv4/conv4_2/weights"])

    def test_slim_reads_rgb_and_has_large_fully_connected_layers(self, tmp_path, monkeypatch):
        toy_vgg.install(monkeypatch)
        model, _ = trunk_model("vgg16")
        values = tf1_values(model)
        mean = np.float32([120.0, 110.0, 100.0])
        rng = np.random.default_rng(8)
        values["vgg_16/mean_rgb"] = mean
        values["vgg_16/fc6/weights"] = fc6 = rng.standard_normal((7, 7, 64, 512), np.float32)
        values["vgg_16/fc7/weights"] = fc7 = rng.standard_normal((1, 1, 512, 512), np.float32)
        for layer in ("fc6", "fc7"):
            values[f"vgg_16/{layer}/biases"] = np.arange(512, dtype=np.float32)
        imagenet.load(write_bundle(tmp_path / "vgg_16.ckpt", values), "vgg16", model)

        picture = rng.uniform(0, 1, (1, SIDE, SIDE, 3)).astype("f")
        kernel, bias = (values[f"vgg_16/conv1/conv1_1/{kind}"] for kind in ("weights", "biases"))
        expected = tf.nn.relu(tf.nn.conv2d(picture * 255 - mean, kernel, 1, "VALID") + bias)
        conv1_1 = keras.Model(model.input, model.get_layer("conv1_1").output)(picture)
        assert_close(conv1_1[:, 1:-1, 1:-1], expected.numpy(), 1e-5)
        fc = {layer: model.get_layer(layer) for layer in ("fc6", "fc7")}
        np.testing.assert_array_equal(fc["fc6"].kernel, fc6[[0, 3, 6]][:, [0, 3, 6]][..., ::4])
        np.testing.assert_array_equal(fc["fc7"].kernel[0, 0], fc7[0, 0, ::4, ::4])
        np.testing.assert_array_equal(fc["fc6"].bias, 4 * np.arange(128))

    def test_without_fully_connected_layers_they_stay_as_they_are(self, tmp_path, monkeypatch):
        toy_vgg.install(monkeypatch)
        model, _ = trunk_model("vgg16")
        values = {n: v for n, v in tf1_values(model).items() if "/fc" not in n}
        _, skipped = imagenet.load(write_bundle(tmp_path / "c", values), "vgg16", model)
        assert skipped == ["fc6/bias", "fc6/kernel", "fc7/bias", "fc7/kernel"]

        del values["vgg_16/conv3/conv3_1/biases"]
        file = write_bundle(tmp_path / "d", values)
        with pytest.raises(ValueError, match="1 variables are missing: vgg_16/conv3/conv3_1/bias"):
            imagenet.load(file, "vgg16", model)
