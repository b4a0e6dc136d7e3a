"""The web page: what it shows, in a real headless Chromium where there is one."""

import contextlib
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from blitznet import visualize
from blitznet.prediction import Prediction
from helpers import CHECKOUT
from tools import quickstart_scene, web_demo, web_samples, web_screenshot, web_view

# Of pandas, in Gradio's own count of events.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")

NAMES = ("cat", "<dog>")
BOXES = np.array([[0.1, 0.1, 0.5, 0.4], [0.4, 0.5, 0.9, 0.9], [0, 0, 0.3, 0.3]], np.float32)
SCORES = np.array([0.9, 0.6, 0.2], np.float32)
CLASSES = np.array([1, 2, 1], np.int32)
LIMIT = 300_000  # bytes of an upload


def regions(height, width):
    """A class map: cat in the left half, dog in the upper right quarter."""
    classes = np.zeros((height, width), np.uint8)
    classes[:, : width // 2] = 1
    classes[: height // 2, width // 2 :] = 2
    return classes


class KnownPredictor:
    """Finds the same in every picture, and counts how often it is asked."""

    class_names, detects, segments, source, step = NAMES, True, True, "exported/known/7", 7
    own_sizes = False

    def __init__(self):
        self.calls, self.seen = 0, []

    def predict(self, images):
        self.calls += 1
        self.seen = [image.shape for image in images]
        height, width = images[0].shape[:2]
        names = tuple(NAMES[c - 1] for c in CLASSES)
        found = BOXES, SCORES, CLASSES, names, regions(height, width), height, width, NAMES
        return [Prediction(*found)]


def encoded(picture, kind="PNG", **options):
    """The bytes of a file of a `PIL.Image` or of an array."""
    file = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(file, kind, **options)
    return file.getvalue()


def plain(height=300, width=400):
    """A picture of one colour: JPEG changes it little."""
    return np.full((height, width, 3), (90, 140, 120), np.uint8)


def expected(height, width, opacity=0.5, classes=(1, 2), least=0.3):
    """What the page draws on `plain`, put together here from the drawing functions."""
    shown = regions(height, width)
    shown[~np.isin(shown, classes)] = 0
    kept = [n for n in range(3) if CLASSES[n] in classes and SCORES[n] >= least]
    found = BOXES[kept], CLASSES[kept], SCORES[kept]
    return visualize.draw(plain(height, width), shown if opacity else None, *found, NAMES, opacity)


# What is shown, without a browser.


@pytest.fixture
def view():
    return web_view.look(KnownPredictor(), encoded(plain(600, 800)), "a.png")


@pytest.mark.parametrize(
    "choice",
    [{}, {"least": 0.1}, {"least": 0.95}, {"classes": (2,)}, {"classes": ()}, {"opacity": 0}],
)
def test_the_drawing_holds_the_chosen_classes_above_the_confidence(view, choice):
    chosen = {"opacity": 0.5, "classes": (1, 2), "least": 0.3, **choice}
    drawn = web_view.draw(view, chosen["classes"], chosen["least"], chosen["opacity"])
    np.testing.assert_array_equal(drawn, expected(600, 800, **chosen))


def test_the_list_counts_what_it_leaves_out_and_shows_names_as_text(view):
    text = web_view.found_html(view, (1, 2), 0.3)
    assert text.count("&lt;dog&gt;") == 2 and "<dog>" not in text
    assert ["0.90" in text, "0.60" in text, "0.20" in text] == [True, True, False]
    assert "1 less sure" in text
    assert ["50.0%" in text, "25.0%" in text] == [True, True]
    only_dogs = web_view.found_html(view, (2,), 0.3)
    assert ["cat" in only_dogs, "2 less sure" in only_dogs] == [False, True]


def test_a_network_that_only_segments_lists_areas_alone(view):
    nothing = view.prediction.at_least(2)
    text = web_view.found_html(web_view.replace(view, prediction=nothing), (1, 2), 0.3)
    assert ["Objects" in text, "Areas" in text] == [False, True]


def test_detections_too_unsure_for_the_slider_name_no_class():
    predictor = KnownPredictor()
    (whole,) = predictor.predict([plain()])
    unsure = web_view.replace(whole, scores=np.float32([0.9, 0.01, 0.01]), class_map=None)
    predictor.predict = lambda images: [unsure]
    view = web_view.look(predictor, encoded(plain()), "a.png")
    assert web_view.classes_found(view.prediction) == [1]


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((1, 1), (800, 800)),
        ((100, 200), (400, 800)),
        ((900, 1000), (900, 1000)),
        ((6000, 4000), (1280, 853)),
        ((2, 20000), (1, 1280)),
    ],
)
def test_small_pictures_are_enlarged_and_large_ones_reduced(size, shown):
    assert web_view.shown_size(*size) == shown


