"""Evaluating checkpoints of a run one after another, also while training writes them."""

import sys
import time

import tensorflow as tf

from blitznet import checkpoints, runs
from blitznet.evaluation_log import next_step

POLL_SECONDS = 10


class Series:
    """Evaluates checkpoints of a run one by one; a bad one costs the others nothing.

    `evaluate`: takes the prefix of a checkpoint.
    """

    def __init__(self, run_dir, evaluate):
        self.run_dir = run_dir
        self._evaluate = evaluate
        self._tried, self._failed = 0, []

    def add(self, step):
        """Evaluate the checkpoint of `step`. False if there is none any more; that is told."""
        prefix = checkpoints.prefix(self.run_dir, step)
        try:
            self._evaluate(prefix)
        except (FileNotFoundError, ValueError, tf.errors.OpError) as error:
            if step not in checkpoints.steps(self.run_dir):
                print(f"{prefix} vanished before it was evaluated", file=sys.stderr)
                return False
            self._failed.append(prefix.name)
            print(f"error: {prefix}: {error}", file=sys.stderr)
        self._tried += 1
        return True

    def finish(self):
        """ValueError if any checkpoint could not be evaluated, naming them."""
        if self._failed:
            raise ValueError(
                f"{len(self._failed)} of {self._tried} checkpoints could not be evaluated: "
                + ", ".join(self._failed)
            )


def wait_for_run(run_dir, timeout):
    """Return when the run's folder says what it is, or after `timeout` seconds."""
    flags = run_dir / runs.FLAGS
    end = time.monotonic() + timeout
    if not flags.is_file():
        print(f"waiting for {flags}", flush=True)
    while not flags.is_file() and time.monotonic() < end:
        time.sleep(min(POLL_SECONDS, timeout))


def follow(series, evaluated, min_step, distance, timeout):
    """Add checkpoints to a `Series` as training writes them; says what ended it.

    Ends when the checkpoint of the run's `--max_iterations` is there, or no further one came
    for `timeout` seconds, and all that are due are evaluated. Those `evaluated` (steps) are left
    out; of the others see `evaluation_log.next_step`.
    """
    evaluated, newest, heard = set(evaluated), None, time.monotonic()
    while True:
        steps = checkpoints.steps(series.run_dir)
        if steps and steps[-1] != newest:
            newest, heard = steps[-1], time.monotonic()
        # Read every time: a run can go on with more iterations than it began with.
        last = runs.read_flags(series.run_dir)["flags"].get("max_iterations")
        ended = bool(last and steps and steps[-1] >= last)
        late = time.monotonic() - heard > timeout
        due = next_step(steps, evaluated, min_step, distance, complete=ended or late)
        if due is not None:
            if series.add(due):
                evaluated.add(due)
        elif ended or late:
            return f"step {last} is the last" if ended else f"no checkpoint for {timeout:g} seconds"
        else:
            time.sleep(min(POLL_SECONDS, timeout))
