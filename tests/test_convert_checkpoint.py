"""What the original program and Caffe wrote becomes a run that test.py evaluates."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

import caffe_net
import golden
import toy_fcn
import toy_vgg
from blitznet import build_model, keys, runs
from blitznet.convert import caffe
from blitznet.imaging import MEAN_RGB
from caffe_fixture import write_caffemodel
from evaluated_run import result
from helpers import run_python
from tiny_run import evaluate
from tools import convert_checkpoint
from voc_fixture import write_voc


def write_tf1_checkpoint(prefix, variables, step):
    """What `tf.compat.v1.train.Saver` writes of these variables, with training state beside."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        feeds = {}
        for name, value in variables.items():
            placeholder = tf.compat.v1.placeholder(tf.float32, value.shape)
            variable = tf.compat.v1.get_variable(name, initializer=placeholder, use_resource=False)
            feeds[placeholder] = value
            assert variable.op.name == name
        tf.compat.v1.get_variable("global_step", initializer=np.int64(step), use_resource=False)
        tf.compat.v1.get_variable("beta1_power", initializer=0.9, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer(), feeds)
        tf.compat.v1.train.Saver().save(session, str(prefix), global_step=step)
    return f"{prefix}-{step}"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The golden weights of `b300`, as a TF1 checkpoint of step 65000."""
    prefix = tmp_path_factory.mktemp("tf1") / "model.ckpt"
    return write_tf1_checkpoint(prefix, golden.weights("b300"), 65000)


@pytest.mark.slow
def test_converted_run_answers_and_is_evaluated(checkpoint, tmp_path):
    flags = ["--checkpoint", checkpoint, "--run_name", "published", "--archive", tmp_path]
    assert convert_checkpoint.main([str(flag) for flag in flags]) == 0

    model, _, description, step = runs.load(tmp_path / "published")
    assert step == 65000
    assert description["model"]["num_classes"] == 21
    expected = golden.load("outputs_b300.npz")
    confidence = model(golden.image(), training=False)[keys.CONFIDENCE][0].numpy()
    tolerance = 2e-3 * float(expected["confidence_std"])
    np.testing.assert_allclose(
        confidence[expected["rows"]], expected["confidence"], rtol=0, atol=tolerance
    )

    write_voc(tmp_path / "data", year="07", pictures=4)
    places = ["--data_root", tmp_path / "data"]
    run_python("-m", "tools.encode_voc", "--year", "07", "--split", "train", *places)
    run_python("test.py", "--run_name", "published", "--ckpt", 65, "--archive", tmp_path, *places)
    (report,) = (tmp_path / "published").glob("evaluation-*.json")
    assert json.loads(report.read_text())["scores"]["images"] == 3


def test_wrong_flags_name_the_differences_and_write_nothing(checkpoint, tmp_path, capsys):
    flags = ["--checkpoint", checkpoint, "--run_name", "r", "--archive", str(tmp_path), "--x4"]
    assert convert_checkpoint.main(flags) == 1
    message = capsys.readouterr().err
    assert "missing: ssd_back/block_rev1/" in message
    assert "--x4" in message
    assert not (tmp_path / "r").exists()


class TestVgg16:
    """A checkpoint of the original's other trunk, here with an eighth of its channels."""

    @pytest.fixture
    def weights(self, monkeypatch):
        toy_vgg.install(monkeypatch)
        return golden.recipe_weights(build_model(trunk="vgg16", segment=False))

    @pytest.fixture
    def flags(self, weights, tmp_path):
        checkpoint = write_tf1_checkpoint(tmp_path / "model.ckpt", weights, 4000)
        flags = ["--checkpoint", checkpoint, "--run_name", "vgg", "--trunk", "vgg16"]
        return [*flags, "--archive", str(tmp_path)]

    def test_becomes_a_run_with_its_weights(self, weights, flags, tmp_path):
        assert convert_checkpoint.main([*flags, "--detect"]) == 0
        model, coder, _, step = runs.load(tmp_path / "vgg")
        assert (step, len(coder.priors)) == (4000, 8096)
        scale = model.get_layer("conv4_3_norm").scale
        np.testing.assert_array_equal(scale, weights["ssd/conv4_3_scale_mult"])
        kernel = model.get_layer("location_conv9_2").kernel
        expected = weights["ssd/vgg_16/conv9/conv9_2/location/weights"]
        np.testing.assert_array_equal(kernel, expected)

    def test_takes_cocos_classes(self, flags, tmp_path):
        weights = golden.recipe_weights(build_model(trunk="vgg16", segment=False, num_classes=81))
        flags[1] = write_tf1_checkpoint(tmp_path / "coco.ckpt", weights, 4000)
        assert convert_checkpoint.main([*flags, "--detect", "--label_map", "coco"]) == 0
        names = runs.load(tmp_path / "vgg")[2]["class_names"]
        assert (len(names), names[0], names[-1]) == (80, "person", "toothbrush")

    def test_does_without_a_segmentation_head(self, flags, tmp_path, capsys):
        assert convert_checkpoint.main(flags) == 1
        assert "vgg16 with --detect" in capsys.readouterr().err
        assert not (tmp_path / "vgg").exists()


