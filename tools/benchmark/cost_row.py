"""One row of `tools.benchmark cost`: what a process of its own measures."""

import numpy as np
import tensorflow as tf

from blitznet import archs, engine, keys, runs
from blitznet.postprocess.detection import detections
from blitznet.postprocess.settings import DetectionSettings
from tools.benchmark import timing


def measure(image_size, x4, batch_size, num_classes, objects, repeats):
    """Time and peak memory of network, NMS, matching and losses, with random weights.

    The settings are those of a row of `cost.ROWS`; `repeats` calls count, after one.

    Returns:
      dict: the settings, `priors`; medians `network_ms`, `nms_ms` (scores and decoding too;
      every class brings `top_k_nms` boxes, the most that can enter), `matching_ms` (of a batch),
      `losses_ms`; `share` of the matrix product's FLOP/s that the network reaches; `inference_mb`
      and `peak_mb`, of the process before and after matching and losses; `environment`.
    """
    shape = archs.full_shape({"num_classes": num_classes, "image_size": image_size, "x4": x4})
    model, coder = runs.build({"model": shape})
    input_shape = (batch_size, *model.input_shape[1:])
    forward, flop = timing.network_and_flop(model, shape, input_shape, "inference", "float32")
    images = tf.random.stateless_uniform(input_shape, seed=(0, 0))
    outputs = forward(images)
    # Random weights give no class of 1203 the default threshold's 0.01: here all have top_k_nms.
    settings = DetectionSettings(conf_thresh=0.0)
    find = tf.function(
        lambda confidence, location: detections(confidence, location, coder, settings)
    )
    logits = outputs[keys.CONFIDENCE], outputs[keys.LOCATION]
    answer = {
        "network_ms": _median_ms(lambda: forward(images), repeats),
        "nms_ms": _median_ms(lambda: find(*logits), repeats),
        "inference_mb": timing.peak_memory() / 1e6,
    }
    boxes, labels = _objects(batch_size, objects, num_classes)
    match = tf.function(
        lambda boxes, labels: tf.map_fn(
            lambda one: coder.encode(*one),
            (boxes, labels),
            fn_output_signature=(tf.int32, tf.float32),
        )
    )
    found = match(boxes, labels)
    side = outputs[keys.SEGMENTATION].shape[1]
    targets = dict(zip((keys.PRIOR_LABELS, keys.PRIOR_OFFSETS), found))
    targets[keys.MASK] = tf.zeros((batch_size, side, side), tf.uint8)
    losses = tf.function(lambda: engine.batch_losses(model, outputs, targets))
    answer["matching_ms"] = _median_ms(lambda: match(boxes, labels), repeats)
    answer["losses_ms"] = _median_ms(losses, repeats)
    # Before the product, whose matrices are none of the network's.
    answer["peak_mb"] = timing.peak_memory() / 1e6

    product, product_flop = timing.device_product()
    limit = product_flop / _median_ms(product, repeats)
    return {
        "image_size": image_size,
        "x4": x4,
        "batch_size": batch_size,
        "num_classes": num_classes,
        "objects": objects,
        "priors": int(coder.priors.shape[0]),
        **answer,
        "share": flop / answer["network_ms"] / limit,
        "environment": timing.environment(),
    }


def _median_ms(call, repeats):
    """Median milliseconds of calls, after one that does not count."""
    call()
    return float(np.median([timing.seconds_of(call) for _ in range(repeats)])) * 1e3


def _objects(batch_size, objects, num_classes):
    """Random boxes `[B, N, 4]` `yxyx` and labels `[B, N]`."""
    random = np.random.default_rng(0)
    centre = random.uniform(0.1, 0.9, (batch_size, objects, 2))
    half = random.uniform(0.02, 0.1, (batch_size, objects, 2))
    boxes = np.concatenate([centre - half, centre + half], axis=-1)
    labels = random.integers(1, num_classes, (batch_size, objects))
    return tf.constant(boxes, tf.float32), tf.constant(labels, tf.int32)
