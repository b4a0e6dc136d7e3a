"""Where the cells of a convolutional map lie in the picture, by kernels, strides and paddings."""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Grid:
    """The centre of cell i, in rows and in columns, lies at pixel `stride * i + offset`.

    The rule of Caffe's `coord_map.py`, which the released FCNs take their crops from. Pixel i is
    the cell i of the picture itself, `Grid()`.
    """

    stride: int = 1
    offset: float = 0.0

    def after(self, kernel, stride=1, before=0):
        """The grid of a convolution or pooling of this map, padded by `before` cells in front."""
        offset = self.offset + self.stride * ((kernel - 1) / 2 - before)
        return Grid(self.stride * stride, offset)

    def upsampled(self, kernel, factor):
        """The grid of a transposed convolution of this map from which nothing is cropped."""
        stride = self.stride // factor
        return Grid(stride, self.offset - stride * (kernel - 1) / 2)

    def crop_to(self, other):
        """How many cells of this map lie before the first of `other`; negative for the reverse.

        Raises:
          ValueError: the strides differ, or the cells lie between one another.
        """
        cells = (other.offset - self.offset) / self.stride
        if self.stride != other.stride or cells != int(cells):
            raise ValueError(f"no crop aligns {self} with {other}")
        return int(cells)


@dataclass(frozen=True)
class Geometry:
    """How the trunk of an FCN pads.

    Attributes:
      first: zeros round the picture for the first convolution; None for half its kernel.
      same: whether pools and fc6 are padded by half their kernels too; else they are not. Pools
        round sizes up in any case, as Caffe's do.
    """

    first: Optional[int]
    same: bool

    def first_padding(self, kernel):
        """Zeros before and after what the first convolution reads."""
        return half(kernel) if self.first is None else self.first

    def padding(self, kernel):
        """Cells that a pool or fc6 is padded by in front."""
        return half(kernel) if self.same else 0


def half(kernel):
    """The padding that keeps a map's size at stride 1; an even kernel needs one more behind."""
    return (kernel - 1) // 2


# By name of `choices.GEOMETRIES`: every map ceil(n / stride) long, and that of the released FCNs.
GEOMETRIES = {"same": Geometry(None, True), "reference": Geometry(100, False)}
