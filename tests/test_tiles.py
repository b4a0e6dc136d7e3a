"""Class maps of large pictures, tile by tile and by the nearest place, against plain ways."""

import numpy as np
import pytest

from blitznet.postprocess import tiles
from blitznet.postprocess.segmentation import class_map


@pytest.mark.parametrize("size", [(1, 1), (3, 77), (50, 33)])
@pytest.mark.parametrize("tile", [(4096, 2**24), (5, 64)])
def test_tiles_make_the_very_class_map_of_evaluation(monkeypatch, size, tile):
    monkeypatch.setattr(tiles, "_COLUMNS_AT_ONCE", tile[0])
    monkeypatch.setattr(tiles, "_LOGITS_AT_ONCE", tile[1])
    logits = np.random.default_rng(4).normal(size=(16, 16, 7)).astype(np.float32)
    found = tiles.tiled_class_map(logits, *size)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, class_map(logits[None], size)[0].numpy())


def test_the_nearest_place_of_a_class_map():
    small = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = tiles.nearest_class_map(small, 7, 9)
    for y in range(7):
        for x in range(9):
            row, column = round(y * 3 / 7), round(x * 4 / 9)
            assert found[y, x] == small[min(row, 2), min(column, 3)]
    np.testing.assert_array_equal(tiles.nearest_class_map(small, 3, 4), small)