class TestCaffe:
    """A released FCN, here of few channels."""

    @pytest.fixture
    def blobs(self, monkeypatch):
        toy_fcn.install(monkeypatch)
        return caffe_net.vgg_blobs("fcn8s", classes=21)

    @pytest.fixture
    def flags(self, blobs, tmp_path):
        file = write_caffemodel(tmp_path / "fcn8s-heavy-pascal.caffemodel", blobs)
        return ["--caffe", str(file), "--run_name", "released", "--archive", str(tmp_path)]

    def test_becomes_a_run_that_answers_as_caffe_does(self, blobs, flags, tmp_path, capsys):
        assert convert_checkpoint.main([*flags, "--arch", "fcn8s"]) == 0
        prefix = tmp_path / "released" / "model.ckpt-0"
        assert f"{len(blobs)} variables of {flags[1]} are in {prefix}" in capsys.readouterr().out
        model, coder, description, step = runs.load(tmp_path / "released")
        assert (coder, step) == (None, 0)
        shape = {"arch": "fcn8s", "trunk": "vgg16", "geometry": "reference", "image_size": None}
        assert description["model"] == {**shape, "num_classes": 21}
        picture = np.random.default_rng(4).uniform(0, 1, (37, 50, 3)).astype(np.float32)
        found = model(picture[None], training=False)[keys.SEGMENTATION][0].numpy()
        frame = np.subtract(MEAN_RGB, caffe.MEAN_RGB)[::-1]
        expected = caffe_net.vgg_scores(picture, blobs, "fcn8s", frame).transpose(1, 2, 0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.std())

    @pytest.mark.slow
    def test_is_evaluated(self, flags, tiny_data, tmp_path):
        flags += ["--arch", "fcn8s"]
        assert convert_checkpoint.main(flags) == 0
        assert evaluate(tiny_data, run_name="released", archive=tmp_path) == 0
        assert result(tmp_path / "released", step=0)["scores"]["images_with_masks"] == 2

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            (["--arch", "fcn16s"], "left over: upscore_pool4/0"),
            (["--arch", "fcn8s", "--label_map", "coco"], r"score_fr/1: expected \(81,\)"),
            (["--arch", "fcn8s", "--trunk", "alexnet"], "missing: conv1/0"),
            ([], "--caffe holds no blitznet: give --arch fcn32s or fcn16s"),
            (["--arch", "fcn8s", "--x4"], "--x4 is no flag of --arch fcn8s"),
        ],
    )
    def test_other_flags_are_named_and_write_nothing(self, flags, more, told, tmp_path, capsys):
        assert convert_checkpoint.main([*flags, *more]) == 1
        error = capsys.readouterr().err
        assert re.search(told, error)
        assert ("Are the model flags (--arch, --trunk)" in error) == ("differences" in error)
        assert not (tmp_path / "released").exists()

    def test_the_original_program_had_no_fcn(self, tmp_path, capsys):
        flags = ["--checkpoint", "c", "--run_name", "r", "--archive", str(tmp_path)]
        assert convert_checkpoint.main([*flags, "--arch", "fcn8s"]) == 1
        assert "--checkpoint holds no fcn8s: give --arch blitznet" in capsys.readouterr().err
        assert convert_checkpoint.main([*flags, "--geometry", "reference"]) == 1
        assert "--geometry is no flag of --arch blitznet" in capsys.readouterr().err


def test_missing_checkpoint_is_named(tmp_path, capsys):
    flags = ["--checkpoint", str(tmp_path / "none"), "--run_name", "r", "--archive", str(tmp_path)]
    assert convert_checkpoint.main(flags) == 1
    assert f"no checkpoint {tmp_path / 'none'}" in capsys.readouterr().err
