"""The SavedModel: what it answers through both loaders, and that a wrong one is found out."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from blitznet import export, inference, runs, warmup
from blitznet.export import saved_model
from blitznet.label_map import read_label_map
from blitznet.postprocess.settings import DetectionSettings
from blitznet.variables import variables_by_path
from datasets import records
from tools import export_check, export_saved_model, saved_model_outputs

DETECTION_OUTPUTS = {
    "detection_boxes": (np.float32, (200, 4)),
    "detection_scores": (np.float32, (200,)),
    "detection_classes": (np.int32, (200,)),
    "num_detections": (np.int32, ()),
}
CLASS_MAP = {"semantic_classes": (np.uint8, (64, 64))}


def export_run(archive, output, *flags):
    """Exit code of the tool on the run "r"."""
    arguments = ["--run_name", "r", "--archive", archive, "--output", output, *flags]
    return export_saved_model.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def exported(tiny_archive, tmp_path_factory):
    """Folder of an export that has verified itself."""
    output = tmp_path_factory.mktemp("exported")
    # Half-trained scores are low: without a threshold there is something to compare.
    assert export_run(tiny_archive, output, "--conf_thresh", 0) == 0
    assert [path.name for path in output.iterdir()] == ["10"]
    return output / "10"


@pytest.fixture(scope="module")
def live(tiny_archive):
    """`ServingFunctions` of the exported run."""
    model, coder, _, _ = runs.load(tiny_archive / "r")
    return export.ServingFunctions(model, coder, DetectionSettings(conf_thresh=0.0))


def encoded(array, format, mode=None):
    file = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, format)
    return file.getvalue()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def assert_answers(found, expected):
    assert not export_check.differences(expected, found)
    assert found["num_detections"].min() > 0, "nothing was compared"


@pytest.mark.parametrize("loader", ["by_python", "by_session"])
def test_both_signatures_answer_as_the_live_model(exported, live, loader):
    load = getattr(saved_model_outputs, loader)
    images = np.stack([noise(50, 70), noise(50, 70, 1)])
    found = load(str(exported), "images", images)
    assert_answers(found, {k: v.numpy() for k, v in live.from_images(images).items()})
    files = np.array([encoded(image, "PNG") for image in images], object)
    # PNG keeps every pixel, so that the other way in gives the same answer.
    assert_answers(load(str(exported), "serving_default", files), found)


def test_outputs_have_their_names_types_and_shapes(exported):
    files = [encoded(noise(*size), "PNG") for size in ((30, 40), (64, 64), (90, 20))]
    found = saved_model_outputs.by_python(str(exported), "serving_default", files)
    expected = {**DETECTION_OUTPUTS, **CLASS_MAP}
    assert {name: (a.dtype.type, a.shape[1:]) for name, a in found.items()} == expected
    assert {len(array) for array in found.values()} == {3}
    count = found["num_detections"][0]
    classes, boxes = found["detection_classes"][0], found["detection_boxes"][0]
    assert classes[:count].min() >= 1 and classes.max() <= 20
    assert boxes.min() >= 0 and boxes.max() <= 1
    assert np.all(classes[count:] == 0) and np.all(boxes[count:] == 0)
    assert np.all(np.diff(found["detection_scores"][0]) <= 0)


def test_signatures_take_the_inputs_that_they_name(exported):
    signatures = tf.saved_model.load(str(exported)).signatures
    inputs = {name: s.structured_input_signature[1] for name, s in signatures.items()}
    assert {
        n: {k: (v.dtype, v.shape.as_list()) for k, v in i.items()} for n, i in inputs.items()
    } == {
        "serving_default": {"image_bytes": (tf.string, [None])},
        "images": {"images": (tf.uint8, [None, None, None, 3])},
    }


def test_a_batch_of_mixed_sizes_answers_as_each_picture_alone(exported):
    files = [encoded(noise(*size), "PNG") for size in ((30, 40), (120, 64), (64, 20))]
    function = tf.saved_model.load(str(exported)).signatures["serving_default"]
    together = {k: v.numpy() for k, v in function(image_bytes=tf.constant(files)).items()}
    for i, file in enumerate(files):
        alone = {k: v.numpy() for k, v in function(image_bytes=tf.constant([file])).items()}
        assert_answers({k: v[i : i + 1] for k, v in together.items()}, alone)


def sixteen_bit():
    """A grey PNG of 16 bits, and its high bytes."""
    values = np.random.default_rng(3).integers(0, 65536, (40, 50)).astype(np.uint16)
    return encoded(values, "PNG"), np.repeat((values >> 8).astype(np.uint8)[..., None], 3, -1)


def with_alpha():
    """An RGBA PNG, and its colours."""
    alpha = np.full((40, 50, 1), 128, np.uint8)
    return encoded(np.concatenate([noise(40, 50), alpha], -1), "PNG"), noise(40, 50)


def grey(format):
    """A grey file, and what it holds as three equal channels."""
    file = encoded(noise(40, 50), format, "L")
    decoded = np.asarray(Image.open(io.BytesIO(file)))
    return file, np.repeat(decoded[..., None], 3, -1)


def colour_jpeg():
    """A JPEG, and its pixels as evaluation reads them."""
    file = encoded(noise(40, 50), "JPEG")
    return file, records.decode_image(file).numpy()


@pytest.mark.parametrize(
    "kind", [sixteen_bit, with_alpha, lambda: grey("PNG"), lambda: grey("JPEG"), colour_jpeg]
)
def test_files_of_any_kind_become_rgb(live, kind):
    file, pixels = kind()
    found = {k: v.numpy() for k, v in live.from_bytes([file]).items()}
    expected = {k: v.numpy() for k, v in live.from_images(pixels[None]).items()}
    assert_answers(found, expected)


def test_labels_are_an_asset_with_the_background_first(exported, tiny_archive):
    labels = (exported / "assets" / "labels.txt").read_text().splitlines()
    assert labels == ["background", *runs.read_flags(tiny_archive / "r")["class_names"]]
    assert list(read_label_map(exported / "assets" / "label_map.pbtxt")) == labels[1:]
    assert not any((exported / name).exists() for name in ("labels.txt", "label_map.pbtxt"))


def test_every_weight_is_stored_once(exported, tiny_archive):
    """A second copy, which Keras 3 makes of a tracked model, would be what servers fill."""
    stored = tf.train.load_checkpoint(str(exported / "variables" / "variables"))
    shapes = stored.get_variable_to_shape_map()
    numbers = sum(int(np.prod(shape)) for name, shape in shapes.items() if "weights" in name)
    model, _, description, _ = runs.load(tiny_archive / "r")
    network, _ = inference.build(model, description["model"])
    assert numbers == sum(int(np.prod(v.shape)) for v in variables_by_path(network).values())


def test_the_warm_up_file_has_a_request_for_each_signature(exported):
    signatures = tf.saved_model.load(str(exported)).signatures
    requests = dict(warmup.read(exported))
    assert requests.keys() == signatures.keys()
    for name, inputs in requests.items():
        answer = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        assert answer["num_detections"].shape == [1]


def test_an_existing_version_stays_without_overwrite(exported, tiny_archive, capsys):
    before = sorted(path.stat().st_mtime_ns for path in exported.rglob("*"))
    assert export_run(tiny_archive, exported.parent) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert sorted(path.stat().st_mtime_ns for path in exported.rglob("*")) == before


def wrong_labels(write, functions, model, class_names, folder):
    write(functions, model, class_names[::-1], folder)


def other_weights(write, functions, model, class_names, folder):
    """Store the model with the biases of its heads moved, as if a variable were not restored."""
    moved = [
        variable
        for path, variable in variables_by_path(model).items()
        if path.startswith(("confidence", "segmentation")) and path.endswith("bias")
    ]
    kept = [variable.numpy() for variable in moved]
    for variable, value in zip(moved, kept):
        variable.assign(value + np.linspace(0, 5, value.size, dtype=np.float32))
    write(functions, model, class_names, folder)
    for variable, value in zip(moved, kept):
        variable.assign(value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tamper", "expected"), [(wrong_labels, "labels"), (other_weights, "differs")]
)
def test_a_wrong_export_is_found_out_and_replaces_nothing(
    tiny_archive, tmp_path, monkeypatch, capsys, tamper, expected
):
    write = saved_model.save
    monkeypatch.setattr(saved_model, "save", lambda *arguments: tamper(write, *arguments))
    (tmp_path / "10").mkdir()
    (tmp_path / "10" / "older").touch()
    assert export_run(tiny_archive, tmp_path, "--overwrite", "--conf_thresh", 0) == 1
    printed = capsys.readouterr()
    assert expected in printed.err and "PASS" not in printed.out
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["10", "10/older"]


def test_a_checkpoint_that_does_not_exist_is_answered(tiny_archive, tmp_path, capsys):
    assert export_run(tiny_archive, tmp_path / "out", "--ckpt", 9) == 1
    assert "there: 5, 10" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tasks", "outputs"),
    [
        ({"detect": True, "segment": False}, DETECTION_OUTPUTS),
        ({"detect": False, "segment": True}, CLASS_MAP),
    ],
)
def test_one_task_alone_is_exported_alone(tiny_archive, tmp_path, tasks, outputs):
    description = runs.read_flags(tiny_archive / "r")
    description["model"].update(tasks)
    model, coder = runs.build(description)
    functions = export.ServingFunctions(model, coder, DetectionSettings(conf_thresh=0.0))
    folder = tmp_path / "1"
    export.save(functions, model, description["class_names"], folder)
    images = noise(32, 32)[None]
    found = saved_model_outputs.by_session(str(folder), "images", images)
    assert {name: (a.dtype.type, a.shape[1:]) for name, a in found.items()} == outputs
    expected = {name: value.numpy() for name, value in functions.from_images(images).items()}
    assert export_check.differences(expected, found) == []
