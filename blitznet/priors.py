"""Prior boxes from the sides of the real feature maps. NumPy only."""

from dataclasses import dataclass

import numpy as np

# Aspect ratios on every source of a ResNet trunk.
RATIOS = (2.0, 3.0)
PRIORS_PER_CELL = 2 + 2 * len(RATIOS)
# From this image size on, the original's configuration for 512 pixels applies.
LARGE_IMAGE = 512


@dataclass(frozen=True)
class PriorScales:
    """Side of the prior boxes as fractions of the image: finest source, then min to max."""

    smallest: float
    minimum: float
    maximum: float


_SCALES = {
    # (large image, stride 4)
    (False, True): PriorScales(0.04, 0.1, 0.95),
    (False, False): PriorScales(0.1, 0.2, 0.95),
    (True, True): PriorScales(0.02, 0.08, 0.95),
    (True, False): PriorScales(0.04, 0.1, 0.95),
}


def prior_scales(image_size, x4):
    """The original's scales on ResNet: those of 512 from 512 pixels on, those of 300 below."""
    return _SCALES[(image_size >= LARGE_IMAGE, x4)]


def priors_per_cell(sources, ratios=None):
    """Number of prior boxes of one cell, for each of so many sources; `ratios` as below."""
    return tuple(2 + 2 * len(of_source) for of_source in ratios or [RATIOS] * sources)


def prior_boxes(sides, scales, ratios=None):
    """Prior boxes of all sources (spec section 7).

    Args:
      sides: sides F of the square source maps, finest first; at least three.
      scales: a `PriorScales`.
      ratios: for each source its aspect ratios r > 1, each of which gives a wide and a tall
        box; None for `RATIOS` on all.

    Returns:
      float32 `[P, 4]`, `x, y, w, h` with the top-left corner, normalised, not clipped to the
      image: sources in order, row-major over the map, boxes of a cell fastest.

    Raises:
      ValueError: fewer than three sources, or ratios for another number of them.
    """
    ratios = ratios or [RATIOS] * len(sides)
    if len(ratios) != len(sides):
        raise ValueError(f"ratios for {len(ratios)} sources, but sides {tuple(sides)}")
    if len(sides) < 3:
        raise ValueError(f"prior boxes need at least 3 sources, got sides {tuple(sides)}")
    step = (scales.maximum - scales.minimum) / (len(sides) - 2)
    ladder = [scales.smallest] + [scales.minimum + i * step for i in range(len(sides))]
    per_source = [
        _source_boxes(side, ladder[i], ladder[i + 1], ratios[i]) for i, side in enumerate(sides)
    ]
    return np.concatenate(per_source)


def _source_boxes(side, scale, next_scale, ratios):
    """Boxes `[side * side * k, 4]` of one source.

    float32 throughout, as the original computed them: where two prior boxes overlap a box
    alike, which of them is matched hangs on the last bit.
    """
    scale, next_scale = np.float32(scale), np.float32(next_scale)
    sizes = [(scale, scale)]
    for ratio in ratios:
        for r in (np.float32(ratio), np.float32(1 / ratio)):
            sizes.append((scale * np.sqrt(r), scale / np.sqrt(r)))
    sizes.append((np.sqrt(scale * next_scale),) * 2)
    sizes = np.array(sizes, np.float32)

    first, last = np.float32(0.5 / side), np.float32(1 - 0.5 / side)
    centres = first + np.arange(side, dtype=np.float32) * (
        (last - first) / np.float32(side - 1 or 1)
    )
    cy, cx = np.meshgrid(centres, centres, indexing="ij")
    cells = np.stack([cx, cy], axis=-1).reshape(-1, 1, 2)
    sizes = np.broadcast_to(sizes, (len(cells), *sizes.shape))
    return np.concatenate([cells - sizes / 2, sizes], axis=-1).reshape(-1, 4)
