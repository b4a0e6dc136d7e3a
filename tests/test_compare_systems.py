"""The comparison of systems: flags that training takes, starts, results, its table and marks."""

import json

import numpy as np
import pytest

import config
from blitznet.opencv import cv2
from tools import compare_systems
from tools.systems import SYSTEMS, System


def words(output, name, scale=1.0):
    commands = compare_systems.commands(output, name, scale)
    return [[str(word) for word in command] for _, command in commands]


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_is_one_that_training_and_evaluation_accept(name, tmp_path):
    first, score, rest, again = words(tmp_path, name)
    assert first[0] == rest[0] == "training.py" and score == again and score[0] == "test.py"
    for command, last in ((first, 1), (rest, SYSTEMS[name].steps)):
        settings = config.training_config(config.training_parser().parse_args(command[1:]))
        assert settings.run.max_iterations == last
    config.evaluation_parser().parse_args(score[1:])
    assert "--random_trunk_init" in first or "--init_from" in first
    assert not {"--random_trunk_init", "--init_from"} & set(rest), "it goes on from the first step"


def test_a_system_begins_with_the_last_weights_of_another(tmp_path):
    first, *_ = words(tmp_path, "fcn16s", 0.01)
    source = first[first.index("--init_from") + 1]
    assert source == str(tmp_path / "archive" / "fcn32s" / "model.ckpt-20")


def test_starts_come_before_what_begins_with_them():
    assert compare_systems.with_starts(["fcn8s"]) == ["fcn32s", "fcn16s", "fcn8s"]
    assert compare_systems.with_starts(["fcn8s", "detnet59-pretrained"]) == [
        *("classifier-detnet59", "detnet59-pretrained"),
        *("fcn32s", "fcn16s", "fcn8s"),
    ]


def row(first, last, score="miou", **more):
    return {"first": {score: first}, "last": {score: last, **more}, "steps": 9, "minutes": 1.5}


def test_a_result_counts_for_the_very_system_and_steps(tmp_path, monkeypatch):
    folder = tmp_path / "archive" / "toy"
    folder.mkdir(parents=True)
    monkeypatch.setitem(SYSTEMS, "base", System("drawn", "", 100))
    monkeypatch.setitem(SYSTEMS, "toy", System("drawn", "--x4", 100, "base"))
    content = {"system": compare_systems.described("toy"), **row(0.1, 0.2), "steps": 50}
    (folder / "system.json").write_text(json.dumps(content))
    assert compare_systems.result(tmp_path, "toy", 0.5) == content
    assert compare_systems.result(tmp_path, "toy", 1.0) is None
    monkeypatch.setitem(SYSTEMS, "toy", System("drawn", "--x4", 100, "base", margin=0.2))
    assert compare_systems.result(tmp_path, "toy", 0.5) == content, "how it is judged is no matter"
    monkeypatch.setitem(SYSTEMS, "base", System("drawn", "--detect", 100))
    assert compare_systems.result(tmp_path, "toy", 0.5) is None, "its start would be another"
    assert compare_systems.result(tmp_path, "other", 0.5) is None


def test_what_has_not_risen_by_its_margin_is_named():
    margin, finer = compare_systems.MARGIN, compare_systems.FINER_MARGIN
    rows = {
        "detnet59": {**row(0.1, 0.9), "first": {"map": 0.0, "miou": 0.1}},
        "classifier-detnet59": row(0.2, 0.3, "top1"),
        "fcn16s": row(0.3, 0.3 + finer * 1.5),
    }
    rows["detnet59"]["last"]["map"] = margin / 2
    told = f"map of detnet59 rises by 0.025, not by {margin}"
    assert compare_systems.failures(rows) == [told]


def test_the_finer_net_has_to_be_finer_at_borders():
    rows = {
        "fcn32s": row(0.1, 0.5, border_miou=0.30),
        "fcn8s": row(0.5, 0.6, border_miou=0.305),
        "voc-fcn8s": row(0.5, 0.6, border_miou=0.2),
    }
    assert compare_systems.failures(rows) == [
        "fcn8s is better at borders than fcn32s by 0.005, not by 0.01"
    ]
    rows["fcn8s"]["last"]["border_miou"] = 0.35
    assert compare_systems.failures(rows) == []


def test_the_sheet_has_a_row_for_each_picture_and_a_column_for_each_system(tmp_path):
    """Of the last checkpoint's pictures, without those for programs."""
    for name, colour in (("fcn32s", 50), ("fcn8s", 200)):
        for step, shade in ((9, 0), (10, colour)):
            folder = tmp_path / "archive" / name / f"pictures-voc12-val-seg-{step}"
            folder.mkdir(parents=True)
            for file in ("a.png", "b.png", "a-classes.png", "a-true-classes.png"):
                cv2.imwrite(str(folder / file), np.full((20, 30, 3), shade, np.uint8))
    sheet = cv2.imread(str(compare_systems.draw_sheet(tmp_path, ("fcn32s", "fcn8s"))))
    assert [np.sum(np.all(sheet == colour, axis=-1)) for colour in (50, 200)] == [1200, 1200]
    left, right = (np.argwhere(np.all(sheet == colour, axis=-1)) for colour in (50, 200))
    assert left[:, 1].max() < right[:, 1].min()


def test_the_table_shows_first_and_last():
    text = compare_systems.table({"fcn32s": row(0.1, 0.25), "c": row(0.2, 1.0, "top1")})
    header, _, fcn, classifier = text.splitlines()
    assert "mIoU 5 px" in header
    assert "0.100 → 0.250" in fcn and "| 1.5 " in fcn
    assert "0.200 → 1.000" in classifier and "0.100" not in classifier
