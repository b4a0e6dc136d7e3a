"""The released FCNs in NumPy, `[channels, height, width]`, as their net.py for Caffe write them.

Networks have few channels. `pad_colour` is what surrounds the picture: Caffe's zeros, or others.
"""

import numpy as np

from blitznet.convert.caffe import MEAN_RGB

CLASSES = 3
VGG_DEPTHS = ((2, 2), (4, 2), (8, 3), (16, 3), (16, 3))
VGG_FC = 128
# Channels of the toy's conv1 to conv5.
ALEXNET_DEPTHS = (6, 16, 24, 24, 16)
ALEXNET_FC = 256
SKIPS = {"fcn32s": 0, "fcn16s": 1, "fcn8s": 2, "fcn8s-atonce": 2}
CROPS = {0: (19,), 1: (5, 27), 2: (5, 9, 31)}
LAST = {0: ("upscore", 64, 32), 1: ("upscore16", 32, 16), 2: ("upscore8", 16, 8)}


def pixels(picture):
    """RGB `[H, W, 3]` in [0, 1] as Caffe's data layer gives it on: BGR less the mean colour."""
    return (picture[..., ::-1] * 255 - np.float32(MEAN_RGB[::-1])).transpose(2, 0, 1)


def conv(x, blobs, name, pad=0, stride=1, groups=1, pad_colour=0.0):
    kernel, bias = blobs[f"{name}/0"], blobs[f"{name}/1"]
    sides = (x.shape[1] + 2 * pad, x.shape[2] + 2 * pad)
    padded = np.empty((len(x), *sides), np.float32)
    padded[:] = np.reshape(pad_colour, (-1, 1, 1))
    padded[:, pad : sides[0] - pad, pad : sides[1] - pad] = x
    answers = []
    for part, weights in zip(np.split(padded, groups), np.split(kernel, groups)):
        view = np.lib.stride_tricks.sliding_window_view(part, weights.shape[2:], (1, 2))
        view = view[:, ::stride, ::stride]
        answers.append(np.einsum("iyxhw,oihw->oyx", view, weights, optimize=True))
    return np.concatenate(answers) + bias[:, None, None]


def relu(x):
    return np.maximum(x, 0)


