"""The worked examples of the README, run as they stand there on small pictures."""

import importlib
import re
import shlex

import pytest

from coco_fixture import annotations_of, image, write_json, write_picture
from helpers import CHECKOUT
from tiny_run import MODEL
from voc_fixture import write_voc

# Added to a command; the last of two equal flags counts.
_SMALLER = {
    "training": [*MODEL, "--random_trunk_init", "--batch_size", "2", "--max_iterations", "2"],
    "test": ["--save_first_n", "1"],
}
_CLASSES = ("cat", "dog")


def _example(run_name):
    """The commands of the README's block that is marked as run here and trains `run_name`."""
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"test_readme.py runs this -->\n```\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if f"--run_name {run_name} " in block]
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]


def _run(command):
    assert command[0] == "python"
    module, flags = (command[2], command[3:]) if command[1] == "-m" else (command[1], command[2:])
    module = module.removesuffix(".py")
    script = importlib.import_module(module)
    assert script.main([*flags, *_SMALLER.get(module, [])]) == 0, command


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty folder in which the commands run, with data/ and archive/ of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLITZNET_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BLITZNET_ARCHIVE", str(tmp_path / "archive"))
    return tmp_path


@pytest.mark.slow
def test_pictures_of_ones_own_with_boxes(checkout):
    write_voc(checkout, pictures=8, class_names=_CLASSES).rename(checkout / "pets")
    items = [f'item {{ id: {i} name: "{name}" }}\n' for i, name in enumerate(_CLASSES, 1)]
    (checkout / "pets" / "label_map.pbtxt").write_text("".join(items))
    for command in _example("pets"):
        _run(command)
    run = checkout / "archive" / "pets"
    assert (checkout / "check" / "samples.png").is_file()
    assert (run / "evaluation-pets-val-2.json").is_file()
    assert len(list((run / "pictures-pets-val-2").iterdir())) == 1
    labels = checkout / "exported" / "pets" / "2" / "assets" / "labels.txt"
    assert labels.read_text().split() == ["background", *_CLASSES]


@pytest.mark.slow
def test_pictures_of_ones_own_with_cocos_annotations(checkout):
    for split, ids in (("train", (1, 2, 4)), ("val", (5, 6))):
        for number in ids:
            write_picture(checkout / "cups" / "jpg" / f"{number}.jpg")
        found = [each for number in ids for each in annotations_of(number, categories=(2, 5))]
        images = [image(number, f"{number}.jpg") for number in ids]
        write_json(checkout / "cups" / f"{split}.json", images, found, {2: "cup", 5: "mug"})
    for command in _example("cups"):
        _run(command)
    assert (checkout / "archive" / "cups" / "evaluation-cups-val-2.json").is_file()
