"""Averages of the weights: against formulas, in checkpoints, under changed settings."""

import numpy as np
import pytest
import tensorflow as tf

import training
from blitznet import checkpoints, choices
from blitznet.optim import Averaging, build_optimizer
from blitznet.variables import variables_by_path
from helpers import needs_addons
from optimizer_run import (
    BIAS,
    BOTH_STACKS,
    DECAY,
    KERNEL,
    assert_same,
    by_formula,
    gradients,
    mean_of_snapshots,
    moving_average,
    network,
    run,
    values,
)
from tiny_run import tensors


@pytest.mark.parametrize("name", BOTH_STACKS)
def test_moving_average_equals_its_formula_and_leaves_training_alone(name):
    model = network()
    optimizer = build_optimizer(name, model, DECAY, averaging=Averaging("ema", decay=0.8))
    expected = by_formula(name, gradients())
    assert_same(run(optimizer, model, gradients()), expected)
    assert_same([values(optimizer.averages)], [moving_average(expected, 0.8)])


@needs_addons
@pytest.mark.parametrize(("start", "period"), [(1, 1), (4, 1), (5, 3), (14, 2)])
def test_mean_of_snapshots_equals_its_formula(start, period):
    model = network()
    averaging = Averaging("swa", start=start, period=period)
    optimizer = build_optimizer("adam", model, averaging=averaging)
    expected = by_formula("adam", gradients())
    assert_same(run(optimizer, model, gradients()), expected)
    assert_same([values(optimizer.averages)], [mean_of_snapshots(expected, start, period)])
    assert [optimizer.has_average(step) for step in (start - 1, start)] == [False, True]


@pytest.mark.parametrize("name", choices.LINEAR)
@pytest.mark.parametrize(
    ("lookahead", "averaging"),
    [
        (False, Averaging("ema", decay=0.8)),
        pytest.param(False, Averaging("swa", start=3, period=2), marks=needs_addons),
        pytest.param(True, None, marks=needs_addons),
        pytest.param(True, Averaging("ema", decay=0.8), marks=needs_addons),
    ],
)
def test_within_the_wrappers_biases_step_at_a_rate_of_their_own(name, lookahead, averaging):
    """As by twice the gradient: in every step, in the slow weights and in the average."""
    model = network()
    optimizer = build_optimizer(
        name, model, lookahead=lookahead, averaging=averaging, bias_rate=2.0
    )
    doubled = [{**gradient, BIAS: 2 * gradient[BIAS]} for gradient in gradients()]
    expected = by_formula(name, doubled, lookahead)
    assert_same(run(optimizer, model, gradients()), expected)
    if averaging:
        average = moving_average(expected, 0.8)
        if averaging.kind == "swa":
            average = mean_of_snapshots(expected, 3, 2)
        assert_same([values(optimizer.averages)], [average])


def averaged_run(folder, **averaging):
    """A checkpoint of step 4, its model and optimizer."""
    model = network()
    optimizer = build_optimizer("adam", model, averaging=Averaging(**averaging))
    run(optimizer, model, gradients()[:4])
    return checkpoints.save(folder, 4, model, optimizer), model, optimizer


def test_the_average_is_what_a_checkpoint_gives_and_the_trained_weights_on_request(tmp_path):
    prefix, model, optimizer = averaged_run(tmp_path, kind="ema", decay=0.8)
    trained, average = values(variables_by_path(model)), values(optimizer.averages)
    assert np.abs(trained[KERNEL] - average[KERNEL]).min() > 1e-4
    assert checkpoints.has_average(prefix)
    for load, expected in (
        (lambda model: checkpoints.restore(prefix, model), average),
        (lambda model: checkpoints.restore(prefix, model, averaged=False), trained),
        (lambda model: checkpoints.init_from(prefix, model), average),
    ):
        other = network()
        load(other)
        assert_same([values(variables_by_path(other))], [expected], rtol=0)


def test_an_average_may_begin_and_end_in_the_middle_of_a_run(tmp_path):
    plain = network()
    optimizer = build_optimizer("adam", plain)
    run(optimizer, plain, gradients()[:4])
    prefix = checkpoints.save(tmp_path / "plain", 4, plain, optimizer)
    assert not checkpoints.has_average(prefix)

    model = network()
    averaging = build_optimizer("adam", model, averaging=Averaging("ema", 0.8))
    checkpoints.resume(prefix, model, averaging)
    passed = run(averaging, model, gradients()[4:])
    expected = moving_average([values(variables_by_path(plain)), *passed], 0.8)
    assert_same([values(averaging.averages)], [expected])

    prefix = checkpoints.save(tmp_path / "averaged", 14, model, averaging)
    without = build_optimizer("adam", plain)
    assert checkpoints.resume(prefix, plain, without) == 14
    assert_same([values(variables_by_path(plain))], passed[-1:], rtol=0)


