"""The client: what it makes of answers, its patience, its files, and that it equals `load`."""

import base64
import contextlib
import http.server
import json
import threading

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("requests", reason="needs the extra [serve]: pip install -e .[serve]")

from blitznet.picture_files import read_picture  # noqa: E402
from serve_fixture import encoded, noise  # noqa: E402
from tools import client, export_saved_model  # noqa: E402

# As TensorFlow Serving answers about one picture: two detections, padding, a class map of 2 x 2.
ROW = {
    "detection_boxes": [[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.25], [0.0, 0.0, 0.0, 0.0]],
    "detection_scores": [0.9, 0.25, 0.0],
    "detection_classes": [2, 1, 0],
    "num_detections": 2,
    "semantic_classes": [[0, 1], [2, 0]],
}
NAMES = ["cat", "dog"]


@contextlib.contextmanager
def answering(*answers):
    """`(url of the model m, list of requests)` of a server that gives these answers by turns.

    An answer is `(status, content)`; a request is noted as `(path, content)`.
    """
    waiting, asked = list(answers), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, json.loads(body)))
            status, content = waiting.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(
                content if isinstance(content, bytes) else json.dumps(content).encode()
            )

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/models/m", asked
        finally:
            server.shutdown()
            thread.join()


def test_an_answer_of_tensorflow_serving_becomes_predictions():
    pictures = [noise(4, 8), noise(2, 2, 1)]
    with answering((200, {"predictions": [ROW, {**ROW, "num_detections": 0}]})) as (url, asked):
        first, second = client.Client(url, NAMES).predict(pictures)
    ((path, content),) = asked
    assert path == "/v1/models/m:predict" and content.keys() == {"instances"}
    for row, picture in zip(content["instances"], pictures):
        sent = read_picture(base64.b64decode(row["image_bytes"]["b64"]))
        np.testing.assert_array_equal(sent, picture)
    assert (first.height, first.width, first.names) == (4, 8, ("dog", "cat"))
    np.testing.assert_array_equal(first.boxes, ROW["detection_boxes"][:2])
    np.testing.assert_allclose(first.scores, [0.9, 0.25])
    assert first.classes.tolist() == [2, 1]
    # The places of TensorFlow 1's nearest sampling: rint(0, 0.5, 1, 1.5) and so on, at most 1.
    assert first.class_map[:, 0].tolist() == [0, 0, 2, 2]
    assert second.boxes.shape == (0, 4) and second.class_map.tolist() == [[0, 1], [2, 0]]


def test_a_network_that_only_detects_has_no_class_map():
    row = {name: value for name, value in ROW.items() if name != "semantic_classes"}
    with answering((200, {"predictions": [row]})) as (url, _):
        (prediction,) = client.Client(url).predict([noise(4, 4)])
    assert prediction.class_map is None
    assert prediction.names == ("class 2", "class 1")


def test_a_network_that_only_segments_answers_maps_without_a_name():
    with answering((200, {"predictions": [[[0, 2], [1, 0]]]})) as (url, _):
        (prediction,) = client.Client(url, NAMES).predict([noise(2, 2)])
    assert prediction.class_map.tolist() == [[0, 2], [1, 0]] and len(prediction.scores) == 0


def test_of_a_map_that_is_filled_up_the_pictures_part_is_taken():
    rows = [
        {"semantic_classes": [[1, 2, 2], [0, 1, 0]], "semantic_sizes": [2, 3]},
        {"semantic_classes": [[2, 255, 255], [1, 255, 255]], "semantic_sizes": [2, 1]},
    ]
    with answering((200, {"predictions": rows})) as (url, _):
        wide, narrow = client.Client(url, NAMES).predict([noise(2, 3), noise(2, 1)])
    assert wide.class_map.tolist() == [[1, 2, 2], [0, 1, 0]]
    assert narrow.class_map.tolist() == [[2], [1]]
    assert client.table(narrow) == "no boxes; of the pixels cat 50.0%, dog 50.0%"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"class_scores": [[0.5]], "decoded_boxes": [[0, 0, 1, 1]]}, "--postprocess none"),
        ([[0, 7], [1, 0]], "class 7, but there are names of 2"),
        ({**ROW, "detection_classes": [7, 1, 0]}, "class 7, but there are names of 2"),
    ],
)
def test_answers_of_another_model_are_refused(row, told):
    answer = 200, {"predictions": [row]}
    with answering(answer) as (url, _), pytest.raises(client.ServerError, match=told):
        client.Client(url, NAMES).predict([noise(2, 2)])


def test_a_busy_server_is_asked_again():
    busy = 503, {"error": "64 requests are waiting"}
    with answering(busy, busy, (200, {"predictions": [ROW]})) as (url, asked):
        (prediction,) = client.Client(url, NAMES).predict([noise(4, 4)])
    assert len(asked) == 3 and prediction.names == ("dog", "cat")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((503, {"error": "64 requests are waiting"}), "answers 503: 64 requests are waiting"),
        ((400, {"error": "picture 0 is none"}), "answers 400: picture 0 is none"),
        ((200, b"<html>"), "no JSON"),
        ((200, {"predictions": []}), "does not answer as an export of BlitzNet does"),
        ((200, {"predictions": [[1, 2]]}), "does not answer as an export of BlitzNet does"),
        ((200, {"predictions": [{**ROW, "detection_classes": [3, 1, 0]}]}), "class 3, but"),
    ],
)
def test_what_the_server_says_is_told(answer, expected):
    with answering(answer) as (url, _), pytest.raises(client.ServerError, match=expected):
        client.Client(url, NAMES, retries=0).predict([noise(4, 4)])


