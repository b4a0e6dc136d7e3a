"""Checkpoints `model.ckpt-<step>`: save, list, restore, start from; no tensor is passed over.

A checkpoint is TensorFlow's tensor bundle (`.index` and `.data-*`) under plain names, so that
any `tf.train.load_checkpoint` reads it and both Keras generations share it:
`net/<variable path>`, `average/<variable path>` and `averaging` (averaged weights and what they
are an average of, where there are any), `optimizer/<name>/<kind of slot>/<variable path>`, under
`optimizer/<name>/loss_scale` that of float16, `step`.
"""

import re
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf

from blitznet import optim
from blitznet.variables import tf_variable, variables_by_path

_NAME = re.compile(r"model\.ckpt-(\d+)\.index")
_NET = "net/"
_AVERAGE = "average/"
_AVERAGING = "averaging"
_OPTIMIZER = "optimizer/"
_SCALE = "/loss_scale/"
_STEP = "step"
_PARTIAL = ".partial-"


def prefix(folder, step):
    """Path of a checkpoint without the endings of its files."""
    return Path(folder) / f"model.ckpt-{step}"


def steps(folder):
    """Steps of the complete checkpoints in `folder`, ascending; empty if there is no folder."""
    names = (path.name for path in Path(folder).glob("model.ckpt-*.index"))
    return sorted(int(match.group(1)) for match in map(_NAME.fullmatch, names) if match)


def find(folder, step=None):
    """Prefix of the checkpoint at `step`, or of the newest without one.

    Raises:
      FileNotFoundError: there is no such checkpoint; names those that exist.
    """
    present = steps(folder)
    if present and step is None:
        return prefix(folder, present[-1])
    if step in present:
        return prefix(folder, step)
    wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
    raise FileNotFoundError(f"{wanted} in {folder}; there: {_spell(present)}")


def save(folder, step, model, optimizer=None, write=True):
    """Write the checkpoint of `step`; it appears whole or not at all.

    Returns its prefix. `optimizer` is an `optim.Optimizer`, or None. Of several workers all call
    this, as reading a variable may ask the others, and one has `write` set.
    """
    named = {_NET + path: variable for path, variable in variables_by_path(model).items()}
    if optimizer:
        named.update({**_optimizer_state(optimizer), **_loss_scale_state(optimizer)})
        if optimizer.has_average(step):
            named.update({_AVERAGE + path: v for path, v in optimizer.averages.items()})
            named[_AVERAGING] = tf.constant(str(optimizer.averaging))
    named[_STEP] = tf.constant(step, tf.int64)
    names, tensors = list(named), [tf.convert_to_tensor(value) for value in named.values()]

    target = prefix(folder, step)
    if not write:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    for left_over in target.parent.glob(f"{_PARTIAL}*"):
        shutil.rmtree(left_over)
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=folder) as partial:
        tf.raw_ops.SaveV2(
            prefix=str(Path(partial) / target.name),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=tensors,
        )
        # A checkpoint exists while its index does: one of the same step ends before its data
        # is replaced, and this one begins when all else is in place.
        index = target.with_name(f"{target.name}.index")
        index.unlink(missing_ok=True)
        for file in sorted(Path(partial).iterdir(), key=lambda file: file.name == index.name):
            file.replace(target.parent / file.name)
    return target


