"""The server: TensorFlow Serving's forms, batches, limits, bad pictures, versions, its end."""

import base64
import io
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, PngImagePlugin

pytest.importorskip("starlette", reason="needs the extra [serve]: pip install -e .[serve]")
pytest.importorskip("uvicorn", reason="needs the extra [serve]: pip install -e .[serve]")
pytest.importorskip("prometheus_client", reason="needs the extra [serve]: pip install -e .[serve]")
pytest.importorskip("orjson", reason="needs the extra [serve]: pip install -e .[serve]")

import requests  # noqa: E402

from blitznet import warmup  # noqa: E402
from helpers import CHECKOUT, run_python  # noqa: E402
from serve_fixture import encoded, metric, noise, serving, wait_until, write_toy  # noqa: E402
from tools import serve  # noqa: E402


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Folder of the small model's version 3."""
    folder = tmp_path_factory.mktemp("served") / "toy"
    write_toy(folder / "3")
    return folder


@pytest.fixture(scope="module")
def server(toy):
    """Address of a server of it."""
    flags = ["--max_pixels", 100_000, "--max_body_mb", 1, "--max_rows", 8]
    with serving(toy, *flags) as address:
        yield address


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


def ask(address, body, path="toy:predict"):
    """Status and content of an answer; `body` a dict, or bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body)
    response = requests.post(f"{address}/v1/models/{path}", data=data, timeout=60)
    return response.status_code, response.json()


def get(address, path):
    response = requests.get(address + path, timeout=60)
    return response.status_code, response.json()


def predict(address, files):
    """The answers about picture files, which must be good ones."""
    status, content = ask(address, {"instances": [{"image_bytes": b64(f)} for f in files]})
    assert status == 200, content
    return content["predictions"]


def assert_is(row, picture, scale=1):
    """Whether a row is the small model's answer to a picture, by NumPy."""
    np.testing.assert_allclose(row["mean"], picture.mean((0, 1)) * scale, rtol=1e-5)
    assert row["size"] == list(picture.shape[:2])


PICTURES = [noise(20, 30), noise(41, 17, 1), noise(64, 64, 2)]
FILES = [encoded(picture) for picture in PICTURES]


@pytest.mark.parametrize("named", [True, False])
def test_rows_are_answered_in_their_order_as_rows(server, named):
    """A row is a dict of inputs, or the value of the only one."""
    rows = [{"image_bytes": b64(f)} if named else b64(f) for f in FILES]
    status, content = ask(server, {"instances": rows})
    assert (status, content.keys()) == (200, {"predictions"})
    assert len(content["predictions"]) == 3
    for row, picture, file in zip(content["predictions"], PICTURES, FILES):
        assert row.keys() == {"mean", "size", "first_bytes"}
        assert_is(row, picture)
        assert row["first_bytes"] == b64(file[:4])


@pytest.mark.parametrize("named", [True, False])
def test_columns_are_answered_as_columns(server, named):
    column = [b64(file) for file in FILES]
    status, content = ask(server, {"inputs": {"image_bytes": column} if named else column})
    assert (status, content.keys()) == (200, {"outputs"})
    assert content["outputs"]["size"] == [[20, 30], [41, 17], [64, 64]]
    assert content["outputs"]["first_bytes"] == [b64(file[:4]) for file in FILES]
    means = [picture.mean((0, 1)) for picture in PICTURES]
    np.testing.assert_allclose(content["outputs"]["mean"], means, rtol=1e-5)


def test_an_only_output_stands_without_its_name(server):
    images = np.stack([noise(4, 5), noise(4, 5, 1)])
    for form, answer in (("instances", "predictions"), ("inputs", "outputs")):
        body = {"signature_name": "images", form: images.tolist()}
        status, content = ask(server, body, "toy/versions/3:predict")
        assert (status, content.keys()) == (200, {answer})
        np.testing.assert_allclose(content[answer], images.mean((1, 2)), rtol=1e-5)


def test_single_precision_numbers_are_written_as_such(server):
    """As TensorFlow Serving writes them: not as the nearest double, 100.33333587646484."""
    picture = np.full((1, 3, 3), 100, np.uint8)
    picture[0, 0] = 101
    content = requests.post(
        f"{server}/v1/models/toy:predict", json={"instances": [b64(encoded(picture))]}, timeout=60
    ).text
    assert '"mean":[100.333336,100.333336,100.333336]' in content


