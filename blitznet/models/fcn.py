"""Fully convolutional networks (J. Long et al., arXiv 1411.4038): a class for every pixel."""

from tensorflow import keras

from blitznet import choices, keys
from blitznet.grids import GEOMETRIES, Grid
from blitznet.layers import Conv
from blitznet.layers import precision as computing_in
from blitznet.trunks import get_fcn_trunk
from blitznet.upsampling import CropLike, Upscore

# How many maps of finer strides are added to the coarsest scores.
_SKIPS = {"fcn32s": 0, "fcn16s": 1, "fcn8s": 2, "fcn8s-atonce": 2}
# Of the maps of stride 16 and 8 where all is trained at once (the release's fcn8s-atonce).
_AT_ONCE_SCALES = (0.01, 0.0001)


def build_fcn(
    num_classes=21,
    image_size=None,
    trunk="vgg16",
    arch="fcn32s",
    geometry="same",
    weight_decay=5e-4,
    bn_decay=0.9,
    precision="float32",
    sync_batch_norm=False,
    conv=None,
):
    """Build an FCN as a Keras functional graph (arXiv 1411.4038, sections 3 and 4).

    Scores of the trunk's last map, by a 1x1 convolution, are enlarged to the picture by bilinear
    interpolation: by 32 at once (fcn32s), or by 2, the sum with scores of the map of stride 16,
    and by 16 (fcn16s), or with stride 8 as well (fcn8s). Enlarging by 2 is learned and starts
    bilinear. All scores start at zero.

    So a finer network that takes a coarser one's weights by name (`checkpoints.init_from`) starts
    with its sums of scores, enlarged. Of alexnet, whose enlarged maps have a cell on each coarse
    one, its first answer is the coarser one's. Of vgg16 two bilinear steps cut corners: the answer
    is the same where scores are linear from cell to cell, and elsewhere off by at most an eighth
    of the second differences of the coarser one's sums along rows and along columns. At the
    picture's border both fade out, over half a cell of theirs.

    Args:
      num_classes: number of classes with the background, at least 2.
      image_size: side S of square pictures, in pixels; None for pictures of any height and width.
      trunk: a name of `blitznet.trunks.FCN_NAMES`. The paper has fcn32s alone of alexnet; its
        skips are pool2 and pool1.
      arch: a name of `choices.FCNS`. "fcn8s-atonce" is fcn8s with the maps of stride 16 and 8
        times 0.01 and 0.0001 before their scores, to be trained without fcn32s and fcn16s before.
      geometry: "same", where a map of stride s has ceil(n / s) cells for n pixels, or
        "reference", which published weights are for: 100 zeros round the picture, and crops.
      weight_decay: penalty `weight_decay * sum(w ** 2) / 2` on the convolutions' kernels, in
        `model.losses`; biases and upsampling kernels have none.
      precision: what the convolutions compute in, one of `choices.PRECISIONS`; weights, sums of
        scores and the output are float32 in any case.
      bn_decay, sync_batch_norm: as for `build_model`; these trunks have no batch norm.
      conv: makes the convolutions; without, a `layers.Conv` of weight decay and batch norm's.

    Returns:
      A `keras.Model` from RGB pictures `[B, H, W, 3]` in [0, 1] to a dict with `segmentation`,
      float32 logits `[B, H, W, num_classes]`.

    Raises:
      ValueError: an argument is outside what is described here.
    """
    base = get_fcn_trunk(trunk)
    if num_classes < 2:
        raise ValueError(f"num_classes counts the background too: at least 2, got {num_classes}")
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size is at least 1 pixel, or None for any, got {image_size}")
    choices.check("arch", arch, _SKIPS)
    choices.check("geometry", geometry, GEOMETRIES)
    choices.check("precision", precision, choices.PRECISIONS)
    conv = conv or Conv(bn_decay, weight_decay, sync_batch_norm)
    with computing_in(precision):
        images = keras.Input((image_size, image_size, 3), name="images")
        maps = base.features(images, conv, GEOMETRIES[geometry])
        logits = _logits(images, maps, base, conv, num_classes, arch, GEOMETRIES[geometry])
    return keras.Model(images, {keys.SEGMENTATION: logits}, name=arch.replace("-", "_"))


def _logits(images, maps, base, conv, num_classes, arch, geometry):
    """Class scores of the picture's own size."""

    def scores(x, name):
        return conv.plain(num_classes, 1, name, "zeros")(x)

    grids = base.grids(geometry)
    x, grid, last = scores(maps["fc7"], "score_fr"), grids["fc7"], "upscore2"
    for skip, scale in zip(base.skips[: _SKIPS[arch]], _AT_ONCE_SCALES):
        x, grid = _enlarged(x, grid, base.kernel(2), 2, last, learned=True)
        skipped = maps[skip]
        if arch == "fcn8s-atonce":
            skipped = keras.layers.Rescaling(scale, name=f"scale_{skip}")(skipped)
        skipped = scores(skipped, f"score_{skip}")
        x, grid = _sum(x, grid, skipped, grids[skip], last, skip)
        last = f"upscore_{skip}"
    factor = grid.stride
    name = "upscore" if factor == 32 else f"upscore{factor}"
    x, grid = _enlarged(x, grid, base.kernel(factor), factor, name, learned=False)
    return _crop(x, grid.crop_to(Grid()), images, keys.SEGMENTATION)


def _enlarged(x, grid, kernel, factor, name, learned):
    x = Upscore(factor, kernel, learned, name=name, dtype="float32")(x)
    return x, grid.upsampled(kernel, factor)


def _sum(x, grid, skipped, skip_grid, name, skip):
    """The sum of two score maps of one stride, of the cells that both have, and its grid."""
    cells = skip_grid.crop_to(grid)
    if cells > 0:
        skipped = _crop(skipped, cells, x, f"score_{skip}_crop")
    else:
        x, grid = _crop(x, -cells, skipped, f"{name}_crop"), skip_grid
    return keras.layers.Add(name=f"fuse_{skip}", dtype="float32")([x, skipped]), grid


def _crop(maps, offset, reference, name):
    return CropLike(offset, name=name, dtype="float32")([maps, reference])
