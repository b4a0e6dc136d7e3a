"""VGG-16 (K. Simonyan, A. Zisserman, arXiv 1409.1556) with the layers that SSD puts on it
(W. Liu et al., arXiv 1512.02325, section 3.1), as the original BlitzNet has them.
"""

from functools import partial

from tensorflow import keras

from blitznet.layers import CaffeInput, SpatialL2Norm
from blitznet.priors import PriorScales
from blitznet.trunks import Trunk

# Depth in units of the root, and number of convolutions.
_BLOCKS = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
# Depths of the 1x1 and the 3x3 convolution in units of the root; stride and padding of the latter.
_EXTRA = {
    "conv6": (4, 8, 2, "same"),
    "conv7": (2, 4, 2, "same"),
    "conv8": (2, 4, 1, "valid"),
    "conv9": (2, 4, 1, "valid"),
}


def _features(images, conv, root):
    """conv3_3, conv4_3 and fc7 as C2, C3 and C4."""
    relu_conv = partial(conv.plain, activation="relu")
    x = CaffeInput(name="caffe_input", dtype="float32")(images)
    last = {}
    for block, (depth, count) in enumerate(_BLOCKS, start=1):
        for i in range(1, count + 1):
            x = relu_conv(depth * root, 3, f"conv{block}_{i}")(x)
        last[block] = x
        if block < len(_BLOCKS):
            x = keras.layers.MaxPooling2D(2, 2, name=f"pool{block}")(x)
    x = keras.layers.MaxPooling2D(3, 1, padding="same", name="pool5")(x)
    x = relu_conv(16 * root, 3, "fc6", dilation_rate=6)(x)
    x = relu_conv(16 * root, 1, "fc7")(x)
    return {"C2": last[3], "C3": last[4], "C4": x}


def _sources(features, conv, root):
    """conv4_3 normalised, fc7, and what the further blocks make of fc7."""
    relu_conv = partial(conv.plain, activation="relu")
    x = features["C4"]
    sources = {
        "conv4_3": SpatialL2Norm(20.0, name="conv4_3_norm", dtype="float32")(features["C3"]),
        "fc7": x,
    }
    for block, (mid, depth, stride, padding) in _EXTRA.items():
        x = relu_conv(mid * root, 1, f"{block}_1")(x)
        x = relu_conv(depth * root, 3, f"{block}_2", strides=stride, padding=padding)(x)
        sources[f"{block}_2"] = x
    return sources


def _prior_scales(image_size, x4):
    return PriorScales(0.1, 0.2, 0.9)


def vgg_trunk(root):
    """A VGG-16 whose first convolutions have `root` channels, and all others in proportion."""
    return Trunk(
        features=partial(_features, root=root),
        sources=partial(_sources, root=root),
        prior_scales=_prior_scales,
        ratios=((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,)),
        head_initializer=keras.initializers.GlorotUniform,
    )


VGG16 = vgg_trunk(64)
