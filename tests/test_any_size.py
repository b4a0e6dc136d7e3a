"""Networks that take pictures of any size, in the programs that answer people: all by one rule."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import blitznet
import fcn_run
import toy_fcn
from blitznet import engine, export, keys, runs
from blitznet.postprocess.tiles import answered_class_map, tiled_class_map
from demo_fixture import names, save
from serve_fixture import encoded
from tools import demo, web_view

PICTURES = [*fcn_run.PICTURES, fcn_run.blots(90, 40, 8)]


@pytest.fixture(scope="module", autouse=True)
def toys():
    """Trunks of few channels, also where a run is loaded."""
    with pytest.MonkeyPatch.context() as patch:
        toy_fcn.install(patch)
        yield


@pytest.fixture(scope="module")
def folder(toys, tmp_path_factory):
    """A run of fcn8s."""
    return fcn_run.write(tmp_path_factory.mktemp("archive") / "r")


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    """Folder of versions that holds its SavedModel, 10."""
    model, coder, description, _ = runs.load(folder)
    target = tmp_path_factory.mktemp("exported")
    functions = export.ServingFunctions(model, coder, None)
    export.save(functions, model, description["class_names"], target / "10")
    return target


@pytest.fixture(scope="module")
def class_maps(folder):
    """The best class of each pixel of `PICTURES` by the trained network."""
    model = runs.load(folder)[0]
    logits = (
        model(picture[None] / np.float32(255), training=False)[keys.SEGMENTATION].numpy()[0]
        for picture in PICTURES
    )
    maps = [each.argmax(axis=-1) for each in logits]
    assert len(np.unique(np.concatenate([each.ravel() for each in maps]))) > 1
    return maps


@pytest.fixture(scope="module")
def run(folder):
    return blitznet.load(folder)


@pytest.fixture(scope="module")
def saved_model(exported):
    return blitznet.load(exported)


def assert_shows(prediction, picture, class_map):
    """Whether a prediction is that of a picture whose class map is known, and has no boxes."""
    assert (prediction.height, prediction.width) == picture.shape[:2] == class_map.shape
    assert prediction.class_map.dtype == np.uint8
    assert np.mean(prediction.class_map != class_map) < 1e-3
    assert len(prediction.boxes) == len(prediction.names) == 0
    assert prediction.class_names == fcn_run.NAMES


@pytest.mark.parametrize("source", ["run", "saved_model"])
def test_each_picture_goes_through_at_its_own_size(request, source, class_maps):
    network = request.getfixturevalue(source)
    assert (network.detects, network.segments, network.own_sizes) == (False, True, True)
    found = network.predict(PICTURES, batch_size=4)
    for prediction, picture, class_map in zip(found, PICTURES, class_maps, strict=True):
        assert_shows(prediction, picture, class_map)
        (alone,) = network.predict(picture)
        np.testing.assert_array_equal(prediction.class_map, alone.class_map)
        assert prediction.draw(picture).shape == picture.shape


def test_pictures_come_one_by_one(run, monkeypatch):
    """However many there are, the network holds the maps of one."""
    seen, network = [], run._network

    def counted(pictures):
        seen.append([picture.shape[:2] for picture in pictures])
        return network(pictures)

    monkeypatch.setattr(run, "_network", counted)
    run.predict(PICTURES, batch_size=8)
    assert seen == [[picture.shape[:2]] for picture in PICTURES]


def test_constants_answer_as_variables_do(folder, class_maps):
    found = blitznet.load(folder, constants=True).predict(PICTURES)
    for prediction, picture, class_map in zip(found, PICTURES, class_maps, strict=True):
        assert_shows(prediction, picture, class_map)


def test_a_network_of_one_size_sees_squares(tmp_path):
    """Its logits are those of the square, sampled at the picture's size."""
    from blitznet.imaging import legacy_resize

    folder = fcn_run.write(tmp_path / "r", image_size=64)
    network, model = blitznet.load(folder), runs.load(folder)[0]
    assert not network.own_sizes
    for prediction, picture in zip(network.predict(PICTURES), PICTURES, strict=True):
        square = legacy_resize(picture[None], (64, 64)) / 255.0
        logits = model(square, training=False)[keys.SEGMENTATION].numpy()[0]
        assert_shows(prediction, picture, tiled_class_map(logits, *picture.shape[:2]))