def test_a_server_that_is_not_there_is_told():
    asker = client.Client("http://127.0.0.1:1/v1/models/m", retries=0)
    with pytest.raises(client.ServerError, match="no answer from http://127.0.0.1:1/v1/models/m"):
        asker.predict([noise(4, 4)])


def run(url, *arguments):
    return client.main([url, *map(str, arguments)])


def test_pictures_are_drawn_listed_and_written(tmp_path, capsys):
    path, labels = tmp_path / "a.png", tmp_path / "labels.txt"
    path.write_bytes(encoded(noise(64, 96)))
    labels.write_text("background\ncat\ndog\n")
    with answering((200, {"predictions": [ROW]})) as (url, _):
        assert run(url, path, "--labels", labels, "--output", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == f"{path}: 1 found"
    assert printed.splitlines()[-1].split() == ["dog", "0.90", "48", "16", "96", "48"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a-classes.png",
        "a.json",
        "a.png",
    ]
    content = json.loads((tmp_path / "out" / "a.json").read_text())
    (found,) = content["detections"]
    assert (found["name"], found["pixels"]) == ("dog", [48, 16, 96, 48])
    # Of TensorFlow 1's nearest places, 17 of 64 rows and 25 of 96 columns are the first.
    cat, dog = 17 * 71 / 6144, 47 * 25 / 6144
    expected = {"background": 1 - cat - dog, "cat": cat, "dog": dog}
    assert content["class_shares"] == pytest.approx(expected, abs=1e-6)
    with Image.open(tmp_path / "out" / "a-classes.png") as stored:
        ids = np.bincount(np.asarray(stored).ravel(), minlength=3) / 6144
    assert ids.tolist() == pytest.approx(list(expected.values()))
    drawn = read_picture(tmp_path / "out" / "a.png")
    assert drawn.shape == (64, 96, 3)
    # The colours of VOC's palette: the box of a dog.
    np.testing.assert_array_equal(drawn[47, 60], [0, 128, 0])


def test_a_bad_picture_is_told_and_the_others_go_on(tmp_path, capsys):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(encoded(noise(20, 20)))
    bad.write_bytes(b"no picture")
    answers = (200, {"predictions": [ROW]}), (400, {"error": "no"}), (200, {"predictions": [ROW]})
    with answering(*answers) as (url, asked):
        assert run(url, good, bad, good, tmp_path / "none.png", good) == 1
    printed = capsys.readouterr()
    assert len(asked) == 3 and printed.out.count("1 found") == 2
    bad_line, refused, missing = printed.err.splitlines()
    assert bad_line == f"error: {bad} is not a picture" + bad_line.split("is not a picture")[1]
    assert refused == f"error: {good}: {asked_url(url)} answers 400: no"
    assert missing.startswith(f"error: {tmp_path / 'none.png'}")


def asked_url(url):
    return f"{url}:predict"


def test_wrong_flags_are_told_before_anything_is_asked(tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    with answering() as (url, asked):
        assert run(url, "a/x.png", "b/x.jpg", "--output", tmp_path) == 1
        assert run(url, "x.png", "x-classes.png", "--output", tmp_path) == 1
        assert run(url, "x.png", "--labels", names) == 1
        assert run(url, "x.png", "--labels", tmp_path / "none.txt") == 1
    assert asked == []
    *clashes, second, third = capsys.readouterr().err.splitlines()
    assert len(clashes) == 2 and all("same name" in line for line in clashes)
    assert f"{names} is no labels.txt" in second and "none.txt" in third


@pytest.mark.slow
def test_over_http_an_export_answers_as_loaded_here(tiny_archive, tmp_path):
    """Photographs that lie on their side, grey and CMYK ones: `load` and the client alike."""
    pytest.importorskip("starlette", reason="needs the extra [serve]: pip install -e .[serve]")
    import blitznet
    from serve_fixture import serving

    folder = tmp_path / "exported"
    flags = ["--archive", tiny_archive, "--output", folder, "--conf_thresh", 0]
    assert export_saved_model.main([str(f) for f in ["--run_name", "r", *flags]]) == 0
    exif = Image.Exif()
    exif[0x0112] = 6
    paths = {
        "a.jpg": encoded(noise(40, 90), "JPEG", exif=exif),
        "b.png": encoded(noise(64, 30), "PNG", "L"),
        "c.jpg": encoded(noise(33, 44), "JPEG", "CMYK"),
    }
    for name, content in paths.items():
        (tmp_path / name).write_bytes(content)
    pictures = [read_picture(tmp_path / name) for name in paths]
    assert pictures[0].shape == (90, 40, 3)
    expected = blitznet.load(folder).predict([tmp_path / name for name in paths])
    with serving(folder) as address:
        asker = client.Client(f"{address}/v1/models/exported", expected[0].class_names)
        (version,) = asker.status()
        assert (version["version"], version["state"]) == ("10", "AVAILABLE")
        found = asker.predict(pictures)
    for one, other in zip(found, expected):
        assert len(one.scores) == len(other.scores) > 0
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-4)
        assert one.names == other.names
        assert np.mean(one.class_map != other.class_map) < 1e-3
