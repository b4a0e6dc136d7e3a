"""A missing or broken OpenCV says what to install."""

import importlib
import sys

import pytest


class _FailingFinder:
    """Makes `import cv2` raise the given error."""

    def __init__(self, error):
        self.error = error

    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            raise self.error


@pytest.fixture
def import_with_failing_cv2(monkeypatch):
    def load(error):
        monkeypatch.delitem(sys.modules, "cv2", raising=False)
        monkeypatch.delitem(sys.modules, "blitznet.opencv", raising=False)
        monkeypatch.setattr(sys, "meta_path", [_FailingFinder(error), *sys.meta_path])
        return importlib.import_module("blitznet.opencv")

    return load


@pytest.mark.parametrize("library", ["libGL.so.1", "libxcb.so.1", "libgthread-2.0.so.0"])
def test_missing_system_library_names_the_apt_packages(import_with_failing_cv2, library):
    cause = ImportError(f"{library}: cannot open shared object file: No such file or directory")
    with pytest.raises(ImportError) as caught:
        import_with_failing_cv2(cause)
    text = str(caught.value)
    assert library in text
    assert "apt-get install libgl1 libglib2.0-0 libxcb1" in text
    assert "pip install opencv-python-headless" in text
    assert caught.value.__cause__ is cause


def test_missing_package_names_the_pip_command_and_no_apt_packages(import_with_failing_cv2):
    with pytest.raises(ImportError) as caught:
        import_with_failing_cv2(ModuleNotFoundError("No module named 'cv2'", name="cv2"))
    assert "pip install opencv-python" in str(caught.value)
    assert "apt-get" not in str(caught.value)
