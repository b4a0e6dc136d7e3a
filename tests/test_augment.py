"""Augmentation: what each operation does, and that image, boxes and mask stay together."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from blitznet import keys
from blitznet.imaging import MEAN_RGB, legacy_resize
from datasets import augment

HEIGHT, WIDTH = 48, 64
RED, BLUE, CAT = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), 8
MEAN = np.float32(MEAN_RGB) / 255
WHOLE = [0.0, 0.0, 1.0, 1.0]
_COLOURS = ("brightness", "saturation", "hue", "contrast")


def _example(ymin=12, xmin=20, ymax=30, xmax=44, has_mask=True):
    """A red rectangle on blue, its box and its mask; corners in pixels."""
    image = np.tile(np.float32(BLUE), (HEIGHT, WIDTH, 1))
    image[ymin:ymax, xmin:xmax] = RED
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[ymin:ymax, xmin:xmax] = CAT
    return _with_boxes(
        {
            keys.IMAGE: tf.constant(image),
            keys.MASK: tf.constant(mask if has_mask else np.full_like(mask, 255)),
            keys.HAS_MASK: tf.constant(has_mask),
            keys.FILENAME: tf.constant("a.jpg"),
        },
        [[ymin / HEIGHT, xmin / WIDTH, ymax / HEIGHT, xmax / WIDTH]],
    )


def _with_boxes(example, boxes):
    """The whole frame with other boxes; labels count from 1, every second one is difficult."""
    count = len(boxes)
    return augment.whole_frame(
        {
            **example,
            keys.BOXES: tf.constant(boxes, tf.float32, (count, 4)),
            keys.LABELS: tf.range(1, count + 1),
            keys.DIFFICULT: tf.range(count) % 2 == 1,
        }
    )


def _noise(height=HEIGHT, width=WIDTH):
    return tf.constant(np.random.default_rng(height).random((height, width, 3), np.float32))


def _render(example, image_size=64, mask_side=16):
    return augment.render(example, image_size, mask_side, 255)


def _seed(number):
    return tf.stack([tf.cast(number, tf.int64), 7])


def _zoom(example, seed, probability=1.0):
    return augment.zoom_out(example, seed, probability)


def _chain(example, seed):
    """What training does to geometry."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    example = augment.random_crop(_zoom(example, seeds[0], 0.5), seeds[1])
    return augment.random_flip(example, seeds[2])


def _over_seeds(operation, count, example):
    """NumPy results of `operation(example, seed)` for many seeds."""
    dataset = tf.data.Dataset.range(count).map(lambda number: operation(example, _seed(number)))
    return list(dataset.as_numpy_iterator())


def _bounds(chosen):
    """ymin, xmin, ymax, xmax of the true entries of `[H, W]`, as shares of the sides."""
    rows, columns = np.nonzero(chosen)
    far = rows.max() + 1, columns.max() + 1
    return np.array([rows.min(), columns.min(), *far]) / np.tile(chosen.shape, 2)


def _in_window(boxes, window):
    """Boxes of the stored picture in the window's coordinates."""
    corner, size = window[:2], window[2:] - window[:2]
    return ((boxes.reshape(-1, 2, 2) - corner) / size).reshape(-1, 4)


@pytest.mark.parametrize(
    "operation",
    [
        augment.photometric,
        _zoom,
        augment.random_crop,
        augment.random_flip,
        lambda example, seed: _render(_chain(example, seed)),
    ],
    ids=["photometric", "zoom_out", "random_crop", "random_flip", "chain"],
)
def test_operation_is_the_same_eagerly_and_inside_tf_data(operation):
    example = {**_example(), keys.IMAGE: _noise()}
    mapped = _over_seeds(operation, 6, example)
    for number, inside in enumerate(mapped):
        eager = operation(example, _seed(number))
        assert eager.keys() == inside.keys()
        for key, value in eager.items():
            if value.dtype == tf.float32:
                np.testing.assert_allclose(value, inside[key], atol=2e-6, err_msg=key)
            else:
                np.testing.assert_array_equal(value, inside[key], err_msg=key)
    again = _over_seeds(operation, 6, example)
    for key in mapped[0]:
        first, second = ([one[key] for one in results] for results in (mapped, again))
        for a, b in zip(first, second):
            np.testing.assert_array_equal(a, b, err_msg=key)
    varied = (keys.IMAGE, augment.WINDOW, augment.MIRRORED, keys.BOXES)
    changed = {(key, str(one[key])) for one in mapped for key in varied}
    assert len(changed) > len(varied)  # the seed matters


