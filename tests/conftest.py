"""Settings of every test: a quiet TensorFlow on the CPU, fixed seeds, the real pictures."""

import os
import random
import shutil
import sys

# TensorFlow reads these when it is first imported, in the tests and in the processes they start.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_THREADS = str(max(1, (os.cpu_count() or 1) // _WORKERS))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", _THREADS)
os.environ.setdefault("TF_NUM_INTEROP_THREADS", _THREADS)
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402

# It keeps the standard error of whoever imports it first: not that of a test, which is closed.
import progressbar.bar  # noqa: E402, F401
import pytest  # noqa: E402

from helpers import CHECKOUT  # noqa: E402

# The same examples in every run, none kept from run to run, no time limit on a shared machine.
hypothesis.settings.register_profile("house", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("house")

SEED = 20170808


@pytest.fixture(scope="session")
def shared_data():
    """Folder of the real pictures, `../shared/data` beside the checkout; skips without it."""
    folder = CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real pictures: {folder} does not exist")
    return folder


@pytest.fixture
def seeds():
    """Seed `random`, NumPy and, where it is loaded, TensorFlow; gives the seed."""
    random.seed(SEED)
    np.random.seed(SEED)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(SEED)
    return SEED


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Root of a small data set of VOC's classes with its records: `tiny_run.write_data`."""
    from tiny_run import write_data

    return write_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_archive(tiny_data):
    """Archive with the run "r": ten steps, saved at 5 and 10, a summary of each step."""
    from tiny_run import train

    flags = ["--max_iterations", 10, "--save_every", 5, "--summary_every", 1]
    assert train(tiny_data, *flags, "--learning_rate", 1e-3, archive=tiny_data / "shared") == 0
    return tiny_data / "shared"


@pytest.fixture
def run_at(tiny_archive, tmp_path):
    """Function: a run with copies of the ten-step checkpoint as the given steps; its folder."""

    def copy(*steps):
        folder = tmp_path / "archive" / "r"
        folder.mkdir(parents=True)
        shutil.copy(tiny_archive / "r" / "flags.json", folder)
        for step in steps:
            for file in (tiny_archive / "r").glob("model.ckpt-10.*"):
                shutil.copy(file, folder / file.name.replace("10", str(step), 1))
        return folder

    return copy


@pytest.fixture
def predict_by(monkeypatch):
    """Function: let the network answer what a function of the example says."""
    from blitznet import engine, keys

    def replace(answer):
        def predictions(predict, batches):
            for batch in batches:
                for i in range(len(batch[keys.FILENAME])):
                    example = {
                        name: value.numpy()[i]
                        for name, value in batch.items()
                        if name != keys.IMAGE
                    }
                    yield example, answer(example)

        monkeypatch.setattr(engine, "predictions", predictions)

    return replace


@pytest.fixture
def eagerly():
    """Run compiled functions op by op: for a step or two, quicker than compiling them."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
