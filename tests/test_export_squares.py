"""Exports of one size of networks that take any; what else the tool makes of such runs."""

import re
from pathlib import Path

import numpy as np
import pytest

import fcn_run
import toy_detnet
import toy_fcn
from blitznet import checkpoints, keys, runs
from blitznet.export.content import Content
from blitznet.export.formats import check_installed
from datasets.info import VOC
from random_weights import give_random_weights
from serve_fixture import encoded
from tools import compare_runtimes
from tools.runtimes import Runtime

SIDE = 70


@pytest.fixture(scope="module", autouse=True)
def toys():
    """Trunks of few channels, also where a run is loaded."""
    with pytest.MonkeyPatch.context() as patch:
        toy_fcn.install(patch)
        toy_detnet.install(patch)
        yield


@pytest.fixture(scope="module")
def archive(toys, tmp_path_factory):
    return fcn_run.write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def model(archive):
    return runs.load(archive / "r")[0]


def need(name):
    """Skip where a format's packages are missing."""
    try:
        check_installed(name)
    except ImportError as error:
        pytest.skip(str(error))


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


RUNS = {
    "vgg16": {"arch": "fcn8s", "geometry": "same"},
    "alexnet": {"arch": "fcn16s", "geometry": "reference", "trunk": "alexnet"},
}
PRECISIONS = [("tflite", "float16"), ("onnx", "float16"), ("onnx", "bfloat16")]
PRECISIONS += [("openvino", "float16"), ("tflite", "int8"), ("onnx", "int8")]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folder of three pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, size in enumerate([(60, 80), (90, 70), (64, 64)]):
        (folder / f"{seed}.png").write_bytes(encoded(fcn_run.blots(*size, seed)))
    return folder


@pytest.mark.parametrize(
    ("trunk", "name", "precision"),
    [
        ("vgg16", "tflite", "float32"),
        ("vgg16", "onnx", "float32"),
        ("vgg16", "openvino", "float32"),
        slow("alexnet", "tflite", "float32"),
        slow("alexnet", "onnx", "float32"),
        ("alexnet", "openvino", "float32"),
        *(slow(trunk, *each) for trunk in RUNS for each in PRECISIONS),
    ],
)
def test_formats_of_one_size_get_a_square(tmp_path, capsys, pictures, trunk, name, precision):
    """Its class map is that of the network which takes any size, for a picture of that square."""
    need(name)
    run = fcn_run.write(tmp_path / "runs" / "r", **RUNS[trunk])
    flags = ["--format", name, "--precision", precision, "--side", SIDE]
    flags += ["--calibration", pictures] if (name, precision) == ("onnx", "int8") else []
    assert fcn_run.export(run.parent, tmp_path / "out", *flags) == 0
    assert "answers as the live model in its own runtime" in capsys.readouterr().out
    picture = fcn_run.blots(SIDE, SIDE, 5)
    with Runtime(name, tmp_path / "out" / "10") as runtime:
        assert runtime.names() == ["background", *fcn_run.NAMES]
        answer = runtime.answer(images=picture[None].astype(np.float32))
    (found,) = answer.pop("semantic_classes")
    assert not answer and found.dtype == np.uint8
    expected = fcn_run.class_map(runs.load(run)[0], picture)
    assert len(np.unique(expected)) > 1, "nothing was compared"
    most = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.05, "int8": 0.2}[precision]
    assert np.mean(found != expected) <= most


def test_a_square_has_a_usual_side(archive, model):
    """At the default, 500 pixels, without writing a file."""
    from tools.export_side import of_one_side

    shape = runs.read_flags(archive / "r")["model"]
    content = of_one_side(Content(model, shape, None, None, fcn_run.NAMES), None)
    assert (content.side, content.shape["image_size"], content.segments) == (500, 500, True)
    weights = zip(model.get_weights(), content.model.get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in weights)


