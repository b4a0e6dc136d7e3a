"""Optimisers, averages of the weights, and the learning-rate schedule."""

import bisect
from dataclasses import dataclass

import tensorflow as tf
from tensorflow import keras

from blitznet import addons
from blitznet.variables import tf_variable, variable_path

OPTIMIZERS = ("adam", "nesterov", "adamw", "sgdw", "lamb", "radam")
# Those that take weight decay out of the weights themselves, not through the loss.
DECOUPLED = ("adamw", "sgdw", "lamb")
# A slot of a variable: its kind in Keras 3, and in Keras 2 and the legacy optimisers.
_KINDS = {"momentum": "m", "velocity": "v", "average": "average", "slow": "slow"}


@dataclass(frozen=True)
class Averaging:
    """An average of the weights that training passes through, kept beside them.

    Attributes:
      kind: "ema", the exponential moving average over all steps, or "swa", the plain mean of
        snapshots (stochastic weight averaging, arXiv 1803.05407).
      decay: of the moving average.
      start, period: the first step whose weights are in the mean, and the steps from one
        snapshot to the next.
    """

    kind: str
    decay: float = 0.999
    start: int = 1
    period: int = 1


@dataclass(frozen=True)
class Optimizer:
    """An optimiser whose variables exist, in the one form that training and checkpoints know.

    Attributes:
      name: what its state is called in checkpoints.
      apply_gradients: takes pairs of gradient and variable.
      learning_rate, iterations: variables.
      slots: `<kind>/<path of the variable>` -> `tf.Variable`, averages left out.
      averages: path -> `tf.Variable`, the averaged weights; empty without averaging.
      averaging: the `Averaging`, or None.
    """

    name: str
    apply_gradients: object
    learning_rate: object
    iterations: object
    slots: dict
    averages: dict
    averaging: Averaging = None

    def has_average(self, step):
        """Whether weights have been averaged by `step`."""
        return bool(self.averaging) and step >= self.averaging.start

    def begin_average(self, step, weights):
        """Begin the average at step `step` with `weights`, path -> variable.

        Raises:
          ValueError: a mean of snapshots should have begun before that.
        """
        if self.averaging.kind == "swa" and self.has_average(step):
            raise ValueError(
                f"there is no average of the weights since step {self.averaging.start} to go on "
                f"with: start it later, --average_start {step + 1} or above"
            )
        for path, average in self.averages.items():
            average.assign(weights[path])


