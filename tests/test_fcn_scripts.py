"""FCNs from the command line: whole pictures, staged training, exact resuming, evaluation."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow import keras

import fcn_run
import test as evaluation_script
import toy_fcn
import training
from blitznet import archs, checkpoints, keys, runs
from blitznet.dropout import Dropout
from blitznet.examples import decode_mask
from blitznet.metrics import ConfusionMatrix
from blitznet.postprocess import stitch
from blitznet.postprocess.tiles import tiled_class_map
from datasets.catalog import evaluation_sets
from datasets.info import VOC
from datasets.pipeline import evaluation_dataset
from datasets.records import open_records
from evaluated_run import result
from tiny_run import tensors

RATE = ["--learning_rate", 1e-3, "--warmup_lr", 1e-3]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two channels in the first convolution instead of 64."""
    toy_fcn.install(monkeypatch)


def train(data, archive, run_name, *flags):
    """Exit code of training.py on the tiny set's masks."""
    start = [] if "--init_from" in flags else ["--random_trunk_init"]
    where = ["--dataset", "voc12", "--data_root", data, "--archive", archive]
    run = ["--run_name", run_name, "--summary_every", 1, *where, *start, *RATE, *flags]
    return training.main([str(flag) for flag in run])


def evaluate(data, archive, run_name, *flags):
    where = ["--dataset", "voc12", "--split", "val", "--data_root", data, "--archive", archive]
    return evaluation_script.main([str(f) for f in ["--run_name", run_name, *where, *flags]])


@pytest.fixture(scope="module")
def coarse(tiny_data, tmp_path_factory):
    """Archive with an FCN-32s of four steps, "f32", saved at 2 and 4."""
    with pytest.MonkeyPatch.context() as patch:
        toy_fcn.install(patch)
        archive = tmp_path_factory.mktemp("fcn")
        flags = ["--arch", "fcn32s", "--batch_size", 2, "--max_iterations", 4, "--save_every", 2]
        assert train(tiny_data, archive, "f32", *flags) == 0
    return archive


def test_the_run_says_what_network_it_is(coarse):
    description = runs.read_flags(coarse / "f32")
    assert description["model"] == {
        "arch": "fcn32s",
        "num_classes": 21,
        "image_size": None,
        "trunk": "vgg16",
        "geometry": "same",
    }
    # What only other architectures have is not told.
    assert "x4" not in description["flags"] and "class_loss" not in description["flags"]


def test_a_resumed_run_equals_an_uninterrupted_one_dropout_included(tiny_data, coarse, tmp_path):
    flags = ["--arch", "fcn32s", "--batch_size", 2, "--save_every", 2]
    for steps in (2, 4):
        assert train(tiny_data, tmp_path, "f32", *flags, "--max_iterations", steps) == 0
    whole, parts = (tensors(a / "f32" / "model.ckpt-4") for a in (coarse, tmp_path))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name], value, err_msg=name)
    assert whole["net/drop6/calls"] == 4


def test_a_finer_net_starts_from_the_coarser_one(tiny_data, coarse, tmp_path, capsys):
    source = coarse / "f32" / "model.ckpt-4"
    flags = ["--arch", "fcn16s", "--batch_size", 2, "--max_iterations", 1, "--init_from", source]
    assert train(tiny_data, tmp_path, "f16", *flags) == 0
    printed = capsys.readouterr().out
    assert "stay in score_pool4/bias, score_pool4/kernel, upscore2/kernel\n" in printed
    # What it is before its first step: the coarser one's weights, zeros and a bilinear kernel.
    model, _ = runs.build(runs.read_flags(tmp_path / "f16"))
    loaded, skipped = checkpoints.init_from(source, model)
    assert len(loaded) == len(model.variables) - len(skipped)
    assert not np.any(model.get_layer("score_pool4").kernel)


def test_evaluation_answers_at_each_pictures_size_with_all_scores(tiny_data, coarse):
    assert evaluate(tiny_data, coarse, "f32", "--border", 3, "--save_first_n", 1) == 0
    # Under a name of its own: what was scored without borders is not done.
    content = result(coarse / "f32", 4, "voc12-val-seg-border3")
    scores = content["scores"]
    names = ("pixel_accuracy", "mean_accuracy", "miou", "frequency_weighted_iou", "border_miou")
    assert all(0 <= scores[name] <= 1 for name in names)
    assert scores["border"] == 3 and "map" not in scores
    assert "ap_rule" not in content["protocol"]
    mark = json.loads((coarse / "f32" / "best-voc12-val-seg-border3.json").read_text())
    assert (mark["by"], mark["score"]) == ("mIoU", scores["miou"])
    folder = coarse / "f32" / "pictures-voc12-val-seg-border3-4"
    assert len(list(folder.glob("*-classes.png"))) == 2


