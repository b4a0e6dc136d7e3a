"""The learning-rate schedule at its borders; the optimisers' first steps by hand."""

import numpy as np
import pytest
from tensorflow import keras

from blitznet import choices
from blitznet.optim import build_optimizer, learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-5),
        (9, 1e-5),
        (10, 1e-5),  # while step <= warmup_step
        (11, 1e-3),
        (50, 1e-3),  # the decay comes after this step
        (51, 1e-4),
        (70, 1e-4),
        (71, 1e-5),
        (10**6, 1e-5),
    ],
)
def test_rate_at_the_borders(step, expected):
    rate = learning_rate(step, 1e-3, 1e-5, warmup_step=10, decay_steps=(50, 70))
    assert rate == pytest.approx(expected, rel=1e-12)


def test_by_default_only_step_0_is_at_the_warm_up_rate():
    rates = [learning_rate(step, 1e-4, 1e-5, 0, ()) for step in range(3)]
    assert rates == [1e-5, 1e-4, 1e-4]


def test_warm_up_wins_over_a_decay_that_comes_earlier():
    assert learning_rate(5, 1.0, 0.5, 5, (2,)) == 0.5
    assert learning_rate(6, 1.0, 0.5, 5, (2,)) == pytest.approx(0.1)


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.layers[-1].set_weights([np.float32([[1.0]])])
    return model


def _weights_after(model, name, gradients, rate, **arguments):
    optimizer = build_optimizer(name, model, **arguments)
    optimizer.learning_rate.assign(rate)
    weights = []
    for gradient in gradients:
        optimizer.apply_gradients([(np.float32([[gradient]]), model.trainable_variables[0])])
        weights.append(float(model.get_weights()[0][0, 0]))
    return weights


def test_nesterov_by_hand(model):
    # v = 0.9 v - 0.1 g; w += 0.9 v - 0.1 g: v is -0.2 and then -0.28.
    expected = [1 - 0.18 - 0.2, 1 - 0.38 - 0.252 - 0.1]
    assert _weights_after(model, "nesterov", [2.0, 1.0], 0.1) == pytest.approx(expected, rel=1e-5)


def test_adam_by_hand(model):
    # Both moments are corrected: the first step is the rate, whatever the gradient.
    mean = (0.9 * 0.1 * 4 + 0.1 * 1) / (1 - 0.9**2)
    square = (0.999 * 0.001 * 16 + 0.001 * 1) / (1 - 0.999**2)
    expected = [0.99, 0.99 - 0.01 * mean / square**0.5]
    assert _weights_after(model, "adam", [4.0, 1.0], 0.01) == pytest.approx(expected, rel=1e-5)


def test_adam_has_the_epsilon_of_the_original(model):
    # The original adds epsilon to the root of the uncorrected second moment, 1e-8 * sqrt(0.001)
    # here, and corrects the rate instead: epsilon decides the step of so small a gradient.
    root = 1e-8 * 0.001**0.5
    expected = 1 - 0.5 * (0.001**0.5 / 0.1) * 1e-9 / (root + 1e-8)
    assert _weights_after(model, "adam", [1e-8], 0.5) == pytest.approx([expected], rel=1e-5)


def test_slots_exist_before_the_first_step(model):
    for name in ("adam", "nesterov"):
        slots = build_optimizer(name, model).slots
        assert all(slot.shape == (1, 1) for slot in slots.values())


def test_unknown_optimizer_lists_the_valid_ones(model):
    with pytest.raises(ValueError, match="'sgd'.*adam, nesterov"):
        build_optimizer("sgd", model)


def test_momentum_by_hand(model):
    # v = 0.9 v - 0.1 g; w += v: v is -0.2 and then -0.28.
    expected = [1 - 0.2, 1 - 0.2 - 0.28]
    assert _weights_after(model, "momentum", [2.0, 1.0], 0.1) == pytest.approx(expected, rel=1e-5)
    # With momentum 0.99: v is -0.2 and then -0.298.
    model.layers[-1].set_weights([np.float32([[1.0]])])
    found = _weights_after(model, "momentum", [2.0, 1.0], 0.1, momentum=0.99)
    assert found == pytest.approx([0.8, 0.502], rel=1e-5)


@pytest.mark.parametrize("name", choices.LINEAR)
def test_biases_step_at_a_rate_of_their_own(name):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.layers[-1].set_weights([np.float32([[1.0]]), np.float32([1.0])])
    optimizer = build_optimizer(name, model, bias_rate=2.0)
    optimizer.learning_rate.assign(0.1)
    for _ in range(3):
        gradients = [np.ones(variable.shape, np.float32) for variable in model.trainable_variables]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    kernel, bias = (float(np.squeeze(weights)) for weights in model.get_weights())
    assert 1 - bias == pytest.approx(2 * (1 - kernel), rel=1e-5)
    assert kernel < 0.7