def pool(x, side):
    """Maximum over `side` x `side` cells, stride 2; what is left over at the end counts too."""
    out = [-(-(n - side) // 2) + 1 for n in x.shape[1:]]
    y = np.empty((len(x), *out), np.float32)
    for i, j in np.ndindex(*out):
        y[:, i, j] = x[:, 2 * i : 2 * i + side, 2 * j : 2 * j + side].max((1, 2))
    return y


def lrn(x):
    """local_size 5, alpha 0.0001, beta 0.75."""
    sums = [(x[max(c - 2, 0) : c + 3] ** 2).sum(0) for c in range(len(x))]
    return x / (1 + 1e-4 / 5 * np.array(sums)) ** 0.75


def deconv(x, blobs, name, stride):
    kernel = blobs[f"{name}/0"]
    side = kernel.shape[-1]
    y = np.zeros((kernel.shape[1], *(stride * (n - 1) + side for n in x.shape[1:])), np.float32)
    for i, j in np.ndindex(*x.shape[1:]):
        patch = np.einsum("i,iohw->ohw", x[:, i, j], kernel)
        y[:, stride * i : stride * i + side, stride * j : stride * j + side] += patch
    return y


def crop(x, like, offset):
    return x[:, offset : offset + like.shape[1], offset : offset + like.shape[2]]


def vgg_scores(picture, blobs, arch, pad_colour=0.0):
    """Scores `[CLASSES, H, W]` of the voc-fcn nets on VGG-16."""
    x, pools = pixels(picture), {}
    for block, (_, count) in enumerate(VGG_DEPTHS, start=1):
        for i in range(1, count + 1):
            first = {"pad": 100, "pad_colour": pad_colour} if block == i == 1 else {"pad": 1}
            x = relu(conv(x, blobs, f"conv{block}_{i}", **first))
        pools[block] = x = pool(x, 2)
    x = relu(conv(relu(conv(x, blobs, "fc6")), blobs, "fc7"))
    x = conv(x, blobs, "score_fr")
    skips = SKIPS[arch]
    names = ("upscore2", "upscore_pool4")
    for number, name, offset in zip((4, 3), names[:skips], CROPS[skips]):
        x = deconv(x, blobs, name, 2)
        skip = pools[number]
        if arch == "fcn8s-atonce":
            skip = skip * blobs[f"scale_pool{number}/0"][:, None, None]
        x = x + crop(conv(skip, blobs, f"score_pool{number}"), x, offset)
    name, _, factor = LAST[skips]
    return crop(deconv(x, blobs, name, factor), pixels(picture), CROPS[skips][-1])


def alexnet_features(x, blobs, pad=0, pad_colour=0.0):
    """fc7 of CaffeNet, whose dense layers are convolutions."""
    x = relu(conv(x, blobs, "conv1", pad, 4, pad_colour=pad_colour))
    x = lrn(pool(x, 3))
    x = lrn(pool(relu(conv(x, blobs, "conv2", 2, groups=2)), 3))
    x = relu(conv(x, blobs, "conv3", 1))
    x = relu(conv(x, blobs, "conv4", 1, groups=2))
    x = pool(relu(conv(x, blobs, "conv5", 1, groups=2)), 3)
    return relu(conv(relu(conv(x, blobs, "fc6")), blobs, "fc7"))


def alexnet_scores(picture, blobs, arch="fcn32s", pad_colour=0.0):
    """Scores `[CLASSES, H, W]` of voc-fcn-alexnet."""
    x = alexnet_features(pixels(picture), blobs, 100, pad_colour)
    x = deconv(conv(x, blobs, "score_fr"), blobs, "upscore", 32)
    return crop(x, pixels(picture), 18)


def bilinear(channels, side):
    """The release's surgery.interp: a bilinear kernel on the diagonal."""
    factor = (side + 1) // 2
    centre = factor - 1 if side % 2 else factor - 0.5
    ramp = 1 - np.abs(np.arange(side) - centre) / factor
    blob = np.zeros((channels, channels, side, side), np.float32)
    blob[range(channels), range(channels)] = np.outer(ramp, ramp)
    return blob


def vgg_blobs(arch, seed=0, classes=CLASSES):
    """Random weights of a voc-fcn net; learned upsampling is random on its diagonal."""
    rng = np.random.default_rng(seed)
    blobs, depth = {}, 3
    for block, (width, count) in enumerate(VGG_DEPTHS, start=1):
        for i in range(1, count + 1):
            add_conv(blobs, f"conv{block}_{i}", (width, depth, 3, 3), rng)
            depth = width
    _add_top(blobs, (VGG_FC, depth, 7, 7), classes, rng)
    skips = SKIPS[arch]
    for number, name in zip((4, 3)[:skips], ("upscore2", "upscore_pool4")):
        width = VGG_DEPTHS[number - 1][0]
        add_conv(blobs, f"score_pool{number}", (classes, width, 1, 1), rng)
        blobs[f"{name}/0"] = bilinear(classes, 4) * rng.uniform(0.5, 2, (1, classes, 4, 4))
        if arch == "fcn8s-atonce":
            factor = {4: 0.01, 3: 0.0001}[number]
            blobs[f"scale_pool{number}/0"] = np.full(width, factor, np.float32)
    name, side, _ = LAST[skips]
    return {**blobs, f"{name}/0": bilinear(classes, side)}


def alexnet_blobs(seed=0):
    """Random weights of voc-fcn-alexnet."""
    rng = np.random.default_rng(seed)
    blobs = {}
    depths = (3, *ALEXNET_DEPTHS)
    for i, (side, groups) in enumerate(((11, 1), (5, 2), (3, 1), (3, 2), (3, 2)), start=1):
        add_conv(blobs, f"conv{i}", (depths[i], depths[i - 1] // groups, side, side), rng)
    _add_top(blobs, (ALEXNET_FC, depths[5], 6, 6), CLASSES, rng)
    return {**blobs, "upscore/0": bilinear(CLASSES, 63)}


def _add_top(blobs, fc6, classes, rng):
    add_conv(blobs, "fc6", fc6, rng)
    add_conv(blobs, "fc7", (fc6[0], fc6[0], 1, 1), rng)
    add_conv(blobs, "score_fr", (classes, fc6[0], 1, 1), rng)


def add_conv(blobs, name, shape, rng):
    """Add a random kernel and random biases."""
    scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
    blobs[f"{name}/0"] = rng.standard_normal(shape, np.float32) * scale
    blobs[f"{name}/1"] = rng.uniform(-0.3, 0.5, shape[0]).astype(np.float32)
