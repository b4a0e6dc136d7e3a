"""Exports of networks that take pictures of any size: their SavedModel, and formats of one size."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import fcn_run
import toy_detnet
import toy_fcn
from blitznet import checkpoints, export, keys, runs, warmup
from blitznet.export.content import Content
from blitznet.export.formats import check_installed
from datasets.info import VOC
from random_weights import give_random_weights
from serve_fixture import encoded
from tools import compare_runtimes, export_check, export_saved_model, saved_model_outputs
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
    """Archive of the runs "r" (any size) and "fixed" (64 x 64), both of fcn8s."""
    folder = tmp_path_factory.mktemp("archive")
    fcn_run.write(folder / "r")
    fcn_run.write(folder / "fixed", image_size=64)
    return folder


def export_run(archive, output, *flags, run_name="r"):
    """Exit code of the tool on a run."""
    arguments = ["--run_name", run_name, "--archive", archive, "--output", output, *flags]
    return export_saved_model.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def exported(archive, tmp_path_factory):
    """Folder of the SavedModel of "r", which has verified itself."""
    output = tmp_path_factory.mktemp("exported")
    assert export_run(archive, output) == 0
    return output / "10"


@pytest.fixture(scope="module")
def model(archive):
    return runs.load(archive / "r")[0]


def class_map(model, picture):
    """The best class of each pixel by the trained network, `[H, W]`."""
    outputs = model(picture[None] / np.float32(255), training=False)
    return outputs[keys.SEGMENTATION].numpy()[0].argmax(axis=-1)


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
        expected = class_map(model, picture)
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
        assert np.mean(found != class_map(model, picture)) < 1e-3


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
    assert np.mean(answer["semantic_classes"][0] != class_map(model, picture)) < 1e-3


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
    assert export_run(run.parent, tmp_path / "out", *flags) == 0
    assert "answers as the live model in its own runtime" in capsys.readouterr().out
    picture = fcn_run.blots(SIDE, SIDE, 5)
    with Runtime(name, tmp_path / "out" / "10") as runtime:
        assert runtime.names() == ["background", *fcn_run.NAMES]
        answer = runtime.answer(images=picture[None].astype(np.float32))
    (found,) = answer.pop("semantic_classes")
    assert not answer and found.dtype == np.uint8
    expected = class_map(runs.load(run)[0], picture)
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
    assert export_run(archive, tmp_path / "out", *flags.split(), run_name=run_name) == 1
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
    assert export_run(classifier, tmp_path / "out") == 1
    arguments = ["--run_name", "r", "--archive", str(classifier)]
    assert compare_runtimes.main(arguments) == 1
    told = "is a classifier, which neither detects nor segments"
    advice = f"training.py --init_from {classifier / 'r'}/model.ckpt-STEP"
    for line in capsys.readouterr().err.splitlines():
        assert told in line and advice in line
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
    assert export_run(run.parent, tmp_path / "out", *flags.split(), "--evaluate", records) == 0
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


def test_differences_between_answers_of_several_sizes():
    """By hand: 6 + 2 pixels are the pictures', the rest fills up."""
    classes = np.full((2, 2, 4), 255, np.uint8)
    classes[0, :, :3] = 1
    classes[1, :1, :2] = 2
    answer = {
        "semantic_classes": classes,
        "semantic_sizes": np.array([[2, 3], [1, 2]], np.int32),
    }
    assert export_check.differences(answer, answer) == []
    one_apart = classes.copy()
    one_apart[1, 0, 1] = 3
    found = {**answer, "semantic_classes": one_apart}
    assert export_check.differences(answer, found, export_check.Limits(pixels=1 / 8)) == []
    (told,) = export_check.differences(answer, found, export_check.Limits(pixels=0.12))
    assert told == "semantic_classes differ in 12.5% of the pixels"
    found = {**answer, "semantic_sizes": np.array([[2, 3], [2, 2]], np.int32)}
    (told,) = export_check.differences(answer, found)
    assert told == "semantic_sizes are [[2, 3], [2, 2]] instead of [[2, 3], [1, 2]]"


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
    assert export_run(tmp_path / "runs", tmp_path / "out", *flags) == 0
    assert "PASS" in capsys.readouterr().out
