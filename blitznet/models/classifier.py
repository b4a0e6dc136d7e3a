"""A trunk with a classifier on it, as trunks are trained on ImageNet."""

from tensorflow import keras

from blitznet import choices, keys
from blitznet.layers import Conv, as_float32
from blitznet.layers import precision as computing_in
from blitznet.trunks import check_classifies, get_trunk

# The layer of the class logits, of which a detector on the trunk has nothing.
LOGITS_LAYER = "class_logits_dense"


def build_classifier(
    num_classes=1000,
    image_size=224,
    trunk="resnet50",
    dilated_projection="conv",
    weight_decay=1e-4,
    bn_decay=0.9,
    precision="float32",
    sync_batch_norm=False,
    conv=None,
):
    """Build a trunk and its classifier as a Keras functional graph.

    The mean of each channel of the trunk's last map, and a dense layer (K. He et al., arXiv
    1512.03385, section 3.3). The trunk's layers are called as in `build_model`, so that its
    weights are a detector's start.

    Args:
      num_classes: number of classes N, at least 2; there is no background among them.
      image_size: side S of the square input in pixels, at least 32.
      trunk: a name of `blitznet.trunks.CLASSIFIERS`.
      dilated_projection, bn_decay, precision, sync_batch_norm, conv: as for `build_model`.
      weight_decay: the same; this default is what is usual on ImageNet.

    Returns:
      A `keras.Model` from RGB pictures `[B, S, S, 3]` in [0, 1] to `{"class_logits": [B, N]}`,
      raw float32 logits.

    Raises:
      ValueError: an argument is outside what is described here.
    """
    check_classifies(trunk)
    base = get_trunk(trunk, dilated_projection)
    choices.check("precision", precision, choices.PRECISIONS)
    if num_classes < 2:
        raise ValueError(f"num_classes is at least 2, got {num_classes}")
    if image_size < 32:
        raise ValueError(f"image_size is at least 32 pixels, got {image_size}")
    conv = conv or Conv(bn_decay, weight_decay, sync_batch_norm)
    with computing_in(precision):
        images = keras.Input((image_size, image_size, 3), name="images")
        last = list(base.features(images, conv).values())[-1]
        logits = _classify(last, conv, num_classes)
        outputs = {keys.CLASS_LOGITS: as_float32(logits, f"{keys.CLASS_LOGITS}_float32")}
    return keras.Model(images, outputs, name="classifier")


def _classify(maps, conv, num_classes):
    """Logits `[B, N]` of maps `[B, H, W, D]`.

    The dense layer is a 1x1 convolution of the one cell that the mean leaves: so `conv` makes it
    too, with its weight decay, or for inference.
    """
    # A sum in 16 bits is rounded at every cell.
    pool = keras.layers.GlobalAveragePooling2D(keepdims=True, dtype="float32", name="pool5")
    logits = conv.plain(num_classes, 1, LOGITS_LAYER)(pool(maps))
    return keras.layers.Reshape((num_classes,), name=keys.CLASS_LOGITS)(logits)