def restore(checkpoint, model, averaged=True):
    """Load the weights of a checkpoint of this very model; returns its step.

    With `averaged`, those that the checkpoint has an average of are that average.

    Raises:
      FileNotFoundError: the checkpoint is not there.
      ValueError: it does not read, or tensors are missing, left over or of other shapes; the
        model is then unchanged.
    """
    reader = _open(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    shapes = {name: s for name, s in shapes.items() if not name.startswith(_OPTIMIZER)}
    variables = variables_by_path(model)
    named = {_NET + path: v for path, v in variables.items()}
    averages = {name: p for p in variables for name in [_AVERAGE + p] if name in shapes}
    _check(checkpoint, {**named, **{name: variables[p] for name, p in averages.items()}}, shapes)
    if averaged:
        for name, path in averages.items():
            named[name] = named.pop(_NET + path)
    return _assign(checkpoint, reader, named)


def resume(checkpoint, model, optimizer):
    """Load weights and the state of an `optim.Optimizer`; returns the checkpoint's step.

    An average that the optimizer keeps but the checkpoint lacks, or has of another kind or rhythm
    (`average_of`), begins at the weights; one that the optimizer does not keep is left out. So is
    a loss scale, and one that the checkpoint lacks begins anew: the precision may change.

    Raises:
      FileNotFoundError: the checkpoint is not there.
      ValueError: it does not read, has another optimizer's state, or tensors are missing, left
        over or of other shapes, the model being unchanged then; or the average should have
        begun before.
    """
    reader = _open(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    _check_optimizer(checkpoint, optimizer, shapes)
    variables = variables_by_path(model)
    named = {_NET + path: v for path, v in variables.items()}
    named.update(_optimizer_state(optimizer))
    scale = _loss_scale_state(optimizer)
    if scale.keys() <= shapes.keys():
        named.update(scale)
    shapes = {name: s for name, s in shapes.items() if _SCALE not in name or name in named}
    goes_on = optimizer.averages and average_of(checkpoint) == str(optimizer.averaging)
    if goes_on:
        named.update({_AVERAGE + path: v for path, v in optimizer.averages.items()})
    else:
        shapes = {name: s for name, s in shapes.items() if not name.startswith(_AVERAGE)}
    _check(checkpoint, named, shapes)
    step = _assign(checkpoint, reader, named)
    if optimizer.averages and not goes_on:
        optimizer.begin_average(step, variables)
    return step


def weights(checkpoint):
    """How many weights the network of a checkpoint has; raises as `restore`."""
    return sum(name.startswith(_NET) for name in _open(checkpoint).get_variable_to_shape_map())


def has_average(checkpoint):
    """Whether a checkpoint holds averaged weights; raises as `restore`."""
    return any(n.startswith(_AVERAGE) for n in _open(checkpoint).get_variable_to_shape_map())


def average_of(checkpoint):
    """What a checkpoint's averaged weights are of: the text of an `optim.Averaging`.

    None without averaged weights, "unknown" where an earlier version wrote them. Raises as
    `restore`.
    """
    if not has_average(checkpoint):
        return None
    reader = _open(checkpoint)
    if not reader.has_tensor(_AVERAGING):
        return "unknown"
    return _read(checkpoint, reader, [_AVERAGING])[_AVERAGING].decode()


def init_from(checkpoint, model, leave_out=()):
    """Take over from a checkpoint of this project what fits by name and shape.

    The average of a weight is taken where the checkpoint has it. Variables whose path begins
    with one of the words `leave_out` keep their own values.

    Returns:
      `(loaded, skipped)`: sorted variable paths of the model that were taken over and that
      kept their own values.

    Raises:
      FileNotFoundError: the checkpoint is not there.
      ValueError: nothing fits.
    """
    reader = _open(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    variables = variables_by_path(model)
    loaded = sorted(
        path
        for path, variable in variables.items()
        if shapes.get(_NET + path) == variable.shape.as_list()
        and not path.startswith(tuple(leave_out))
    )
    if not loaded:
        raise ValueError(f"{checkpoint} has no variable that fits this model")
    names = {p: _AVERAGE + p if _AVERAGE + p in shapes else _NET + p for p in loaded}
    values = _read(checkpoint, reader, names.values())
    for path, name in names.items():
        variables[path].assign(values[name])
    return loaded, sorted(variables.keys() - loaded)


def _optimizer_state(optimizer):
    """The optimizer's iteration count and slots, by their names in a checkpoint."""
    name = _OPTIMIZER + optimizer.name
    state = {f"{name}/{key}": slot for key, slot in optimizer.slots.items()}
    state[f"{name}/iterations"] = tf_variable(optimizer.iterations)
    return state


def _loss_scale_state(optimizer):
    """The variables of the loss scale, where there is one, by their names in a checkpoint."""
    state = optimizer.loss_scale.state() if optimizer.loss_scale else {}
    return {f"{_OPTIMIZER}{optimizer.name}{_SCALE}{key}": v for key, v in state.items()}


def _check_optimizer(checkpoint, optimizer, names):
    """ValueError unless the checkpoint has the state of this kind of optimizer."""
    state = [name.split("/") for name in names if name.startswith(_OPTIMIZER)]
    kinds = sorted({kind for _, kind, *_ in state})
    instead = f"another run can start from its weights: --init_from {checkpoint}"
    if not kinds:
        raise ValueError(
            f"{checkpoint} has weights but no optimizer state, so training cannot go on from it; "
            f"{instead}"
        )
    if any(re.fullmatch(r"slot_\d+", slot) for _, _, slot, *_ in state):
        raise ValueError(
            f"{checkpoint} was written by an earlier version of this program, whose optimizer "
            "state does not say which variable it belongs to, so training cannot go on from it; "
            f"{instead}"
        )
    if kinds != [optimizer.name]:
        raise ValueError(
            f"{checkpoint} was trained with {' and '.join(map(optim.flags_of, kinds))}, this run "
            f"asks for {optim.flags_of(optimizer.name)}: give the same; {instead}"
        )


def _open(checkpoint):
    if not Path(f"{checkpoint}.index").is_file():
        folder = Path(checkpoint)
        folder = folder if folder.is_dir() else folder.parent
        there = f"; there: {prefix(folder, steps(folder)[-1])}" if steps(folder) else ""
        raise FileNotFoundError(f"no checkpoint {checkpoint} (no {checkpoint}.index){there}")
    try:
        return tf.train.load_checkpoint(str(checkpoint))
    except tf.errors.OpError as error:
        raise ValueError(f"{checkpoint} is not a readable checkpoint: {error.message}") from None


def _read(checkpoint, reader, names):
    """Dict name -> array; ValueError if the file is damaged."""
    try:
        return {name: reader.get_tensor(name) for name in names}
    # TensorFlow's reader answers a file that ends too early with IndexError.
    except (tf.errors.OpError, IndexError) as error:
        raise ValueError(f"{checkpoint} is damaged: {error}") from None


def _assign(checkpoint, reader, named):
    """Read a tensor into each variable of `named`, name -> variable; the checkpoint's step."""
    # All are read before the first is assigned: a damaged file leaves the model alone.
    values = _read(checkpoint, reader, [*named, _STEP])
    for name, variable in named.items():
        variable.assign(values[name])
    return int(values[_STEP])


def _check(checkpoint, named, found):
    """ValueError, naming the tensors, unless `found` (name -> shape) is the step and `named`."""
    expected = {_STEP: [], **{name: v.shape.as_list() for name, v in named.items()}}
    # It is none of the model's, and an earlier version's average lacks it.
    found = {name: shape for name, shape in found.items() if name != _AVERAGING}
    problems = [f"missing: {name}" for name in expected if name not in found]
    problems += [f"left over: {name}" for name in found if name not in expected]
    problems += [
        f"shape of {name}: expected {shape}, found {found[name]}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    if problems:
        shown = "\n  ".join(sorted(problems)[:20])
        raise ValueError(
            f"{checkpoint} does not fit this model, {len(problems)} differences:\n  {shown}"
        )


def _spell(present):
    if not present:
        return "none"
    text = ", ".join(str(step) for step in present[-10:])
    return text if len(present) <= 10 else f"{len(present)} of them, the last {text}"
