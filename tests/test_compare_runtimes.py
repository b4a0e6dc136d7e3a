"""The table of formats: figures by hand, and the tool on a small run."""

import numpy as np
import pytest

from blitznet.export.formats import FORMATS
from tools import compare_runtimes


class FakeRuntime:
    """Answers scores that are 0.25 too high in one place; an export takes half as long."""

    def __init__(self, name, folder):
        self.name, self.folder = name, str(folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def answer(self, images):
        assert images.dtype == (np.uint8 if self.name == "savedmodel" else np.float32)
        classes = np.array([[[0, 1], [2, 3]]], np.uint8)
        return {"class_scores": np.array([[0.5, 0.75]]), "semantic_classes": classes}

    def time(self, calls, images):
        return [0.25 if self.folder == "export" else 0.5] * calls


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(compare_runtimes, "Runtime", FakeRuntime)


PICTURE = np.zeros((1, 2, 2, 3), np.uint8)


def test_errors_by_hand(fake):
    live = {
        "class_scores": np.array([[0.5, 0.5]], np.float32),
        "semantic_classes": np.array([[[255, 1], [2, 3]]], np.uint8),
    }
    found = compare_runtimes.errors("tflite", {"none": "export"}, [PICTURE], [live])
    assert found == [0.25, None, 0.25]


def test_times_by_hand(fake):
    assert compare_runtimes.time_by_turns("onnx", "export", "other", PICTURE, 5) == [250.0, 2.0]


def test_sizes_by_hand(tmp_path):
    (tmp_path / "below").mkdir()
    for name, size in (("a", 1000), ("below/b", 500)):
        (tmp_path / name).write_bytes(bytes(size))
    assert compare_runtimes.megabytes(tmp_path) == 1.5e-3


def test_the_tool_on_a_small_run(tiny_archive, capsys):
    flags = ["--run_name", "r", "--archive", tiny_archive, "--calls", 2]
    flags += ["--variants", "savedmodel:float32", "savedmodel:bfloat16"]
    assert compare_runtimes.main([str(flag) for flag in flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith("| savedmodel")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert [row[1] for row in cells] == ["float32", "bfloat16"]
    sizes, scores = ([float(row[i]) for row in cells] for i in (2, 3))
    assert sizes[1] < 0.8 * sizes[0]
    assert scores[0] < 1e-4 < scores[1] < 0.1


def test_variants_that_cannot_be_made_are_told(tiny_archive, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    assert compare_runtimes.available(compare_runtimes.variants()) == [
        ("savedmodel", precision) for precision in FORMATS["savedmodel"].precisions
    ]
    assert "pip install -e .[openvino]" in capsys.readouterr().out


def test_a_wrong_variant_is_answered_with_those_that_exist(capsys):
    with pytest.raises(SystemExit):
        compare_runtimes.main(["--run_name", "r", "--variants", "tflite:float8"])
    assert "no tflite:float8; there: savedmodel:float32" in capsys.readouterr().err