def class_maps(run_dir, records, side):
    """By picture of records: its mask, and the stitched answer of the run's weights at its size."""
    model, _, description, _ = runs.load(run_dir)
    network = archs.build({**description["model"], "image_size": None})
    network.set_weights(model.get_weights())

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3))])
    def scores(image):
        return stitch.stitched(network, image, 32, 15.5)

    found = {}
    for batch in evaluation_dataset([records], side, 1).as_numpy_iterator():
        example = {name: value[0] for name, value in batch.items()}
        size = example[keys.HEIGHT], example[keys.WIDTH]
        class_map = tiled_class_map(scores(batch[keys.IMAGE])[0], *size)
        found[example[keys.FILENAME].decode()] = decode_mask(example), class_map
    return found


def let_every_class_win(run_dir, records, side):
    """Save a run's random weights again, scores of all classes even, a little for background."""
    model, _, description, step = runs.load(run_dir)
    layer = model.get_layer("score_fr")
    network = keras.Model(model.input, layer.output)
    batches = evaluation_dataset([records], side, 1).as_numpy_iterator()
    scores = [network(batch[keys.IMAGE]).numpy().reshape(-1, 21) for batch in batches]
    mean, deviation = (of(np.concatenate(scores), axis=0) for of in (np.mean, np.std))
    kernel, bias = layer.get_weights()
    favour = 1.5 * (np.arange(21) == 0)
    layer.set_weights([kernel / deviation, (bias - mean) / deviation + favour])
    checkpoints.save(run_dir, step, model)


@pytest.mark.slow
@pytest.mark.parametrize("side", [None, 40])
def test_shift_and_stitch_answers_for_every_pixel(tiny_data, tmp_path, side):
    """The network sees whole pictures, or squares, and more of them than without."""
    shape = {"trunk": "vgg16", "geometry": "same", "image_size": side}
    fcn_run.write(tmp_path / "s", "fcn32s", 1, VOC.class_names, **shape)
    records = open_records(tiny_data / "records", evaluation_sets("voc12", "val", True)[0])
    let_every_class_win(tmp_path / "s", records, side)
    assert evaluate(tiny_data, tmp_path, "s", "--shift_and_stitch", "--save_first_n", 2) == 0
    scores = result(tmp_path / "s", 1, "voc12-val-seg-stitched")["scores"]

    confusion, pictures = ConfusionMatrix(21), class_maps(tmp_path / "s", records, side)
    assert len(pictures) == scores["images"] == 2
    for name, (mask, expected) in pictures.items():
        confusion.add(mask, expected)
        drawn = tmp_path / "s" / "pictures-voc12-val-seg-stitched-1" / f"{name[:-4]}-classes.png"
        with Image.open(drawn) as image:
            assert np.mean(np.asarray(image) == expected) > 0.999
        assert len(np.unique(expected)) > 3
    assert scores["pixel_accuracy"] == pytest.approx(confusion.pixel_accuracy(), abs=1e-3)
    assert scores["miou"] == pytest.approx(confusion.mean_iou(), abs=1e-3)

    assert evaluate(tiny_data, tmp_path, "s") == 0
    coarse = result(tmp_path / "s", 1)["scores"]
    assert abs(coarse["pixel_accuracy"] - scores["pixel_accuracy"]) > 4e-3


def test_shift_and_stitch_is_of_fcn32s(tiny_data, tmp_path, run_at, capsys):
    flags = ["--arch", "fcn16s", "--batch_size", 2, "--max_iterations", 1]
    assert train(tiny_data, tmp_path, "f16", *flags) == 0
    assert "warning: fcn16s is to start from a coarser net" in capsys.readouterr().err
    assert evaluate(tiny_data, tmp_path, "f16", "--shift_and_stitch") == 1
    assert "shift-and-stitch is for fcn32s" in capsys.readouterr().err
    blitznet = run_at(10)
    assert evaluate(tiny_data, blitznet.parent, "r", "--shift_and_stitch") == 1
    assert "shift-and-stitch is for fcn32s" in capsys.readouterr().err


