"""The share of a training's time spent waiting for batches, by a clock that the test moves."""

import pytest

from blitznet import keys, progress
from blitznet.engine import StepReport


@pytest.fixture
def clock(monkeypatch):
    """Function that moves the clock by so many seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def _batches(clock, *seconds):
    """Items 0, 1, ..., each after so many seconds."""
    for number, wait in enumerate(seconds):
        clock(wait)
        yield number


def test_waiting_is_counted_and_working_is_not(clock):
    timed = progress.Timed(_batches(clock, 4, 1, 2))
    waited = []
    for number in timed:
        waited.append((number, timed.waited))
        clock(50)
    assert waited == [(0, 4), (1, 5), (2, 7)]
    assert timed.waited == 7


def test_a_failing_input_fails_as_it_would_alone(clock):
    def fail():
        yield 1
        raise OSError("gone")

    timed = iter(progress.Timed(fail()))
    assert next(timed) == 1
    with pytest.raises(OSError, match="gone"):
        next(timed)


def test_shares_of_the_time_leave_the_first_step_out(clock):
    """Steps of 3 s; batches take 20 s, then 1 s: 1 of every 4 s, and 8 pictures in them."""
    timed = progress.Timed(_batches(clock, 20, 1, 1))
    shown = progress.TrainingProgress(3, 8, timed)
    speeds = []
    for step, _ in enumerate(timed, start=1):
        clock(3)
        shown.show(StepReport(step, 1e-4, {keys.LOSS_TOTAL: 1.0}, {}, {}))
        speeds.append(shown.speed)
    shown.finish()
    later = {"images_per_second": 2.0, "input_wait_share": 0.25}
    assert speeds == [{"images_per_second": 0.0, "input_wait_share": 0.0}, later, later]
