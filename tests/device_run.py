"""A toy network trained on one and on two logical CPU devices, for test_distribution.py.

Devices are divided before TensorFlow starts, so that a process of its own has to do it.
"""

import numpy as np
import tensorflow as tf
from tensorflow import keras

from blitznet import addons, distribution, engine, keys, optim
from blitznet.coding import PriorCoder
from blitznet.layers import Conv
from blitznet.variables import variables_by_path

SIDE, CELLS, CLASSES = 8, 16, 3
BATCH, STEPS, SEED = 4, 3, 3
# Name -> strategy, synchronised batch norm, optimizer.
RUNS = {
    "one": ("none", False, {"name": "adam"}),
    "one-sync": ("none", True, {"name": "adam"}),
    "two-sync": ("mirrored", True, {"name": "adam"}),
    "two-replica": ("mirrored", False, {"name": "adam"}),
}
# What has state, decay or averages of its own, on one device and on two, without batch norm.
OPTIMIZERS = {"nesterov": {"name": "nesterov"}}
if not addons.package():
    for _name in ("adamw", "sgdw", "lamb"):
        OPTIMIZERS[_name] = {"name": _name, "weight_decay": 0.1}
    OPTIMIZERS["ema"] = {"name": "adam", "averaging": optim.Averaging("ema", 0.5)}


def network(sync_batch_norm, batch_norm=True):
    """A network of `engine`'s tasks: pictures `[B, 8, 8, 3]` to 16 prior boxes and a class map."""
    conv = Conv(weight_decay=0.01, sync_batch_norm=sync_batch_norm)
    images = keras.Input((SIDE, SIDE, 3), name="images")
    if batch_norm:
        x = conv.norm(images, 4, 3, "first", stride=2)
    else:
        x = conv.plain(4, 3, "first", strides=2, activation="relu")(images)
    found = {
        keys.CONFIDENCE: conv.plain(CLASSES, 1, "classes")(x),
        keys.LOCATION: conv.plain(4, 1, "boxes")(x),
    }
    outputs = {n: keras.layers.Reshape((CELLS, -1), name=n)(value) for n, value in found.items()}
    outputs[keys.SEGMENTATION] = conv.plain(CLASSES, 3, keys.SEGMENTATION)(x)
    return keras.Model(images, outputs)


def batches():
    """`STEPS` batches as dicts of arrays; pictures differ in positives and in ignored pixels."""
    random = np.random.default_rng(5)
    for _ in range(STEPS):
        labels = random.integers(0, CLASSES, (BATCH, CELLS)).astype(np.int32)
        # Hard negatives and divisors of the halves of a batch are then not those of the whole.
        labels[0, 2:], labels[1, 1:], labels[2, 6:] = 0, 0, 0
        mask = random.integers(0, CLASSES, (BATCH, 4, 4)).astype(np.uint8)
        mask[0], mask[1, 1:] = 255, 255
        yield {
            keys.IMAGE: random.uniform(0, 1, (BATCH, SIDE, SIDE, 3)).astype(np.float32),
            keys.FILENAME: np.array([f"{i}.jpg" for i in range(BATCH)]),
            keys.PRIOR_LABELS: labels,
            keys.PRIOR_OFFSETS: random.normal(size=(BATCH, CELLS, 4)).astype(np.float32),
            keys.MASK: mask,
        }


def dataset(replicas, worker, workers):
    """The batches as `distribution.Devices.batches` wants them."""
    whole = {name: np.stack([b[name] for b in batches()]) for name in next(batches())}
    rows = {name: value.reshape(-1, *value.shape[2:]) for name, value in whole.items()}
    return tf.data.Dataset.from_tensor_slices(rows).batch(BATCH // replicas).repeat()


def train(strategy, sync_batch_norm, optimizer, batch_norm=True):
    """What each step reports, `losses/...` and `scores/...`, and the weights, as arrays."""
    devices = distribution.start(strategy)
    keras.utils.set_random_seed(SEED)
    with devices.scope():
        model = network(sync_batch_norm, batch_norm)
        optimizer = optim.build_optimizer(model=model, **optimizer)
    priors = np.tile([0.25, 0.25, 0.5, 0.5], (CELLS, 1))
    step = engine.make_train_step(model, optimizer, PriorCoder(priors), devices=devices)
    reports = engine.train(step, optimizer, devices.batches(dataset), lambda _: 1e-2, 0, STEPS)
    seen = {}
    for report in reports:
        for kind, values in (("losses", report.losses), ("scores", report.scores)):
            for name, value in values.items():
                seen.setdefault(f"{kind}/{name}", []).append(value)
        pictures = distribution.local_batch(report.batch)[keys.IMAGE]
        seen.setdefault("pictures", []).append(pictures.numpy())
        if report.step == 1:
            for path, variable in variables_by_path(model).items():
                seen[f"first/net/{path}"] = tf.convert_to_tensor(variable).numpy()
    for kind, variables in (("net", variables_by_path(model)), ("average", optimizer.averages)):
        for path, variable in variables.items():
            seen[f"{kind}/{path}"] = tf.convert_to_tensor(variable).numpy()
    predict = devices.over_batch(engine.make_predict(model, None, None))
    for count in (BATCH, 3):
        for name, value in predict(tf.constant(next(batches())[keys.IMAGE][:count])).items():
            seen[f"predicted{count}/{name}"] = value.numpy()
    return seen


def main(folder):
    """Train everything, and leave in `folder` an `.npz` of what `train` answers for each run."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    for name, run in RUNS.items():
        np.savez(folder / f"{name}.npz", **train(*run))
    for name, optimizer in OPTIMIZERS.items():
        for kind, strategy in (("one", "none"), ("two", "mirrored")):
            np.savez(folder / f"{kind}-{name}.npz", **train(strategy, False, optimizer, False))