def test_photometric_changes_the_image_alone_and_keeps_its_range():
    for image in (_noise(), tf.zeros((4, 4, 3)), tf.ones((4, 4, 3))):
        example = {**_example(), keys.IMAGE: image}
        for result in _over_seeds(augment.photometric, 40, example):
            changed = result.pop(keys.IMAGE)
            assert np.isfinite(changed).all()
            assert changed.min() >= 0 and changed.max() <= 1
            assert result.keys() | {keys.IMAGE} == example.keys()
            for key, value in result.items():
                np.testing.assert_array_equal(value, example[key])
    assert not np.allclose(augment.photometric({keys.IMAGE: _noise()}, _seed(0))["image"], _noise())


def test_photometric_has_four_orders_of_the_four_changes(monkeypatch):
    calls = []
    for name in _COLOURS:

        def change(image, *arguments, name=name):
            calls.append((name, arguments[:-1]))
            return image

        monkeypatch.setattr(tf.image, f"stateless_random_{name}", change)
    orders = set()
    for number in range(40):
        calls.clear()
        augment.photometric({keys.IMAGE: _noise(2, 2)}, _seed(number))
        assert dict(calls) == {
            "brightness": (0.125,),
            "saturation": (0.5, 1.5),
            "hue": (0.07,),
            "contrast": (0.5, 1.5),
        }
        orders.add(tuple(name for name, _ in calls))
    assert len(orders) == 4
    assert all(sorted(order) == sorted(_COLOURS) for order in orders)


def test_zoom_out_factors_and_places():
    windows = np.array([r[augment.WINDOW] for r in _over_seeds(_zoom, 400, _example())])
    factors = windows[:, 2:] - windows[:, :2]
    np.testing.assert_allclose(factors[:, 0], factors[:, 1], rtol=1e-5)
    assert 1.05 <= factors.min() < 1.2 and 3.8 < factors.max() <= 4
    assert factors[:, 0].mean() == pytest.approx((1.05 + 4) / 2, abs=0.15)
    # The picture lies inside, anywhere: its place as a share of the room there is.
    places = -windows[:, :2] / (factors - 1)
    assert places.min() >= -1e-6 and places.max() <= 1 + 1e-6
    np.testing.assert_allclose(places.mean(axis=0), 0.5, atol=0.06)
    np.testing.assert_allclose(places.std(axis=0), 12**-0.5, atol=0.03)


@pytest.mark.parametrize(
    ("probability", "low", "high"), [(0.0, 0, 0), (0.5, 80, 120), (1.0, 200, 200)]
)
def test_zoom_out_probability(probability, low, high):
    example = _example()
    results = _over_seeds(lambda e, seed: _zoom(e, seed, probability), 200, example)
    whole = [r for r in results if r[augment.WINDOW].tolist() == WHOLE]
    assert low <= 200 - len(whole) <= high
    for result in whole:
        np.testing.assert_array_equal(result[keys.BOXES], example[keys.BOXES])


def test_zoom_out_by_hand(monkeypatch):
    numbers = tf.constant([0.0, (2 - 1.05) / 2.95, 0.25, 0.5])  # twice, a quarter down, the middle
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda *arguments: numbers)
    result = _zoom(_with_boxes({}, [[0.0, 0.5, 1.0, 0.75]]), _seed(0))
    np.testing.assert_allclose(result[augment.WINDOW], [-0.25, -0.5, 1.75, 1.5], atol=1e-6)
    np.testing.assert_allclose(result[keys.BOXES], [[0.125, 0.5, 0.625, 0.625]], atol=1e-6)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.9])
def test_crop_shows_the_least_overlap_of_some_object(monkeypatch, overlap):
    monkeypatch.setattr(augment, "_CROP_OVERLAPS", (overlap,))
    boxes = np.float32([[0.0, 0.0, 0.25, 0.25], [0.75, 0.75, 1.0, 1.0]])
    example = _with_boxes(_example(), boxes)
    windows = np.array([r[augment.WINDOW] for r in _over_seeds(augment.random_crop, 300, example)])
    assert windows.min() >= 0 and windows.max() <= 1
    sides = windows[:, 2:] - windows[:, :2]
    whole = (sides == 1).all(axis=1)  # what 50 vain attempts come to
    aspects = (sides[:, 1] * WIDTH) / (sides[:, 0] * HEIGHT)
    # Crops are of whole pixels, hence the slack.
    assert 0.3 - 0.03 <= sides.prod(axis=1).min() < 0.4
    assert 0.5 - 0.03 <= aspects.min() < 0.7 and 1.5 < aspects.max() <= 2 + 0.1
    near = np.maximum(windows[:, None, :2], boxes[:, :2])
    far = np.minimum(windows[:, None, 2:], boxes[:, 2:])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    shown = (np.prod(np.maximum(far - near, 0), axis=2) / areas).max(axis=1)
    assert shown[~whole].min() >= overlap - 1e-3
    assert shown[~whole].min() < overlap + 0.1  # no more than that is asked for


