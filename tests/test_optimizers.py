"""Optimisers and averages of the weights, of tensorflow-addons or Keras, against formulas."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from blitznet import addons, checkpoints
from blitznet.optim import Averaging, build_optimizer
from blitznet.variables import variables_by_path
from helpers import needs_addons

RATE, DECAY, STEPS = 0.01, 0.1, 14
KERNEL, BIAS = "fc/kernel", "fc/bias"


def network():
    keras.utils.set_random_seed(3)
    images = keras.Input((3,))
    model = keras.Model(images, keras.layers.Dense(2, name="fc")(images))
    model.get_layer("fc").set_weights(
        [np.float32([[1, -2], [0.5, 3], [-1, 0.25]]), np.float32([0.5, -1])]
    )
    return model


def gradients(steps=STEPS):
    rng = np.random.default_rng(7)
    return [
        {KERNEL: rng.normal(size=(3, 2)).astype("f4"), BIAS: rng.normal(size=2).astype("f4")}
        for _ in range(steps)
    ]


def values(variables):
    return {path: tf.convert_to_tensor(v).numpy() for path, v in variables.items()}


def run(optimizer, model, steps):
    """Apply a gradient after the other; the weights after each."""
    variables = variables_by_path(model)

    @tf.function
    def update(*gradient):
        optimizer.apply_gradients(zip(gradient, model.trainable_variables))

    optimizer.learning_rate.assign(RATE)
    passed = []
    for gradient in steps:
        update(*(tf.constant(gradient[path]) for path in (KERNEL, BIAS)))
        passed.append(values(variables))
    return passed


class Moments:
    """The two moments of Adam, of one weight, in float64."""

    def __init__(self):
        self.m = self.v = 0.0
        self.t = 0

    def corrected(self, g):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        return self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)


def adam(w, g, state, decay):
    mean, square = state.setdefault("moments", Moments()).corrected(g)
    return w - RATE * mean / (np.sqrt(square) + 1e-8)


def adamw(w, g, state, decay):
    return adam(w - RATE * decay * w, g, state, decay)


def sgdw(w, g, state, decay):
    state["v"] = 0.9 * state.get("v", 0.0) - RATE * g
    return w - RATE * decay * w + state["v"]


def lamb(w, g, state, decay):
    """arXiv 1904.00962, algorithm 2: as tensorflow-addons has it, or as Keras."""
    mean, square = state.setdefault("moments", Moments()).corrected(g)
    if addons.package():
        update = mean / (np.sqrt(square) + 1e-6) + decay * w
        # What does not decay is not adapted either.
        ratio = np.linalg.norm(w) / np.linalg.norm(update) if decay else 1.0
    else:
        w = w - RATE * decay * w
        update = mean / (np.sqrt(square) + 1e-7)
        ratio = np.linalg.norm(w) / np.linalg.norm(update)
    return w - RATE * ratio * update


def radam(w, g, state, decay):
    """arXiv 1908.03265, algorithm 2, with the threshold 5 of its authors' program."""
    moments = state.setdefault("moments", Moments())
    mean, square = moments.corrected(g)
    longest, t = 2 / (1 - 0.999) - 1, moments.t
    length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
    if length < 5:
        return w - RATE * mean
    rectified = (length - 4) * (length - 2) * longest
    rectified /= (longest - 4) * (longest - 2) * length
    return w - RATE * np.sqrt(rectified) * mean / (np.sqrt(square) + 1e-8)


def nesterov(w, g, state, decay):
    state["v"] = 0.9 * state.get("v", 0.0) - RATE * g
    return w + 0.9 * state["v"] - RATE * g


FORMULAS = {
    "adam": adam,
    "nesterov": nesterov,
    "adamw": adamw,
    "sgdw": sgdw,
    "lamb": lamb,
    "radam": radam,
}
BOTH_STACKS = ["adam", "nesterov", "adamw", "sgdw"]
BOTH_STACKS.append("lamb") if addons.package() or hasattr(keras.optimizers, "Lamb") else None


def by_formula(name, steps, lookahead=False):
    weights = {path: w.astype("f8") for path, w in values(variables_by_path(network())).items()}
    slow, state, passed = dict(weights), {path: {} for path in weights}, []
    for t, gradient in enumerate(steps, start=1):
        for path, w in weights.items():
            decay = DECAY if path == KERNEL and name in ("adamw", "sgdw", "lamb") else 0.0
            weights[path] = FORMULAS[name](w, gradient[path].astype("f8"), state[path], decay)
            if lookahead and t % 6 == 0:
                slow[path] = weights[path] = slow[path] + 0.5 * (weights[path] - slow[path])
        passed.append(dict(weights))
    return passed


def assert_same(found, expected, rtol=2e-5):
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert one.keys() == other.keys()
        for path in one:
            np.testing.assert_allclose(one[path], other[path], rtol=rtol, atol=2e-6, err_msg=path)


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


def mean_of_snapshots(passed, start, period):
    taken = passed[start - 1 :: period]
    return {path: np.mean([weights[path] for weights in taken], axis=0) for path in taken[0]}


def moving_average(passed, decay):
    average = dict(passed[0])
    for weights in passed[1:]:
        average = {path: decay * average[path] + (1 - decay) * w for path, w in weights.items()}
    return average


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
    expected = run(optimizer, model, gradients()[stop:])

    again = network()
    again.get_layer("fc").set_weights([np.zeros((3, 2)), np.zeros(2)])
    resumed = build_optimizer(model=again, **arguments)
    assert checkpoints.resume(prefix, again, resumed) == stop
    found = run(resumed, again, gradients()[stop:])
    for one, other in zip(found, expected):
        for path in one:
            np.testing.assert_array_equal(one[path], other[path])
    for path, average in values(resumed.averages).items():
        np.testing.assert_array_equal(average, values(optimizer.averages)[path])


def averaged_run(folder, **averaging):
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