@pytest.mark.parametrize(
    ("own_sizes", "size", "seen"),
    [
        (False, (1300, 2600), (1300, 2600, 3)),
        (True, (1300, 2600), (640, 1280, 3)),
        (True, (100, 200), (100, 200, 3)),
    ],
)
def test_at_its_own_size_a_network_sees_no_more_than_is_shown(own_sizes, size, seen):
    predictor = KnownPredictor()
    predictor.own_sizes = own_sizes
    view = web_view.look(predictor, encoded(plain(*size)), "a.png")
    assert (predictor.seen, view.size) == ([seen], size)
    assert view.picture.shape[:2] == view.prediction.class_map.shape == web_view.shown_size(*size)


def test_the_list_ends_where_nobody_reads_on(view):
    many = web_view.replace(
        view.prediction,
        boxes=np.repeat(BOXES[:1], 200, axis=0),
        scores=np.linspace(1, 0.5, 200, dtype=np.float32),
        classes=np.ones(200, np.int32),
        names=("cat",) * 200,
    )
    shown = web_view.selected(many, (1,), 0.3)
    np.testing.assert_array_equal(shown.scores, many.scores[:50])


def test_samples_come_from_a_folder_and_bad_files_are_left_out(tmp_path, capsys):
    (tmp_path / "b.png").write_bytes(encoded(plain()))
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    (sample,) = web_samples.samples_of_folder(tmp_path)
    assert (sample.name, sample.source) == ("b.png", tmp_path / "b.png")
    assert "a.jpg is not a picture" in capsys.readouterr().err
    (tmp_path / "b.png").unlink()
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match="--samples"):
            web_samples.samples_of_folder(folder)


def test_drawn_samples_are_for_the_classes_that_they_show():
    assert web_samples.drawn_samples(NAMES) == []
    samples = web_samples.drawn_samples(quickstart_scene.CLASS_NAMES)
    assert len({sample.source for sample in samples}) == len(samples) == 8


# The command line.


