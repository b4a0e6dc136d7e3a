"""Detection and segmentation heads over a pyramid of source maps."""

from tensorflow import keras

from blitznet.layers import LegacyResize


def detection_head(
    sources, conv, outputs, priors_per_cell, name, new_initializer, kernel=3, shared=False, bias=0.0
):
    """Predict `outputs` numbers for each prior box, from every source.

    Args:
      sources: dict name -> map `[B, F, F, D]`, finest first.
      conv: the network's `Conv`.
      outputs: 4 for the offsets, the number of classes for the logits.
      priors_per_cell: number of prior boxes of one cell, for each source.
      name: "location" or "confidence"; layers are `<name>_<source>` or `<name>_shared`.
      new_initializer: `() -> initializer` of a convolution's kernel.
      kernel: side of the convolution's kernel.
      shared: one convolution for all the sources, which have as many prior boxes of a cell each,
        instead of one for each.
      bias: where the biases start.

    Returns:
      `[B, P, outputs]`: sources in order, each row-major, prior boxes of a cell fastest.
    """

    def new_layer(suffix, count):
        return conv.plain(count * outputs, kernel, f"{name}_{suffix}", new_initializer(), bias)

    one_for_all = new_layer("shared", priors_per_cell[0]) if shared else None
    flat = []
    for (source, maps), count in zip(sources.items(), priors_per_cell):
        layer = one_for_all or new_layer(source, count)
        reshape = keras.layers.Reshape((-1, outputs), name=f"{name}_{source}_flat")
        flat.append(reshape(layer(maps)))
    return keras.layers.Concatenate(axis=1, name=name)(flat)


def segmentation_head(sources, conv, num_classes, base_channels=64, filter_size=1):
    """Class logits `[B, F, F, num_classes]` at the first source's side F.

    Each source passes a small convolution, grows to F by legacy nearest sampling, and a
    3x3 convolution reads their concatenation (paper, section 3.2).
    """
    side = next(iter(sources.values())).shape[1]
    grown = []
    for source, maps in sources.items():
        maps = conv.plain(base_channels, filter_size, f"seg_{source}", activation="relu")(maps)
        grown.append(LegacyResize(side, "nearest", name=f"seg_{source}_resize")(maps))
    joined = keras.layers.Concatenate(name="seg_concat")(grown)
    return conv.plain(num_classes, 3, "segmentation")(joined)
