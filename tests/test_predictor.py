"""`blitznet.load`: what it answers on arrays, paths and bytes, from a run and from a SavedModel."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import blitznet
from blitznet import checkpoints, export, keys, predictor, runs
from blitznet.imaging import legacy_resize
from blitznet.label_map import write_label_map
from blitznet.postprocess.detection import detections
from blitznet.postprocess.segmentation import class_map
from blitznet.postprocess.settings import DetectionSettings
from blitznet.predictor import Prediction
from datasets.info import VOC
from helpers import run_python
from voc_fixture import ORIENTATION

# Half-trained scores are low: without a threshold there is something to compare.
SETTINGS = DetectionSettings(conf_thresh=0.0)
SIZES = [(48, 64), (64, 64), (33, 51), (1, 1), (7, 200), (48, 64)]


def noise(height, width, seed=0):
    """A picture of coarse blots."""
    blots = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC))


PICTURES = [noise(*size, seed) for seed, size in enumerate(SIZES)]


def png(picture, **options):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", **options)
    return file.getvalue()


def save_run(folder, archive, tasks=(), step=10):
    """A run whose network has other tasks than the one of `archive`, with random weights."""
    description = runs.read_flags(archive / "r")
    description["model"].update(tasks)
    runs.write_flags(folder, description)
    checkpoints.save(folder, step, runs.build(description)[0])
    return folder


def save_export(folder, run_dir):
    """A SavedModel of a run's newest checkpoint."""
    model, coder, description, _ = runs.load(run_dir)
    functions = export.ServingFunctions(model, coder, SETTINGS)
    export.save(functions, model, description["class_names"], folder)
    return folder


@pytest.fixture(scope="module")
def run(tiny_archive):
    """Predictor of the run "r" at its newest step, 10."""
    return blitznet.load(tiny_archive / "r", settings=SETTINGS)


@pytest.fixture(scope="module")
def exported(tiny_archive, tmp_path_factory):
    """Folder of versions that holds one export, 10, and what is none."""
    folder = tmp_path_factory.mktemp("exported")
    save_export(folder / "10", tiny_archive / "r")
    (folder / "11").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / "saved_model.pb").touch()
    return folder


@pytest.fixture(scope="module")
def saved_model(exported):
    return blitznet.load(exported)


def assert_equal(found, expected, tolerance=0.0):
    """Two predictions with the same detections, those at the cut excused, and class map."""
    assert (found.height, found.width) == (expected.height, expected.width)
    assert abs(len(found.names) - len(expected.names)) <= 1
    ours, theirs = rows(found), rows(expected)
    distances = np.abs(ours[:, None] - theirs[None]).max(axis=-1)
    for one, nearest in ((ours, distances.min(axis=1)), (theirs, distances.min(axis=0))):
        above_cut = one[:, 1] > one[:, 1].min() + tolerance
        assert above_cut.any() and nearest[above_cut].max() <= tolerance
    np.testing.assert_array_equal(found.class_map, expected.class_map)


def rows(prediction):
    """The detections as rows of class, score and box, whose names are those of their classes."""
    names = tuple(VOC.class_names[c - 1] for c in prediction.classes)
    assert prediction.names == names
    return np.column_stack([prediction.classes, prediction.scores, prediction.boxes])


def test_a_run_answers_what_its_network_and_post_processing_say(run, tiny_archive):
    model, coder, description, _ = runs.load(tiny_archive / "r")
    for picture, found in zip(PICTURES, run.predict(PICTURES)):
        outputs = model(legacy_resize(picture[None], (64, 64)) / 255.0, training=False)
        raw = detections(outputs[keys.CONFIDENCE], outputs[keys.LOCATION], coder, SETTINGS)
        count = int(raw[keys.NUM_DETECTIONS][0])
        boxes, scores, classes = (
            raw[name][0, :count].numpy()
            for name in (keys.DETECTION_BOXES, keys.DETECTION_SCORES, keys.DETECTION_CLASSES)
        )
        names = tuple(description["class_names"][c - 1] for c in classes)
        shown = class_map(outputs[keys.SEGMENTATION], picture.shape[:2])[0].numpy()
        expected = Prediction(boxes, scores, classes, names, shown, *picture.shape[:2], ())
        assert count > 0, "nothing was compared"
        assert_equal(found, expected, 1e-5)


