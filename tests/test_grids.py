"""Where cells lie, by hand and by mirrored pictures."""

import numpy as np
import pytest
from tensorflow import keras

import toy_fcn
from blitznet.grids import GEOMETRIES, Grid
from blitznet.models.fcn import build_fcn
from random_weights import give_random_weights

TRUNKS = {"vgg16": toy_fcn.VGG, "alexnet": toy_fcn.ALEXNET}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    toy_fcn.install(monkeypatch)


def test_a_pool_lies_between_its_two_pixels_and_a_padded_one_on_the_first():
    assert Grid().after(2, 2) == Grid(2, 0.5)
    assert Grid().after(2, 2).after(2, 2) == Grid(4, 1.5)
    assert Grid().after(3, 2, before=1) == Grid(2, 0)
    assert Grid().after(3, 2) == Grid(2, 1)


def test_enlarging_by_2_puts_a_cell_at_a_quarter_each_side():
    """Of cells at 0.5, 2.5: enlarged ones at -1, 0, 1, 2, ... for a kernel of 4."""
    assert Grid(2, 0.5).upsampled(4, 2) == Grid(1, -1)
    assert Grid(2, 0).upsampled(3, 2) == Grid(1, -1)
    assert Grid(1, -1).crop_to(Grid()) == 1


@pytest.mark.parametrize("other", [Grid(2, 1), Grid(4, 0), Grid(2, 2.5)])
def test_maps_that_lie_between_one_another_are_refused(other):
    with pytest.raises(ValueError, match="no crop aligns"):
        Grid(2, 0).crop_to(other)


@pytest.mark.parametrize(
    ("trunk", "geometry", "expected"),
    [
        ("vgg16", "same", {"fc7": Grid(32, 15.5), "pool4": Grid(16, 7.5), "pool3": Grid(8, 3.5)}),
        (
            "vgg16",
            "reference",
            {"fc7": Grid(32, 12.5), "pool4": Grid(16, -91.5), "pool3": Grid(8, -95.5)},
        ),
        ("alexnet", "same", {"fc7": Grid(32, 16), "pool2": Grid(16, 0), "pool1": Grid(8, 0)}),
        (
            "alexnet",
            "reference",
            {"fc7": Grid(32, 13), "pool2": Grid(16, -83), "pool1": Grid(8, -91)},
        ),
    ],
)
def test_grids_of_the_trunks(trunk, geometry, expected):
    found = TRUNKS[trunk].grids(GEOMETRIES[geometry])
    assert {name: found[name] for name in expected} == expected


def mirrored_weights(model):
    """Give every kernel its own mirror image, so that the network is one of mirrored pictures."""
    for layer in model.layers:
        if hasattr(layer, "filters"):
            layer.kernel.assign(np.asarray(layer.kernel)[::-1, ::-1])


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_mirrored_network_sees_a_mirrored_picture_where_the_grid_says(trunk, geometry):
    """Cells 0 to n - 1 are mirror images of one another if their middle is the picture's."""
    grid, cells = TRUNKS[trunk].grids(GEOMETRIES[geometry])["fc7"], 3
    side = int(grid.stride * (cells - 1) + 2 * grid.offset + 1)
    model = build_fcn(4, trunk=trunk, geometry=geometry)
    give_random_weights(model)
    image = np.random.default_rng(1).random((1, side, side, 3), np.float32)

    def scores(pictures):
        network = keras.Model(model.input, model.get_layer("score_fr").output)
        return network(pictures).numpy()[:, :cells, :cells]

    expected = scores(image)[:, ::-1, ::-1]
    mirrored_weights(model)
    found = scores(image[:, ::-1, ::-1])
    assert expected.shape[1] == cells and expected.std() > 1e-2
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.std())
