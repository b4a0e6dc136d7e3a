"""Detection and segmentation heads over a pyramid of source maps."""

from tensorflow import keras

from blitznet.layers import LegacyResize


def detection_heads(
    sources, conv, widths, priors_per_cell, new_initializer, kernel=3, shared=False, biases=None
):
    """Predict numbers for each prior box, from every source.

    Args:
      sources: dict name -> map `[B, F, F, D]`, finest first.
      conv: the network's `Conv`.
      widths: dict output -> numbers for each prior box, such as location -> 4; layers are
        `<output>_<source>` or `<output>_shared`.
      priors_per_cell: number of prior boxes of one cell, for each source.
      new_initializer: `() -> initializer` of a convolution's kernel.
      kernel: side of the convolution's kernel.
      shared: one convolution for all the sources, which have as many prior boxes of a cell each,
        instead of one for each.
      biases: dict output -> where its biases start, 0 for those left out.

    Returns:
      dict output -> `[B, P, width]`: sources in order, each row-major, prior boxes of a cell
      fastest.
    """
    biases = biases or {}

    def new_layer(output, suffix, count):
        depth, bias = count * widths[output], biases.get(output, 0.0)
        return conv.plain(depth, kernel, f"{output}_{suffix}", new_initializer(), bias)

    def layers_of(output):
        if shared:
            return [new_layer(output, "shared", priors_per_cell[0])] * len(sources)
        return [new_layer(output, *each) for each in zip(sources, priors_per_cell)]

    layers = {output: layers_of(output) for output in widths}
    flat = {output: [] for output in widths}
    for i, (source, maps) in enumerate(sources.items()):
        answers = conv.side_by_side(maps, [layers[o][i] for o in widths], f"detection_{source}")
        for (output, width), answer in zip(widths.items(), answers):
            reshape = keras.layers.Reshape((-1, width), name=f"{output}_{source}_flat")
            flat[output].append(reshape(answer))
    return {o: keras.layers.Concatenate(axis=1, name=o)(parts) for o, parts in flat.items()}


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