def build_optimizer(name, model, weight_decay=0.0, lookahead=False, averaging=None):
    """The `Optimizer` called `name`, built for `model`; its rate is set at every step.

    Averages and slow weights begin at the weights that the model has. With tensorflow-addons
    present, what it offers is taken from there, otherwise Keras' own where there is one.

    Args:
      name: one of `OPTIMIZERS`.
      model: whose trainable variables are optimised.
      weight_decay: of the kernels, for those in `DECOUPLED`; others have it in the loss.
      lookahead: whether to wrap it in Lookahead (arXiv 1907.08610).
      averaging: an `Averaging`, or None.

    Raises:
      ValueError: `name` is none of `OPTIMIZERS`.
      ImportError: what is asked for needs tensorflow-addons.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}: choose one of {', '.join(OPTIMIZERS)}")
    variables = model.trainable_variables
    wrapped = lookahead or averaging
    if addons.package() and (wrapped or name not in ("adam", "nesterov")):
        base, outermost, slots = _from_addons(name, variables, weight_decay, lookahead, averaging)
    else:
        _check_addons_unneeded(name, lookahead, averaging)
        base = outermost = _from_keras(name, variables, weight_decay, averaging)
        slots = _keras_slots(base, variables)
    average = "average/"
    return Optimizer(
        name=f"{name}_lookahead" if lookahead else name,
        apply_gradients=outermost.apply_gradients,
        learning_rate=base.learning_rate,
        iterations=outermost.iterations,
        slots={key: slot for key, slot in slots.items() if not key.startswith(average)},
        averages={
            key[len(average) :]: slot for key, slot in slots.items() if key.startswith(average)
        },
        averaging=averaging,
    )


def learning_rate(step, base, warmup_lr, warmup_step, decay_steps):
    """Rate of the update that follows `step` earlier ones (spec section 9).

    `warmup_lr` while `step <= warmup_step`, then `base`, a tenth of it after each step of the
    ascending `decay_steps` is passed.
    """
    if step <= warmup_step:
        return warmup_lr
    return base * 0.1 ** bisect.bisect_left(decay_steps, step)


def _check_addons_unneeded(name, lookahead, averaging):
    """ImportError, naming the flag, for what Keras has not."""
    if name == "radam" or (name == "lamb" and not hasattr(keras.optimizers, "Lamb")):
        addons.need(f"--optimizer {name}")
    if lookahead:
        addons.need("--lookahead")
    if averaging and averaging.kind == "swa":
        addons.need("--average_weights swa")


def _from_keras(name, variables, weight_decay, averaging):
    """Keras' own optimiser, built: slots must exist before a checkpoint is restored."""
    arguments = {"learning_rate": 1e-4, "name": name}
    if averaging:
        arguments.update(use_ema=True, ema_momentum=averaging.decay)
    if name in DECOUPLED:
        arguments["weight_decay"] = weight_decay
    if name == "lamb":
        optimizer = keras.optimizers.Lamb(**arguments)
    elif name in ("nesterov", "sgdw"):
        optimizer = keras.optimizers.SGD(momentum=0.9, nesterov=name == "nesterov", **arguments)
    else:
        kind = keras.optimizers.AdamW if name == "adamw" else keras.optimizers.Adam
        optimizer = kind(epsilon=1e-8, **arguments)
    if name in DECOUPLED:
        others = [v for v in variables if not variable_path(v).endswith("/kernel")]
        optimizer.exclude_from_weight_decay(var_list=others)
    optimizer.build(variables)
    return optimizer


def _from_addons(name, variables, weight_decay, lookahead, averaging):
    """`(base, outermost, slots)` of an optimiser of tensorflow-addons within its wrappers."""
    base = addons.legacy_optimizer(name, weight_decay)
    _create_variables(base, variables)
    levels = addons.wrap(base, lookahead, averaging)
    _create_variables(levels[-1], variables)
    slots = {}
    for level in levels:
        for kind in level.get_slot_names():
            for variable in variables:
                key = f"{_canonical(kind)}/{variable_path(variable)}"
                slots[key] = level.get_slot(variable, kind)
    return base, levels[-1], slots


def _create_variables(optimizer, variables):
    """Make a legacy optimiser create its variables: tracing an update runs none of it."""

    @tf.function
    def update(gradients):
        optimizer.apply_gradients(zip(gradients, variables))

    update.get_concrete_function([tf.TensorSpec(v.shape, v.dtype) for v in variables])


def _canonical(kind):
    return {short: long for long, short in _KINDS.items()}.get(kind, kind)


def _keras_slots(optimizer, variables):
    """The slots of a built Keras optimiser, under the names of `Optimizer.slots`.

    Keras 3 calls them `<optimizer>/<path with _ for />_<kind>`, Keras 2 `<kind>/<path>`.
    """
    known = {}
    for variable in variables:
        path = variable_path(variable)
        for kind, short in _KINDS.items():
            known[f"{optimizer.name}/{path.replace('/', '_')}_{kind}"] = f"{kind}/{path}"
            known[f"{short}/{path}"] = f"{kind}/{path}"
    slots = {}
    for slot in optimizer.variables:
        name = variable_path(slot)
        if name in known and known[name] not in slots:
            slots[known[name]] = tf_variable(slot)
        elif name.rsplit("/")[-1] not in ("iteration", "learning_rate"):
            raise ValueError(f"{optimizer.name} has the variable {name}, of no known slot")
    return slots