def test_all_six_crop_samplers_are_used(monkeypatch):
    asked = []

    def sample(*arguments, min_object_covered, **options):
        asked.append(float(min_object_covered))
        return None, None, tf.constant([[WHOLE]])

    monkeypatch.setattr(tf.image, "stateless_sample_distorted_bounding_box", sample)
    example = _example()
    for number in range(70):
        augment.random_crop(example, _seed(number))
    samplers, counts = np.unique(np.round(asked, 3), return_counts=True)
    assert samplers.tolist() == [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]
    assert counts.min() >= 4


def test_objects_whose_centre_leaves_the_crop_are_dropped_and_the_rest_clipped():
    rng = np.random.default_rng(9)
    corner = rng.uniform(0, 0.8, (12, 2))
    far = np.minimum(corner + rng.uniform(0.05, 0.6, (12, 2)), 1)
    boxes = np.concatenate([corner, far], axis=1).astype(np.float32)
    dropped = 0
    for result in _over_seeds(augment.random_crop, 60, _with_boxes(_example(), boxes)):
        expected = _in_window(boxes, result[augment.WINDOW])
        centre = (expected[:, :2] + expected[:, 2:]) / 2
        kept = ((centre >= 0) & (centre <= 1)).all(axis=1)
        dropped += np.sum(~kept)
        np.testing.assert_allclose(result[keys.BOXES], np.clip(expected[kept], 0, 1), atol=1e-5)
        np.testing.assert_array_equal(result[keys.LABELS], np.arange(1, 13)[kept])
        np.testing.assert_array_equal(result[keys.DIFFICULT], (np.arange(12) % 2 == 1)[kept])
    assert dropped > 50


def test_picture_without_objects_goes_through():
    for result in _over_seeds(lambda e, s: _render(_chain(e, s)), 40, _with_boxes(_example(), [])):
        assert result[keys.BOXES].shape == (0, 4)
        assert result[keys.LABELS].shape == (0,)
        assert np.isfinite(result[keys.IMAGE]).all()


@settings(max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70))
def test_rendering_the_whole_window_is_legacy_resizing(height, width, side):
    image = _noise(height, width)
    mask = tf.cast(image[..., 0] * 255, tf.uint8)
    window = tf.constant(WHOLE)
    rendered = augment.sample_bilinear(image, window, side, tf.constant(MEAN))
    np.testing.assert_allclose(rendered, legacy_resize(image[None], (side, side))[0], atol=1e-6)
    rendered = augment.sample_nearest(mask, window, side, tf.constant(77, tf.uint8))
    expected = legacy_resize(mask[None, ..., None], (side, side), "nearest")[0, ..., 0]
    np.testing.assert_array_equal(rendered, expected)


def test_rendering_a_crop_is_legacy_resizing_of_its_pixels():
    # Away from the crop's last row and column, where a crop cut out would repeat its border.
    image = _noise()
    window = tf.constant([8 / 48, 16 / 64, 40 / 48, 48 / 64])
    rendered = augment.sample_bilinear(image, window, 20, tf.constant(MEAN))
    expected = legacy_resize(image[None, 8:41, 16:49], (33, 33))  # unchanged, one pixel more
    positions = np.arange(20) * 32 / 20
    lower, weight = positions.astype(int), (positions % 1)[:, None]
    pixels = expected[0].numpy()
    rows = pixels[lower] * (1 - weight[..., None]) + pixels[lower + 1] * weight[..., None]
    both = rows[:, lower] * (1 - weight) + rows[:, lower + 1] * weight
    np.testing.assert_allclose(rendered, both, atol=1e-5)


