"""Optimisers of tensorflow-addons or Keras against formulas; their slots."""

from types import SimpleNamespace

import numpy as np
import pytest
from tensorflow import keras

from blitznet import checkpoints, optim
from blitznet.optim import Averaging, build_optimizer
from helpers import needs_addons
from optimizer_run import (
    BOTH_STACKS,
    DECAY,
    FORMULAS,
    assert_same,
    by_formula,
    gradients,
    moving_average,
    network,
    run,
    values,
)


@pytest.mark.parametrize("name", [*BOTH_STACKS, pytest.param("radam", marks=needs_addons)])
def test_optimizer_equals_its_formula(name):
    model = network()
    optimizer = build_optimizer(name, model, DECAY)
    assert_same(run(optimizer, model, gradients()), by_formula(name, gradients()))


@needs_addons
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("averaging", [None, Averaging("ema", 0.8)])
def test_lookahead_equals_its_formula_over_every_optimizer(name, averaging):
    # Decay stays with the kernels though the wrapper never asks the optimiser to apply.
    model = network()
    optimizer = build_optimizer(name, model, DECAY, lookahead=True, averaging=averaging)
    expected = by_formula(name, gradients(), lookahead=True)
    assert_same(run(optimizer, model, gradients()), expected)
    if averaging:
        assert_same([values(optimizer.averages)], [moving_average(expected, averaging.decay)])


VARIANTS = [
    *(({"name": name}) for name in BOTH_STACKS),
    {"name": "adamw", "averaging": Averaging("ema", 0.8)},
    *(
        pytest.param(arguments, marks=needs_addons)
        for arguments in (
            {"name": "radam"},
            {"name": "sgdw", "lookahead": True},
            {"name": "adam", "averaging": Averaging("swa", start=5, period=2)},
            {"name": "lamb", "lookahead": True, "averaging": Averaging("ema", 0.9)},
        )
    ),
]


@pytest.mark.parametrize("arguments", VARIANTS)
@pytest.mark.parametrize("stop", [3, 8])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, arguments, stop):
    arguments = {"weight_decay": DECAY, **arguments}
    model = network()
    optimizer = build_optimizer(model=model, **arguments)
    run(optimizer, model, gradients()[:stop])
    prefix = checkpoints.save(tmp_path, stop, model, optimizer)
    expected = run(optimizer, model, gradients()[stop:], stop)

    again = network()
    again.get_layer("fc").set_weights([np.zeros((3, 2)), np.zeros(2)])
    resumed = build_optimizer(model=again, **arguments)
    assert checkpoints.resume(prefix, again, resumed) == stop
    found = run(resumed, again, gradients()[stop:], stop)
    for one, other in zip(found, expected):
        for path in one:
            np.testing.assert_array_equal(one[path], other[path])
    for path, average in values(resumed.averages).items():
        np.testing.assert_array_equal(average, values(optimizer.averages)[path])


class TestSlots:
    """Every variable has its slots, once."""

    @pytest.fixture
    def built(self):
        model = network()
        return keras.optimizers.Adam(name="adam"), model.trainable_variables

    def test_two_variables_for_a_slot_are_named(self, built):
        optimizer, variables = built
        optimizer.build(variables)
        twice = SimpleNamespace(name="adam", variables=2 * list(optimizer.variables))
        with pytest.raises(ValueError, match="two variables for the slot momentum/fc/kernel"):
            optim._keras_slots(twice, variables)

    def test_a_variable_of_no_slot_is_named(self, built):
        optimizer, variables = built
        optimizer.build(variables)
        with pytest.raises(ValueError, match="has the variable .*bias.*, of no known slot"):
            optim._keras_slots(optimizer, variables[:1])

    def test_a_slot_that_is_missing_is_named(self, built):
        _, variables = built
        complete = build_optimizer("adam", network()).slots
        assert optim._check_slots(complete, variables, ["momentum", "velocity"]) is None
        del complete["velocity/fc/bias"]
        with pytest.raises(ValueError, match="missing or too many: velocity/fc/bias$"):
            optim._check_slots(complete, variables, ["momentum", "velocity"])