@pytest.mark.parametrize(
    ("run_name", "flags", "told"),
    [
        ("r", "--side 64", "--side goes with the other formats: a SavedModel takes"),
        ("fixed", "--format tflite --side 96", "the run takes pictures of 64 x 64 pixels"),
    ],
)
def test_a_side_that_does_not_fit_is_refused(archive, tmp_path, capsys, run_name, flags, told):
    need("tflite")
    assert fcn_run.export(archive, tmp_path / "out", *flags.split(), run_name=run_name) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_has_a_size_takes_no_other_and_what_has_none_needs_one(archive, model):
    shape = runs.read_flags(archive / "r")["model"]
    content = Content(model, shape, None, None, fcn_run.NAMES)
    with pytest.raises(ValueError, match="onnx takes pictures of one size"):
        content.write("onnx", "float32", Path("nowhere"))
    with pytest.raises(ValueError, match="for pictures of 96 x 96 pixels"):
        content.of_side(96).of_side(64)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Archive of the run "r" of a classifier."""
    folder = tmp_path_factory.mktemp("classifier")
    shape = {"arch": "classifier", "image_size": 64, "trunk": "resnet18_half"}
    runs.write_flags(folder / "r", runs.describe(shape, ("cat", "dog"), {}))
    return folder


def test_a_classifier_is_refused(classifier, tmp_path, capsys):
    assert fcn_run.export(classifier, tmp_path / "out") == 1
    arguments = ["--run_name", "r", "--archive", str(classifier)]
    assert compare_runtimes.main(arguments) == 1
    told = "is a classifier, which neither detects nor segments"
    advice = f"training.py --init_from {classifier / 'r'}/model.ckpt-STEP"
    for line in capsys.readouterr().err.splitlines():
        assert told in line and advice in line
    assert not (tmp_path / "out").exists()


def test_what_is_of_detection_is_refused(archive, tmp_path, capsys):
    assert fcn_run.export(archive, tmp_path / "out", "--postprocess", "none") == 1
    assert "--postprocess none is of detection" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [slow("--format savedmodel"), "--format tflite --side 64"])
def test_the_loss_is_against_the_network_at_the_pictures_sizes(tiny_data, tmp_path, capsys, flags):
    """A SavedModel loses nothing; what squeezing pictures into a square costs is told."""
    from blitznet import engine
    from blitznet.evaluation import Evaluation
    from datasets import custom
    from datasets.pipeline import evaluation_dataset

    run = fcn_run.write(tmp_path / "runs" / "r", class_names=VOC.class_names)
    records = str(tiny_data / "records" / "voc12-val-seg.json")
    assert fcn_run.export(run.parent, tmp_path / "out", *flags.split(), "--evaluate", records) == 0
    pattern = r"\| miou +\| +([\d.]+) \| +([\d.]+) \| +([-+][\d.]+) \|"
    ((before, after, change),) = re.findall(pattern, capsys.readouterr().out)
    info = custom.open_one([records])
    meter = Evaluation(info.class_names, None, 0.5, True, info.ignore_label)
    predict = engine.make_predict(runs.load(run)[0], None, None)
    for example, prediction in engine.predictions(predict, evaluation_dataset([info], None, 1)):
        meter.add(example, prediction)
    assert float(before) == pytest.approx(meter.scores()["miou"], abs=1e-4)
    assert float(change) == pytest.approx(float(after) - float(before), abs=2e-4)
    if "savedmodel" in flags:
        assert float(after) == pytest.approx(float(before), abs=1e-4)


def test_runtimes_are_compared_at_one_size(archive, capsys):
    flags = ["--run_name", "r", "--archive", archive, "--side", 64, "--calls", 2]
    flags += ["--variants", "savedmodel:float32", "--count", 1]
    assert compare_runtimes.main([str(flag) for flag in flags]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "| savedmodel" in line]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[3:6] == ["", "", "0.00%"]
    assert cells[6:8] == ["", ""] and float(cells[8]) > 0, "there is no NMS to time"


def give_heads_a_usual_scale(model):
    """Random weights make class logits of thousands, which round to other scores: make them 1."""
    outputs = model(fcn_run.blots(64, 64)[None] / np.float32(255), training=False)
    for head in (keys.CONFIDENCE, keys.LOCATION):
        scale = np.std(outputs[head])
        for layer in model.layers:
            if layer.name.startswith(f"{head}_"):
                layer.set_weights([weights / scale for weights in layer.get_weights()])


@pytest.mark.parametrize("name", [slow("savedmodel"), "tflite", slow("onnx"), slow("openvino")])
def test_detnet_is_exported_as_other_trunks_are(tmp_path, capsys, name):
    need(name)
    shape = {"image_size": 64, "trunk": "detnet59", "top_fm": 16, "n_base_channels": 8}
    description = runs.describe({**shape, "detect": True, "segment": True}, fcn_run.NAMES, {})
    model, _ = runs.build(description)
    give_random_weights(model)
    give_heads_a_usual_scale(model)
    runs.write_flags(tmp_path / "runs" / "r", description)
    checkpoints.save(tmp_path / "runs" / "r", 10, model)
    flags = ["--format", name, "--conf_thresh", 0]
    assert fcn_run.export(tmp_path / "runs", tmp_path / "out", *flags) == 0
    assert "PASS" in capsys.readouterr().out
