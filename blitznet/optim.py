"""Optimisers, averages of the weights, and the learning-rate schedule."""

import bisect
from dataclasses import dataclass

import tensorflow as tf
from tensorflow import keras

from blitznet import addons, choices
from blitznet.loss_scaling import LossScale
from blitznet.variables import tf_variable, variable_path

# A slot of a variable: its kind in Keras 3, and in Keras 2 and the legacy optimisers.
_KINDS = {"momentum": "m", "velocity": "v", "average": "average", "slow": "slow"}
_MOMENTS = ("momentum", "velocity")
_AVERAGE = "average/"
_LOOKAHEAD = "_lookahead"
# LAMB decays the weights within the trust ratio, kernels alone, or beside it, all variables: the
# state of one is nothing for the other.
_LAMB = {"lamb-addons": "as tensorflow-addons has it", "lamb-keras": "as Keras has it"}


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

    def __str__(self):
        """What it is an average of: one begun under the same text may be gone on with."""
        if self.kind == "ema":
            return "ema"
        return f"swa of every {self.period} steps from step {self.start} on"


@dataclass(frozen=True)
class Optimizer:
    """An optimiser whose variables exist, in the one form that training and checkpoints know.

    Attributes:
      name: what its state is called in checkpoints; `flags_of` spells it.
      apply_gradients: takes pairs of gradient and variable, outside of replicas: the gradients
        are those of the whole batch.
      learning_rate, iterations: variables.
      slots: `<kind>/<path of the variable>` -> `tf.Variable`, averages left out.
      averages: path -> `tf.Variable`, the averaged weights; empty without averaging.
      averaging: the `Averaging`, or None.
      loss_scale: the `LossScale` by which the loss is multiplied, or None.
    """

    name: str
    apply_gradients: object
    learning_rate: object
    iterations: object
    slots: dict
    averages: dict
    averaging: Averaging = None
    loss_scale: LossScale = None

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


def build_optimizer(
    name,
    model,
    weight_decay=0.0,
    lookahead=False,
    averaging=None,
    loss_scale=None,
    momentum=0.9,
    bias_rate=1.0,
):
    """The `Optimizer` called `name`, built for `model`; its rate is set at every step.

    Averages and slow weights begin at the weights that the model has. With tensorflow-addons
    present, what it offers is taken from there, otherwise Keras' own where there is one.

    Args:
      name: one of `choices.OPTIMIZERS`.
      model: whose trainable variables are optimised.
      weight_decay: of the kernels, for those in `choices.DECOUPLED`; others have it in the loss.
      lookahead: whether to wrap it in Lookahead (arXiv 1907.08610).
      averaging: an `Averaging`, or None.
      loss_scale: a `LossScale`, or None.
      momentum: of those in `choices.WITH_MOMENTUM`.
      bias_rate: how many times the rate biases have, for those in `choices.LINEAR`.

    Raises:
      ValueError: there is no optimizer `name`; names the choices. Or it is tensorflow-addons' and
        the model is on several devices.
      ImportError: what is asked for needs tensorflow-addons.
    """
    choices.check("optimizer", name, choices.OPTIMIZERS)
    variables = model.trainable_variables
    wrapped = lookahead or averaging
    if addons.package() and (wrapped or name not in ("adam", *choices.LINEAR)):
        _require_one_device()
        base = addons.legacy_optimizer(name, weight_decay, _undecayed(variables), momentum)
        outermost, slots = _wrapped(base, variables, lookahead, averaging)
    else:
        _require_keras_has(name, lookahead, averaging)
        base = outermost = _from_keras(name, variables, weight_decay, averaging, momentum)
        slots = _keras_slots(base, variables)
    _check_slots(slots, variables, _slot_kinds(name, lookahead, averaging))
    return Optimizer(
        name=_state_name(name, lookahead),
        apply_gradients=_with_bias_rate(outermost.apply_gradients, bias_rate),
        learning_rate=base.learning_rate,
        iterations=outermost.iterations,
        slots={key: slot for key, slot in slots.items() if not key.startswith(_AVERAGE)},
        averages={
            key[len(_AVERAGE) :]: slot for key, slot in slots.items() if key.startswith(_AVERAGE)
        },
        averaging=averaging,
        loss_scale=loss_scale,
    )


def flags_of(state):
    """The flags that make an optimizer whose state is called so (`Optimizer.name`), as text."""
    base = state[: -len(_LOOKAHEAD)] if state.endswith(_LOOKAHEAD) else state
    algorithm = f" ({_LAMB[base]})" if base in _LAMB else ""
    lookahead = " --lookahead" if base != state else ""
    return f"--optimizer {base.split('-')[0]}{algorithm}{lookahead}"


def learning_rate(step, base, warmup_lr, warmup_step, decay_steps):
    """Rate of the update that follows `step` earlier ones (spec section 9).

    `warmup_lr` while `step <= warmup_step`, then `base`, a tenth of it after each step of the
    ascending `decay_steps` is passed.
    """
    if step <= warmup_step:
        return warmup_lr
    return base * 0.1 ** bisect.bisect_left(decay_steps, step)


def _state_name(name, lookahead):
    if name == "lamb":
        name = "lamb-addons" if addons.package() else "lamb-keras"
    return name + _LOOKAHEAD if lookahead else name


