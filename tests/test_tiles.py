"""Class maps of large pictures, band by band and by the nearest place, against plain ways."""

import numpy as np
import pytest

from blitznet.postprocess import tiles
from blitznet.postprocess.segmentation import class_map


def noise(seed=4, classes=7):
    return np.random.default_rng(seed).normal(size=(16, 16, classes)).astype(np.float32)


def few_classes():
    """Smooth logits, where most classes win nowhere, and some in some bands alone."""
    logits = 0.01 * noise(5, 9)
    logits[:, :, 7] += 1
    logits[3:6, :, 2] += np.linspace(0, 2, 16, dtype=np.float32)
    logits[10:, 4:9, 8] += 2
    return logits


def rounding_alone():
    """Classes of nearly one value, with equals among them: the first of equals wins."""
    return np.round(noise(6) * 1e-6, 6) + np.float32(3)


@pytest.mark.parametrize("size", [(1, 1), (3, 77), (50, 33), (16, 16)])
@pytest.mark.parametrize("pixels", [2**16, 60])
@pytest.mark.parametrize("logits", [noise(), few_classes(), rounding_alone(), noise()[..., :1]])
def test_bands_make_the_very_class_map_of_evaluation(monkeypatch, size, pixels, logits):
    monkeypatch.setattr(tiles, "_PIXELS_AT_ONCE", pixels)
    found = tiles.tiled_class_map(logits, *size)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, class_map(logits[None], size)[0].numpy())


def test_classes_that_win_nowhere_are_left_out():
    likely = tiles._likely(few_classes())
    assert np.flatnonzero(likely.any(axis=0)).tolist() == [2, 7, 8]
    assert np.flatnonzero(likely[0]).tolist() == [7]


def test_the_nearest_place_of_a_class_map():
    small = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = tiles.nearest_class_map(small, 7, 9)
    for y in range(7):
        for x in range(9):
            row, column = round(y * 3 / 7), round(x * 4 / 9)
            assert found[y, x] == small[min(row, 2), min(column, 3)]
    np.testing.assert_array_equal(tiles.nearest_class_map(small, 3, 4), small)
