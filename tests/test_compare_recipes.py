"""The comparison of recipes: flags that training takes, nothing done twice, its table."""

import json

import pytest

import config
from tools import compare_recipes, quickstart


@pytest.mark.parametrize("name", compare_recipes.RECIPES)
def test_every_recipe_is_one_that_training_accepts(name, tmp_path):
    flags = compare_recipes.flags_of(name, 700)
    (_, train), (_, evaluate) = quickstart.run_commands(tmp_path, name, 700, *flags)
    args = config.training_parser().parse_args([str(word) for word in train[1:]])
    kinds = (config.InputConfig, config.OptimConfig, config.AverageConfig, config.RunConfig)
    config.validate_training(config.model_config(args), *(config.pick(k, args) for k in kinds))
    config.evaluation_parser().parse_args([str(word) for word in evaluate[1:]])


def test_recipes_that_need_the_addons_are_those_whose_flags_say_so(capsys):
    assert compare_recipes.chosen(addons=True) == list(compare_recipes.RECIPES)
    without = compare_recipes.chosen(addons=False)
    assert "left out" in capsys.readouterr().out
    needing = ("giou", "radam", "lookahead", "swa")
    for name, flags in compare_recipes.RECIPES.items():
        assert (name in without) != any(text in flags for text in needing), name


@pytest.fixture
def calls(monkeypatch):
    """Replaces the commands: what they are for; training leaves scores, `training` its status."""
    made, status = [], {"training": 0}

    def call(what, command):
        made.append(what)
        if what.endswith("evaluate"):
            words = [str(word) for word in command]
            run_dir = compare_recipes.Path(words[words.index("--archive") + 1])
            run_dir /= words[words.index("--run_name") + 1]
            run_dir.mkdir(parents=True)
            scores = {"map": 0.5, "miou": 0.25}
            (run_dir / "evaluation-x-700.json").write_text(json.dumps({"scores": scores}))
        return status["training"] if what.endswith("train") else 0

    monkeypatch.setattr(quickstart, "call", call)
    return made, status


def run(output, *flags):
    return compare_recipes.main(["--output", str(output), *map(str, flags)])


def test_data_and_recipes_are_done_once_and_compared(tmp_path, calls, capsys):
    made, _ = calls
    assert run(tmp_path, "--recipes", "baseline") == 0
    assert made[-2:] == ["baseline: train", "baseline: evaluate"]
    first = len(made)
    assert first == 5
    assert run(tmp_path, "--recipes", "baseline", "focal") == 0
    assert made[first:] == ["focal: train", "focal: evaluate"]
    table = capsys.readouterr().out.splitlines()[-4:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[0] == ["recipe", "flags", "mAP", "mIoU", "minutes"]
    assert cells[2][:4] == ["baseline", "", "0.500", "0.250"]
    assert cells[3][:4] == ["focal", "--class_loss focal", "0.500", "0.250"]


def test_a_recipe_that_fails_ends_it_and_is_done_again(tmp_path, calls):
    made, status = calls
    status["training"] = 3
    assert run(tmp_path, "--recipes", "baseline", "focal") == 3
    assert made[-1] == "baseline: train"
    status["training"] = 0
    assert run(tmp_path, "--recipes", "baseline") == 0


def test_other_pictures_are_not_compared_with_those_that_are_there(tmp_path, calls):
    assert run(tmp_path, "--recipes", "baseline") == 0
    with pytest.raises(SystemExit, match="other pictures.*--output"):
        run(tmp_path, "--recipes", "baseline", "--train", 10)
