"""Which version is served while its folder changes."""

import pytest

from tools.serve_json import RequestError
from tools.serve_versions import Versions


class Model:
    def __init__(self, version):
        self.version, self.closed = version, False

    def close(self, wait=False):
        self.closed = True


class Folder:
    """A folder of versions, each a file of text; one that says "bad" does not load."""

    def __init__(self, path):
        self.path, self.said, self.loaded = path, [], []
        self.versions = Versions(path, self._load, self.said.append)

    def put(self, version, text="good"):
        (self.path / str(version)).mkdir(exist_ok=True)
        (self.path / str(version) / "saved_model.pb").write_text(text)

    def take(self, version):
        (self.path / str(version)).rename(self.path / f"{version}.old")

    def states(self):
        known = self.versions.status()["model_version_status"]
        return {entry["version"]: entry["state"] for entry in known}

    def _load(self, path):
        if "bad" in (path / "saved_model.pb").read_text():
            raise ValueError("it is bad")
        self.loaded.append(Model(int(path.name)))
        return self.loaded[-1]


@pytest.fixture
def folder(tmp_path):
    folder = Folder(tmp_path)
    folder.put(9)
    folder.put(10)
    folder.put("notes")
    folder.versions.start()
    return folder


def served(folder):
    with folder.versions.borrow() as model:
        assert model.version == folder.versions.served
        return model.version


def test_the_greatest_number_is_the_newest(folder):
    assert served(folder) == 10
    assert folder.said == ["version 10 is served"]


def test_a_newer_one_is_taken_when_its_files_no_longer_change(folder):
    folder.put(11, "half")
    folder.versions.poll()
    folder.put(11, "half and half")
    folder.versions.poll()
    assert served(folder) == 10
    folder.versions.poll()
    assert served(folder) == 11
    assert folder.states() == {"11": "AVAILABLE", "10": "END"}
    assert [model.closed for model in folder.loaded] == [True, False]


def test_a_broken_one_is_told_once_and_tried_again_when_it_changes(folder):
    folder.put(11, "bad")
    for _ in range(4):
        folder.versions.poll()
    assert served(folder) == 10
    told = ["version 11 does not load, tried again when it changes: it is bad"]
    assert folder.said[1:] == told
    (entry, _) = folder.versions.status()["model_version_status"]
    assert (entry["state"], entry["status"]["error_message"]) == ("END", "it is bad")
    folder.put(11, "mended")
    folder.versions.poll()
    folder.versions.poll()
    assert served(folder) == 11


def test_what_is_borrowed_is_unloaded_when_it_is_given_back(folder):
    with folder.versions.borrow() as old:
        folder.put(11)
        folder.versions.poll()
        folder.versions.poll()
        assert served(folder) == 11
        assert folder.states() == {"11": "AVAILABLE", "10": "UNLOADING"}
        assert not old.closed
    assert old.closed
    assert folder.states() == {"11": "AVAILABLE", "10": "END"}
    assert folder.said[-2:] == ["version 11 is served", "version 10 is unloaded"]


def test_a_version_that_comes_back_is_not_the_one_that_was_borrowed_before(folder):
    with folder.versions.borrow() as before:
        folder.put(11)
        folder.versions.poll()
        folder.versions.poll()
        folder.take(11)
        folder.versions.poll()
        assert served(folder) == 10
        with folder.versions.borrow() as again:
            assert again is not before and not before.closed
            folder.put(12)
            folder.versions.poll()
            folder.versions.poll()
            assert served(folder) == 12 and not again.closed
        assert again.closed and not before.closed
    assert before.closed


def test_where_the_served_one_is_taken_away_the_newest_that_is_left_is_served(folder):
    folder.take(10)
    folder.versions.poll()
    assert served(folder) == 9
    folder.take(9)
    folder.versions.poll()
    assert served(folder) == 9, "the last one stays"


def test_a_folder_that_cannot_be_read_is_told_and_nothing_changes(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(f"not allowed: {path}")

    monkeypatch.setattr(type(folder.path), "iterdir", refuse)
    folder.versions.poll()
    assert served(folder) == 10
    assert folder.said[-1] == f"the versions cannot be looked at: not allowed: {folder.path}"


def test_only_the_served_version_can_be_asked_for(folder):
    with folder.versions.borrow(10) as model:
        assert model.version == 10
    with pytest.raises(RequestError, match="version 9 is not served"), folder.versions.borrow(9):
        pass


def test_an_older_one_is_served_where_the_newest_does_not_load(tmp_path):
    folder = Folder(tmp_path)
    folder.put(1)
    folder.put(2, "bad")
    folder.versions.start()
    assert served(folder) == 1
    assert "version 2 does not load" in folder.said[0]


def test_without_one_that_loads_it_does_not_start(tmp_path):
    folder = Folder(tmp_path)
    folder.put(2, "bad")
    with pytest.raises(ValueError, match=f"no version in {tmp_path} loads, see above"):
        folder.versions.start()
    assert "it is bad" in folder.said[0]