def test_evaluation_predicts_the_same(folder, class_maps):
    """Batches as `evaluation_dataset` gives them at the pictures' own sizes."""
    import tensorflow as tf

    predict = engine.make_predict(runs.load(folder)[0], None, None)
    batches = [
        {
            keys.IMAGE: tf.constant(picture[None] / np.float32(255)),
            keys.FILENAME: tf.constant(["a.jpg"]),
            keys.HEIGHT: tf.constant(picture.shape[:1]),
            keys.WIDTH: tf.constant(picture.shape[1:2]),
        }
        for picture in PICTURES
    ]
    found = [prediction for _, prediction in engine.predictions(predict, batches)]
    for prediction, class_map in zip(found, class_maps, strict=True):
        np.testing.assert_array_equal(prediction[keys.SEMANTIC_CLASSES], class_map)


def test_a_classifier_is_refused(tmp_path):
    shape = {"arch": "classifier", "image_size": 64, "trunk": "resnet18_half"}
    runs.write_flags(tmp_path / "r", runs.describe(shape, ("cat", "dog"), {}))
    with pytest.raises(ValueError, match="r is a classifier.*training.py --init_from .*/r/model"):
        blitznet.load(tmp_path / "r")


def test_the_part_of_a_class_map_that_is_a_pictures():
    """By hand: two rows and three columns of it, at their own size and at twice that."""
    classes = np.full((4, 5), 255, np.uint8)
    classes[:2, :3] = [[1, 2, 3], [4, 5, 6]]
    answer = {keys.SEMANTIC_CLASSES: classes, keys.SEMANTIC_SIZES: np.array([2, 3], np.int32)}
    assert answered_class_map(answer, 2, 3).tolist() == [[1, 2, 3], [4, 5, 6]]
    # The places of TensorFlow 1's nearest sampling: rint(0, 0.5, 1, 1.5), the last at most 1.
    assert answered_class_map(answer, 4, 3)[:, 0].tolist() == [1, 1, 4, 4]
    # As JSON has them, and from an export whose class maps all have one size.
    as_json = {name: value.tolist() for name, value in answer.items()}
    assert answered_class_map(as_json, 2, 3).tolist() == [[1, 2, 3], [4, 5, 6]]
    del answer[keys.SEMANTIC_SIZES]
    np.testing.assert_array_equal(answered_class_map(answer, 4, 5), classes)


@pytest.mark.parametrize("source", ["run", "saved_model"])
def test_the_demo_draws_class_maps_alone(folder, exported, tmp_path, capsys, class_maps, source):
    for n, picture in enumerate(PICTURES):
        save(tmp_path / "in" / f"p{n}.png", picture)
    network = {
        "run": ["--run_name", "r", "--archive", folder.parent],
        "saved_model": ["--saved_model", exported],
    }
    flags = [*network[source], "--input", tmp_path / "in", "--output", tmp_path / "out"]
    assert demo.main([str(flag) for flag in flags]) == 0
    out = capsys.readouterr().out
    assert f"{len(PICTURES)} pictures; this network does not detect objects" in out
    assert len(names(tmp_path / "out")) == 3 * len(PICTURES) + 1
    for n, class_map in enumerate(class_maps):
        ids = np.asarray(Image.open(tmp_path / "out" / f"p{n}-classes.png"))
        assert np.mean(ids != class_map) < 1e-3
        told = json.loads((tmp_path / "out" / f"p{n}.json").read_text())
        assert told["detections"] == [] and told["class_shares"]


