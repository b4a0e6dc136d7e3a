"""The tool in every format and precision: what it writes, refuses, finds out and reports."""

import importlib.util
import re

import numpy as np
import pytest
from PIL import Image

from blitznet import runs
from blitznet.export import content, tflite
from blitznet.export.answers import portable_function
from blitznet.export.formats import FORMATS, check_installed
from blitznet.label_map import read_label_map
from blitznet.postprocess.settings import DetectionSettings
from tools import export_saved_model
from tools.runtimes import Runtime

DETECTIONS = {
    "detection_boxes": (np.float32, (1, 200, 4)),
    "detection_scores": (np.float32, (1, 200)),
    "detection_classes": (np.int32, (1, 200)),
    "num_detections": (np.int32, (1,)),
    "semantic_classes": (np.uint8, (1, 64, 64)),
}


def export_run(archive, output, *flags):
    """Exit code of the tool on the run "r"."""
    arguments = ["--run_name", "r", "--archive", archive, "--output", output, *flags]
    # Half-trained scores are low: without a threshold there is something to compare.
    arguments += ["--conf_thresh", 0]
    return export_saved_model.main([str(argument) for argument in arguments])


def need(name):
    """Skip where a format's packages are missing."""
    try:
        check_installed(name)
    except ImportError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def raw(tiny_archive):
    """Types and shapes of what the run answers without NMS."""
    priors = len(runs.load(tiny_archive / "r")[1].priors)
    return {
        "class_scores": (np.float32, (1, priors, 20)),
        "decoded_boxes": (np.float32, (1, priors, 4)),
        "semantic_classes": DETECTIONS["semantic_classes"],
    }


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folder of five pictures and a file that is none of them."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(1)
    for i in range(5):
        pixels = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "notes.txt").touch()
    return folder


VARIANTS = [
    ("tflite", "float32"),
    ("tflite", "int8"),
    ("onnx", "float32"),
    ("onnx", "bfloat16"),
    ("onnx", "int8"),
    ("openvino", "float32"),
    *(
        pytest.param(name, precision, marks=pytest.mark.slow)
        for name, precision in (
            ("savedmodel", "float16"),
            ("savedmodel", "bfloat16"),
            ("tflite", "float16"),
            ("onnx", "float16"),
            ("openvino", "float16"),
        )
    ),
]


@pytest.mark.parametrize(("name", "precision"), VARIANTS)
def test_an_export_verifies_itself_in_its_runtime(
    tiny_archive, tmp_path, capsys, pictures, picture, raw, name, precision
):
    need(name)
    calibrated = (name, precision) == ("onnx", "int8")
    flags = ["--calibration", pictures] if calibrated else []
    # Of boxes and classes that half-trained scores put in order, rounding changes many.
    flags += ["--postprocess", "none"] if precision == "int8" else []
    flags = ["--format", name, "--precision", precision, *flags]
    assert export_run(tiny_archive, tmp_path, *flags) == 0
    assert "PASS" in capsys.readouterr().out
    folder = tmp_path / "10"
    assert (folder / FORMATS[name].file).is_file()
    names = list(read_label_map(folder / "assets" / "label_map.pbtxt"))
    assert (folder / "assets" / "labels.txt").read_text().split("\n") == ["background", *names, ""]
    inputs = picture.astype(np.uint8) if name == "savedmodel" else picture
    with Runtime(name, folder) as runtime:
        found = runtime.answer(images=inputs)
        assert runtime.names() == ["background", *names]
    expected = raw if precision == "int8" else DETECTIONS
    assert {key: (a.dtype.type, a.shape) for key, a in found.items()} == expected


@pytest.mark.parametrize("name", ["savedmodel", pytest.param("openvino", marks=pytest.mark.slow)])
def test_without_nms_there_are_scores_and_boxes(tiny_archive, tmp_path, picture, raw, name):
    need(name)
    assert export_run(tiny_archive, tmp_path, "--format", name, "--postprocess", "none") == 0
    inputs = picture.astype(np.uint8) if name == "savedmodel" else picture
    with Runtime(name, tmp_path / "10") as runtime:
        found = runtime.answer(images=inputs)
    assert {key: (a.dtype.type, a.shape) for key, a in found.items()} == raw


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--format tflite --precision bfloat16", "tflite has no bfloat16: it has float32, float16"),
        ("--format openvino --precision int8", "openvino has no int8: it has float32, float16"),
        ("--precision int8", "savedmodel has no int8"),
        ("--format onnx --precision int8", "needs --calibration"),
        ("--calibration x", "--format onnx --precision int8 alone"),
        ("--evaluate x.json --postprocess none", "leave --postprocess none out"),
        ("--evaluate nowhere.json", "nowhere.json"),
        ("--format onnx --precision int8 --calibration nowhere", "nowhere"),
    ],
)
def test_what_does_not_go_together_is_refused(tiny_archive, tmp_path, capsys, flags, told):
    if "onnx" in flags:
        need("onnx")
    assert export_run(tiny_archive, tmp_path / "out", *flags.split()) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["tflite", "onnx", "openvino"])
