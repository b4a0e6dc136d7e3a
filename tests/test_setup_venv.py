"""`make setup` picks a Python that TensorFlow has, and gets by without ensurepip and libGL."""

import subprocess
import sys

import pytest

from tools import setup_venv


@pytest.mark.parametrize(
    ("version", "expected"),
    [((3, 8), False), ((3, 9), True), ((3, 13), True), ((3, 14), False), ((2, 7), False)],
)
def test_supported_pythons_are_those_with_tensorflow_wheels(version, expected):
    assert setup_venv.supported(version) is expected


def test_the_newest_supported_python_on_path_is_found(monkeypatch, tmp_path):
    for minor in (8, 10, 12, 14):
        script = tmp_path / f"python3.{minor}"
        script.write_text("#!/bin/sh\nexit 0\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup_venv.find_python() == str(tmp_path / "python3.12")


def test_no_supported_python_says_which_are_needed_and_how_to_name_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"3\.9 to 3\.13.*make setup PYTHON="):
        setup_venv.find_python()


def test_without_apt_the_missing_ensurepip_is_explained(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="neither ensurepip nor pip.*python3-venv"):
        setup_venv.fetch_pip_wheel(tmp_path)


def test_a_missing_environment_is_unusable_and_the_running_python_is_usable(tmp_path):
    assert not setup_venv.usable(tmp_path / "bin" / "python")
    assert setup_venv.usable(setup_venv.Path(sys.executable))


@pytest.fixture
def environment(monkeypatch):
    """Stands in for an environment: scripted answers to `import cv2`, and a list of pip calls."""

    def make(error):
        calls = []
        failed = subprocess.CompletedProcess([], returncode=bool(error), stderr=error)
        monkeypatch.setattr(setup_venv, "attempt", lambda *arguments: failed)
        monkeypatch.setattr(setup_venv, "pip", lambda python, *words: calls.append(words))
        monkeypatch.setattr(setup_venv.subprocess, "check_output", lambda *a, **k: "4.11.0.86\n")
        monkeypatch.setattr(setup_venv.subprocess, "run", lambda *a, **k: None)
        return calls

    return make


def test_a_working_opencv_is_left_alone(environment):
    calls = environment("")
    setup_venv.repair_opencv("python")
    assert calls == []


def test_a_missing_library_brings_the_headless_opencv_of_the_same_version(environment, capsys):
    calls = environment("Traceback\nImportError: libGL.so.1: cannot open shared object file\n")
    setup_venv.repair_opencv("python")
    assert [words[0] for words in calls] == ["uninstall", "install"]
    assert calls[0][-1] == "opencv-python"
    assert calls[1][-1] == "opencv-python-headless==4.11.0.86"
    printed = capsys.readouterr().out
    assert "libGL.so.1" in printed
    assert "apt-get install libgl1 libglib2.0-0 libxcb1" in printed


def test_another_opencv_failure_is_shown_and_nothing_is_exchanged(environment):
    calls = environment("ImportError: numpy.core.multiarray failed to import")
    with pytest.raises(SystemExit, match="multiarray failed"):
        setup_venv.repair_opencv("python")
    assert calls == []
