"""Batches through a tf.data service on this machine: the same ones, none twice, kind refusals."""

import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import training
from blitznet import keys
from blitznet.coding import PriorCoder
from blitznet.priors import prior_boxes, prior_scales
from datasets import pipeline, records
from datasets.service import through_service
from helpers import CHECKOUT
from tiny_run import tensors, train, training_flags
from tools import data_service


@pytest.fixture
def start_service():
    """Function: `HOST:PORT` of a service of so many workers, which ends with the test."""
    servers = []

    def start(workers):
        dispatcher, address = data_service.start_dispatcher("localhost", 0)
        servers.append(dispatcher)
        for _ in range(workers):
            servers.append(data_service.start_worker(address, "localhost", 0))
        return address

    yield start
    while servers:
        servers.pop()


def batches(data, address=None, start_step=0, count=8, batch_size=3, share=()):
    """NumPy batches, made here or by the service at `address`.

    `share`: replicas, worker and workers of `training_dataset`.
    """
    info = records.read_json(data / "records" / "voc12-train-seg.json", "")
    coder = PriorCoder(prior_boxes((8, 4, 2, 1), prior_scales(64, False)))
    settings = pipeline.TrainingInput(64, 16, coder, batch_size)
    dataset = pipeline.training_dataset([info], settings, start_step, *share)
    if address:
        dataset = through_service(dataset, address)
    return list(dataset.take(count).as_numpy_iterator())


def assert_equal(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def pictures(batches):
    return [image.tobytes() for batch in batches for image in batch[keys.IMAGE]]


def test_one_worker_makes_the_very_batches(tiny_data, start_service):
    """From any step on: three epochs and a half, from the middle of one."""
    ours = batches(tiny_data, start_service(1), start_step=4, count=6)
    assert_equal(ours, batches(tiny_data, count=10)[4:])


@pytest.mark.parametrize("worker", [0, 1])
def test_each_machine_of_a_training_asks_for_its_own_parts(tiny_data, start_service, worker):
    share = {"batch_size": 4, "share": (2, worker, 2)}
    assert_equal(
        batches(tiny_data, start_service(1), 1, 6, **share), batches(tiny_data, None, 1, 6, **share)
    )


def test_of_two_workers_no_picture_comes_twice(tiny_data, start_service):
    """Each variation of a picture belongs to one epoch, and each epoch to one worker."""
    made = Counter(pictures(batches(tiny_data, start_service(2))))
    # A worker may be ahead of the other by some epochs.
    ours = Counter(pictures(batches(tiny_data, count=200)))
    # Counted, as those that show nothing but the mean colour are equal.
    assert sum(made.values()) == 24 and not made - ours


@pytest.mark.slow
def test_training_through_one_worker_is_training(
    tiny_data, tiny_archive, start_service, tmp_path, capsys
):
    flags = ["--max_iterations", 10, "--save_every", 5, "--summary_every", 1]
    flags += ["--learning_rate", 1e-3, "--data_service", start_service(1)]
    assert train(tiny_data, *flags, archive=tmp_path) == 0
    assert "in no fixed order" in capsys.readouterr().out
    ours = tensors(tmp_path / "r" / "model.ckpt-10")
    for name, value in tensors(tiny_archive / "r" / "model.ckpt-10").items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_nobody_at_the_address_is_said_with_what_to_run(tiny_data, tmp_path, capsys):
    flags = training_flags(tiny_data, "--data_service", "localhost:1", archive=tmp_path)
    assert training.main(flags) == 1
    error = capsys.readouterr().err
    assert "no tf.data service at localhost:1" in error
    assert "python -m tools.data_service --port 1" in error
    assert data_service.main(["--join", "localhost:1"]) == 1
    assert "no tf.data service at localhost:1" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["5050", "cpu1:", ":5050", "cpu1:http", "cpu1:70000"])
def test_an_address_is_host_and_port(text, capsys):
    with pytest.raises(SystemExit):
        training.main(["--run_name", "r", "--data_service", text])
    assert "is not HOST:PORT" in capsys.readouterr().err


def test_a_taken_port_is_refused(start_service, capsys):
    port = start_service(0).rpartition(":")[2]
    assert data_service.main(["--port", port]) == 1
    assert f"port {port}" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_end(tiny_data):
    command = [sys.executable, "-m", "tools.data_service", "--port"]
    process = subprocess.Popen([*command, "0"], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[-1]
        assert_equal(batches(tiny_data, address, count=2), batches(tiny_data, count=2))
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, printed) == (0, "ended\n")
