"""test.py on many checkpoints: all of a run, those to come, the best of them."""

import pytest

from blitznet import follow
from evaluated_run import best, blind, relabel, steps_in, truthful
from tiny_run import evaluate, read_events


def test_all_checkpoints_of_a_run(tiny_data, run_at, predict_by, capsys):
    folder = run_at(10, 2000, 3000, 3500, 4000)
    for index in folder.glob("*.index"):
        assert index.is_file()
    predict_by(truthful)
    # The checkpoints are copies, so that all hold the step 10.
    relabel(folder)
    where = {"archive": folder.parent}
    assert evaluate(tiny_data, "--ckpt", 2, **where) == 0
    assert evaluate(tiny_data, "--batch_eval", "--min_ckpt", 1, **where) == 0
    assert steps_in(folder) == [2000, 3000, 4000]
    capsys.readouterr()
    assert evaluate(tiny_data, "--batch_eval", "--min_ckpt", 1, **where) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert evaluate(tiny_data, "--batch_eval", "--step", 0.5, **where) == 0
    assert steps_in(folder) == [2000, 3000, 4000, 10, 3500]


@pytest.mark.parametrize("flag", [["--segment"], ["--nms_thresh", 0.3], ["--voc_iou_thresh", 0.7]])
def test_scores_by_other_flags_do_not_count_as_these(tiny_data, run_at, predict_by, flag):
    """Each has its own line, JSON and best mark, and is left out only where it is asked again."""
    folder = run_at(10)
    predict_by(truthful)
    for flags in ([], flag, flag):
        assert evaluate(tiny_data, "--batch_eval", *flags, archive=folder.parent) == 0
    assert steps_in(folder) == [10, 10]
    assert len(list(folder.glob("evaluation-*"))) == len(list(folder.glob("best-*"))) == 2


def test_a_bad_checkpoint_costs_the_others_nothing(tiny_data, run_at, predict_by, capsys):
    folder = run_at(1000, 2000, 3000)
    relabel(folder)
    data = folder / "model.ckpt-2000.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    predict_by(truthful)
    assert evaluate(tiny_data, "--batch_eval", archive=folder.parent) == 1
    assert steps_in(folder) == [1000, 3000]
    error = capsys.readouterr().err
    assert "model.ckpt-2000 is damaged" in error
    assert "1 of 3 checkpoints could not be evaluated: model.ckpt-2000" in error


def test_the_best_checkpoint_stays_marked(tiny_data, run_at, predict_by):
    """The second of three finds everything, the others nothing; all are in TensorBoard."""
    folder = run_at(1000, 2000, 3000)
    relabel(folder)
    for step in (1000, 2000, 3000):
        right = step == 2000
        predict_by(lambda example, right=right: truthful(example) if right else blind(example))
        assert evaluate(tiny_data, "--ckpt", step / 1000, archive=folder.parent) == 0
    assert best(folder) == {"step": 2000, "by": "mAP", "score": 1.0}
    scalars, _ = read_events(folder / "eval-voc12-val-seg")
    found = scalars["PascalBoxes_Precision/mAP@0.5IOU"]
    assert sorted(found) == [(1000, 0.0), (2000, 1.0), (3000, 0.0)]


def test_a_run_is_followed_to_its_last_checkpoint(tiny_data, run_at, predict_by, capsys):
    """The ten-step run's flags say --max_iterations 10."""
    folder = run_at(5, 10)
    relabel(folder)
    predict_by(truthful)
    flags = ["--follow", "--step", 0.001]
    assert evaluate(tiny_data, *flags, archive=folder.parent) == 0
    assert steps_in(folder) == [5, 10]
    assert "step 10 is the last" in capsys.readouterr().out
    assert evaluate(tiny_data, *flags, archive=folder.parent) == 0
    assert steps_in(folder) == [5, 10]


def test_following_is_interrupted_cleanly(tiny_data, run_at, predict_by, capsys, monkeypatch):
    """Ctrl-C while it waits: what is evaluated stays, and no file is half written."""

    def interrupt(seconds):
        raise KeyboardInterrupt

    folder = run_at(5)
    relabel(folder)
    predict_by(truthful)
    monkeypatch.setattr(follow.time, "sleep", interrupt)
    assert evaluate(tiny_data, "--follow", archive=folder.parent) == 130
    assert steps_in(folder) == [5]
    assert "interrupted; what is evaluated so far stays" in capsys.readouterr().err
    assert not list(folder.glob(".*partial*"))
