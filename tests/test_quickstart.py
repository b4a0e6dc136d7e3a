"""The quickstart: its commands, its exit codes, its goal, and one run of a few steps."""

import json

import numpy as np
import pytest
from PIL import Image

import config
from tools import encode_voc, export_saved_model, quickstart, quickstart_data

STEPS = 6


@pytest.fixture
def calls(monkeypatch):
    """Replaces the subprocesses: a list of their arguments, and a status for each program."""
    made, status = [], {}

    def call(words, cwd):
        made.append(words[1:])
        return next((code for program, code in status.items() if program in words), 0)

    monkeypatch.setattr(quickstart.subprocess, "call", call)
    return made, status


def write_results(output, mean_ap, mean_iou):
    run_dir = output / "archive" / quickstart.RUN
    pictures = run_dir / "pictures-voc12-val-seg-6"
    pictures.mkdir(parents=True)
    Image.fromarray(np.zeros((40, 90, 3), np.uint8)).save(pictures / "a.png")
    for maps in ("a-classes.png", "a-true-classes.png"):
        Image.fromarray(np.full((80, 180), 1, np.uint8)).save(pictures / maps)
    scores = {"map": mean_ap, "miou": mean_iou, "images": 3}
    (run_dir / "evaluation-voc12-val-seg-6.json").write_text(json.dumps({"scores": scores}))


def test_every_command_is_one_that_its_program_understands(tmp_path):
    parsers = {
        "tools.quickstart_data": quickstart_data.build_parser(),
        "tools.encode_voc": encode_voc.build_parser(),
        "tools.export_saved_model": export_saved_model.build_parser(),
        "training.py": config.training_parser(),
        "test.py": config.evaluation_parser(),
    }
    used = set()
    for _, command in quickstart.commands(tmp_path, 20, 5, STEPS):
        words = [str(word) for word in command]
        program = words[1] if words[0] == "-m" else words[0]
        parsers[program].parse_args(words[2:] if words[0] == "-m" else words[1:])
        used.add(program)
    assert used == set(parsers)


@pytest.mark.parametrize(("status", "expected"), [(3, 3), (-9, 1)])
def test_a_step_that_fails_ends_it_with_its_exit_code(tmp_path, calls, capsys, status, expected):
    made, statuses = calls
    statuses["training.py"] = status
    assert quickstart.main(["--output", str(tmp_path)]) == expected
    assert made[-1][0] == "training.py"
    assert f"this step failed with exit code {status}: [4] train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mean_ap", "mean_iou", "message"),
    [
        (0.6, 0.6, ""),
        (0.59, 0.8, "error: mAP below 0.6"),
        (0.8, 0.59, "error: mIoU below 0.6"),
        (None, 0.1, "error: mAP and mIoU below 0.6"),
    ],
)
def test_a_score_below_the_goal_is_a_failure(tmp_path, capsys, mean_ap, mean_iou, message):
    write_results(tmp_path, mean_ap, mean_iou)
    assert quickstart.summarise(tmp_path, [("train", 1.5)]) == bool(message)
    assert capsys.readouterr().err.strip() == message
    # One panel of 40 rows in its row, not two class maps of 80.
    sheet = np.asarray(Image.open(tmp_path / "predictions.png"))
    assert sheet.shape[0] < 80 and (sheet == 0).all(axis=-1).sum() == 40 * 90


def test_it_never_goes_on_with_an_earlier_run(tmp_path, calls):
    made, statuses = calls
    write_results(tmp_path, 1.0, 1.0)
    statuses["test.py"] = 1
    assert quickstart.main(["--output", str(tmp_path)]) == 1
    assert not (tmp_path / "archive" / quickstart.RUN).exists()


@pytest.mark.slow
def test_all_steps_run(tmp_path, capfd):
    """A few steps miss the goal, and only that is wrong."""
    status = quickstart.main(
        ["--output", str(tmp_path), "--train", "24", "--val", "12", "--steps", str(STEPS)]
    )
    output = capfd.readouterr()
    assert status == 1
    assert output.err.strip().splitlines()[-1].startswith("error: ")
    assert output.err.strip().endswith(f"below {quickstart.GOAL}")
    assert f"PASS: {tmp_path / 'exported' / str(STEPS)}" in output.out
    assert (tmp_path / "exported" / str(STEPS) / "saved_model.pb").is_file()
    assert Image.open(tmp_path / "predictions.png").size[0] > 600
