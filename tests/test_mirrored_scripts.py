"""training.py and test.py on two logical CPU devices, each script in a process of its own."""

import functools
import json
import shutil

import numpy as np
import pytest

from blitznet import checkpoints
from helpers import run_python
from tiny_run import read_events, training_flags

# Devices are divided before TensorFlow starts.
TWO_DEVICES = """
import sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path[:0] = [".", "tests"]
import pytest
import toy_fcn
toy_fcn.install(pytest.MonkeyPatch())
import {script}
sys.exit({script}.main(sys.argv[1:]))
"""


def run_on_two(script, *flags):
    return run_python("-c", TWO_DEVICES.format(script=script), *flags, "--strategy", "mirrored")


@pytest.mark.slow
def test_training_takes_both_devices(tiny_data, tmp_path):
    printed = run_on_two(
        "training", *training_flags(tiny_data, "--max_iterations", "2", archive=tmp_path)
    )
    assert "mirrored: 2 replicas" in printed and "2 steps are done" in printed
    assert checkpoints.steps(tmp_path / "r") == [2]


@pytest.mark.slow
def test_devices_take_pictures_of_their_own_sizes(tiny_data, tmp_path):
    """One lies and one stands in most batches: each device has a batch of its own size."""
    where = ["--dataset", "voc12", "--data_root", tiny_data, "--archive", tmp_path]
    run = ["--run_name", "r", *where, "--arch", "fcn32s", "--random_trunk_init"]
    rhythm = ["--batch_size", "2", "--max_iterations", "4", "--save_every", "1"]
    printed = run_on_two("training", *run, *rhythm)
    assert "mirrored: 2 replicas" in printed and "4 steps are done" in printed
    shown = read_events(tmp_path / "r")[1]["predictions"]
    assert [step for step, _ in shown] == [1, 1, 2, 2, 3, 3, 4, 4]
    # The lower panel of such a pair is on paper.
    bottoms = [np.all(panel[-12:] == 255) for _, panel in shown]
    assert any(one != two for one, two in zip(bottoms[::2], bottoms[1::2]))


@pytest.mark.slow
def test_evaluation_on_two_devices_has_the_scores_of_one(tiny_data, tiny_archive, tmp_path):
    shutil.copytree(tiny_archive / "r", tmp_path / "r")
    flags = ["--run_name", "r", "--archive", tmp_path, "--data_root", tiny_data]
    # Batches of three, which two devices cannot share evenly.
    flags += ["--dataset", "voc12", "--split", "train", "--batch_size", "3"]
    scores = []
    for evaluate in (
        functools.partial(run_on_two, "test"),
        functools.partial(run_python, "test.py"),
    ):
        evaluate(*flags)
        (report,) = (tmp_path / "r").glob("evaluation-*.json")
        scores.append(json.loads(report.read_text())["scores"])
        report.unlink()
    two, one = (dict(numbers(each)) for each in scores)
    assert two == pytest.approx(one, rel=1e-5, abs=1e-6)
    assert one["map"] > 0 or one["miou"] > 0


def numbers(scores, name=""):
    """`(name, number)` of everything in nested dicts that is a number."""
    for key, value in scores.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{name}{key}/")
        elif isinstance(value, (int, float)):
            yield f"{name}{key}", value