@pytest.mark.parametrize(("has_mask", "surround"), [(True, 0), (False, 255)])
def test_surround_of_a_zoomed_out_picture(has_mask, surround):
    example = {
        **_example(0, 0, HEIGHT, WIDTH, has_mask),
        augment.WINDOW: tf.constant([-1.0, -1, 1, 3]),
    }
    result = _render(example)
    inside = np.zeros((64, 64), bool)
    inside[32:, 16:32] = True
    np.testing.assert_allclose(result[keys.IMAGE][inside], np.tile(RED, (inside.sum(), 1)))
    np.testing.assert_allclose(result[keys.IMAGE][~inside], np.tile(MEAN, ((~inside).sum(), 1)))
    expected = np.where(inside[::4, ::4], CAT if has_mask else 255, surround)
    np.testing.assert_array_equal(result[keys.MASK], expected)


def test_picture_without_mask_is_ignored_everywhere():
    example = _example(has_mask=False)
    for result in _over_seeds(lambda e, s: _render(_chain(e, s)), 40, example):
        assert (result[keys.MASK] == 255).all()


def test_without_segmentation_no_mask_is_made():
    example = _example()
    del example[keys.MASK]
    assert keys.MASK not in _render(_chain(example, _seed(1)), mask_side=None)


def test_boxes_under_two_pixels_are_dropped():
    exact, narrow, low = [0, 0, 2 / 64, 2 / 64], [0, 0, 0.5, 1.9 / 64], [0, 0, 1.9 / 64, 0.5]
    result = _render(_with_boxes(_example(), [narrow, exact, low]))
    np.testing.assert_array_equal(result[keys.BOXES], np.float32([exact]))
    assert result[keys.LABELS].numpy().tolist() == [2]
    assert result[keys.DIFFICULT].numpy().tolist() == [True]


@pytest.mark.parametrize("window", [WHOLE, [-0.5, -1.25, 1.5, 1.75], [0.125, 0.25, 0.75, 0.875]])
def test_flip_renders_the_mirrored_picture(window):
    example = {**_example(), keys.IMAGE: _noise(), augment.WINDOW: tf.constant(window)}
    low, high = window[1], window[3]
    mirrored = {
        **example,
        keys.IMAGE: example[keys.IMAGE][:, ::-1],
        keys.MASK: example[keys.MASK][:, ::-1],
        augment.WINDOW: tf.constant([window[0], 1 - high, window[2], 1 - low]),
        keys.BOXES: tf.constant([[12 / 48, 20 / 64, 30 / 48, 44 / 64]]),  # 1 - 44/64, 1 - 20/64
    }
    flip = _over_seeds(lambda e, seed: _render(augment.random_flip(e, seed)), 40, example)
    plain, mirrored = _render(example), _render(mirrored)
    same = 0
    for result in flip:
        is_same = np.array_equal(result[keys.IMAGE], plain[keys.IMAGE])
        same += is_same
        expected = plain if is_same else mirrored
        for key in (keys.IMAGE, keys.MASK):
            np.testing.assert_array_equal(result[key], expected[key], err_msg=key)
        np.testing.assert_allclose(result[keys.BOXES], expected[keys.BOXES], atol=1e-6)
    assert 12 <= same <= 28


def test_flip_mirrors_boxes_by_hand():
    example = _with_boxes(_example(), [[0.1, 0.2, 0.3, 0.6]])
    boxes = {
        tuple(augment.random_flip(example, _seed(n))[keys.BOXES][0].numpy()) for n in range(20)
    }
    expected = np.float32([[0.1, 0.2, 0.3, 0.6], [0.1, 0.4, 0.3, 0.8]])
    np.testing.assert_allclose(sorted(boxes), expected, atol=1e-6)


@pytest.mark.parametrize("corners", [(12, 20, 30, 44), (0, 0, 24, 32), (20, 40, 48, 64)])
def test_colours_labels_and_boxes_stay_together(corners):
    example = _example(*corners)
    kept = 0
    for result in _over_seeds(lambda e, s: _render(_chain(e, s), 64, 32), 250, example):
        window = result[augment.WINDOW]
        pixel = 1 / (window[2:] - window[:2]) / (HEIGHT, WIDTH)  # of the stored picture
        red = (result[keys.IMAGE] > (0.75, -1, -1)).all(-1) & (result[keys.IMAGE][..., 2] < 0.25)
        if not len(result[keys.BOXES]):
            continue
        kept += 1
        box = result[keys.BOXES][0]
        # Bilinear edges are a pixel of the stored picture wide, and sampling has a grid.
        assert (np.abs(_bounds(red) - box) <= np.tile(pixel + 1.01 / 64, 2)).all()
        assert (np.abs(_bounds(result[keys.MASK] == CAT) - box) <= 1.01 / 32).all()
    assert kept > 100