def test_a_taken_port_a_missing_run_and_a_missing_package_are_said(tmp_path, capsys, monkeypatch):
    flags = ["--run_name", "none", "--archive", str(tmp_path)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert web_demo.main([*flags, "--port", port]) == 1
        assert f"cannot listen at 127.0.0.1, port {port}" in capsys.readouterr().err
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # put back afterwards
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert web_demo.main([*flags, "--port", "0"]) == 1
    assert "pip install -e .[web]" in capsys.readouterr().err
    monkeypatch.setattr(web_demo, "import_gradio", lambda scratch: None)
    assert web_demo.main([*flags, "--port", "0"]) == 1
    assert f"no folder {tmp_path / 'none'}" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_out_of_range_is_refused(port, capsys):
    with pytest.raises(SystemExit) as stop:
        web_demo.main(["--run_name", "r", "--port", port])
    assert stop.value.code == 2
    assert "--port" in capsys.readouterr().err


# In a browser.


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; skips, saying what is missing."""
    pytest.importorskip("gradio", reason="needs Gradio: pip install -e .[web]")
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(web_screenshot.chromium())
        except web_screenshot.MissingProgram as error:
            pytest.skip(f"needs a browser: {error}")
        yield opened


@pytest.fixture(scope="module")
def served(browser, tmp_path_factory):
    """`(address, KnownPredictor)` of the page, served here with one sample."""
    uvicorn = pytest.importorskip("uvicorn")
    folder = tmp_path_factory.mktemp("web")
    (folder / "sample.png").write_bytes(encoded(plain(60, 80)))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR", "HF_HUB_DISABLE_TELEMETRY"):
            patch.setenv(name, "")  # import_gradio changes them, this test puts them back
        web_demo.import_gradio(folder)
        from tools.web_page import make_app

        predictor = KnownPredictor()
        app = make_app(predictor, web_samples.samples_of_folder(folder), LIMIT)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        )
        listening = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", predictor
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser, served):
    """The page, opened; holds that it asked no other host for anything."""
    opened = browser.new_page(viewport={"width": 1280, "height": 860})
    asked = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.set_default_timeout(90_000)  # for a busy machine
    opened.goto(served[0])
    opened.locator("#samples button.thumbnail-item").wait_for()
    yield opened
    own = (f"{served[0]}/", "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
    assert len(asked) > 10
    opened.close()


def upload(page, content, name="a.png", kind="image/png"):
    """Give the page a file."""
    file = {"name": name, "mimeType": kind, "buffer": content}
    page.locator("#upload input[type=file]").set_input_files(file)


def drawn_after(page, act):
    """The picture on the page, as an array, that `act` makes it show in place of the last."""
    image = page.locator("#drawn img")
    before = image.get_attribute("src") if image.count() else None
    act()
    page.wait_for_function(
        "before => { const image = document.querySelector('#drawn img');"
        "return image && image.src !== before && image.complete; }",
        arg=before,
    )
    answer = page.request.get(image.get_attribute("src"))
    return np.asarray(Image.open(io.BytesIO(answer.body())).convert("RGB"))


def assert_like(picture, wanted):
    """As equal as JPEG leaves two pictures."""
    assert picture.shape == wanted.shape
    assert np.abs(picture.astype(int) - wanted).mean() < 3


def test_sliders_and_toggles_redraw_without_the_network(page, served):
    heading = "Boxes and masks of 2 classes (cat, <dog>) by known, step 7"
    assert page.locator("#heading p").inner_text() == heading
    calls = served[1].calls
    found, slide = page.locator("#found"), page.locator
    assert_like(drawn_after(page, lambda: upload(page, encoded(plain()))), expected(600, 800))
    assert found.inner_text().split("\n")[:6] == ["Objects", "cat", "0.90", "<dog>", "0.60", ""]
    assert page.locator("#timing").inner_text().startswith("a.png, 400 × 300 pixels · reading")

    def move(name, value):
        return lambda: slide(f"#{name} input[type=range]").fill(str(value))

    surer = drawn_after(page, move("confidence", 0.7))
    assert_like(surer, expected(600, 800, least=0.7))
    assert "0.60" not in found.inner_text()
    all_boxes = drawn_after(page, move("confidence", 0.1))
    assert_like(all_boxes, expected(600, 800, least=0.1))
    without = drawn_after(page, lambda: page.get_by_label("cat", exact=True).uncheck())
    assert_like(without, expected(600, 800, classes=(2,), least=0.1))
    assert "cat" not in found.inner_text()
    opaque = drawn_after(page, move("opacity", 1))
    assert_like(opaque, expected(600, 800, classes=(2,), least=0.1, opacity=1))
    bare = drawn_after(page, move("opacity", 0))
    assert_like(bare, expected(600, 800, classes=(2,), least=0.1, opacity=0))
    assert served[1].calls == calls + 1


def test_a_slider_without_a_picture_asks_for_one(page):
    page.locator("#opacity input[type=range]").fill("0.7")
    page.get_by_text("Choose a picture first.").wait_for()
    drawn_after(page, lambda: upload(page, encoded(plain())))
    assert page.locator("#notice").count() == 0


def test_a_phone_shows_a_sample_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    sample = page.locator("#samples button.thumbnail-item")
    assert_like(drawn_after(page, sample.click), expected(600, 800))
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == page.evaluate("window.innerWidth") == 390
    for control in ("upload", "samples", "drawn", "confidence", "opacity", "classes", "found"):
        box = page.locator(f"#{control}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390, control


def rotated():
    """A JPEG stored lying, 90 wide, that its EXIF turns upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(plain(40, 90), "JPEG", exif=exif)


def vast_png(width, height):
    """A PNG file that says its size and holds hardly a pixel."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0\0"))):
        check = struct.pack(">I", zlib.crc32(kind + content))
        file += struct.pack(">I", len(content)) + kind + content + check
    return file


def test_odd_pictures_are_shown(page):
    odd = {
        "40 × 90": rotated(),
        "1 × 1": encoded(plain(1, 1)),
        "20000 × 2": encoded(plain(2, 20000)),
        "31 × 30": encoded(plain(30, 31)[..., 0]),
        "32 × 30": encoded(np.dstack([plain(30, 32), np.full((30, 32), 9, np.uint8)])),
        "33 × 30": encoded(np.full((30, 33), 40000, np.uint16)),
        "34 × 30": encoded(Image.new("CMYK", (34, 30)), "JPEG"),
    }
    for size, content in odd.items():
        upload(page, content)
        page.get_by_text(f"{size} pixels").wait_for()
        assert page.locator("#notice").count() == 0


def test_bad_files_get_one_sentence_and_the_next_picture_works(page):
    notice = page.locator("#notice [role=alert]")
    for name, content, sentence in [
        ("empty.png", b"", "empty.png is empty"),
        ("note.png", b"hello", "note.png is not a picture: expected one of JPEG"),
        ("cut.png", encoded(plain())[:300], "cut.png is a PNG that is damaged, cut short"),
        ("wide.png", vast_png(20000, 20000), "wide.png is too large"),
    ]:
        upload(page, content, name)
        page.get_by_text(sentence).wait_for()
        assert notice.count() == 1
        assert page.locator("#drawn img").count() == 0
        assert page.locator("#classes").count() == 0
    assert_like(drawn_after(page, lambda: upload(page, encoded(plain()))), expected(600, 800))
    assert notice.count() == 0


def test_files_that_are_too_large_or_no_pictures_are_refused_before_they_are_sent(page, served):
    calls = served[1].calls
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    upload(page, encoded(noise), "large.png")
    page.get_by_text("exceed the maximum allowed size").wait_for()
    upload(page, b"hello", "note.txt", "text/plain")
    page.get_by_text("Invalid file type: note.txt").wait_for()
    answer = page.request.post(
        f"{served[0]}/gradio_api/upload",
        multipart={"files": {"name": "x.png", "mimeType": "image/png", "buffer": bytes(LIMIT + 1)}},
    )
    assert answer.status == 413
    assert served[1].calls == calls


def test_the_browser_is_told_to_ask_no_other_host(page, served):
    headers = page.request.get(served[0]).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    blocked = page.evaluate("fetch('http://127.0.0.2:9/').then(() => 'sent', () => 'blocked')")
    assert blocked == "blocked"


@contextlib.contextmanager
def command(*flags):
    """`(process, address)` of the tool in a process of its own, with a proxy that counts calls."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        proxies = dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"], address)
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.web_demo", *map(str, flags), "--port", "0"],
            cwd=CHECKOUT,
            env={**os.environ, **proxies},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait()
        with pytest.raises(BlockingIOError):
            proxy.accept()


def write_run(folder):
    """A run of an untrained toy network, with a checkpoint of step 10."""
    from blitznet import checkpoints, runs

    shape = {"image_size": 64, "trunk": "resnet18_half", "top_fm": 16, "n_base_channels": 8}
    shape.update(detect=True, segment=True)
    description = runs.describe(shape, NAMES, {})
    runs.write_flags(folder, description)
    checkpoints.save(folder, 10, runs.build(description)[0])


def test_the_command_serves_a_run_calls_nobody_and_ends_in_peace(browser, tmp_path):
    write_run(tmp_path / "r")
    picture = tmp_path / "a.jpg"
    picture.write_bytes(encoded(plain(), "JPEG"))
    with command("--run_name", "r", "--archive", tmp_path, "--ckpt", 0.01) as (process, url):
        output = tmp_path / "page.png"
        flags = ["--url", url, "--picture", picture, "--output", output, "--size", "700", "800"]
        # Playwright runs one browser in a process: the tool gets its own.
        tool = [sys.executable, "-m", "tools.web_screenshot", *map(str, flags)]
        subprocess.run(tool, cwd=CHECKOUT, check=True, capture_output=True)
        assert Image.open(output).size == (700, 800)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
