"""Several devices compute what one does: losses, scores, updates, batch norm, predictions."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from blitznet import distribution, engine, keys, optim
from blitznet.losses.detection import hard_negative_softmax
from device_run import BATCH, OPTIMIZERS, SEED, batches, network
from helpers import needs_addons, run_python

# Sums over halves of a batch round otherwise than over the whole: some units in the last place of
# float32 (6e-8), more where losses follow from weights that three such steps have made.
TOLERANCE = {"rtol": 5e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Dict name of a run of device_run.py -> what it saw."""
    folder = tmp_path_factory.mktemp("devices")
    code = "import pathlib, sys; sys.path.append('tests'); import device_run; "
    run_python("-c", f"{code}device_run.main(pathlib.Path({str(folder)!r}))", timeout=600)
    return {path.stem: dict(np.load(path)) for path in folder.glob("*.npz")}


def assert_same(found, expected, but=()):
    assert found.keys() == expected.keys()
    for name in expected.keys() - set(but):
        np.testing.assert_allclose(found[name], expected[name], **TOLERANCE, err_msg=name)


@pytest.mark.slow
def test_both_devices_see_the_batch_of_one(runs):
    pictures = np.stack([batch[keys.IMAGE] for batch in batches()])
    for name in ("one", "two-sync", "two-replica"):
        np.testing.assert_array_equal(runs[name]["pictures"], pictures, err_msg=name)


@pytest.mark.slow
def test_with_batch_norm_in_sync_two_devices_are_one(runs):
    """Losses and scores of each step, weights, statistics of batch norm, predictions."""
    assert_same(runs["two-sync"], runs["one-sync"])


@pytest.mark.slow
def test_one_device_does_not_see_whether_batch_norm_is_in_sync(runs):
    # It is fed N / (N - 1) times the batch's variance, but not in sync: NOTES.
    but = {n for n in runs["one"] if n.startswith("predicted") or n.endswith("moving_variance")}
    assert_same(runs["one-sync"], runs["one"], but)


@pytest.mark.slow
def test_batch_norm_of_each_device_normalises_by_its_own_pictures(runs):
    """The first loss is that of a network fed the halves on their own."""
    keras.utils.set_random_seed(SEED)
    model, batch = network(sync_batch_norm=False), next(batches())
    halves = [model(batch[keys.IMAGE][rows], training=True) for rows in (slice(2), slice(2, 4))]
    outputs = {name: tf.concat([half[name] for half in halves], 0) for name in halves[0]}
    for name, value in engine.batch_losses(model, outputs, batch).items():
        seen = runs["two-replica"][f"losses/{name}"][0]
        np.testing.assert_allclose(seen, value, **TOLERANCE, err_msg=name)
        if name != keys.LOSS_WEIGHT_DECAY:
            assert seen != pytest.approx(runs["one"][f"losses/{name}"][0], rel=1e-4), name


@pytest.mark.slow
def test_statistics_of_batch_norm_are_the_mean_of_the_devices(runs):
    """Means of the halves average to that of the whole, their variances to less."""
    # After one step, since the second one's weights differ.
    one, two = (runs[name]["first/net/first_bn/moving_mean"] for name in ("one", "two-replica"))
    np.testing.assert_allclose(two, one, **TOLERANCE)
    one, two = (runs[name]["first/net/first_bn/moving_variance"] for name in ("one", "two-replica"))
    # Each of N values of a channel: N / (N - 1) times their variance, at a decay of 0.9.
    values = BATCH * 16
    of_whole = (one - 0.9) * 10 * (values - 1) / values
    of_halves = (two - 0.9) * 10 * (values / 2 - 1) / (values / 2)
    assert np.all(of_halves <= of_whole + 1e-6) and np.any(of_halves < of_whole - 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_the_steps_of_one_device(runs, name):
    assert_same(runs[f"two-{name}"], runs[f"one-{name}"])


@needs_addons
def test_optimizers_of_tensorflow_addons_are_refused_on_several_devices():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope(), pytest.raises(ValueError, match="adam, nesterov and momentum alone"):
        model = tf.keras.Sequential([tf.keras.Input((1,)), tf.keras.layers.Dense(1)])
        optim.build_optimizer("adamw", model)


def test_the_batch_of_these_tests_tells_mining_over_it_from_mining_over_its_halves():
    batch = next(batches())
    random = np.random.default_rng(0)
    logits = tf.constant(random.normal(size=(BATCH, 16, 3)), tf.float32)
    whole = hard_negative_softmax(logits, batch[keys.PRIOR_LABELS])
    halves = [
        hard_negative_softmax(logits[rows], batch[keys.PRIOR_LABELS][rows])
        for rows in (slice(2), slice(2, 4))
    ]
    assert abs(float(whole) - float(sum(halves))) > 0.1


def tf_config(workers, index, kind="worker"):
    cluster = {"worker": [f"machine{i}:1" for i in range(workers)]}
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize("index", [0, 2, "2"])
def test_tf_config_says_which_worker_this_is(index):
    assert distribution.read_tf_config(tf_config(3, index)) == (int(index), 3)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", tf_config(2, 2), tf_config(2, -1), tf_config(2, 0, "chief")]
)
def test_a_tf_config_without_workers_is_answered_with_one(text):
    with pytest.raises(ValueError, match='TF_CONFIG, which is .* "task": '):
        distribution.read_tf_config(text)


def test_an_unknown_strategy_is_answered_with_the_choices():
    with pytest.raises(ValueError, match="none, mirrored, multi_worker, tpu"):
        distribution.start("horovod")
