"""The BlitzNet network: trunk, downscale stream, ResSkip upscale stream, heads."""

import math
import re

from tensorflow import keras

from blitznet import choices, keys
from blitznet.layers import Conv, LegacyResize, add_relu, as_float32
from blitznet.layers import precision as computing_in
from blitznet.models.heads import detection_heads, segmentation_head
from blitznet.priors import LARGE_IMAGE, priors_per_cell
from blitznet.trunks import check_fits, get_trunk

HEADS = ("nonshared", "shared")
RESIZES = ("bilinear", "nearest")
# At the start a prior box shows an object of a class with this probability.
_FOCAL_START = 0.01


def build_model(
    num_classes=21,
    image_size=300,
    trunk="resnet50",
    x4=False,
    detect=True,
    segment=True,
    head="nonshared",
    resize="bilinear",
    top_fm=512,
    det_kernel=3,
    n_base_channels=64,
    seg_filter_size=1,
    class_loss="softmax",
    dilated_projection="conv",
    weight_decay=5e-5,
    bn_decay=0.9,
    precision="float32",
    sync_batch_norm=False,
    conv=None,
):
    """Build the network as a Keras functional graph (arXiv 1708.02813, sections 3.1 and 3.2).

    A trunk with sources of its own, vgg16, goes without downscale and upscale streams.

    Args:
      num_classes: number of classes with the background, at least 2.
      image_size: side S of the square input, in pixels.
      trunk: a name of `blitznet.trunks.NAMES`; vgg16 takes images of 272 to 511 pixels, no `x4`,
        and has a 3x3 detection convolution for each source.
      x4: the finest source has stride 4 instead of 8.
      detect, segment: the tasks; at least one.
      head: "nonshared" for a pair of detection convolutions for each source, "shared" for one.
      resize: how the upscale stream grows maps, "bilinear" or "nearest" (TF1 sampling).
      top_fm: depth of the upscale stream, a multiple of 4.
      det_kernel: kernel side of the detection convolutions.
      n_base_channels, seg_filter_size: depth and kernel side of the segmentation
        convolutions on each source.
      class_loss: what the class logits are trained with; for "focal" their biases start at
        -log(99), so that the many negatives do not swamp the first steps (arXiv 1708.02002,
        section 4.1).
      dilated_projection: "none" for detnet59 without the 1x1 convolutions on the shortcuts of its
        dilated stages, an ablation of its paper (arXiv 1804.06215); "conv" on any other trunk.
      weight_decay: penalty `weight_decay * sum(w ** 2) / 2` on kernels, in `model.losses`.
      bn_decay: momentum of the moving batch-norm statistics.
      precision: what the layers compute in, one of `choices.PRECISIONS`; weights, batch-norm
        statistics and outputs are float32 in any case.
      sync_batch_norm: whether batch norm takes mean and variance over all replicas' pictures.
      conv: makes the convolutions; without, a `layers.Conv` of the three settings above.

    Returns:
      A `keras.Model` from RGB pictures `[B, S, S, 3]` in [0, 1] to a dict of raw tensors:
      `confidence` `[B, P, num_classes]` logits and `location` `[B, P, 4]` offsets
      (cx, cy, w, h) with `detect`; `segmentation` `[B, F, F, num_classes]` logits with `segment`.

    Raises:
      ValueError: an argument is outside what is described here.
    """
    base = get_trunk(trunk, dilated_projection)
    _check(num_classes, image_size, detect, segment, top_fm)
    choices.check("head", head, HEADS)
    choices.check("resize", resize, RESIZES)
    choices.check("class_loss", class_loss, choices.CLASS_LOSSES)
    check_fits(trunk, image_size, x4=x4, head=head, det_kernel=det_kernel)
    choices.check("precision", precision, choices.PRECISIONS)
    conv = conv or Conv(bn_decay, weight_decay, sync_batch_norm)
    with computing_in(precision):
        images = keras.Input((image_size, image_size, 3), name="images")
        features = base.features(images, conv)
        if base.sources:
            sources = base.sources(features, conv)
        else:
            pyramid = _downscale(features, conv, base, image_size)
            sources = _upscale(pyramid, conv, top_fm, resize, finest="C2" if x4 else "C3")

        outputs = {}
        if detect:
            outputs.update(
                _detection_outputs(
                    sources, conv, base, num_classes, class_loss, det_kernel, head == "shared"
                )
            )
        if segment:
            outputs[keys.SEGMENTATION] = segmentation_head(
                sources, conv, num_classes, n_base_channels, seg_filter_size
            )
        outputs = {name: as_float32(value, f"{name}_float32") for name, value in outputs.items()}
    return keras.Model(images, outputs, name="blitznet")