@needs_addons
def test_snapshots_that_should_have_begun_are_refused(tmp_path):
    model = network()
    prefix = checkpoints.save(tmp_path, 4, model, build_optimizer("adam", model))
    late = build_optimizer("adam", model, averaging=Averaging("swa", start=4))
    with pytest.raises(ValueError, match="since step 4 .*--average_start 5"):
        checkpoints.resume(prefix, model, late)
    checkpoints.resume(
        prefix, model, build_optimizer("adam", model, averaging=Averaging("swa", start=5))
    )


@needs_addons
def test_a_checkpoint_from_before_the_first_snapshot_has_no_average(tmp_path):
    prefix, model, _ = averaged_run(tmp_path, kind="swa", start=5)
    assert not checkpoints.has_average(prefix)
    other = network()
    checkpoints.restore(prefix, other)
    assert_same([values(variables_by_path(other))], [values(variables_by_path(model))], rtol=0)


def resumed(prefix, **averaging):
    """`(optimizer, model)` that training goes on with from a checkpoint, averaged as given."""
    model = network()
    optimizer = build_optimizer("adam", model, averaging=Averaging(**averaging))
    assert training.resume(prefix, model, optimizer) == 4
    return optimizer, model


def test_the_decay_of_a_moving_average_may_change_and_the_average_goes_on(tmp_path, capsys):
    prefix, _, before = averaged_run(tmp_path, kind="ema", decay=0.8)
    optimizer, _ = resumed(prefix, kind="ema", decay=0.5)
    assert_same([values(optimizer.averages)], [values(before.averages)], rtol=0)
    assert "anew" not in capsys.readouterr().out


def test_an_average_that_does_not_say_what_it_is_of_begins_anew(tmp_path, capsys):
    """As earlier versions wrote it; its weights are those of evaluation all the same."""
    prefix, before, old = averaged_run(tmp_path, kind="ema", decay=0.8)
    values_of = {n: v for n, v in tensors(prefix).items() if n != "averaging"}
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(values_of),
        shape_and_slices=[""] * len(values_of),
        tensors=list(values_of.values()),
    )
    assert checkpoints.average_of(prefix) == "unknown"
    optimizer, _ = resumed(prefix, kind="ema", decay=0.8)
    assert "its average (unknown) is not ema: that begins anew here" in capsys.readouterr().out
    assert_same([values(optimizer.averages)], [values(variables_by_path(before))], rtol=0)
    evaluated = network()
    checkpoints.restore(prefix, evaluated)
    assert_same([values(variables_by_path(evaluated))], [values(old.averages)], rtol=0)


@needs_addons
def test_snapshots_of_another_rhythm_begin_anew_from_the_weights(tmp_path, capsys):
    prefix, before, _ = averaged_run(tmp_path, kind="swa", start=3, period=2)
    assert checkpoints.average_of(prefix) == "swa of every 2 steps from step 3 on"
    for changed in ({"start": 3, "period": 1}, {"start": 4, "period": 2}):
        with pytest.raises(ValueError, match="--average_start 5"):
            resumed(prefix, kind="swa", **changed)
    capsys.readouterr()
    optimizer, model = resumed(prefix, kind="swa", start=6, period=2)
    assert "(swa of every 2 steps from step 3 on) is not swa of" in capsys.readouterr().out
    passed = run(optimizer, model, gradients()[4:], 4)
    # Steps 6, 8, ... of which the first passed is step 5.
    expected = mean_of_snapshots(passed, 6 - 4, 2)
    assert_same([values(optimizer.averages)], [expected])


@needs_addons
@pytest.mark.parametrize(
    ("saved", "wanted"),
    [
        ({"kind": "swa", "start": 2}, {"kind": "ema", "decay": 0.8}),
        ({"kind": "ema", "decay": 0.8}, {"kind": "swa", "start": 5}),
    ],
)
def test_an_average_of_another_kind_begins_anew_from_the_weights(tmp_path, saved, wanted):
    prefix, before, old = averaged_run(tmp_path, **saved)
    trained = values(variables_by_path(before))
    assert np.abs(trained[KERNEL] - values(old.averages)[KERNEL]).max() > 1e-3
    optimizer, model = resumed(prefix, **wanted)
    assert_same([values(optimizer.averages)], [trained], rtol=0)
    passed = run(optimizer, model, gradients()[4:], 4)
    if wanted["kind"] == "ema":
        expected = moving_average([trained, *passed], 0.8)
    else:
        expected = mean_of_snapshots(passed, 1, 1)
    assert_same([values(optimizer.averages)], [expected])
