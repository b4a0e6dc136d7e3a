"""A run's folder: `flags.json` says what network its checkpoints hold and how they came about.

`label_map.pbtxt` beside it names the classes for other programs; this one reads `flags.json`.
"""

import json
import subprocess
from importlib import metadata
from pathlib import Path

import tensorflow as tf

from blitznet import archs, checkpoints, label_map
from blitznet.coding import PriorCoder
from blitznet.models.blitznet import source_sides
from blitznet.priors import prior_boxes
from blitznet.trunks import get_trunk

FLAGS = "flags.json"


def describe(model_arguments, class_names, flags):
    """The content of `flags.json`.

    Args:
      model_arguments: the network's shape as `archs.build` takes it, without `num_classes`.
      class_names: names of the classes, without the background.
      flags: any further settings, for the record.
    """
    return {
        "model": {
            "num_classes": archs.num_classes(model_arguments, class_names),
            **model_arguments,
        },
        "class_names": list(class_names),
        "flags": flags,
        "commit": git_commit(),
        "versions": {"tensorflow": tf.__version__, "keras": metadata.version("keras")},
    }


def write_flags(run_dir, description):
    """Write `flags.json`, whole or not at all, and the label map, making the folder."""
    write_json(Path(run_dir) / FLAGS, description)
    label_map.write_label_map(Path(run_dir) / label_map.FILE_NAME, description["class_names"])


def write_json(path, content):
    """Write `content` as indented JSON under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


def read_flags(run_dir):
    """The content of a run's `flags.json`; the network's full shape, whoever wrote it.

    Raises:
      FileNotFoundError: there is none; says what makes one.
      ValueError: it is not what `write_flags` wrote.
    """
    path = Path(run_dir) / FLAGS
    if not path.is_file():
        raise FileNotFoundError(
            f"no run in {run_dir} (no {FLAGS}): make one by training.py or "
            "tools.convert_checkpoint, or give --archive and --run_name of an existing one"
        )
    try:
        description = json.loads(path.read_text())
        model, names = description["model"], description["class_names"]
        if model["num_classes"] != archs.num_classes(model, names):
            raise ValueError(f"{model['num_classes']} classes, but {len(names)} names")
        description["model"] = archs.full_shape(model)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not describe a run: {error!r}") from None
    return description


def differences(old, new):
    """What sets two descriptions' networks and classes apart: `{name: (old, new)}`."""
    old, new = ({**d["model"], "class_names": d["class_names"]} for d in (old, new))
    return {
        k: (old.get(k), new.get(k)) for k in old.keys() | new.keys() if old.get(k) != new.get(k)
    }


def check_same_network(run_dir, description):
    """Refuse to add to a run whose checkpoints hold another network or other classes.

    Raises:
      ValueError: names what differs, with both values.
    """
    if not checkpoints.steps(run_dir):
        return
    changed = differences(read_flags(run_dir), description)
    if changed:
        lines = [f"  {name}: was {old}, is {new}" for name, (old, new) in sorted(changed.items())]
        raise ValueError(
            f"{run_dir} has checkpoints of another network; take another --run_name, or the "
            "same flags:\n" + "\n".join(lines)
        )


def build(description, **arguments):
    """`(model, coder)` of a description; the coder is None without detection.

    `arguments` are those for training, such as `weight_decay`.
    """
    shape = archs.full_shape(description["model"])
    model = archs.build(shape, **arguments)
    return model, make_coder(model, shape) if archs.tasks(shape)[archs.DETECT] else None


def make_coder(model, shape):
    """`PriorCoder` on the prior boxes of a built model; `shape`: its `build_model` arguments."""
    shape = archs.full_shape(shape)
    trunk = get_trunk(shape["trunk"])
    scales = trunk.prior_scales(shape["image_size"], shape["x4"])
    priors = prior_boxes(source_sides(model), scales, trunk.ratios)
    return PriorCoder(priors, class_loss=shape["class_loss"])


def beside(checkpoint):
    """What the `flags.json` beside a checkpoint describes; None without that file.

    Raises as `read_flags` where it is damaged.
    """
    folder = Path(checkpoint).parent
    return read_flags(folder) if (folder / FLAGS).is_file() else None


def check_same_trunk(checkpoint, description):
    """ValueError where the `flags.json` beside a checkpoint, if any, names another trunk."""
    other = beside(checkpoint)
    if other is None:
        return
    there, here = other["model"]["trunk"], archs.full_shape(description["model"])["trunk"]
    if there != here:
        raise ValueError(f"{checkpoint} is of --trunk {there}, this run of --trunk {here}")


def other_versions(checkpoint, description):
    """Flags in which a checkpoint's network is another version of a run's with the same trunk.

    `[(flag, there, here)]`, of those that leave most weights the same shapes; none where no
    `flags.json` lies beside the checkpoint.
    """
    other = beside(checkpoint)
    if other is None:
        return []
    there, here = other["model"], archs.full_shape(description["model"])
    return [
        (flag, there[flag], here[flag])
        for flag in ("geometry", "dilated_projection")
        if flag in there and flag in here and there[flag] != here[flag]
    ]


def pretrains(checkpoint, description):
    """Whether a checkpoint, by the `flags.json` beside it, is a classifier's, and the run not."""
    other = beside(checkpoint)
    return other is not None and (
        archs.tasks(other["model"])[archs.CLASSIFY]
        and not archs.tasks(archs.full_shape(description["model"]))[archs.CLASSIFY]
    )


def unfit_layers(checkpoint, description):
    """Beginnings of the names of layers that a run should not take over from a checkpoint.

    Those of the classes, where they are of other classes; the class logits of detection, where
    they were trained with another loss: under the one their biases start at 0, under the other at
    -log 99; scores of maps that are scaled in one of both networks. None where no `flags.json`
    lies beside the checkpoint; raises as `read_flags` where it is damaged.
    """
    other = beside(checkpoint)
    if other is None:
        return ()
    shape = archs.full_shape(description["model"])
    changed = differences(other, {**description, "model": shape})
    layers = archs.get(shape).class_layers
    if "class_names" in changed:
        return tuple(name for names in layers.values() for name in names)
    if "class_loss" in changed:
        return layers.get(archs.DETECT, ())
    return archs.rescaled_layers(*changed["arch"]) if "arch" in changed else ()


def load(run_dir, step=None):
    """`(model, coder, description, step)` of a run's checkpoint, the newest without `step`.

    The weights are their average where the checkpoint has one.

    Raises:
      FileNotFoundError: no run, or no such checkpoint.
      ValueError: the checkpoint does not fit `flags.json`.
    """
    description = read_flags(run_dir)
    checkpoint = checkpoints.find(run_dir, step)
    model, coder = build(description)
    return model, coder, description, checkpoints.restore(checkpoint, model)


def refuse_classifier(run_dir):
    """Raises ValueError for the run of a classifier, where boxes or class maps are wanted.

    It says what the run is for. Raises as `read_flags` where there is no run.
    """
    if archs.tasks(read_flags(run_dir)["model"])[archs.CLASSIFY]:
        raise ValueError(
            f"{run_dir} is a classifier, which neither detects nor segments: it pre-trains a "
            f"trunk, whose weights training.py --init_from {run_dir}/model.ckpt-STEP takes"
        )


def git_commit():
    """Commit of the checkout that this code runs from, `-dirty` if changed; None elsewhere."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
