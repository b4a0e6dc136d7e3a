"""Where things lie: a flag wins over the environment, that over the checkout."""

from pathlib import Path

import pytest

import paths
from helpers import CHECKOUT

VARIABLES = ("BLITZNET_DATA", "BLITZNET_RECORDS", "BLITZNET_ARCHIVE")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_defaults_lie_in_the_checkout():
    assert paths.data_root() == CHECKOUT / "data"
    assert paths.archive() == CHECKOUT / "archive"
    assert paths.records_dir("/d") == Path("/d/records")


@pytest.mark.parametrize(
    ("function", "variable"),
    [
        (paths.data_root, "BLITZNET_DATA"),
        (paths.archive, "BLITZNET_ARCHIVE"),
        (lambda flag=None: paths.records_dir("/d", flag), "BLITZNET_RECORDS"),
    ],
)
def test_a_flag_wins_over_the_environment_and_that_over_the_default(
    function, variable, monkeypatch
):
    monkeypatch.setenv(variable, "/from/environment")
    assert function() == Path("/from/environment")
    assert function("/from/flag") == Path("/from/flag")
    monkeypatch.setenv(variable, "")
    assert function() != Path("")


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert paths.archive("~/runs") == Path("/home/someone/runs")


def test_folders_below_the_roots():
    assert paths.voc_dir("/d", "07") == Path("/d/VOCdevkit/VOC2007")
    assert paths.coco_dir("/d") == Path("/d/coco")
    assert paths.run_dir("/a", "first") == Path("/a/first")


def test_nothing_is_created(tmp_path):
    for path in (paths.data_root(tmp_path / "d"), paths.archive(tmp_path / "a")):
        assert not path.exists()


def test_a_file_is_no_folder_of_records(tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(ValueError, match="mine.json is a file.*--dataset custom"):
        paths.records_dir("/d", tmp_path / "mine.json")
