"""A network of one layer whose training is followed by optimisers and by formulas."""

import numpy as np
import tensorflow as tf
from tensorflow import keras

from blitznet import addons
from blitznet.variables import variables_by_path

DECAY, STEPS = 0.1, 14
# Another one at each step: what should follow the rate shows that it does.
RATES = [0.01 * (1 + step % 3) for step in range(STEPS)]
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


def run(optimizer, model, steps, first=0):
    """Apply a gradient after the other, at the rates from step `first` on; the weights of each."""
    variables = variables_by_path(model)

    @tf.function
    def update(*gradient):
        optimizer.apply_gradients(zip(gradient, model.trainable_variables))

    passed = []
    for gradient, rate in zip(steps, RATES[first:]):
        optimizer.learning_rate.assign(rate)
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


def adam(w, g, state, rate, decay):
    mean, square = state.setdefault("moments", Moments()).corrected(g)
    return w - rate * mean / (np.sqrt(square) + 1e-8)


def adamw(w, g, state, rate, decay):
    return adam(w - rate * decay * w, g, state, rate, decay)


def sgdw(w, g, state, rate, decay):
    state["v"] = 0.9 * state.get("v", 0.0) - rate * g
    return w - rate * decay * w + state["v"]


def lamb(w, g, state, rate, decay):
    """arXiv 1904.00962, algorithm 2: as tensorflow-addons has it, or as Keras."""
    mean, square = state.setdefault("moments", Moments()).corrected(g)
    if addons.package():
        update = mean / (np.sqrt(square) + 1e-6) + decay * w
        # What does not decay is not adapted either.
        ratio = np.linalg.norm(w) / np.linalg.norm(update) if decay else 1.0
    else:
        w = w - rate * decay * w
        update = mean / (np.sqrt(square) + 1e-7)
        ratio = np.linalg.norm(w) / np.linalg.norm(update)
    return w - rate * ratio * update


def radam(w, g, state, rate, decay):
    """arXiv 1908.03265, algorithm 2, with the threshold 5 of its authors' program."""
    moments = state.setdefault("moments", Moments())
    mean, square = moments.corrected(g)
    longest, t = 2 / (1 - 0.999) - 1, moments.t
    length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
    if length < 5:
        return w - rate * mean
    rectified = (length - 4) * (length - 2) * longest
    rectified /= (longest - 4) * (longest - 2) * length
    return w - rate * np.sqrt(rectified) * mean / (np.sqrt(square) + 1e-8)


def momentum(w, g, state, rate, decay):
    state["v"] = 0.9 * state.get("v", 0.0) - rate * g
    return w + state["v"]


def nesterov(w, g, state, rate, decay):
    state["v"] = 0.9 * state.get("v", 0.0) - rate * g
    return w + 0.9 * state["v"] - rate * g


FORMULAS = {
    "adam": adam,
    "momentum": momentum,
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
            g, rate = gradient[path].astype("f8"), RATES[t - 1]
            weights[path] = FORMULAS[name](w, g, state[path], rate, decay)
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


def mean_of_snapshots(passed, start, period):
    taken = passed[start - 1 :: period]
    return {path: np.mean([weights[path] for weights in taken], axis=0) for path in taken[0]}


def moving_average(passed, decay):
    average = dict(passed[0])
    for weights in passed[1:]:
        average = {path: decay * average[path] + (1 - decay) * w for path, w in weights.items()}
    return average
