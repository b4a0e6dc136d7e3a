"""`make setup` picks a Python that the stack has, and gets by without ensurepip and libGL."""

import subprocess
import sys

import pytest

from tools import setup_venv
from tools.setup_venv import ADDONS, CURRENT


@pytest.mark.parametrize(
    ("version", "current", "addons"),
    [
        ((2, 7), False, False),
        ((3, 8), False, False),
        ((3, 9), True, True),
        ((3, 11), True, True),
        ((3, 12), True, False),
        ((3, 13), True, False),
        ((3, 14), False, False),
    ],
)
def test_supported_pythons_are_those_with_tensorflow_wheels(version, current, addons):
    assert setup_venv.supported(version, CURRENT) is current
    assert setup_venv.supported(version, ADDONS) is addons


@pytest.mark.parametrize(("stack", "newest"), [(CURRENT, 12), (ADDONS, 10)])
def test_the_newest_supported_python_on_path_is_found(monkeypatch, tmp_path, stack, newest):
    # Version managers leave commands for Pythons that they do not let run: 3.11 here.
    for minor in (8, 9, 10, 11, 12, 14):
        script = tmp_path / f"python3.{minor}"
        script.write_text(f"#!/bin/sh\nexit {int(minor == 11)}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup_venv.find_python(stack) == str(tmp_path / f"python3.{newest}")


@pytest.mark.parametrize(
    ("stack", "sentence"),
    [
        (CURRENT, r"the current TensorFlow needs Python 3\.9 to 3\.13,.*`make setup PYTHON="),
        (ADDONS, r"tensorflow-addons needs Python 3\.9 to 3\.11,.*setup-addons PYTHON_ADDONS="),
    ],
)
def test_no_supported_python_says_which_are_needed_and_how_to_name_one(
    monkeypatch, tmp_path, stack, sentence
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=sentence):
        setup_venv.find_python(stack)


def test_a_python_too_new_for_the_addons_hands_over_to_an_older_one(monkeypatch):
    commands = []

    def execv(program, command):
        commands.append([program, *command])
        raise SystemExit

    monkeypatch.setattr(setup_venv.sys, "version_info", (3, 12, 1))
    monkeypatch.setattr(setup_venv, "find_python", lambda stack: f"{stack.newest[1]}/python")
    monkeypatch.setattr(setup_venv.os, "execv", execv)
    with pytest.raises(SystemExit):
        setup_venv.main(["/x/.venv-addons", "--addons"])
    python = "11/python"
    assert commands == [[python, python, setup_venv.__file__, "/x/.venv-addons", "--addons"]]


@pytest.mark.parametrize(
    ("flags", "extras"),
    [
        ([], "[dev,plot,serve,web,tflite,onnx,openvino]"),
        (["--addons"], "[addons,dev,plot,serve,web,tflite,onnx,openvino]"),
    ],
)
def test_each_environment_gets_its_extras(environment, monkeypatch, tmp_path, flags, extras):
    calls = environment("")
    monkeypatch.setattr(setup_venv, "usable", lambda python, stack: True)
    monkeypatch.setattr(setup_venv, "supported", lambda version, stack: True)
    setup_venv.main([str(tmp_path), *flags])
    assert calls[-1] == ("install", "--editable", f"{setup_venv.CHECKOUT}{extras}")


def test_without_apt_the_missing_ensurepip_is_explained(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="neither ensurepip nor pip.*python3-venv"):
        setup_venv.fetch_pip_wheel(tmp_path)


def test_a_missing_environment_is_unusable_and_the_running_python_is_usable(tmp_path):
    assert not setup_venv.usable(tmp_path / "bin" / "python", CURRENT)
    assert setup_venv.usable(setup_venv.Path(sys.executable), CURRENT)


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
