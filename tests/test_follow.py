"""Checkpoints evaluated as training writes them, those that vanish or are bad, and the end."""

import json

import pytest

from blitznet import checkpoints, follow
from blitznet.follow import Series, wait_for_run


class Training:
    """A run's folder, and a clock; at each sleep time passes and the next thing happens."""

    def __init__(self, folder, monkeypatch, max_iterations=None):
        self.folder, self.now, self.slept = folder, 0.0, []
        self.events = []
        folder.mkdir()
        self.write_flags(max_iterations)
        monkeypatch.setattr(follow.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(follow.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds
        self.slept.append(seconds)
        if self.events:
            self.events.pop(0)()

    def write_flags(self, max_iterations):
        flags = {} if max_iterations is None else {"max_iterations": max_iterations}
        content = {"model": {"num_classes": 2}, "class_names": ["cat"], "flags": flags}
        (self.folder / "flags.json").write_text(json.dumps(content))

    def save(self, *steps):
        for step in steps:
            (self.folder / f"model.ckpt-{step}.index").touch()

    def remove(self, step):
        (self.folder / f"model.ckpt-{step}.index").unlink()


@pytest.fixture
def training(tmp_path, monkeypatch):
    return lambda **flags: Training(tmp_path / "r", monkeypatch, **flags)


class Recording:
    """Notes which steps it is asked to evaluate, after doing what `before` has for the step."""

    def __init__(self, before=None):
        self.steps, self.before = [], before or {}

    def __call__(self, prefix):
        step = int(prefix.name.split("-")[1])
        self.before.get(step, lambda: None)()
        if not prefix.with_name(prefix.name + ".index").is_file():
            raise FileNotFoundError(f"there is no checkpoint {prefix}")
        self.steps.append(step)


def followed(run, evaluate, evaluated=(), min_step=0, distance=1, timeout=60):
    series = Series(run.folder, evaluate)
    reason = follow.follow(series, evaluated, min_step, distance, timeout)
    series.finish()
    return reason


def test_each_checkpoint_is_evaluated_as_it_comes_until_the_last(training):
    run, evaluate = training(max_iterations=4000), Recording()
    run.save(1000)
    run.events = [lambda: run.save(2000), lambda: None, lambda: run.save(3000, 4000)]
    assert followed(run, evaluate) == "step 4000 is the last"
    assert evaluate.steps == [1000, 2000, 3000, 4000]
    assert run.slept == [follow.POLL_SECONDS] * 3


def test_a_further_checkpoint_puts_the_timeout_off(training):
    """One comes every 50 seconds, the last at 100; 60 seconds later it is over."""
    run, evaluate = training(max_iterations=9000), Recording()
    run.events = [lambda: None] * 4 + [lambda: run.save(1)] + [lambda: None] * 4
    run.events += [lambda: run.save(2)]
    assert followed(run, evaluate) == "no checkpoint for 60 seconds"
    assert evaluate.steps == [1, 2]
    assert 160 <= run.now <= 160 + 2 * follow.POLL_SECONDS


def test_a_run_that_does_not_say_its_end_is_followed_until_the_timeout(training):
    run, evaluate = training(), Recording()
    run.save(5)
    assert followed(run, evaluate, timeout=3) == "no checkpoint for 3 seconds"
    assert evaluate.steps == [5] and max(run.slept) == 3


def test_a_run_that_goes_on_further_is_followed_further(training):
    run, evaluate = training(max_iterations=20), Recording()
    run.save(10)
    run.events = [lambda: (run.write_flags(40), run.save(20)), lambda: run.save(40)]
    assert followed(run, evaluate) == "step 40 is the last"
    assert evaluate.steps == [10, 20, 40]


def test_what_is_evaluated_already_or_too_near_is_left_out_but_the_last(training):
    run, evaluate = training(max_iterations=50), Recording()
    run.save(5, 10, 20, 30)
    run.events = [lambda: run.save(40, 50)]
    assert (
        followed(run, evaluate, evaluated=[20], min_step=10, distance=25) == "step 50 is the last"
    )
    assert evaluate.steps == [50]
    again = Recording()
    followed(run, again, evaluated=[20, 50], min_step=10, distance=25)
    assert again.steps == []


def test_a_checkpoint_that_vanishes_is_told_and_the_others_go_on(training, capsys):
    run = training(max_iterations=30)
    run.save(10, 20, 30)
    evaluate = Recording({10: lambda: run.remove(10)})
    assert followed(run, evaluate) == "step 30 is the last"
    assert evaluate.steps == [20, 30]
    assert f"{run.folder / 'model.ckpt-10'} vanished before" in capsys.readouterr().err


def test_a_vanished_checkpoint_that_comes_back_is_evaluated(training):
    """As when training, having gone back, writes a step again."""
    run = training(max_iterations=30)
    run.save(10)
    evaluate = Recording({10: lambda: evaluate.before.clear() or run.remove(10)})
    run.events = [lambda: run.save(10), lambda: run.save(30)]
    followed(run, evaluate)
    assert evaluate.steps == [10, 30]


def test_a_bad_checkpoint_costs_the_others_nothing_and_is_named_at_the_end(training, capsys):
    def spoil():
        raise ValueError("it is damaged")

    run = training(max_iterations=30)
    run.save(10, 20, 30)
    evaluate = Recording({20: spoil})
    with pytest.raises(ValueError, match=r"1 of 3 checkpoints.*: model\.ckpt-20$"):
        followed(run, evaluate)
    assert evaluate.steps == [10, 30]
    assert "model.ckpt-20: it is damaged" in capsys.readouterr().err


def test_an_interruption_is_not_taken_for_a_bad_checkpoint(training):
    def interrupt():
        raise KeyboardInterrupt

    run = training()
    run.save(10)
    with pytest.raises(KeyboardInterrupt):
        followed(run, Recording({10: interrupt}))


def test_the_run_is_waited_for(training, capsys):
    run = training()
    flags = run.folder / "flags.json"
    text = flags.read_text()
    flags.unlink()
    run.events = [lambda: None, lambda: flags.write_text(text)]
    wait_for_run(run.folder, 3600)
    assert run.now == 2 * follow.POLL_SECONDS
    assert f"waiting for {flags}" in capsys.readouterr().out
    flags.unlink()
    wait_for_run(run.folder, 3600)
    assert run.now > 3600
    assert checkpoints.steps(run.folder) == []
