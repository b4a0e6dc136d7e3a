"""Timing training steps in this process, beside a matrix product."""

import functools
import itertools
import time

import tensorflow as tf
from tensorflow import keras

from blitznet import engine, keys, optim, runs
from blitznet.archs import segmentation_side
from blitznet.loss_scaling import LossScale
from blitznet.losses.detection import make_detection_loss
from blitznet.progress import progress_bar
from tools.benchmark import timing

# Of the forward pass; the backward pass computes gradients of inputs and of kernels.
_FLOP_OF_A_STEP = 3
# Prior boxes that show an object: about as many as a picture of VOC has.
_POSITIVES = 20
_SEED = 0
_PRODUCTS_OF_A_BLOCK = 10


def measure_steps(network, step, batch_size, warmup, repeats, records=None):
    """Time training steps, Adam's, of a network with random weights.

    Args:
      network: arguments of `build_model` that shape it.
      step: dict of `tools.flags.settings.StepConfig`.
      batch_size: pictures of a step.
      warmup, repeats: steps that do not count, and steps that do.
      records: path of the .json of a set of records, whose classes are then the network's; None
        for one random batch, again and again.

    Returns:
      A dict for JSON: `step_seconds` and `wait_seconds` for input of each step, `step_flop` (three
      times the forward pass), `product_seconds` and `product_flop` of the matrix product, and
      what was measured where.

    Raises:
      ValueError: arguments do not go together, or `records` are not what they should be.
      OSError: `records` cannot be read.
    """
    opened = _open(records)
    if opened:
        network = {**network, "num_classes": len(opened[0].class_names) + 1}
    model, coder, train_step = _build(network, step)
    flop = _FLOP_OF_A_STEP * _forward_flop(model, batch_size)
    if opened:
        batches = _batches(opened, model, coder, batch_size)
    else:
        batches = itertools.repeat(random_batch(model, coder, network["num_classes"], batch_size))
    product, product_flop = timing.device_product()
    seconds = time_steps(train_step, batches, product, warmup, repeats, by_turns=not opened)
    return {
        "network": network,
        "step": step,
        "batch_size": batch_size,
        "input": str(records) if records else "one random batch",
        "warmup": warmup,
        "step_flop": flop,
        "product_flop": product_flop,
        **seconds,
        "environment": timing.environment(),
    }


def peak_of_steps(network, step, batch_size):
    """Peak memory of this process after two steps on a random batch; see `measure_steps`.

    Returns:
      dict: `peak_memory_bytes`, `environment`.
    """
    model, coder, train_step = _build(network, step)
    batch = random_batch(model, coder, network["num_classes"], batch_size)
    for _ in range(2):
        timing.seconds_of(functools.partial(train_step, batch))
    return {
        "peak_memory_bytes": timing.peak_memory(),
        "environment": timing.environment(),
    }


def random_batch(model, coder, num_classes, batch_size):
    """A batch of noise as `datasets.pipeline.training_dataset` shapes it."""
    side = model.input_shape[1]

    def draw(shape, high, seed, low=0, dtype=tf.int32):
        return tf.random.stateless_uniform(shape, (_SEED, seed), low, high, dtype)

    batch = {
        keys.IMAGE: draw((batch_size, side, side, 3), 1.0, 0, dtype=tf.float32),
        keys.FILENAME: tf.fill([batch_size], "noise"),
    }
    if coder is not None:
        shape = (batch_size, len(coder.priors))
        positive = draw(shape, shape[1], 1) < _POSITIVES
        batch[keys.PRIOR_LABELS] = tf.where(positive, draw(shape, num_classes, 2, low=1), 0)
        batch[keys.PRIOR_OFFSETS] = tf.random.stateless_normal((*shape, 4), (_SEED, 3))
    grid = segmentation_side(model)
    if grid:
        mask = draw((batch_size, grid, grid), num_classes, 4)
        batch[keys.MASK] = tf.cast(mask, tf.uint8)
    return batch


def _build(network, step):
    """`(model, coder, train step)` of random weights."""
    keras.utils.set_random_seed(_SEED)
    precision = step["mixed_precision"]
    model, coder = runs.build(
        {"model": network},
        weight_decay=5e-5,
        precision="float32" if precision == "none" else precision,
    )
    train_step = engine.make_train_step(
        model,
        optim.build_optimizer(
            "adam", model, loss_scale=LossScale() if precision == "float16" else None
        ),
        coder,
        prior_loss=make_detection_loss("softmax", "smooth_l1", coder, fixed_shapes=step["xla"]),
        settings=engine.StepSettings(step["accumulate"], step["clip_norm"], step["xla"]),
    )
    return model, coder, train_step


def _forward_flop(model, batch_size):
    """Of the forward pass of inference."""
    forward = tf.function(lambda images: model(images, training=False))
    images = tf.TensorSpec((batch_size, *model.input_shape[1:]))
    return timing.graph_flop(forward.get_concrete_function(images))


def _open(records):
    if records is None:
        return []
    from datasets import custom

    return custom.open_custom([str(records)], None)


def _batches(opened, model, coder, batch_size):
    from datasets.pipeline import TrainingInput, training_dataset

    settings = TrainingInput(
        model.input_shape[1],
        segmentation_side(model),
        coder,
        batch_size,
        ignore_label=opened[0].ignore_label,
        seed=_SEED,
    )
    return training_dataset(opened, settings)


def time_steps(train_step, batches, product, warmup, repeats, by_turns):
    """Time steps on an iterable of batches, and a matrix product.

    By turns, a product follows each step. Else they run in one block before the first batch is
    asked for and one behind the last step: between steps a product would give the input time to
    fill its buffer, and take its processors.

    Returns:
      dict: seconds of each step that counts, `step_seconds`; of waiting for its batch,
      `wait_seconds`; of each product, `product_seconds`.
    """
    between, block = (1, 0) if by_turns else (0, _PRODUCTS_OF_A_BLOCK)
    bar = progress_bar(warmup + repeats, "steps")
    steps, waits, products = [], [], []

    def time_products(number):
        products.extend(timing.seconds_of(product) for _ in range(number))

    product()
    time_products(block)
    batches = iter(batches)
    for done in range(1, warmup + repeats + 1):
        began = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - began)
        steps.append(timing.seconds_of(functools.partial(train_step, batch)))
        time_products(between)
        bar.update(done)
    bar.finish()
    time_products(block)
    return {
        "step_seconds": steps[warmup:],
        "wait_seconds": waits[warmup:],
        "product_seconds": products,
    }
