"""Residual trunks (K. He et al., arXiv 1512.03385): ResNet-50 as the original has it, ResNet-18
and a ResNet-18 of half the channels, for small pictures and small machines.

Strides stand on a block's first unit and there on its first convolution.
"""

from functools import partial

from tensorflow import keras

from blitznet.layers import CaffeInput, add_relu
from blitznet.priors import prior_scales
from blitznet.trunks import Trunk


def _shortcut(x, conv, depth, stride, name):
    """Identity, subsampled where there is a stride; a projection where the depth changes."""
    if x.shape[-1] != depth:
        return conv.norm(x, depth, 1, f"{name}_shortcut", stride=stride, relu=False)
    if stride > 1:
        return keras.layers.MaxPooling2D(1, stride, padding="same", name=f"{name}_subsample")(x)
    return x


def bottleneck_unit(x, conv, stride, name, depth, mid):
    """1x1 (with the stride), 3x3, 1x1: `[B, H, W, D]` -> `[B, H / stride, W / stride, depth]`."""
    residual = conv.norm(x, mid, 1, f"{name}_conv1", stride=stride)
    residual = conv.norm(residual, mid, 3, f"{name}_conv2")
    residual = conv.norm(residual, depth, 1, f"{name}_conv3", relu=False)
    return add_relu(_shortcut(x, conv, depth, stride, name), residual, name)


def basic_unit(x, conv, stride, name, depth):
    """3x3 (with the stride), 3x3: `[B, H, W, D]` -> `[B, H / stride, W / stride, depth]`."""
    residual = conv.norm(x, depth, 3, f"{name}_conv1", stride=stride)
    residual = conv.norm(residual, depth, 3, f"{name}_conv2", relu=False)
    return add_relu(_shortcut(x, conv, depth, stride, name), residual, name)


def _resnet(images, conv, root, blocks):
    """A root of `root` channels and blocks; `blocks` is a list of (unit, number of units)."""
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


def _trunk(root, blocks):
    features = partial(_resnet, root=root, blocks=blocks)
    return Trunk(
        features=features,
        downscale_unit=blocks[-1][0],
        prior_scales=prior_scales,
        head_initializer=partial(
            keras.initializers.VarianceScaling, 0.1, mode="fan_in", distribution="truncated_normal"
        ),
    )


def _resnet18(root):
    return _trunk(root, [(partial(basic_unit, depth=root * 2**i), 2) for i in range(4)])


RESNET50 = _trunk(
    64,
    [
        (partial(bottleneck_unit, depth=256, mid=64), 3),
        (partial(bottleneck_unit, depth=512, mid=128), 4),
        (partial(bottleneck_unit, depth=1024, mid=256), 6),
        (partial(bottleneck_unit, depth=2048, mid=512), 3),
    ],
)
RESNET18 = _resnet18(64)
RESNET18_HALF = _resnet18(32)