WRONG = {
    "no JSON": (b"{", "JSON Parse error"),
    "a list": (b"[]", "not an object"),
    "no rows": ({"instances": []}, "at least one value"),
    "no column": ({"inputs": {"image_bytes": []}}, "at least one value"),
    "neither": ({"rows": [1]}, "exactly one of 'inputs' or 'instances'"),
    "both": ({"instances": [1], "inputs": [1]}, "exactly one of 'inputs' or 'instances'"),
    "signature": ({"signature_name": "no", "instances": [1]}, '"no" not found in signature def'),
    "signature's type": ({"signature_name": 3, "instances": [1]}, "'signature_name' must be"),
    "key": ({"instances": [{"image": "x"}]}, "instances[0] must have exactly the keys"),
    "key of the second": (
        {"instances": [{"image_bytes": b64(FILES[0])}, {}]},
        "instances[1] must have exactly the keys ['image_bytes']",
    ),
    "column's key": ({"inputs": {"image": ["x"]}}, "must have exactly the keys ['image_bytes']"),
    "number for bytes": ({"instances": [{"image_bytes": 3}]}, "value 0: expected a string"),
    "not base64": ({"instances": [b64(FILES[0]), {"b64": "?"}]}, "value 1: not base64"),
    "base64 of other letters": ({"instances": [{"b64": "é"}]}, "value 0: not base64"),
    "nested bytes": ({"instances": [["x"], ["y"]]}, "has shape [2, 1]: expected [None]"),
    "range": ({"signature_name": "images", "instances": [[[[1, 2, 256]]]]}, "outside 0..255"),
    "fraction": ({"signature_name": "images", "instances": [[[[1, 2, 0.5]]]]}, "not uint8"),
    "text": ({"signature_name": "images", "instances": [[[["a", "b", "c"]]]]}, "not uint8"),
    "ragged": ({"signature_name": "images", "instances": [[[[1, 2]]], [[[1]]]]}, "different len"),
    "channels": ({"signature_name": "images", "instances": [[[[1, 2]]]]}, "shape [1, 1, 1, 2]"),
    "too many": ({"instances": [b64(FILES[0])] * 9}, "9 values; a request may have 8"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_request_is_told_what_is_wrong(server, kind):
    body, expected = WRONG[kind]
    status, content = ask(server, body)
    assert (status, content.keys()) == (400, {"error"})
    assert expected in content["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("POST", "/v1/models/other:predict", 404, "Could not find any versions of model other"),
        ("POST", "/v1/models/toy/versions/4:predict", 404, "version 4 is not served"),
        ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/toy/versions/4", 404, "version 4"),
        ("GET", "/v1/models/toy/versions/4/metadata", 404, "version 4"),
        ("DELETE", "/v1/models/toy", 400, "Malformed request: DELETE /v1/models/toy"),
        ("GET", "/v2", 404, "Malformed request: GET /v2"),
    ],
)
def test_what_is_not_there_is_told(server, method, path, status, expected):
    body = json.dumps({"instances": [b64(FILES[0])]})
    response = requests.request(method, server + path, data=body, timeout=60)
    assert response.status_code == status
    assert expected in response.json()["error"]


def test_status_of_the_versions(server):
    available = {
        "version": "3",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    expected = 200, {"model_version_status": [available]}
    assert get(server, "/v1/models/toy") == expected
    assert get(server, "/v1/models/toy/versions/3") == expected


def test_metadata_is_the_saved_models_own(server, toy):
    """Compared with what the session loader reads, in protobuf's JSON form."""
    from google.protobuf import json_format

    status, content = get(server, "/v1/models/toy/metadata")
    assert status == 200
    assert content["model_spec"] == {"name": "toy", "signature_name": "", "version": "3"}
    found = content["metadata"]["signature_def"]["signature_def"]
    assert found.keys() == {"serving_default", "images"}
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(toy / "3"))
        for name, definition in found.items():
            expected = graph.signature_def[name]
            assert json_format.ParseDict(definition, type(expected)()) == type(expected)(
                inputs=expected.inputs,
                outputs=expected.outputs,
                method_name=expected.method_name,
            )


def test_health(server):
    assert requests.get(f"{server}/healthz", timeout=60).status_code == 200
    assert requests.get(f"{server}/readyz", timeout=60).status_code == 200


def sixteen_bit_grey():
    values = np.random.default_rng(3).integers(0, 65536, (20, 30)).astype(np.uint16)
    return encoded(values), np.repeat((values >> 8)[..., None], 3, -1)


def with_exif():
    """A picture lying on its side: signatures take pixels as they are stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise(20, 30), exif=exif), noise(20, 30)


def grey():
    values = noise(20, 30)[..., 0]
    return encoded(values), np.repeat(values[..., None], 3, -1)


def with_alpha():
    alpha = np.full((20, 30, 1), 99, np.uint8)
    return encoded(np.concatenate([noise(20, 30), alpha], -1)), noise(20, 30)


def cmyk():
    """TensorFlow turns ink into light by red = (255 - cyan) (255 - black) / 255 and so on."""
    # Plain blocks, for which every decoder's arithmetic gives the same.
    file = encoded(noise(5, 5).repeat(16, axis=0).repeat(16, axis=1), "JPEG", "CMYK")
    light = 255 - np.asarray(Image.open(io.BytesIO(file))).astype(int)
    return file, light[..., :3] * light[..., 3:] // 255


GOOD = {
    "CMYK": cmyk,
    "1x1": lambda: (encoded(noise(1, 1)), noise(1, 1)),
    "20,000 pixels wide": lambda: (encoded(noise(2, 20_000)), noise(2, 20_000)),
    "grey": grey,
    "alpha": with_alpha,
    "16 bits": sixteen_bit_grey,
    "EXIF": with_exif,
    "BMP": lambda: (encoded(noise(20, 30), "BMP"), noise(20, 30)),
}


@pytest.mark.parametrize("kind", GOOD)
def test_pictures_of_every_kind_are_answered(server, kind):
    file, picture = GOOD[kind]()
    (row,) = predict(server, [file])
    assert_is(row, picture)


BAD = {
    "text": b"no picture",
    "empty": b"",
    "half a PNG": FILES[2][:2000],
    "half a JPEG": encoded(noise(64, 64), "JPEG")[:1500],
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_is_refused_and_the_server_goes_on(server, kind):
    status, content = ask(server, {"instances": [b64(BAD[kind])]})
    assert (status, content.keys()) == (400, {"error"})
    assert 0 < len(content["error"].splitlines()) == 1 and "[[" not in content["error"]
    assert_is(predict(server, FILES[:1])[0], PICTURES[0])


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_picture_that_would_blow_up_is_refused_by_its_header(server, format):
    large = encoded(np.zeros((20_000, 20), np.uint8), format)
    status, content = ask(server, {"instances": [b64(FILES[0]), b64(large)]})
    assert status == 400
    assert "value 1: a picture of 20 x 20000 pixels" in content["error"]


def test_all_pictures_of_a_gif_count(server):
    """TensorFlow decodes every one of them, and keeps the first."""
    pictures = [Image.fromarray(noise(200, 200, n)[..., 0]) for n in range(3)]
    for count, status in ((2, 200), (3, 400)):
        file = io.BytesIO()
        pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:count])
        assert ask(server, {"instances": [b64(file.getvalue())]})[0] == status


def test_a_header_that_cannot_be_read_is_refused(server):
    """Pillow refuses a text of three million letters, which TensorFlow would pass over."""
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b" * 3_000_000, zip=True)
    file = io.BytesIO()
    Image.fromarray(noise(4, 4)).save(file, "PNG", pnginfo=text)
    status, content = ask(server, {"instances": [b64(file.getvalue())]})
    assert status == 400 and "value 0: no size can be read" in content["error"]


def test_one_bad_picture_spoils_no_other_request(toy):
    """Four requests in one batch, of mixed sizes, one of them bad."""
    files = [*FILES, b"no picture"]
    # Long enough for all four; the fourth closes the batch.
    flags = ["--max_batch_size", 4, "--batch_timeout_ms", 10_000]
    with serving(toy, *flags) as address, ThreadPoolExecutor(4) as threads:
        bodies = [{"instances": [b64(file)]} for file in files]
        answers = list(threads.map(lambda body: ask(address, body), bodies))
        # The batch, and then each of its requests by itself.
        assert metric(address, 'serve_call_rows_bucket{le="4.0"}') == 5
        assert metric(address, 'serve_call_rows_bucket{le="2.0"}') == 4
        assert metric(address, "serve_call_rows_sum") == 8
        assert metric(address, 'serve_requests_total{code="200"}') == 3
        assert metric(address, 'serve_requests_total{code="400"}') == 1
    assert [status for status, _ in answers] == [200, 200, 200, 400]
    for (_, content), picture in zip(answers, PICTURES):
        assert_is(content["predictions"][0], picture)


def test_every_client_gets_the_answers_of_its_own_pictures(toy):
    """Requests of one to three pictures of mixed sizes, bad ones among them, in shared batches."""
    pictures = [noise(5 + 3 * n, 40 - 2 * n, n) for n in range(16)]
    files = [encoded(picture) for picture in pictures]
    chosen = np.random.default_rng(0)
    wanted = [chosen.integers(16, size=chosen.integers(1, 4)) for _ in range(200)]

    def check(number):
        if number % 10 == 7:
            status, _ = ask(address, {"instances": [b64(files[0]), b64(b"no picture")]})
            assert status == 400
            return
        rows = predict(address, [files[i] for i in wanted[number]])
        assert len(rows) == len(wanted[number])
        for row, i in zip(rows, wanted[number]):
            assert_is(row, pictures[i])

    with serving(toy, "--batch_timeout_ms", 20) as address, ThreadPoolExecutor(12) as threads:
        list(threads.map(check, range(200)))
        calls = metric(address, "serve_call_rows_count")
        # Refused requests are calls of their own, so that only shared ones make fewer.
        assert 0 < calls < 200


def test_without_batching_every_request_is_a_call_of_its_own(toy):
    with serving(toy, "--max_batch_size", 1) as address, ThreadPoolExecutor(6) as threads:
        rows = list(threads.map(lambda file: predict(address, [file])[0], FILES * 4))
        assert metric(address, "serve_call_rows_count") == 12
    for row, picture in zip(rows, PICTURES * 4):
        assert_is(row, picture)


def test_a_large_body_is_refused(server):
    status, content = ask(server, b"[" * 1_100_000)
    assert status == 413 and "exceeds 1,000,000 bytes" in content["error"]
    assert_is(predict(server, FILES[:1])[0], PICTURES[0])


# A lone request waits this long for others to join its batch: longer than its time, or than
# what the test does meanwhile.
LONG = ["--batch_timeout_ms", 3000]


def test_a_request_that_takes_too_long_is_given_up(toy):
    with serving(toy, *LONG, "--timeout", 0.2) as address:
        status, content = ask(address, {"instances": [b64(FILES[0])]})
        assert status == 504 and "within 0.2 s" in content["error"]
        assert metric(address, 'serve_requests_total{code="504"}') == 1


def test_what_would_wait_too_long_is_turned_away(toy):
    with serving(toy, *LONG, "--max_waiting", 1) as address, ThreadPoolExecutor(1) as threads:
        first = threads.submit(predict, address, FILES[:1])
        wait_until(lambda: metric(address, "serve_requests_in_flight") == 1)
        wait_until(lambda: requests.get(f"{address}/readyz", timeout=60).status_code == 503)
        body = json.dumps({"instances": [b64(FILES[0])]})
        response = requests.post(f"{address}/v1/models/toy:predict", data=body, timeout=60)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert "1 requests are waiting" in response.json()["error"]
        assert requests.get(f"{address}/healthz", timeout=60).status_code == 200
        assert_is(first.result()[0], PICTURES[0])
        assert requests.get(f"{address}/readyz", timeout=60).status_code == 200


def test_a_newer_version_takes_over_and_a_broken_one_does_not(tmp_path):
    folder, said = tmp_path / "toy", []
    write_toy(folder / "1", scale=1)
    other = write_toy(tmp_path / "other", scale=2)
    with serving(folder, "--poll", 0.02, said=said) as address:
        assert_is(predict(address, FILES[:1])[0], PICTURES[0])
        # As a copy that has come half way.
        (folder / "2").mkdir()
        (folder / "2" / "saved_model.pb").write_bytes((other / "saved_model.pb").read_bytes())
        wait_until(lambda: any("version 2 does not load" in sentence for sentence in said))
        assert_is(predict(address, FILES[:1])[0], PICTURES[0])
        assert get(address, "/v1/models/toy/versions/2")[1]["model_version_status"][0]["state"] in (
            "END",
            "LOADING",
        )
        (other / "variables").rename(folder / "2" / "variables")
        wait_until(lambda: "version 2 is served" in said)
        assert_is(predict(address, FILES[:1])[0], PICTURES[0], scale=2)
        states = get(address, "/v1/models/toy")[1]["model_version_status"]
        assert [(s["version"], s["state"]) for s in states] == [("2", "AVAILABLE"), ("1", "END")]
        assert metric(address, "serve_model_version") == 2
        assert metric(address, 'serve_requests_total{code="500"}') == 0


def test_the_warm_up_file_is_asked_when_a_version_loads(tmp_path):
    version = write_toy(tmp_path / "toy" / "1")
    warmup.write(version, warmup.picture_requests(8))
    with serving(tmp_path / "toy") as address:
        assert metric(address, "serve_call_rows_count") == 2
    requests_of_nothing = {"other": {"images": np.zeros((1, 2, 2, 3), np.uint8)}}
    warmup.write(version, requests_of_nothing)
    said = []
    with (
        pytest.raises(ValueError, match="no version in .* loads"),
        serving(tmp_path / "toy", said=said),
    ):
        pass
    assert "tf_serving_warmup_requests does not suit signature 'other'" in said[0]


_SERVED_ALONE = """
import sys
from tools import serve
app = serve.make_app(serve.build_parser().parse_args(["--model", sys.argv[1]]), print)
print(sorted(n for n in sys.modules if n.split(".")[0] in ("blitznet", "config", "datasets")))
"""


def test_the_server_loads_nothing_of_this_project_but_the_reader_of_warm_up_files(toy):
    *_, found = run_python("-c", _SERVED_ALONE, toy).splitlines()
    assert found == "['blitznet', 'blitznet.protobuf', 'blitznet.warmup']"


def start(*flags):
    command = [sys.executable, "-m", "tools.serve", *map(str, flags)]
    return subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_on_sigterm_it_finishes_what_it_has_and_exits_with_0(toy):
    process = start("--model", toy, "--port", 0, *LONG, "--name", "mine")
    try:
        assert process.stdout.readline() == "mine: version 3 is served\n"
        line = process.stdout.readline().strip()
        assert line.startswith("mine: http://127.0.0.1:")
        address = line.split(": ")[1].removesuffix("/v1/models/mine:predict")
        answers = []
        body = {"instances": [b64(FILES[0])]}
        client = threading.Thread(target=lambda: answers.append(ask(address, body, "mine:predict")))
        client.start()
        wait_until(lambda: metric(address, "serve_requests_in_flight") == 1)
        process.send_signal(signal.SIGTERM)
        client.join()
        ((status, content),) = answers
        assert status == 200
        assert_is(content["predictions"][0], PICTURES[0])
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "mine: ended\n"), errors
        with pytest.raises(requests.ConnectionError):
            ask(address, body, "mine:predict")
    finally:
        process.kill()


def test_a_port_that_is_taken_is_told(toy, server, capsys):
    port = server.split(":")[-1]
    assert serve.main(["--model", str(toy), "--port", port]) == 1
    assert f"cannot listen at 127.0.0.1, port {port}: Address already in use" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "flag", ["--port 99999", "--timeout 0", "--timeout inf", "--batch_timeout_ms nan"]
)
def test_a_number_that_makes_no_sense_is_refused(flag, capsys):
    with pytest.raises(SystemExit) as stop:
        serve.build_parser().parse_args(["--model", "m", *flag.split()])
    assert stop.value.code == 2
    assert "out of range" in capsys.readouterr().err


def test_a_folder_without_versions_is_told(toy, tmp_path, capsys):
    assert serve.main(["--model", str(tmp_path), "--port", "0"]) == 1
    assert f"{tmp_path} has no version" in capsys.readouterr().err
    assert serve.main(["--model", str(toy / "3"), "--port", "0"]) == 1
    assert f"is a version itself: give the folder above it, --model {toy}" in (
        capsys.readouterr().err
    )


def test_help_comes_without_tensorflow():
    code = "import sys; from tools import serve; print('tensorflow' in sys.modules)"
    assert run_python("-c", code).strip() == "False"
    assert "--max_waiting" in run_python("-m", "tools.serve", "--help")
