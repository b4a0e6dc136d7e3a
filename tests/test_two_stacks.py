"""What one stack writes, the other reads: checkpoints with optimizer slots, and SavedModels.

Both stacks first write, then each reads what the other wrote; they work side by side.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from helpers import CHECKOUT
from other_stack import FURTHER, HANDOVER, LOOKED_AT, TOY_LAST
from tiny_run import read_events, tensors, write_data
from tools.export_check import differences

OTHER_PYTHON = Path(os.environ.get("BLITZNET_OTHER_PYTHON") or "none")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not OTHER_PYTHON.is_file(),
        reason=f"needs the other stack's Python, BLITZNET_OTHER_PYTHON (is {OTHER_PYTHON}): "
        "`make test-addons` makes both environments",
    ),
]


def side_by_side(*commands):
    """Run other_stack.py with each `(python, argument, ...)` at the same time.

    Raises AssertionError with the output of one that fails.
    """

    def run(command):
        python, *arguments = map(str, command)
        return subprocess.run(
            [python, str(CHECKOUT / "tests" / "other_stack.py"), *arguments],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            timeout=500,
        )

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(run, commands))
    for result in results:
        assert result.returncode == 0, f"{result.args}\n{result.stdout}\n{result.stderr}"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Dict stack -> `(what it wrote, what the other stack saw when it read that)`."""
    root = tmp_path_factory.mktemp("stacks")
    data = write_data(root / "data", class_names=("cat", "dog", "cow"))
    this, other, by_this, by_other = (
        root / name for name in ("this", "other", "read_by_this", "read_by_other")
    )
    side_by_side(
        (sys.executable, "write", data, this),
        (OTHER_PYTHON, "write", data, other),
    )
    side_by_side(
        (sys.executable, "read", data, other, by_this),
        (OTHER_PYTHON, "read", data, this, by_other),
    )
    return {"this": (this, by_other), "other": (other, by_this)}


@pytest.fixture(params=["this", "other"])
def written_and_read(folders, request):
    """`(folder written by one stack, folder of the other's reading)`, one way and the other."""
    return folders[request.param]


def evaluation(folder):
    """The scores in the JSON that test.py has written below `folder`."""
    step = HANDOVER[LOOKED_AT]
    path = (
        folder / "archive" / LOOKED_AT / f"evaluation-voc12-train-seg-voc_iou_thresh0.1-{step}.json"
    )
    return json.loads(path.read_text())["scores"]


def answers(path, prefix):
    """The arrays of an `.npz` file whose names begin with `prefix`/, without that."""
    with np.load(path) as arrays:
        return {k[len(prefix) + 1 :]: v for k, v in arrays.items() if k.startswith(f"{prefix}/")}


def test_the_stacks_are_two(folders):
    flags = [w / "archive" / LOOKED_AT / "flags.json" for w, _ in folders.values()]
    versions = [json.loads(path.read_text())["versions"]["keras"] for path in flags]
    assert {version.split(".")[0] for version in versions} == {"2", "3"}


def test_a_checkpoint_scores_the_same_on_the_other_stack(written_and_read):
    written, read = map(evaluation, written_and_read)
    assert 0 < written["miou"] < 1 and written["map"] > 0, "nothing was compared"
    assert read == written


def test_a_checkpoint_gives_the_same_outputs_on_the_other_stack(written_and_read):
    written, read = (np.load(folder / "outputs.npz") for folder in written_and_read)
    assert set(written) == set(read) == {"confidence", "location", "segmentation"}
    for name in written:
        error = np.abs(read[name] - written[name]).max()
        assert error <= 1e-4 * written[name].std(), name


@pytest.mark.parametrize("optimizer", HANDOVER)
def test_training_goes_on_alike_on_the_other_stack(written_and_read, optimizer):
    """As on the stack that began, where a resumed run equals an uninterrupted one.

    Slots of two variables exchanged, or all zero, make a difference above 1e-3.
    """
    written, read = (read_events(f / "archive" / optimizer)[0] for f in written_and_read)
    names = sorted(name for name in written if name.startswith("loss/"))
    assert len(names) == 5
    for name in names:
        assert [step for step, _ in read[name]] == [
            HANDOVER[optimizer] + i for i in range(1, FURTHER + 1)
        ]
        np.testing.assert_allclose(read[name], written[name][-FURTHER:], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("toy", ["adamw", "sgdw", "ema"])
def test_weights_slots_and_averages_go_on_alike_on_the_other_stack(written_and_read, toy):
    written, read = (
        tensors(folder / "toys" / toy / f"model.ckpt-{TOY_LAST}") for folder in written_and_read
    )
    assert written.keys() == read.keys()
    assert ("average/fc/kernel" in written) == (toy == "ema")
    assert written.pop("averaging", None) == read.pop("averaging", None)
    for name, value in written.items():
        np.testing.assert_allclose(read[name], value, rtol=2e-5, atol=2e-6, err_msg=name)


def test_the_state_of_lamb_is_refused_since_it_is_another_algorithm(written_and_read):
    _, read = written_and_read
    message = (read / "lamb.txt").read_text()
    for text in ("lamb (as Keras has it)", "lamb (as tensorflow-addons has it)", "--init_from"):
        assert text in message
    assert not (read / "toys" / "lamb").exists()


@pytest.mark.parametrize("loader", ["by_python", "by_session"])
@pytest.mark.parametrize("signature", ["serving_default", "images"])
def test_an_export_is_served_by_the_other_stack(written_and_read, loader, signature):
    written, read = written_and_read
    live = answers(written / "live.npz", signature)
    served = answers(read / "served.npz", f"{loader}/{signature}")
    assert live["num_detections"].min() > 0, "nothing was compared"
    assert differences(live, served) == []