def _require_one_device():
    # Checked on two: each takes the weight decay out again, and LAMB's steps are others.
    if tf.distribute.has_strategy():
        raise ValueError(
            "with tensorflow-addons, --strategy takes --optimizer adam, nesterov and momentum "
            "alone, without --lookahead and averages; TensorFlow 2.21 has adamw, sgdw, lamb and "
            "ema there too"
        )


def _require_keras_has(name, lookahead, averaging):
    """ImportError, naming the flag, for what needs tensorflow-addons."""
    if name == "radam" or (name == "lamb" and not hasattr(keras.optimizers, "Lamb")):
        addons.need(f"--optimizer {name}")
    if lookahead:
        addons.need("--lookahead")
    if averaging and averaging.kind == "swa":
        addons.need("--average_weights swa")


class _Adam(keras.optimizers.Adam):
    """Keras' Adam and, with `weight_decay`, AdamW, by one operation for each variable.

    Keras' formula takes a dozen, each of which passes over all the weights.
    """

    def build(self, variables):
        super().build(variables)
        if hasattr(self, "_moments_of"):
            # Keras 2 builds at every trace, outside of the strategy's scope too.
            return
        # Keras 2 would compile each variable's update alone on a GPU, and hand over another object.
        self.jit_compile = False
        slots, strategy = _keras_slots(self, variables), tf.distribute.get_strategy()
        moments = {
            part.ref(): tuple(slots[f"{kind}/{variable_path(v)}"] for kind in _MOMENTS)
            for v in variables
            for part in strategy.experimental_local_results(tf_variable(v))
        }
        # A dict would be searched for weights by Keras.
        self._moments_of = moments.__getitem__

    def update_step(self, gradient, variable, learning_rate=None):
        """`learning_rate` is given by Keras 3; Keras 2 leaves it to the attribute."""
        rate = self.learning_rate if learning_rate is None else learning_rate
        mean, square = self._moments_of(tf_variable(variable).ref())
        step = tf.cast(tf.convert_to_tensor(self.iterations) + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=mean.handle,
            v=square.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.convert_to_tensor(rate),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def _with_bias_rate(apply_gradients, rate):
    """The same with the gradients of biases multiplied by `rate`.

    For optimisers that step in proportion to their gradients that is a rate of their own, Caffe's
    `lr_mult`.
    """
    if rate == 1:
        return apply_gradients

    def apply(pairs):
        apply_gradients(
            [(g * rate if variable_path(v).endswith("/bias") else g, v) for g, v in pairs]
        )

    return apply


def _from_keras(name, variables, weight_decay, averaging, momentum):
    """Keras' own optimiser, built: slots must exist before a checkpoint is restored."""
    arguments = {"learning_rate": 1e-4, "name": name}
    if averaging:
        arguments.update(use_ema=True, ema_momentum=averaging.decay)
    if name in choices.DECOUPLED:
        arguments["weight_decay"] = weight_decay
    if name == "lamb":
        optimizer = keras.optimizers.Lamb(**arguments)
    elif name in choices.WITH_MOMENTUM:
        nesterov = name == "nesterov"
        optimizer = keras.optimizers.SGD(momentum=momentum, nesterov=nesterov, **arguments)
    else:
        optimizer = _Adam(epsilon=1e-8, **arguments)
    if name in choices.DECOUPLED:
        optimizer.exclude_from_weight_decay(var_list=_undecayed(variables))
    optimizer.build(variables)
    return optimizer


def _wrapped(base, variables, lookahead, averaging):
    """`(outermost, slots)` of an optimiser of tensorflow-addons within its wrappers."""
    _create_variables(base, variables)
    levels = addons.wrap(base, lookahead, averaging)
    _create_variables(levels[-1], variables)
    slots = {}
    for level in levels:
        for kind in level.get_slot_names():
            for variable in variables:
                key = f"{_canonical(kind)}/{variable_path(variable)}"
                slots[key] = level.get_slot(variable, kind)
    return levels[-1], slots


def _undecayed(variables):
    """Those that are no kernels: biases, scales and offsets do not decay."""
    return [variable for variable in variables if not variable_path(variable).endswith("/kernel")]


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
        if name.rsplit("/")[-1] in ("iteration", "learning_rate"):
            continue
        if name not in known:
            raise ValueError(f"{optimizer.name} has the variable {name}, of no known slot")
        if known[name] in slots:
            raise ValueError(f"{optimizer.name} has two variables for the slot {known[name]}")
        slots[known[name]] = tf_variable(slot)
    return slots


def _slot_kinds(name, lookahead, averaging):
    """The kinds of slots that each variable has."""
    kinds = ["momentum"] if name in choices.WITH_MOMENTUM else ["momentum", "velocity"]
    return kinds + ["slow"] * bool(lookahead) + ["average"] * bool(averaging)


def _check_slots(slots, variables, kinds):
    """ValueError, naming some of them, unless `slots` are those of `kinds` for all variables."""
    expected = {f"{kind}/{variable_path(v)}" for kind in kinds for v in variables}
    wrong = sorted(expected ^ slots.keys())
    if wrong:
        raise ValueError(f"slots of the optimizer are missing or too many: {', '.join(wrong[:8])}")