def test_borders_are_of_segmentation(tiny_data, run_at, capsys):
    archive = run_at(10).parent
    assert evaluate(tiny_data, archive, "r", "--detect", "--border", 5) == 1
    assert "--border is of segmentation" in capsys.readouterr().err


def test_pictures_of_their_own_sizes_are_not_divided_over_devices(tiny_data, coarse, capsys):
    assert evaluate(tiny_data, coarse, "f32", "--strategy", "mirrored") == 1
    assert "--strategy mirrored divides batches" in capsys.readouterr().err


def test_scores_of_scaled_maps_are_not_taken_over(tiny_data, tmp_path, capsys):
    flags = ["--batch_size", 2, "--max_iterations", 1]
    assert train(tiny_data, tmp_path, "once", "--arch", "fcn8s-atonce", *flags) == 0
    source = tmp_path / "once" / "model.ckpt-1"
    assert train(tiny_data, tmp_path, "f8", "--arch", "fcn8s", *flags, "--init_from", source) == 0
    printed = capsys.readouterr().out
    assert "left out are layers score_pool..." in printed
    stay = [f"score_{pool}/{kind}" for pool in ("pool3", "pool4") for kind in ("bias", "kernel")]
    assert f"values of their own stay in {', '.join(stay)}\n" in printed


def test_the_release_trains_one_whole_picture_at_a_time(tiny_data, tmp_path):
    where = ["--dataset", "voc12", "--data_root", tiny_data, "--archive", tmp_path]
    flags = ["--arch", "fcn8s-atonce", "--geometry", "reference", "--preset", "fcn-release"]
    run = ["--run_name", "r", *where, *flags, "--random_trunk_init", "--max_iterations", 2]
    assert training.main([str(flag) for flag in run]) == 0
    flags = runs.read_flags(tmp_path / "r")["flags"]
    assert (flags["batch_size"], flags["pixel_loss"], flags["momentum"]) == (1, "sum", 0.99)
    assert "optimizer/momentum/momentum/conv1_1/kernel" in tensors(tmp_path / "r" / "model.ckpt-2")


def test_a_batch_of_whole_pictures_in_parts_is_the_batch(tiny_data, tmp_path, monkeypatch):
    """The same weights but for dropout, whose masks are of the parts."""
    monkeypatch.setattr(Dropout, "call", lambda self, maps, training=None: maps)
    flags = ["--arch", "fcn32s", "--batch_size", 4, "--max_iterations", 3, "--augmentation", "none"]
    # Not Adam, whose steps hardly depend on how large gradients are.
    flags += ["--optimizer", "momentum", "--learning_rate", 1e-3, "--warmup_lr", 1e-3]
    found = []
    for name, parts in (("whole", 1), ("parts", 2)):
        assert train(tiny_data, tmp_path, name, *flags, "--accumulate", parts) == 0
        found.append(tensors(tmp_path / name / "model.ckpt-3"))
    whole, parts = found
    assert whole.keys() == parts.keys()
    moved = whole["optimizer/momentum/momentum/conv1_1/kernel"]
    assert np.any(moved), "the first layer learns"
    for name, value in whole.items():
        scale = np.max(np.abs(value), initial=1e-7)
        np.testing.assert_allclose(parts[name] / scale, value / scale, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("trunk", ["vgg16", "alexnet"])
def test_squares_of_one_size_are_trained_on_and_answered(tiny_data, tmp_path, trunk):
    flags = ["--arch", "fcn8s", "--trunk", trunk, "--image_size", 48, "--batch_size", 2]
    assert train(tiny_data, tmp_path, "s", *flags, "--max_iterations", 1) == 0
    assert evaluate(tiny_data, tmp_path, "s") == 0
    assert runs.read_flags(tmp_path / "s")["model"]["image_size"] == 48


def test_another_networks_records_are_refused(tiny_data, coarse, capsys):
    assert evaluate(tiny_data, coarse, "f32", "--arch", "fcn8s") == 1
    assert "--arch fcn8s, but the run has fcn32s" in capsys.readouterr().err
    assert train(tiny_data, coarse, "f32", "--arch", "fcn8s") == 1
    assert "arch: was fcn32s, is fcn8s" in capsys.readouterr().err
