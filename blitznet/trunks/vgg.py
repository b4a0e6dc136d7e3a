"""VGG-16 (K. Simonyan, A. Zisserman, arXiv 1409.1556) with the layers that SSD puts on it
(W. Liu et al., arXiv 1512.02325, section 3.1), as the original BlitzNet has them; and convolutional
throughout, as FCNs have it (J. Long et al., arXiv 1411.4038, section 4.1).
"""

from functools import partial

from tensorflow import keras

from blitznet.grids import Grid
from blitznet.layers import CaffeInput, SpatialL2Norm, first_initializer
from blitznet.priors import PriorScales
from blitznet.trunks import FcnTrunk, Trunk

# Depth in units of the root, and number of convolutions.
_BLOCKS = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
# Depths of the 1x1 and the 3x3 convolution in units of the root; stride and padding of the latter.
_EXTRA = {
    "conv6": (4, 8, 2, "same"),
    "conv7": (2, 4, 2, "same"),
    "conv8": (2, 4, 1, "valid"),
    "conv9": (2, 4, 1, "valid"),
}


def _block(x, relu_conv, root, block, **of_first):
    """The convolutions of a block; the first has the further arguments `of_first`."""
    depth, count = _BLOCKS[block - 1]
    for i in range(1, count + 1):
        arguments = of_first if i == 1 else {}
        x = relu_conv(depth * root, 3, f"conv{block}_{i}", **arguments)(x)
    return x


def _features(images, conv, root):
    """conv3_3, conv4_3 and fc7 as C2, C3 and C4."""
    relu_conv = partial(conv.plain, activation="relu")
    x = CaffeInput(name="caffe_input", dtype="float32")(images)
    last = {}
    for block in range(1, len(_BLOCKS) + 1):
        last[block] = x = _block(x, relu_conv, root, block)
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


def _fcn_features(images, conv, geometry, root):
    """The five pools and fc7."""
    relu_conv = partial(conv.plain, initializer="he_normal", activation="relu")
    x = CaffeInput(name="caffe_input", dtype="float32")(images)
    x = keras.layers.ZeroPadding2D(geometry.first_padding(3), name="conv1_1_pad")(x)
    maps = {}
    of_first = {"padding": "valid", "initializer": first_initializer()}
    for block in range(1, len(_BLOCKS) + 1):
        x = _block(x, relu_conv, root, block, **(of_first if block == 1 else {}))
        # What is left over at the end counts as a cell of its own.
        x = keras.layers.MaxPooling2D(2, 2, padding="same", name=f"pool{block}")(x)
        maps[f"pool{block}"] = x
    x = relu_conv(64 * root, 7, "fc6", padding="same" if geometry.same else "valid")(x)
    x = relu_conv(64 * root, 1, "fc7")(conv.dropout(x, 0.5, "drop6"))
    return {**maps, "fc7": conv.dropout(x, 0.5, "drop7")}


def _fcn_grids(geometry):
    grid, grids = Grid().after(3, 1, geometry.first_padding(3)), {}
    for block in range(1, len(_BLOCKS) + 1):
        grids[f"pool{block}"] = grid = grid.after(2, 2, geometry.padding(2))
    return {**grids, "fc7": grid.after(7, 1, geometry.padding(7))}


def fcn_vgg_trunk(root):
    """An FCN's VGG-16 whose first convolutions have `root` channels, the others in proportion."""
    return FcnTrunk(
        features=partial(_fcn_features, root=root),
        grids=_fcn_grids,
        skips=("pool4", "pool3"),
        kernel=lambda factor: 2 * factor,
    )


VGG16 = vgg_trunk(64)
FCN_VGG16 = fcn_vgg_trunk(64)
FCN_VGG16_QUARTER = fcn_vgg_trunk(16)