def test_arrays_paths_and_bytes_are_answered_alike(run, tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(len(PICTURES))]
    for path, picture in zip(paths, PICTURES):
        path.write_bytes(png(picture))
    expected = run.predict(PICTURES)
    files = [path.read_bytes() for path in paths]
    mixed = [str(paths[0]), files[1], bytearray(files[2]), paths[3], PICTURES[4], files[5]]
    for images in (paths, files, mixed, iter(paths)):
        for one, other in zip(run.predict(images), expected):
            assert_equal(one, other)


@pytest.mark.parametrize("source", ["run", "saved_model"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_batch_of_mixed_sizes_answers_as_each_picture_alone(request, source, batch_size):
    network = request.getfixturevalue(source)
    together = network.predict(PICTURES, batch_size)
    assert [(p.height, p.width) for p in together] == SIZES
    for picture, found in zip(PICTURES, together):
        (alone,) = network.predict(picture)
        assert_equal(found, alone, 1e-5)


def test_a_saved_model_answers_as_its_run_does(run, saved_model):
    """Its class map is of 64 x 64 pixels: for pictures of that size, both are the same."""
    for found, expected in zip(saved_model.predict(PICTURES), run.predict(PICTURES)):
        if (found.height, found.width) != (64, 64):
            assert found.class_map.shape == expected.class_map.shape
            expected = replace(expected, class_map=found.class_map)
        assert_equal(found, expected, 1e-5)


def test_constants_answer_as_variables_do(run, tiny_archive):
    constant = blitznet.load(tiny_archive / "r", settings=SETTINGS, constants=True)
    for one, other in zip(constant.predict(PICTURES), run.predict(PICTURES)):
        assert_equal(one, other)


def test_both_tell_what_they_are(run, saved_model, tiny_archive, exported):
    names = tuple(runs.read_flags(tiny_archive / "r")["class_names"])
    for network, source in ((run, tiny_archive / "r"), (saved_model, exported / "10")):
        told = (network.source, network.step, network.class_names)
        assert told == (source, 10, names)
        assert network.detects and network.segments


def test_one_picture_or_none_gives_a_list_too(run, tmp_path):
    (tmp_path / "a.png").write_bytes(png(PICTURES[0]))
    for one in (PICTURES[0], tmp_path / "a.png", str(tmp_path / "a.png"), png(PICTURES[0])):
        assert len(run.predict(one)) == 1
    assert len(run.predict(np.stack([PICTURES[0]] * 3))) == 3
    assert run.predict([]) == []


def test_files_are_turned_upright_and_arrays_are_not(run):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = PICTURES[0]
    from_file, upright, as_is = run.predict(
        [png(stored, exif=exif), np.rot90(stored, -1).copy(), stored]
    )
    assert_equal(from_file, upright)
    assert (as_is.height, as_is.width) == (48, 64)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (PICTURES[0].astype(np.float32), r"picture 2 has type float32 and shape \[48, 64, 3\]"),
        (PICTURES[0][..., 0], r"picture 2 has type uint8 and shape \[48, 64\]: expected uint8 RGB"),
        (PICTURES[0][:0], r"picture 2 .*shape \[0, 64, 3\]"),
        (b"text", "picture 2 is not a picture"),
        (b"", "picture 2 is empty"),
        ("nowhere.jpg", "nowhere.jpg is not there"),
    ],
)
def test_what_is_no_picture_is_named(run, bad, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run.predict([PICTURES[0], bad])
    with pytest.raises(ValueError, match="batch_size is 0"):
        run.predict(PICTURES, 0)


def test_a_stream_holds_a_batch_at_a_time(run, monkeypatch):
    taken = []

    def pictures():
        for n in range(6):
            taken.append(n)
            yield PICTURES[0]

    stream = run.stream(pictures(), batch_size=2)
    picture, _ = next(stream)
    np.testing.assert_array_equal(picture, PICTURES[0])
    assert len(taken) <= 3, "one more is looked at before a batch is closed"
    # A batch closes early where its pictures are large.
    monkeypatch.setattr(predictor, "MAX_PIXELS", 2 * 48 * 64)
    sizes = [len(batch) for batch in predictor._batches(iter([PICTURES[0]] * 5), 8)]
    assert sizes == [2, 2, 1]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detect", "segment"])
def test_one_task_alone(tiny_archive, tmp_path, task):
    tasks = {name: name == task for name in ("detect", "segment")}
    folder = save_run(tmp_path / "run", tiny_archive, tasks)
    save_export(tmp_path / "exported" / "10", folder)
    for network in (
        blitznet.load(folder, settings=SETTINGS),
        blitznet.load(tmp_path / "exported"),
    ):
        assert (network.detects, network.segments) == (task == "detect", task == "segment")
        (found,) = network.predict(PICTURES[0])
        assert (len(found.boxes) > 0) == network.detects and len(found.names) == len(found.boxes)
        assert (found.boxes.shape[1:], found.boxes.dtype) == ((4,), np.float32)
        assert (found.class_map is not None) == network.segments
        assert (found.to_dict()["class_shares"] is not None) == network.segments
        assert found.draw(PICTURES[0]).shape == PICTURES[0].shape


def test_steps_and_versions_are_chosen(tiny_archive, exported, tmp_path):
    assert blitznet.load(tiny_archive / "r", 5).step == 5
    assert blitznet.load(str(exported / "10"), 10).source == exported / "10"
    for version in ("9", "10", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    choose = predictor._saved_model_folder
    assert choose(tmp_path, None).name == "10", "the newest by number, not by name"
    assert choose(tmp_path, 2).name == "2"


def test_what_cannot_be_loaded_is_told(tiny_archive, exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere: expected a run or an exp"):
        blitznet.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="neither a run .*flags.json.* nor an exported"):
        blitznet.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="there: 5, 10"):
        blitznet.load(tiny_archive / "r", 7)
    with pytest.raises(FileNotFoundError, match="no version 7 in .*; there: 10"):
        blitznet.load(exported, 7)
    with pytest.raises(FileNotFoundError, match="10 is one version, not that of step 7"):
        blitznet.load(exported / "10", 7)
    for argument in ({"settings": SETTINGS}, {"precision": "bfloat16"}, {"constants": True}):
        with pytest.raises(ValueError, match="settings and precision were given at export"):
            blitznet.load(exported, **argument)


def save_other(folder, input_name, output_name):
    """A SavedModel that is not of this project, but has its class names."""
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, input_name)
    function = tf.function(lambda files: {output_name: files}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=function)
    write_label_map(folder / "assets" / "label_map.pbtxt", VOC.class_names)