def _detection_outputs(sources, conv, base, num_classes, class_loss, kernel, shared):
    """The two tensors of detection, by name."""
    return detection_heads(
        sources,
        conv,
        {keys.CONFIDENCE: num_classes, keys.LOCATION: 4},
        priors_per_cell(len(sources), base.ratios),
        base.head_initializer,
        kernel,
        shared,
        {keys.CONFIDENCE: -math.log(1 / _FOCAL_START - 1)} if class_loss == "focal" else None,
    )


def source_sides(model):
    """Sides of the detection sources, finest first, read from a built model's graph."""
    flat = re.compile(f"{keys.LOCATION}_.*_flat")
    sides = (layer.input.shape[1] for layer in model.layers if flat.fullmatch(layer.name))
    return tuple(sorted(sides, reverse=True))


def _check(num_classes, image_size, detect, segment, top_fm):
    if not (detect or segment):
        raise ValueError("nothing to build: set detect, segment or both")
    if num_classes < 2:
        raise ValueError(f"num_classes counts the background too: at least 2, got {num_classes}")
    if image_size < 32:
        raise ValueError(f"image_size is at least 32 pixels, got {image_size}")
    if top_fm < 4 or top_fm % 4:
        raise ValueError(f"top_fm is a positive multiple of 4, got {top_fm}")


def _downscale(features, conv, base, image_size):
    """The trunk's maps `C2...` and below them halved ones, to stride 256 (512 for large images).

    A map of side 1 ends the stream: another block would repeat it.
    """
    pyramid = dict(features)
    level, block = len(pyramid) + 1, base.last_block
    last_stride = 512 if image_size >= LARGE_IMAGE else 256
    stride = 2**level
    x = pyramid[f"C{level}"]
    while stride < last_stride and x.shape[1] > 1:
        stride, level, block = stride * 2, level + 1, block + 1
        for i in (1, 2):
            x = base.downscale_unit(x, conv, 2 if i == 1 else 1, f"block{block}_unit{i}")
        pyramid[f"C{level}"] = x
    return pyramid


def _upscale(pyramid, conv, depth, resize, finest):
    """ResSkip blocks from the coarsest map up to level `finest`; sources, finest first.

    The last source is the spatial mean of the first block's shortcut projection.
    """
    levels = list(pyramid)
    x = pyramid[levels[-1]]
    sources = {}
    for level in reversed(levels[levels.index(finest) : -1]):
        skip = pyramid[level]
        name = f"rev{int(level[1:]) - 1}"
        up = LegacyResize(skip.shape[1], resize, name=f"{name}_up")(x)
        shortcut = up
        if up.shape[-1] != depth or not sources:
            shortcut = conv.norm(up, depth, 1, f"{name}_shortcut", relu=False)
        if not sources:
            mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool6")(shortcut)
        joined = conv.norm_of_joined(x, up, skip, depth // 4, f"{name}_conv1", resize)
        x = _res_skip(joined, shortcut, conv, depth, name)
        sources[name] = x
    return {**dict(reversed(list(sources.items()))), "pool6": mean}


def _res_skip(x, shortcut, conv, depth, name):
    """The rest of a ResSkip block (paper, figure 3): bottleneck, sum with the shortcut."""
    x = conv.norm(x, depth // 4, 3, f"{name}_conv2")
    x = conv.norm(x, depth, 1, f"{name}_conv3", relu=False)
    return add_relu(shortcut, x, name)
