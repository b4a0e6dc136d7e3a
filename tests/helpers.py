"""What several tests share: the checkout's folder, a fresh Python in it, marks of the stacks."""

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from blitznet import addons

CHECKOUT = Path(__file__).resolve().parent.parent

needs_addons = pytest.mark.skipif(
    not addons.package(), reason="needs tensorflow-addons: make test-addons"
)
without_addons = pytest.mark.skipif(
    bool(addons.package()), reason="for where tensorflow-addons is missing"
)


class OnReplicas(tf.distribute.DistributedValues):
    """What the replicas of a worker hold, in order, without their devices."""

    def __init__(self, *values):
        self.values = values


def run_python(*arguments, timeout=300):
    """Run this Python with `arguments` from the checkout and return what it printed.

    `timeout` is in seconds. Raises AssertionError with the whole output when the exit status
    is not 0, and `subprocess.TimeoutExpired`.
    """
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, (
        f"{' '.join(command)} exited {result.returncode}\n{result.stdout}\n{result.stderr}"
    )
    return result.stdout
