"""Residual trunks (K. He et al., arXiv 1512.03385): ResNet-50 as the original has it, ResNet-18
and a ResNet-18 of half the channels, for small pictures and small machines.

Strides stand on a block's first unit and there on its first convolution.
"""

from functools import partial

from tensorflow import keras

from blitznet.layers import CaffeInput, add_relu
from blitznet.priors import prior_scales
from blitznet.trunks import Trunk


def _shortcut(x, conv, depth, stride, name, project=False):
    """Identity, subsampled where there is a stride; a projection where the depth changes.

    With `project` it is a projection in any case.
    """
    if project or x.shape[-1] != depth:
        return conv.norm(x, depth, 1, f"{name}_shortcut", stride=stride, relu=False)
    if stride > 1:
        return keras.layers.MaxPooling2D(1, stride, padding="same", name=f"{name}_subsample")(x)
    return x


def bottleneck_unit(x, conv, stride, name, depth, mid, dilation=1, project=False):
    """1x1 (with the stride), 3x3, 1x1: `[B, H, W, D]` -> `[B, H / stride, W / stride, depth]`.

    The taps of the 3x3 convolution lie `dilation` cells apart. With `project`, the shortcut has
    a 1x1 convolution although its shape stays.
    """
    residual = conv.norm(x, mid, 1, f"{name}_conv1", stride=stride)
    residual = conv.norm(residual, mid, 3, f"{name}_conv2", dilation=dilation)
    residual = conv.norm(residual, depth, 1, f"{name}_conv3", relu=False)
    return add_relu(_shortcut(x, conv, depth, stride, name, project), residual, name)


def basic_unit(x, conv, stride, name, depth):
    """3x3 (with the stride), 3x3: `[B, H, W, D]` -> `[B, H / stride, W / stride, depth]`."""
    residual = conv.norm(x, depth, 3, f"{name}_conv1", stride=stride)
    residual = conv.norm(residual, depth, 3, f"{name}_conv2", relu=False)
    return add_relu(_shortcut(x, conv, depth, stride, name), residual, name)


def residual_features(images, conv, root, blocks):
    """The features of a root of `root` channels and blocks behind it, which halve their maps.

    Args:
      images: `[B, S, S, 3]` in [0, 1].
      conv: the network's `Conv`.
      blocks: a list of (unit, number of units); a unit is called as `bottleneck_unit` is.

    Returns:
      `{"C2": map of stride 4, "C3": 8, ...}`, one for each block.
    """
    x = CaffeInput(name="caffe_input", dtype="float32")(images)
    x = keras.layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = conv.norm(x, root, 7, "conv1", stride=2, padding="valid")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    features = {}
    for block, (unit, count) in enumerate(blocks, start=1):
        for i in range(1, count + 1):
            stride = 2 if i == 1 and block > 1 else 1
            x = unit(x, conv, stride, f"block{block}_unit{i}")
        features[f"C{block + 1}"] = x
    return features


def residual_trunk(features, unit, last_block, unprojected=None):
    """The `Trunk` of these features, whose last block has this number and is made of `unit`."""
    return Trunk(
        features=features,
        downscale_unit=unit,
        last_block=last_block,
        unprojected=unprojected,
        prior_scales=prior_scales,
        head_initializer=partial(
            keras.initializers.VarianceScaling, 0.1, mode="fan_in", distribution="truncated_normal"
        ),
    )


def bottleneck_blocks(root, units):
    """Blocks for `residual_features`, of so many bottleneck units each, as deep as ResNet-50's.

    The first one's units have `root` channels inside and four times as many at their end, each
    further one's twice those of the one before.
    """
    return [
        (partial(bottleneck_unit, depth=4 * root * 2**i, mid=root * 2**i), count)
        for i, count in enumerate(units)
    ]


def _resnet(root, blocks):
    features = partial(residual_features, root=root, blocks=blocks)
    return residual_trunk(features, blocks[-1][0], len(blocks))


def _resnet18(root):
    return _resnet(root, [(partial(basic_unit, depth=root * 2**i), 2) for i in range(4)])


RESNET50 = _resnet(64, bottleneck_blocks(64, (3, 4, 6, 3)))
RESNET18 = _resnet18(64)
RESNET18_HALF = _resnet18(32)
