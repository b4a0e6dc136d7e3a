"""What test_two_stacks.py has each stack do: `python tests/other_stack.py write|read ...`.

`write DATA FOLDER` makes runs and an export, `read DATA SOURCE FOLDER` takes up those that the
other stack has written to SOURCE. Both leave what they saw below FOLDER.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from blitznet import checkpoints, runs
from blitznet.export import ServingFunctions
from blitznet.optim import Averaging, build_optimizer
from blitznet.postprocess.settings import DetectionSettings
from helpers import CHECKOUT
from optimizer_run import DECAY, gradients, network, run
from tiny_run import evaluate, train
from tools import export_check, export_saved_model

# The step of each optimizer's run at which the other stack takes over, and how many follow.
HANDOVER = {"adam": 20, "nesterov": 2}
FURTHER = 3
RATES = {"adam": 1e-3, "nesterov": 1e-3}
# The run that is evaluated, looked at and exported.
LOOKED_AT = "adam"
# Optimizers of a network of one layer; the step at which the other stack takes over, and the last.
TOYS = {
    "adamw": {"name": "adamw"},
    "sgdw": {"name": "sgdw"},
    "ema": {"name": "adam", "averaging": Averaging("ema", 0.8)},
    "lamb": {"name": "lamb"},
}
TOY_HANDOVER, TOY_LAST = 4, 9
# Without a threshold, hundreds of boxes with nearly equal scores would compete in NMS.
CONF_THRESH = 0.02


def write(data, folder):
    """Train a run with each optimizer; evaluate and export one and keep what it answers."""
    archive = folder / "archive"
    for optimizer, step in HANDOVER.items():
        go_on(data, archive, optimizer, compiled=step > 10)
    for toy in TOYS:
        train_toy(toy, folder, folder, 0, TOY_HANDOVER)
        train_toy(toy, folder, folder, TOY_HANDOVER, TOY_LAST)
    model, coder = look_at(data, folder)
    functions = ServingFunctions(model, coder, DetectionSettings(conf_thresh=CONF_THRESH))
    inputs = probes()
    live = {
        "serving_default": functions.from_bytes(list(inputs["image_bytes"])),
        "images": functions.from_images(inputs["images"]),
    }
    answers = {f"{name}/{k}": v for name, answer in live.items() for k, v in answer.items()}
    np.savez(folder / "live.npz", **answers)
    flags = ["--run_name", LOOKED_AT, "--ckpt", HANDOVER[LOOKED_AT] / 1000]
    flags += ["--archive", archive, "--output", folder / "exported", "--conf_thresh", CONF_THRESH]
    assert export_saved_model.main([str(flag) for flag in flags]) == 0


def read(data, source, folder):
    """Evaluate, go on with and serve what `write` has left in `source`."""
    for optimizer, step in HANDOVER.items():
        copy = folder / "archive" / optimizer
        copy.mkdir(parents=True)
        for file in (source / "archive" / optimizer).glob(f"model.ckpt-{step}.*"):
            shutil.copy(file, copy)
        shutil.copy(source / "archive" / optimizer / "flags.json", copy)
    look_at(data, folder)
    for optimizer in HANDOVER:
        go_on(data, folder / "archive", optimizer, compiled=False)
    for toy in TOYS:
        try:
            train_toy(toy, source, folder, TOY_HANDOVER, TOY_LAST)
        except ValueError as error:
            (folder / f"{toy}.txt").write_text(str(error))
    script = CHECKOUT / "tools" / "saved_model_outputs.py"
    exported = source / "exported" / str(HANDOVER[LOOKED_AT])
    np.savez(folder / "probes.npz", **probes())
    files = (folder / "probes.npz", folder / "served.npz")
    subprocess.run([sys.executable, "-I", script, exported, *files], check=True)


def go_on(data, archive, optimizer, compiled):
    """Train `FURTHER` steps beyond the handover, from the start or the newest checkpoint.

    A few steps are quicker op by op than compiled.
    """
    step, rate = HANDOVER[optimizer], RATES[optimizer]
    flags = ["--optimizer", optimizer, "--learning_rate", rate, "--warmup_lr", rate]
    flags += ["--max_iterations", step + FURTHER, "--save_every", step, "--summary_every", 1]
    # Batch norm over the few cells of two pictures, or of random weights, blows up rounding.
    flags += ["--batch_size", 4]
    if optimizer != LOOKED_AT:
        flags += ["--init_from", checkpoints.prefix(archive / LOOKED_AT, HANDOVER[LOOKED_AT])]
    tf.config.run_functions_eagerly(not compiled)
    assert train(data, *flags, run_name=optimizer, archive=archive) == 0
    tf.config.run_functions_eagerly(False)


def train_toy(toy, source, folder, start, stop):
    """Train a toy to step `stop`, from `source`'s checkpoint of `start` unless that is 0."""
    model = network()
    optimizer = build_optimizer(model=model, weight_decay=DECAY, **TOYS[toy])
    if start:
        checkpoints.resume(checkpoints.prefix(source / "toys" / toy, start), model, optimizer)
    run(optimizer, model, gradients()[start:stop], start)
    checkpoints.save(folder / "toys" / toy, stop, model, optimizer)


def look_at(data, folder):
    """Evaluate the checkpoint of the handover and store the network's outputs in outputs.npz.

    Answers `(model, coder)`.
    """
    step, archive = HANDOVER[LOOKED_AT], folder / "archive"
    # Half-trained boxes hit little: a low threshold leaves something to compare.
    flags = ["--ckpt", step / 1000, "--split", "train", "--voc_iou_thresh", 0.1]
    assert evaluate(data, *flags, run_name=LOOKED_AT, archive=archive) == 0
    model, coder, _, _ = runs.load(archive / LOOKED_AT, step)
    pictures = np.random.default_rng(0).uniform(0, 1, (4, 64, 64, 3)).astype(np.float32)
    outputs = model(pictures, training=False)
    np.savez(folder / "outputs.npz", **outputs)
    return model, coder


def probes():
    """Inputs of both signatures of an export."""
    pictures = export_check.probe_pictures()
    files = [export_check.png(picture) for picture in pictures]
    return {
        "image_bytes": np.array(files, object),
        "images": np.stack([pictures[0], pictures[0][::-1]]),
    }


if __name__ == "__main__":
    work = {"write": write, "read": read}[sys.argv[1]]
    work(*map(Path, sys.argv[2:]))
