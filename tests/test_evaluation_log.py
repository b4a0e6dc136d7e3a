"""The files of a run's evaluations, and which checkpoints are due."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blitznet.evaluation_log import (
    append_line,
    better_mark,
    choose_steps,
    evaluated_steps,
    next_step,
    results_path,
    summary_line,
    write_results,
    written_steps,
)


def test_a_line_says_what_there_is_no_score_of():
    line = summary_line(2500, {"map": 1.0, "miou": None}, "r")
    assert line == "2.5\t100.00% mAP\tno mIoU\tr"
    assert summary_line(1000, {"miou": 1.0}, "r") == "1\tno mAP\t100.00% mIoU\tr"


def test_a_classifiers_line_has_its_own_scores_where_others_have_theirs():
    line = summary_line(2500, {"top1": 0.5, "top5": 1.0, "top1_by_class": {}}, "r")
    assert line == "2.5\t50.00% top-1\t100.00% top-5\tr"
    assert summary_line(1000, {"top1": None, "top5": None}, "r") == "1\tno top-1\tno top-5\tr"


def test_lines_are_read_back_for_their_records_only(tmp_path):
    path = tmp_path / "1evaluations.txt"
    assert evaluated_steps(path, "a") == set()
    scores = {"map": 0.791, "miou": 0.728}
    rows = [summary_line(s, scores, r) for s, r in [(65000, "a"), (500, "a"), (7, "b")]]
    assert rows[0] == "65\t79.10% mAP\t72.80% mIoU\ta"
    path.write_text("\n".join([*rows, "", "a note by hand"]) + "\n")
    assert evaluated_steps(path, "a") == {65000, 500}
    assert evaluated_steps(path, "b") == {7}


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path):
    path = tmp_path / "1evaluations.txt"
    for step in (1000, 2000):
        append_line(path, summary_line(step, {}, "a"))
    assert len(path.read_text().splitlines()) == 2
    path.write_text(path.read_text()[:-5])
    append_line(path, summary_line(3000, {}, "a"))
    assert evaluated_steps(path, "a") == {1000, 3000}


def test_a_line_that_does_not_read_is_named(tmp_path):
    path = tmp_path / "1evaluations.txt"
    path.write_text("1\t1% mAP\ta\nbest\t2% mAP\ta\n")
    with pytest.raises(ValueError, match=r"1evaluations\.txt, line 2: .*'best'"):
        evaluated_steps(path, "a")


@given(st.integers(1, 10**6))
def test_a_step_survives_its_line(step):
    line = summary_line(step, {}, "r")
    assert round(float(line.split("\t")[0]) * 1000) == step


@pytest.mark.parametrize(
    ("steps", "evaluated", "first", "distance", "expected"),
    [
        ([1, 2, 3, 4, 5], [], 0, 1, [1, 2, 3, 4, 5]),
        ([1, 2, 3, 4, 5], [], 0, 0, [1, 2, 3, 4, 5]),
        ([1, 2, 3, 4, 5], [], 3, 1, [3, 4, 5]),
        ([1, 2, 3, 4, 5], [], 0, 2, [1, 3, 5]),
        ([1, 2, 3, 4, 5, 6], [], 0, 2, [2, 4, 6]),
        ([1, 2, 3, 4, 5, 6], [5], 0, 2, [1, 3, 6]),
        ([1, 2, 3, 4, 5, 6], [6], 0, 2, [2, 4]),
        ([1, 2, 3], [1, 2, 3], 0, 1, []),
        ([], [], 0, 1, []),
        ([1, 2, 3], [], 9, 1, []),
    ],
)
def test_which_checkpoints_are_due(steps, evaluated, first, distance, expected):
    assert choose_steps(steps, evaluated, first, distance) == expected


@given(
    st.sets(st.integers(1, 60)),
    st.sets(st.integers(1, 60)),
    st.integers(0, 60),
    st.integers(0, 10),
)
def test_chosen_checkpoints_keep_their_distance(steps, evaluated, first, distance):
    chosen = choose_steps(sorted(steps), evaluated, first, distance)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= {s for s in steps - evaluated if s >= first}
    apart = (b - a for a, b in zip(chosen, chosen[1:]))
    assert min(apart, default=math.inf) >= distance
    due = [s for s in steps if s >= first]
    if due and max(due) not in evaluated:
        assert max(due) in chosen
    # A second call finds nothing more: a night's evaluation ends.
    assert choose_steps(sorted(steps), evaluated | set(chosen), first, distance) == []


@pytest.mark.parametrize(
    ("steps", "evaluated", "first", "distance", "complete", "expected"),
    [
        ([1, 2, 3], [], 0, 1, False, 1),
        ([1, 2, 3], [1], 0, 2, False, 3),
        ([1, 2, 3], [1, 3], 0, 2, True, None),
        ([1, 2, 3, 4], [1, 3], 0, 2, False, None),
        ([1, 2, 3, 4], [1, 3], 0, 2, True, 4),
        ([1, 2, 3], [], 3, 1, False, 3),
        ([1, 2], [], 3, 1, True, None),
        ([1, 2, 3], [3], 0, 5, True, None),
        ([], [], 0, 1, True, None),
    ],
)
def test_which_checkpoint_is_next_while_training_goes_on(
    steps, evaluated, first, distance, complete, expected
):
    assert next_step(steps, evaluated, first, distance, complete) == expected


def test_results_are_one_a_line_and_known_by_their_records(tmp_path):
    found = [{"image_id": 1, "score": 0.5}, {"image_id": 2, "score": 0.25}]
    for records, step, content in [("coco-a", 5, found), ("coco-a", 7, []), ("coco-a-seg", 9, [])]:
        path = results_path(tmp_path, records, step)
        write_results(path, content)
        assert json.loads(path.read_text()) == content
    assert len(results_path(tmp_path, "coco-a", 5).read_text().splitlines()) == 2 + len(found)
    assert written_steps(tmp_path, "coco-a") == {5, 7}
    assert written_steps(tmp_path, "coco-a-seg") == {9}
    assert len(list(tmp_path.iterdir())) == 3, "no partial file is left"


@pytest.mark.parametrize(
    ("old", "scores", "expected"),
    [
        (None, {"map": 0.5, "miou": 0.9}, ("mAP", 0.5)),
        (None, {"map": None, "miou": 0.9}, ("mIoU", 0.9)),
        (None, {"miou": 0.0}, ("mIoU", 0.0)),
        (None, {"map": None, "miou": None}, None),
        (("mAP", 0.4), {"map": 0.5}, ("mAP", 0.5)),
        (("mAP", 0.5), {"map": 0.5}, None),
        (("mAP", 0.6), {"map": 0.5}, None),
        (("mIoU", 0.9), {"map": 0.1}, ("mAP", 0.1)),
        (("mAP", 0.1), {"miou": 0.9}, None),
        (None, {"top1": 0.5, "top5": 0.9}, ("top1", 0.5)),
        (None, {"top1": None, "top5": None}, None),
        (("top1", 0.4), {"top1": 0.5}, ("top1", 0.5)),
        (("top1", 0.5), {"top1": 0.5}, None),
        (("top1", 0.9), {"miou": 0.1}, ("mIoU", 0.1)),
        (("mIoU", 0.1), {"top1": 0.9}, None),
    ],
)
def test_the_better_of_two_is_marked(tmp_path, old, scores, expected):
    path = tmp_path / "best.json"
    if old:
        path.write_text(json.dumps({"step": 1, "by": old[0], "score": old[1]}))
    mark = better_mark(path, 7, scores)
    assert mark == (expected and {"step": 7, "by": expected[0], "score": expected[1]})


@pytest.mark.parametrize(
    "text", ["", "[]", '{"by": "mAP", "score": null}', '{"by": "mIOU", "score": 1}']
)
def test_a_mark_that_does_not_read_is_named(tmp_path, text):
    path = tmp_path / "best-x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"best-x\.json does not mark a checkpoint.*remove it"):
        better_mark(path, 1, {"map": 0.5})
