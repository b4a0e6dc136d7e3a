"""Prior boxes: a tiny case by hand, their order, the counts of the original."""

import numpy as np
import pytest

from blitznet.priors import (
    PRIORS_PER_CELL,
    PriorScales,
    prior_boxes,
    prior_scales,
    priors_per_cell,
)
from blitznet.trunks import get_trunk

# Configurations of spec section 7: image size, x4, sides of the sources, number of prior boxes.
ORIGINAL = [
    (300, True, (75, 38, 19, 10, 5, 3, 1), 45390),
    (300, False, (38, 19, 10, 5, 3, 1), 11640),
    (512, True, (128, 64, 32, 16, 8, 4, 2, 1), 131070),
    (512, False, (64, 32, 16, 8, 4, 2, 1), 32766),
]


def test_every_box_of_a_tiny_case():
    boxes = prior_boxes((2, 1, 1), PriorScales(0.1, 0.2, 0.9), ratios=[(4.0,)] * 3)
    # step (0.9 - 0.2) / (3 - 2); scales 0.1, 0.2, 0.9 and after the last 1.6; sqrt(4) = 2.
    first = [(0.1, 0.1), (0.2, 0.05), (0.05, 0.2), (0.02**0.5, 0.02**0.5)]
    second = [(0.2, 0.2), (0.4, 0.1), (0.1, 0.4), (0.18**0.5, 0.18**0.5)]
    third = [(0.9, 0.9), (1.8, 0.45), (0.45, 1.8), (1.2, 1.2)]
    cells = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]  # x runs first
    expected = [(cx, cy, w, h) for cx, cy in cells for w, h in first]
    expected += [(0.5, 0.5, w, h) for w, h in second + third]
    centres = np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
    np.testing.assert_allclose(centres, expected, atol=1e-6)
    assert boxes.dtype == np.float32


def test_boxes_of_a_cell_with_the_original_ratios():
    sizes = prior_boxes((1, 1, 1), PriorScales(0.06, 0.24, 0.9))[:6, 2:]
    r2, r3 = 2**0.5, 3**0.5
    expected = [(1, 1), (r2, 1 / r2), (1 / r2, r2), (r3, 1 / r3), (1 / r3, r3), (2, 2)]
    np.testing.assert_allclose(sizes, 0.06 * np.array(expected), rtol=1e-6)


def test_ratios_differ_by_source():
    scales = PriorScales(0.06, 0.24, 0.9)
    ratios = ((2.0,), (2.0, 3.0), ())
    assert priors_per_cell(3, ratios) == (4, 6, 2)
    assert priors_per_cell(3) == (6, 6, 6)
    boxes = prior_boxes((1, 1, 1), scales, ratios)
    everything = prior_boxes((1, 1, 1), scales)
    kept = [0, 1, 2, 5, *range(6, 12), 12, 17]
    np.testing.assert_array_equal(boxes, everything[kept])


def test_ratios_are_one_tuple_for_each_source():
    with pytest.raises(ValueError, match=r"ratios for 2 sources, but sides \(4, 2, 1\)"):
        prior_boxes((4, 2, 1), PriorScales(0.1, 0.2, 0.9), ratios=((2.0,), (2.0,)))


def test_vgg16_of_the_original():
    vgg16 = get_trunk("vgg16")
    sides, counts = (37, 18, 9, 5, 3, 1), (4, 6, 6, 6, 4, 4)
    assert priors_per_cell(6, vgg16.ratios) == counts
    boxes = prior_boxes(sides, vgg16.prior_scales(300, False), vgg16.ratios)
    assert len(boxes) == sum(k * side**2 for side, k in zip(sides, counts)) == 8096
    first_of_source = np.cumsum([0, *(k * side**2 for side, k in zip(sides, counts))])
    # step (0.9 - 0.2) / 4
    ladder = [0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075]
    np.testing.assert_allclose(boxes[first_of_source[:-1], 2], ladder[:-1], rtol=1e-6)
    last = boxes[first_of_source[1:] - 1, 2:]
    means = [(low * high) ** 0.5 for low, high in zip(ladder, ladder[1:])]
    np.testing.assert_allclose(last, np.stack([means, means], axis=1), rtol=1e-6)
    tall = boxes[first_of_source[:-1] + 2, 2:]
    expected = [(scale / 2**0.5, scale * 2**0.5) for scale in ladder[:-1]]
    np.testing.assert_allclose(tall, expected, rtol=1e-6)


def test_boxes_are_not_clipped_to_the_image():
    boxes = prior_boxes((3, 2, 1), PriorScales(0.5, 0.6, 0.9))
    assert boxes[:, :2].min() < 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() > 1


@pytest.mark.parametrize(("image_size", "x4", "sides", "count"), ORIGINAL)
def test_count_and_values_of_the_original_configurations(image_size, x4, sides, count):
    scales = prior_scales(image_size, x4)
    boxes = prior_boxes(sides, scales)
    assert boxes.shape == (count, 4)
    assert PRIORS_PER_CELL == 6

    start = 0
    step = (scales.maximum - scales.minimum) / (len(sides) - 2)
    for i, side in enumerate(sides):
        part = boxes[start : start + 6 * side**2].reshape(side, side, 6, 4)
        start += 6 * side**2
        scale = scales.minimum + (i - 1) * step if i else scales.smallest
        following = scales.minimum + i * step
        assert part[0, 0, 0, 2] == pytest.approx(scale, rel=1e-6)
        assert part[0, 0, 5, 3] == pytest.approx((scale * following) ** 0.5, rel=1e-6)
        centres = part[..., :2] + part[..., 2:] / 2
        line = np.linspace(0.5 / side, 1 - 0.5 / side, side)
        np.testing.assert_allclose(
            centres[..., 0], np.broadcast_to(line[None, :, None], (side, side, 6)), atol=1e-6
        )
        np.testing.assert_allclose(
            centres[..., 1], np.broadcast_to(line[:, None, None], (side, side, 6)), atol=1e-6
        )


def test_largest_regular_scale_is_the_maximum():
    boxes = prior_boxes((8, 4, 2, 1), prior_scales(64, False))
    assert boxes[-6, 2] == pytest.approx(0.95, rel=1e-6)


@pytest.mark.parametrize(
    ("image_size", "x4", "expected"),
    [
        (300, True, (0.04, 0.1, 0.95)),
        (300, False, (0.1, 0.2, 0.95)),
        (512, True, (0.02, 0.08, 0.95)),
        (512, False, (0.04, 0.1, 0.95)),
        (64, False, (0.1, 0.2, 0.95)),
        (511, True, (0.04, 0.1, 0.95)),
        (1024, True, (0.02, 0.08, 0.95)),
    ],
)
def test_scales_of_the_original_and_of_other_sizes(image_size, x4, expected):
    scales = prior_scales(image_size, x4)
    assert (scales.smallest, scales.minimum, scales.maximum) == expected


def test_fewer_than_three_sources_are_refused():
    with pytest.raises(ValueError, match=r"at least 3 sources, got sides \(4, 1\)"):
        prior_boxes((4, 1), PriorScales(0.1, 0.2, 0.9))
