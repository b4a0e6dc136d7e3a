"""The comparison of recipes: flags that training takes, nothing done twice, its table."""

import json

import pytest
from tensorflow import keras

import config
import training
from blitznet import addons
from blitznet.coding import PriorCoder
from blitznet.losses.detection import make_detection_loss
from tools import compare_recipes, quickstart


def training_args(name, output):
    flags = compare_recipes.flags_of(name, 700)
    (_, train), (_, evaluate) = quickstart.run_commands(output, name, 700, *flags)
    config.evaluation_parser().parse_args([str(word) for word in evaluate[1:]])
    return config.training_parser().parse_args([str(word) for word in train[1:]])


@pytest.mark.parametrize("name", compare_recipes.RECIPES)
def test_every_recipe_is_one_that_training_accepts(name, tmp_path):
    config.training_config(training_args(name, tmp_path))


def test_snapshots_begin_where_the_rate_falls(tmp_path):
    args = training_args("swa", tmp_path)
    assert [args.average_start] == args.lr_decay == [500]


@pytest.mark.parametrize("name", compare_recipes.RECIPES)
def test_the_recipes_left_out_are_those_that_this_stack_refuses(name, tmp_path, capsys):
    args = training_args(name, tmp_path)
    toy = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    try:
        make_detection_loss(args.class_loss, args.box_loss, PriorCoder([[0.0, 0, 1, 1]]))
        training.build_optimizer(config.training_config(args), toy)
        works = True
    except ImportError:
        works = False
    assert (name in compare_recipes.chosen(addons.package())) == works
    assert ("left out" in capsys.readouterr().out) == (not addons.package())


@pytest.fixture
def calls(monkeypatch):
    """Replaces the commands: what they are for; evaluation leaves a score, one more each time.

    `status` is what training answers, `keras` the version that is said to be installed.
    """
    made, settings = [], {"status": 0, "keras": "3.15"}

    def call(what, command):
        made.append(what)
        if what.endswith("evaluate"):
            words = [str(word) for word in command]
            run_dir = compare_recipes.Path(words[words.index("--archive") + 1])
            run_dir /= words[words.index("--run_name") + 1]
            run_dir.mkdir(parents=True)
            steps = run_dir.name.rsplit("-", 1)[1]
            scores = {"map": len(made) / 100, "miou": 0.25}
            (run_dir / f"evaluation-x-{steps}.json").write_text(json.dumps({"scores": scores}))
        return settings["status"] if what.endswith("train") else 0

    monkeypatch.setattr(quickstart, "call", call)
    monkeypatch.setattr(compare_recipes.metadata, "version", lambda name: settings["keras"])
    return made, settings


def run(output, *flags):
    return compare_recipes.main(["--output", str(output), *map(str, flags)])


def last_table(capsys):
    """Title and cells of the table printed last."""
    lines = capsys.readouterr().out.strip().splitlines()
    lines = lines[max(i for i, line in enumerate(lines) if " steps, " in line) :]
    return lines[0], [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


BASELINE = ["baseline: train", "baseline: evaluate"]


def test_data_and_recipes_are_done_once_and_compared(tmp_path, calls, capsys):
    made, _ = calls
    assert run(tmp_path, "--recipes", "baseline") == 0
    assert made[-2:] == BASELINE and len(made) == 5
    assert run(tmp_path, "--recipes", "baseline", "focal") == 0
    assert made[5:] == ["focal: train", "focal: evaluate"]
    _, cells = last_table(capsys)
    assert cells[0] == ["recipe", "flags", "mAP", "mIoU", "minutes"]
    assert cells[2][:4] == ["baseline", "", "0.050", "0.250"]
    assert cells[3][:4] == ["focal", "--class_loss focal", "0.070", "0.250"]


def test_stacks_and_lengths_share_a_folder_and_no_result(tmp_path, calls, capsys):
    made, settings = calls
    found = []
    for version, steps in (("3.15", 700), ("2.15", 700), ("2.15", 70), ("3.15", 700)):
        settings["keras"] = version
        assert run(tmp_path, "--recipes", "baseline", "--steps", steps) == 0
        title, cells = last_table(capsys)
        assert title.startswith(f"{steps} steps") and f"keras {version}" in title
        found.append(cells[2][2])
    assert found == ["0.050", "0.070", "0.090", "0.050"]
    assert made[3:] == 3 * BASELINE


def test_an_edited_recipe_is_done_again_from_its_start(tmp_path, calls, capsys, monkeypatch):
    made, _ = calls
    assert run(tmp_path, "--recipes", "baseline") == 0
    monkeypatch.setitem(compare_recipes.RECIPES, "baseline", "--learning_rate 1e-2")
    (tmp_path / "archive" / "baseline-keras3.15-700" / "model.ckpt-700.index").touch()
    assert run(tmp_path, "--recipes", "baseline") == 0
    assert made[3:] == 2 * BASELINE
    assert not list(tmp_path.glob("archive/*/model.ckpt-*"))
    _, cells = last_table(capsys)
    assert cells[2][1:3] == ["--learning_rate 1e-2", "0.070"]


def test_a_recipe_that_fails_ends_it_and_is_done_again(tmp_path, calls):
    made, settings = calls
    settings["status"] = 3
    assert run(tmp_path, "--recipes", "baseline", "focal") == 3
    assert made[-1] == "baseline: train"
    settings["status"] = 0
    assert run(tmp_path, "--recipes", "baseline") == 0


def test_other_pictures_are_not_compared_with_those_that_are_there(tmp_path, calls, capsys):
    made, _ = calls
    assert run(tmp_path, "--recipes", "baseline") == 0
    assert run(tmp_path, "--recipes", "baseline", "--train", 10) == 1
    assert made[3:] == BASELINE
    error = capsys.readouterr().err
    assert "other pictures" in error and "--output" in error
