"""Golden weights of the original network, keyed by the variable's checkpoint name."""

import zlib

import numpy as np


def make(name, shape):
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    kind = name.split("/")[-1]
    if kind == "weights":
        scale = np.sqrt(2.0 / np.prod(shape[:-1]))
        if "confidence" in name:
            scale *= 0.4
        elif "location" in name:
            scale *= 0.2
        elif name == "vgg_16/conv1/conv1_1/weights":
            scale *= 0.02
        return (rng.standard_normal(shape) * scale).astype(np.float32)
    if kind == "gamma":
        low, high = (0.1, 0.3) if "/conv3/" in name else (0.8, 1.2)
        return rng.uniform(low, high, shape).astype(np.float32)
    if kind == "moving_variance":
        first = name == "resnet_v1_50/conv1/BatchNorm/moving_variance"
        return (rng.uniform(0.5, 1.5, shape) * (2e4 if first else 1.0)).astype(np.float32)
    if kind == "conv4_3_scale_mult":
        return rng.uniform(15, 25, shape).astype(np.float32)
    return (rng.standard_normal(shape) * 0.1).astype(np.float32)