def test_the_page_lists_areas_alone(run, class_maps):
    view = web_view.look(run, encoded(PICTURES[0]), "a.png")
    assert view.size == PICTURES[0].shape[:2]
    classes = web_view.classes_found(view.prediction)
    assert classes == [int(c) for c in np.unique(class_maps[0]) if c]
    text = web_view.found_html(view, classes, 0.3)
    assert ["Objects" in text, "Areas" in text] == [False, True]
    drawn = web_view.draw(view, classes, 0.3, 0.5)
    assert drawn.shape == view.picture.shape and not np.array_equal(drawn, view.picture)


@pytest.fixture(scope="module")
def server(exported):
    """Address of a server of the SavedModel whose calls would join what comes within a second."""
    pytest.importorskip("starlette", reason="needs the extra [serve]: pip install -e .[serve]")
    from serve_fixture import serving

    with serving(exported, "--name", "m", "--batch_timeout_ms", 1000) as address:
        yield address


def ask(address, pictures):
    from tools.client import Client

    return Client(f"{address}/v1/models/m", fcn_run.NAMES).predict(pictures)


def test_the_client_gets_what_load_answers(server, class_maps):
    found = ask(server, PICTURES)
    for prediction, picture, class_map in zip(found, PICTURES, class_maps, strict=True):
        assert_shows(prediction, picture, class_map)


def test_requests_share_no_call_so_that_no_answer_is_filled_up_for_another(server):
    import requests

    def rows(picture):
        import base64

        body = {"instances": [{"b64": base64.b64encode(encoded(picture)).decode()}]}
        answer = requests.post(f"{server}/v1/models/m:predict", json=body, timeout=60).json()
        return answer["predictions"]

    with ThreadPoolExecutor(len(PICTURES)) as threads:
        answers = list(threads.map(rows, PICTURES))
    for (row,), picture in zip(answers, PICTURES, strict=True):
        assert row["semantic_sizes"] == list(picture.shape[:2])
        assert np.shape(row["semantic_classes"]) == picture.shape[:2]


def test_arrays_are_answered_over_http_too(server, class_maps):
    import requests

    body = {"signature_name": "images", "inputs": PICTURES[1][None].tolist()}
    answer = requests.post(f"{server}/v1/models/m:predict", json=body, timeout=60).json()
    (found,) = answer["outputs"]["semantic_classes"]
    assert answer["outputs"]["semantic_sizes"] == [list(PICTURES[1].shape[:2])]
    assert np.mean(np.array(found) != class_maps[1]) < 1e-3


def test_one_bad_picture_is_named_and_large_ones_are_refused(server):
    from tools.client import Client, ServerError

    asker = Client(f"{server}/v1/models/m", fcn_run.NAMES)
    with pytest.raises(ServerError, match=r"answers 400: image_bytes \[1\]"):
        asker.predict_files([encoded(PICTURES[0]), b"no picture"])
    with pytest.raises(ServerError, match="2500 x 2000 pixels; this server takes up to 4,000,000"):
        asker.predict_files([encoded(np.zeros((2000, 2500), np.uint8))])


def test_the_command_lists_the_classes_of_pixels(server, tmp_path, capsys, class_maps):
    from tools import client

    path = save(tmp_path / "a.png", PICTURES[1])
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(["background", *fcn_run.NAMES]))
    flags = [f"{server}/v1/models/m", path, "--labels", labels, "--output", tmp_path / "out"]
    assert client.main([str(flag) for flag in flags]) == 0
    most = np.bincount(class_maps[1].ravel()).argmax()
    name = ("background", *fcn_run.NAMES)[most]
    told = f"{path}: no boxes; of the pixels {name} {(class_maps[1] == most).mean():.1%}"
    assert told in capsys.readouterr().out
    assert names(tmp_path / "out") == ["a-classes.png", "a.json", "a.png"]
    with Image.open(tmp_path / "out" / "a-classes.png") as written:
        assert np.mean(np.asarray(written) == class_maps[1]) > 0.999