def test_a_missing_package_is_told_with_its_extra(
    tiny_archive, tmp_path, monkeypatch, capsys, name
):
    find = importlib.util.find_spec
    packages = FORMATS[name].packages

    def absent(package, *arguments):
        return None if package in packages else find(package, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    assert export_run(tiny_archive, tmp_path / "out", "--format", name) == 1
    told = f"{name} needs {', '.join(packages)}: pip install -e .[{name}] installs"
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_calibration_picture_that_is_none_is_named(tiny_archive, tmp_path, capsys, pictures):
    need("onnx")
    (tmp_path / "a.png").write_bytes((pictures / "0.png").read_bytes())
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    flags = ["--format", "onnx", "--precision", "int8", "--calibration", tmp_path]
    assert export_run(tiny_archive, tmp_path / "out", *flags) == 1
    assert f"{tmp_path / 'b.jpg'} is no picture" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert export_run(tiny_archive, tmp_path / "out", *flags[:-1], tmp_path / "none") == 1
    assert "expected .jpg" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_wrong_file_is_found_out_and_replaces_nothing(
    tiny_archive, tmp_path, monkeypatch, capsys
):
    need("tflite")

    def of_other_weights(model, *arguments):
        """Every class map and score of a network whose heads are moved."""
        for layer in model.layers:
            if layer.name.startswith(("confidence", "segmentation")) and layer.get_weights():
                kernel, bias = layer.get_weights()
                layer.set_weights([kernel, bias + np.linspace(0, 5, bias.size)])
        return portable_function(model, *arguments)

    monkeypatch.setattr(content, "portable_function", of_other_weights)
    (tmp_path / "10").mkdir()
    (tmp_path / "10" / "older").touch()
    assert export_run(tiny_archive, tmp_path, "--overwrite", "--format", "tflite") == 1
    printed = capsys.readouterr()
    assert "the export differs, tflite, picture 0" in printed.err and "PASS" not in printed.out
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["10", "10/older"]


def test_a_conversion_that_fails_leaves_nothing(tiny_archive, tmp_path, monkeypatch, capsys):
    need("tflite")

    def fail(*_):
        raise RuntimeError("the converter gave up")

    monkeypatch.setattr(tflite, "save", fail)
    assert export_run(tiny_archive, tmp_path, "--format", "tflite") == 1
    assert "the converter gave up" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["savedmodel", "tflite"])
def test_the_loss_is_that_of_both_evaluations(tiny_data, tiny_archive, tmp_path, capsys, name):
    """An export in float32 loses nothing; what the network has, test.py finds too."""
    need(name)
    records = tiny_data / "records" / "voc12-train-seg.json"
    flags = ["--format", name, "--evaluate", records]
    assert export_run(tiny_archive, tmp_path, *flags) == 0
    out = capsys.readouterr().out
    rows = re.findall(r"\| (map|miou) +\| +([\d.]+) \| +([\d.]+) \| +([-+][\d.]+) \|", out)
    assert [row[0] for row in rows] == ["map", "miou"]
    for _, before, after, change in rows:
        assert abs(float(before) - float(after)) < 0.002
        assert float(change) == pytest.approx(float(after) - float(before), abs=2e-4)
    assert float(rows[1][1]) > 0


def test_records_of_other_classes_are_refused(tiny_archive, tmp_path, capsys):
    from tiny_run import write_data

    data = write_data(tmp_path / "data", class_names=("cat", "dog"))
    records = data / "records" / "voc12-val.json"
    assert export_run(tiny_archive, tmp_path / "out", "--evaluate", records) == 1
    assert "has the classes cat, dog; the run has aeroplane" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_with_one_task_is_exported_with_it_alone(tiny_archive, picture, tmp_path):
    need("tflite")
    description = runs.read_flags(tiny_archive / "r")
    description["model"]["segment"] = False
    model, coder = runs.build(description)
    names = tuple(description["class_names"])
    part = content.Content(model, description["model"], coder, DetectionSettings(), names)
    assert not part.segments
    part.write("tflite", "float32", tmp_path / "1")
    with Runtime("tflite", tmp_path / "1") as runtime:
        assert set(runtime.answer(images=picture)) == DETECTIONS.keys() - {"semantic_classes"}
