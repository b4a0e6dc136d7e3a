"""training.py in two processes that TF_CONFIG makes one run: they end, stop and go on together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from blitznet import checkpoints
from helpers import CHECKOUT
from tiny_run import tensors, training_flags

SAVE_EVERY, LAST = 10, 80
FLAGS = ["--strategy", "multi_worker", "--detect", "--save_every", SAVE_EVERY]
FLAGS += ["--max_iterations", LAST]
# The whole test, seconds; another wait than for the processes of the test there is not.
PATIENCE = 600


class Workers:
    """Two processes of one run, in the archive `folder`."""

    def __init__(self, data, folder, *flags):
        self.run_dir = folder / "r"
        command = training_flags(data, *FLAGS, *flags, archive=folder)
        command = [sys.executable, CHECKOUT / "training.py", *command]
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        self.logs = [folder.with_name(f"{folder.name}-{index}.txt") for index in range(2)]
        self.processes = [
            subprocess.Popen(
                command,
                env={**os.environ, "TF_CONFIG": tf_config(addresses, index)},
                stdout=log.open("a"),
                stderr=subprocess.STDOUT,
            )
            for index, log in enumerate(self.logs)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            process.kill()
            process.wait()

    def printed(self):
        """What both have printed since the first start in this archive."""
        return "\n".join(log.read_text() for log in self.logs)

    def wait(self):
        """The exit codes, once both have ended."""
        return [process.wait(PATIENCE) for process in self.processes]

    def wait_for_checkpoint(self, after=0):
        """Until there is one of a step above `after`."""
        deadline = time.monotonic() + PATIENCE
        while max(checkpoints.steps(self.run_dir), default=0) <= after:
            codes = [process.poll() for process in self.processes]
            assert codes == [None, None] and time.monotonic() < deadline, self.printed()
            time.sleep(0.02)


def free_ports(count):
    """Ports of this machine that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def tf_config(addresses, index):
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": addresses}, "task": task})


@pytest.mark.slow
def test_workers_stop_together_and_go_on_after_one_is_killed(tiny_data, tmp_path):
    """Stopped by SIGTERM, gone on, killed, gone on again: the same as never interrupted."""
    with Workers(tiny_data, tmp_path / "whole") as whole:
        assert whole.wait() == [0, 0], whole.printed()

    broken = tmp_path / "broken"
    with Workers(tiny_data, broken) as workers:
        workers.wait_for_checkpoint()
        workers.processes[1].send_signal(signal.SIGTERM)
        assert workers.wait() == [128 + signal.SIGTERM] * 2, workers.printed()
        stopped = checkpoints.steps(workers.run_dir)[-1]
        assert workers.printed().count(f"stopped by SIGTERM at step {stopped}, saved") == 2

    with Workers(tiny_data, broken) as workers:
        workers.wait_for_checkpoint(after=stopped)
        workers.processes[1].kill()
        # The other one notices by itself, and says that it failed.
        assert workers.wait() == [1, -signal.SIGKILL], workers.printed()
        saved = checkpoints.steps(workers.run_dir)[-1]
        assert saved < LAST and saved % SAVE_EVERY == 0

    with Workers(tiny_data, broken) as workers:
        assert workers.wait() == [0, 0], workers.printed()
        assert (
            workers.printed().count(f"going on from {broken / 'r' / 'model.ckpt'}-{saved}\n") == 2
        )

    expected, found = (
        tensors(checkpoints.prefix(f / "r", LAST)) for f in (tmp_path / "whole", broken)
    )
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    # Nobody but the first writes.
    assert len(list((tmp_path / "whole" / "r").glob("events.*"))) == 1