@pytest.mark.parametrize(
    ("input_name", "output_name", "message"),
    [
        ("files", "boxes", "no signature serving_default that takes image_bytes"),
        ("image_bytes", "class_scores", "answers class_scores, not .* with --postprocess nms"),
    ],
)
def test_a_saved_model_of_another_kind_is_refused(tmp_path, input_name, output_name, message):
    save_other(tmp_path / "1", input_name, output_name)
    with pytest.raises(ValueError, match=message):
        blitznet.load(tmp_path)
    (tmp_path / "1" / "assets" / "label_map.pbtxt").unlink()
    with pytest.raises(FileNotFoundError, match="no label map .*label_map.pbtxt"):
        blitznet.load(tmp_path)


@pytest.mark.slow
def test_a_saved_model_keeps_its_weights_and_needs_no_code_of_the_network(exported):
    script = f"""
import gc, sys
import blitznet
assert "tensorflow" not in sys.modules, "importing the package alone is quick"
network = blitznet.load({str(exported)!r})
gc.collect()
import numpy as np
(found,) = network.predict(np.zeros((30, 40, 3), np.uint8))
assert found.class_map.shape == (30, 40)
code = ("blitznet.runs", "blitznet.models", "blitznet.engine", "blitznet.layers")
print([name for name in code if name in sys.modules])
"""
    assert run_python("-c", script).strip() == "[]"
