"""Checkpoints `model.ckpt-<step>`: save, list, restore, start from; no tensor is passed over.

A checkpoint is TensorFlow's tensor bundle (`.index` and `.data-*`) under plain names, so that
any `tf.train.load_checkpoint` reads it and both Keras generations share it:
`net/<variable path>`, `optimizer/<name>/slot_<i>`, `step`.
"""

import re
import shutil
from pathlib import Path

import tensorflow as tf

from blitznet.variables import tf_variable, variables_by_path

_NAME = re.compile(r"model\.ckpt-(\d+)\.index")
_NET = "net/"
_STEP = "step"


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


def save(folder, step, model, optimizer=None):
    """Write the checkpoint of `step`; it appears whole or not at all.

    Returns its prefix. The optimizer, if given, must be built.
    """
    named = {_NET + path: variable for path, variable in variables_by_path(model).items()}
    if optimizer:
        named.update(_optimizer_state(optimizer))
    tensors = [tf.convert_to_tensor(variable) for variable in named.values()]
    tensors.append(tf.constant(step, tf.int64))
    names = [*named, _STEP]

    target = prefix(folder, step)
    partial = Path(folder) / f".partial-{step}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tf.raw_ops.SaveV2(
        prefix=str(partial / target.name),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=tensors,
    )
    # A checkpoint counts from its index on, so that file moves last.
    for file in sorted(partial.iterdir(), key=lambda file: file.suffix == ".index"):
        file.replace(target.parent / file.name)
    partial.rmdir()
    return target


def restore(checkpoint, model, optimizer=None):
    """Load a checkpoint of this very model (and optimizer); returns its step.

    Raises:
      FileNotFoundError: the checkpoint is not there.
      ValueError: it does not read, or tensors are missing, left over or of other shapes; the
        model is then unchanged.
    """
    reader = _open(checkpoint)
    targets = {_NET + path: v for path, v in variables_by_path(model).items()}
    if optimizer:
        targets.update(_optimizer_state(optimizer))
    shapes = reader.get_variable_to_shape_map()
    kept = {n: s for n, s in shapes.items() if n.startswith(_NET) or (optimizer and n != _STEP)}
    _check(checkpoint, targets, kept)
    for name, target in targets.items():
        target.assign(reader.get_tensor(name))
    return int(reader.get_tensor(_STEP))


def init_from(checkpoint, model):
    """Take over from a checkpoint of this project what fits by name and shape.

    Returns:
      `(loaded, skipped)`: sorted variable paths of the model that were taken over and that
      kept their own values.

    Raises:
      FileNotFoundError: the checkpoint is not there.
      ValueError: nothing fits.
    """
    reader = _open(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    loaded, skipped = [], []
    for path, variable in sorted(variables_by_path(model).items()):
        fits = shapes.get(_NET + path) == variable.shape.as_list()
        (loaded if fits else skipped).append(path)
        if fits:
            variable.assign(reader.get_tensor(_NET + path))
    if not loaded:
        raise ValueError(f"{checkpoint} has no variable that fits this model")
    return loaded, skipped


def _optimizer_state(optimizer):
    """The optimizer's iteration count and slots; order is what names the slots."""
    name = f"optimizer/{type(optimizer).__name__.lower()}"
    slots = [v for v in map(tf_variable, optimizer.variables) if v.shape.rank]
    state = {f"{name}/slot_{i}": slot for i, slot in enumerate(slots)}
    state[f"{name}/iterations"] = tf_variable(optimizer.iterations)
    return state


def _open(checkpoint):
    if not Path(f"{checkpoint}.index").is_file():
        raise FileNotFoundError(f"there is no checkpoint {checkpoint} (no {checkpoint}.index)")
    try:
        return tf.train.load_checkpoint(str(checkpoint))
    except tf.errors.OpError as error:
        raise ValueError(f"{checkpoint} is not a readable checkpoint: {error.message}") from None


def _check(checkpoint, targets, shapes):
    problems = [f"missing: {name}" for name in targets if name not in shapes]
    problems += [f"left over: {name}" for name in shapes if name not in targets]
    for name in targets.keys() & shapes.keys():
        expected = targets[name].shape.as_list()
        if expected != shapes[name]:
            problems.append(f"shape of {name}: expected {expected}, found {shapes[name]}")
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
