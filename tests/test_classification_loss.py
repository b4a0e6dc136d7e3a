"""The loss of whole pictures by hand, by a second computation, on two devices, and in learning."""

import numpy as np
import pytest
import tensorflow as tf

from blitznet import keys
from blitznet.losses.classification import classification_loss
from helpers import run_python

LN2 = np.log(2.0)


def _loss(logits, labels):
    losses = classification_loss(tf.constant(logits, tf.float32), np.array(labels))
    assert losses.keys() == {keys.LOSS_CLASSIFICATION}
    return float(losses[keys.LOSS_CLASSIFICATION])


# Probabilities 1/2, 1/4, 1/8, 1/8, shifted as logits may be.
LOGITS = np.log([0.5, 0.25, 0.125, 0.125]) + 3


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_the_mean_over_the_pictures_by_hand(dtype):
    labels = np.array([0, 1, 3], dtype)
    assert _loss([LOGITS] * 3, labels) == pytest.approx((1 + 2 + 3) / 3 * LN2, rel=1e-6)


def test_it_is_the_cross_entropy_of_the_target():
    random = np.random.default_rng(0)
    logits = random.normal(0, 4, (6, 11)).astype(np.float32)
    labels = random.integers(0, 11, 6)
    targets = np.eye(11)[labels]
    wide = logits.astype(np.float64)
    logs = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    expected = -(targets * logs).sum(axis=1).mean()
    found = _loss(logits, labels)
    assert found == pytest.approx(expected, rel=1e-6)

    # The gradient of a picture's cross-entropy is its probabilities less its target.
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = classification_loss(variable, labels)[keys.LOSS_CLASSIFICATION]
    gradient = tape.gradient(loss, variable).numpy()
    np.testing.assert_allclose(gradient, (np.exp(logs) - targets) / 6, atol=1e-6)


def test_huge_logits_are_exact():
    # Sure and right, sure and wrong by 200.
    found = _loss([[100, -100]] * 2, [0, 1])
    assert found == pytest.approx((0 + 200) / 2, rel=1e-6)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_that_is_no_class_is_not_passed_over(label):
    """On the CPU an error; compiled by XLA, as on a GPU, a loss that training stops at."""
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"label value of {label} "):
        _loss([LOGITS], [label])
    compiled = tf.function(classification_loss, jit_compile=True)
    loss = compiled(tf.constant([LOGITS], tf.float32), [label])
    assert np.isnan(loss[keys.LOSS_CLASSIFICATION])


_TWO_DEVICES = """
import numpy as np
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from blitznet import distribution, monitor
from blitznet.losses.classification import classification_loss

random = np.random.default_rng(1)
logits = tf.constant(random.normal(size=(7, 9)), tf.float32)
labels = tf.constant(random.integers(0, 9, 7), tf.int32)
strategy = distribution.start("mirrored").strategy
halves = (slice(4), slice(4, 7))  # of other sizes: the mean is not that of the means

def compute(logits, labels):
    return {**classification_loss(logits, labels), **monitor.class_counts(logits, labels)}

def part_of(tensor):
    return strategy.experimental_distribute_values_from_function(
        lambda context: tensor[halves[context.replica_id_in_sync_group]])

whole = compute(logits, labels)
run = tf.function(lambda *parts: strategy.run(compute, args=parts))
parts = run(part_of(logits), part_of(labels))
for name, value in parts.items():
    values = strategy.experimental_local_results(value)
    assert len(values) == 2
    np.testing.assert_allclose(sum(values), whole[name], rtol=1e-6, err_msg=name)
print("same", *sorted(parts))
"""


@pytest.mark.slow
def test_the_losses_and_counts_of_two_devices_add_up_to_those_of_one():
    printed = run_python("-c", _TWO_DEVICES)
    assert printed.split()[-5:] == ["same", "classification", "classified", "in_top1", "in_top5"]


def test_a_linear_classifier_learns_by_it():
    random = np.random.default_rng(2)
    labels = np.arange(30) % 3
    pictures = tf.constant(np.eye(3)[labels] + random.normal(0, 0.2, (30, 3)), tf.float32)
    weights = tf.Variable(tf.zeros((3, 3)))
    losses = []
    for _ in range(50):
        with tf.GradientTape() as tape:
            loss = classification_loss(pictures @ weights, labels)[keys.LOSS_CLASSIFICATION]
        weights.assign_sub(2.0 * tape.gradient(loss, weights))
        losses.append(float(loss))
    assert losses[0] == pytest.approx(np.log(3))
    assert losses[-1] < 0.15
