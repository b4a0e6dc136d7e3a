"""Timing in this process, beside a matrix product that tells what the machine can do."""

import os
import platform
import resource
import sys
import time
from importlib import metadata

import numpy as np
import tensorflow as tf
from tensorflow import keras

from blitznet import archs, inference
from blitznet.progress import progress_bar
from tools.benchmark import machine

# Sides of the product's matrices: large enough to keep the device's cores busy.
PRODUCT_SIDE = {"CPU": 2048, "GPU": 8192}
CALLS_BETWEEN_PRODUCTS = 5


def measure_network(model_arguments, batch_size, warmup, repeats, graph, precision):
    """Time the compiled forward pass of a network with random weights.

    Args:
      model_arguments: arguments of `build_model` that shape it, with `image_size`.
      batch_size: pictures of a call; the input's shape is fixed.
      graph, precision: as for `network_and_flop`.
      warmup, repeats: calls that do not count, and calls that do.

    Returns:
      A dict for JSON: `call_seconds` of each call, `call_flop` of one, `product_seconds` and
      `product_flop` likewise of the matrix product, and what was measured where: `network`,
      `batch_size`, `warmup`, `environment`.

    Raises:
      ValueError: `build_model` does not accept the arguments.
    """
    shape = (batch_size, *[model_arguments["image_size"]] * 2, 3)
    forward, call_flop = network_and_flop(
        random_model(model_arguments), model_arguments, shape, graph, precision
    )
    images = tf.random.stateless_uniform(shape, seed=(0, 0))
    product, product_flop = device_product()
    call_seconds, product_seconds = time_alternately(
        lambda: forward(images), product, warmup, repeats
    )
    return {
        "network": model_arguments,
        "graph": graph,
        "precision": precision,
        "batch_size": batch_size,
        "warmup": warmup,
        "call_flop": call_flop,
        "call_seconds": call_seconds,
        "product_flop": product_flop,
        "product_seconds": product_seconds,
        "environment": environment(),
    }


def random_model(model_arguments):
    """A network with random weights, none of which is 0 and would be left out of its graph."""
    model = archs.build(model_arguments)
    for number, variable in enumerate(model.variables):
        if not np.any(variable):
            noise = tf.random.stateless_normal(variable.shape, (0, number), stddev=0.01)
            variable.assign(noise)
    return model


def network_and_flop(model, shape_arguments, input_shape, graph, precision):
    """The compiled forward pass of a network, and the FLOP of a call, a multiply-add as two.

    Args:
      model: of `build_model`; its own floating-point operations are counted, whatever another
        graph saves of them.
      shape_arguments: that it was made of.
      input_shape: `(B, S, S, 3)`.
      graph: one of `flags.GRAPHS`: the trained network's own; that of `inference.build`; the
        same with weights as constants.
      precision: one of `choices.PRECISIONS`; "float32" for the first graph.

    Raises:
      ValueError: another precision for the first graph.
    """
    if graph == "trained" and precision != "float32":
        raise ValueError(f"--precision {precision} needs --graph inference or constants")
    signature = [tf.TensorSpec(input_shape)]
    plain = tf.function(lambda images: model(images, training=False), signature)
    flop = graph_flop(plain.get_concrete_function())
    if graph == "trained":
        return plain, flop
    network, _ = inference.build(model, shape_arguments, precision, graph == "constants")
    return tf.function(lambda images: network(images, training=False), signature), flop


def device_product():
    """`matrix_product` of a side that keeps this process's device busy."""
    return matrix_product(PRODUCT_SIDE[device_type()])


def matrix_product(side):
    """A function that multiplies two float32 matrices `[side, side]`, and its FLOP."""
    left, right = (tf.random.stateless_uniform((side, side), seed=(0, i)) for i in range(2))
    return tf.function(lambda: tf.matmul(left, right)), 2 * side**3


def graph_flop(concrete_function):
    """Floating-point operations of one call, a multiply-add as two; shapes must be fixed.

    TensorFlow's profiler counts products, convolutions, sums and pooling, but not a batch norm
    that is one operation (Keras 2): 0.2% of BlitzNet.
    """
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    # The profiler itself uses what TensorFlow calls deprecated.
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        counted = tf.compat.v1.profiler.profile(concrete_function.graph, options=options)
    finally:
        logger.setLevel(level)
    return int(counted.total_float_ops)


def time_alternately(call, product, warmup, repeats):
    """Seconds of each of `repeats` calls, and of each product between them.

    A product follows every `CALLS_BETWEEN_PRODUCTS` calls, so that what else the machine does
    slows both. Both run `warmup` times before.
    """
    bar = progress_bar(warmup + repeats, "calls")
    for done in range(1, warmup + 1):
        seconds_of(call)
        seconds_of(product)
        bar.update(done)
    call_seconds, product_seconds = [], []
    while len(call_seconds) < repeats:
        call_seconds.append(seconds_of(call))
        if len(call_seconds) % CALLS_BETWEEN_PRODUCTS == 0 or len(call_seconds) == repeats:
            product_seconds.append(seconds_of(product))
        bar.update(warmup + len(call_seconds))
    bar.finish()
    return call_seconds, product_seconds


def seconds_of(call):
    """Seconds until the call's work is done on every device."""
    began = time.perf_counter()
    call()
    # A GPU still works when the call has returned.
    tf.test.experimental.sync_devices()
    return time.perf_counter() - began


def peak_memory():
    """The most memory that this process has had, in bytes: the GPU's where there is one."""
    if device_type() == "GPU":
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def environment():
    """What the figures depend on beside the network: a dict of names and versions."""
    return {
        "interpreter": sys.executable,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": metadata.version("keras"),
        "device": device_name(),
        "precision": precision(),
        "threads": threads(),
        "cpu": machine.cpu_model(),
    }


def device_type():
    """`"GPU"` where TensorFlow sees one, else `"CPU"`."""
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def device_name():
    """`"CPU"`, or `"GPU"` with the name of the first."""
    if device_type() == "CPU":
        return "CPU"
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return f"GPU {details.get('device_name', '')}".strip()


def precision():
    """The Keras policy, with a note where float32 products are rounded to TensorFloat-32."""
    policy = keras.mixed_precision.global_policy().name
    rounded = tf.config.experimental.tensor_float_32_execution_enabled()
    return f"{policy} (TF32 allowed)" if device_type() == "GPU" and rounded else policy


def threads():
    """TensorFlow's thread settings and the cores open to this process, as a phrase."""
    setting = tf.config.threading
    chosen = {
        "intra": setting.get_intra_op_parallelism_threads(),
        "inter": setting.get_inter_op_parallelism_threads(),
    }
    shown = [
        f"{name}-op {number or os.environ.get(f'TF_NUM_{name.upper()}OP_THREADS', 'auto')}"
        for name, number in chosen.items()
    ]
    return f"{', '.join(shown)}, cores {machine.cores()}"
