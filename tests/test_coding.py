"""Matching and coding: four prior boxes by hand, and a second implementation."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from blitznet.coding import PriorCoder
from blitznet.priors import prior_boxes, prior_scales

QUARTERS = [[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 0.5, 0.5], [0.0, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
VARIANCES = np.array([0.1, 0.1, 0.2, 0.2])
# What a 64-pixel network has.
PRIORS = prior_boxes((8, 4, 2, 1), prior_scales(64, False))


def _encode(priors, boxes_xywh, labels=None):
    """NumPy labels and offsets; label i + 1 for box i unless given."""
    x, y, w, h = np.float32(boxes_xywh).reshape(-1, 4).T
    labels = range(1, len(x) + 1) if labels is None else labels
    boxes = np.stack([y, x, y + h, x + w], axis=1)
    answer = PriorCoder(priors).encode(boxes, np.array(labels, np.int32))
    return [tensor.numpy() for tensor in answer]


def _iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def _slow_encode(priors, boxes, labels):
    """Spec section 8, box by box, in float64."""
    chosen = {}
    for p, prior in enumerate(priors):
        overlaps = [_iou(prior, box) for box in boxes]
        if overlaps and max(overlaps) >= 0.5:
            chosen[p] = overlaps.index(max(overlaps))
    for b in reversed(range(len(boxes))):  # so that the lowest index writes last
        overlaps = [_iou(prior, boxes[b]) for prior in priors]
        chosen[overlaps.index(max(overlaps))] = b

    prior_labels = np.zeros(len(priors), int)
    offsets = np.zeros((len(priors), 4))
    for p, b in chosen.items():
        (px, py, pw, ph), (x, y, w, h) = priors[p], boxes[b]
        prior_labels[p] = labels[b]
        shift = [(x + w / 2 - px - pw / 2) / pw, (y + h / 2 - py - ph / 2) / ph]
        offsets[p] = np.array([*shift, np.log(w / pw), np.log(h / ph)]) / VARIANCES
    return prior_labels, offsets


def _random_boxes(rng, count):
    """xywh inside the image, from small to large."""
    size = rng.uniform(0.02, 1, (count, 2)) ** 1.5
    return np.concatenate([rng.uniform(0, 1 - size), size], axis=1).astype(np.float32)


def test_offsets_by_hand():
    labels, offsets = _encode(QUARTERS, [[0.0, 0.0, 0.5, 0.5], [0.6, 0.5, 0.1, 0.25]], [7, 15])
    np.testing.assert_array_equal(labels, [7, 0, 0, 15])
    # Prior 3 has its centre at (0.75, 0.75); the box at (0.65, 0.625), at a fifth and a half of
    # its sides.
    expected = np.zeros((4, 4))
    expected[3] = [-0.1 / 0.5 / 0.1, -0.125 / 0.5 / 0.1, np.log(0.2) / 0.2, np.log(0.5) / 0.2]
    np.testing.assert_allclose(offsets, expected, rtol=1e-5)


def test_overlap_of_exactly_a_half_is_positive():
    priors = [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.25], [0.0, 0.0, 0.5, 0.5625]]
    labels, _ = _encode(priors, [[0.0, 0.0, 0.5, 0.25]], [4])  # IoU 1/2, 1, 4/9
    np.testing.assert_array_equal(labels, [4, 4, 0])


def test_box_claims_its_best_prior_whatever_the_iou():
    labels, _ = _encode(QUARTERS, [[0.9, 0.1, 0.01, 0.01]], [3])
    np.testing.assert_array_equal(labels, [0, 3, 0, 0])


def test_claim_replaces_a_match_by_overlap():
    priors = [[0.0, 0.0, 0.5, 0.5], [0.125, 0.0, 0.5, 0.5], [0.0, 0.75, 0.25, 0.25]]
    box = [0.125, 0.0, 0.5, 0.5]  # overlaps prior 0 by 3/5 and is prior 1
    tiny = [0.0, 0.0, 0.0625, 0.0625]  # touches prior 0 alone
    np.testing.assert_array_equal(_encode(priors, [box])[0], [1, 1, 0])
    np.testing.assert_array_equal(_encode(priors, [box, tiny])[0], [2, 1, 0])


def test_lowest_index_wins_a_prior_that_several_boxes_claim():
    tiny, itself = [0.6, 0.1, 0.1, 0.1], [0.5, 0.0, 0.5, 0.5]
    np.testing.assert_array_equal(_encode(QUARTERS, [tiny, itself])[0], [0, 1, 0, 0])
    np.testing.assert_array_equal(_encode(QUARTERS, [itself, tiny])[0], [0, 1, 0, 0])


def test_ties_go_to_the_lowest_index():
    same = [QUARTERS[2], QUARTERS[2]]
    # Two boxes that overlap a prior alike: the first one has it.
    np.testing.assert_array_equal(_encode(QUARTERS, same)[0], [0, 0, 1, 0])
    # A box that overlaps four prior boxes alike claims the first one.
    centred = [[0.375, 0.375, 0.25, 0.25]]
    np.testing.assert_array_equal(_encode(QUARTERS, centred)[0], [1, 0, 0, 0])


def test_picture_without_boxes_has_only_zeros():
    labels, offsets = _encode(QUARTERS, [])
    np.testing.assert_array_equal(labels, np.zeros(4))
    np.testing.assert_array_equal(offsets, np.zeros((4, 4)))
    assert (labels.dtype, offsets.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_encode_equals_the_slow_implementation(seed):
    rng = np.random.default_rng(seed)
    boxes = _random_boxes(rng, 3 * seed)
    labels = rng.integers(1, 21, len(boxes))
    expected_labels, expected_offsets = _slow_encode(PRIORS, boxes, labels)
    prior_labels, offsets = _encode(PRIORS, boxes, labels)
    np.testing.assert_array_equal(prior_labels, expected_labels)
    np.testing.assert_allclose(offsets, expected_offsets, rtol=1e-4, atol=1e-4)
    assert bool(seed) == prior_labels.any()


def test_encode_is_the_same_inside_tf_data():
    coder = PriorCoder(PRIORS)
    for count in (0, 5):
        x, y, w, h = _random_boxes(np.random.default_rng(count), count).T
        boxes = np.stack([y, x, y + h, x + w], axis=1)
        labels = np.arange(1, count + 1, dtype=np.int32)
        dataset = tf.data.Dataset.from_generator(
            lambda boxes=boxes, labels=labels: [(boxes, labels)],
            output_signature=(
                tf.TensorSpec([None, 4], tf.float32),
                tf.TensorSpec([None], tf.int32),
            ),
        ).map(coder.encode)
        assert [tuple(spec.shape) for spec in dataset.element_spec] == [
            (len(PRIORS),),
            (len(PRIORS), 4),
        ]
        for mapped, eager in zip(next(iter(dataset)), coder.encode(boxes, labels)):
            np.testing.assert_array_equal(mapped, eager)


corners = st.integers(0, 980)
lengths = st.integers(15, 1000)


@settings(max_examples=50)
@given(st.lists(st.tuples(corners, corners, lengths, lengths), min_size=1, max_size=4))
def test_decode_undoes_encode(boxes):
    x, y, w, h = np.array(boxes, np.float32).T / 1000
    boxes = np.stack([y, x, np.minimum(y + h, 1), np.minimum(x + w, 1)], axis=1)
    coder = PriorCoder(PRIORS)
    labels, offsets = coder.encode(boxes, np.arange(1, len(boxes) + 1, dtype=np.int32))
    positive = np.flatnonzero(labels)
    decoded = coder.decode(offsets).numpy()[positive]
    np.testing.assert_allclose(decoded, boxes[labels.numpy()[positive] - 1], atol=1e-5)


def test_decode_of_zero_offsets_gives_the_prior_boxes_inside_the_image():
    expected = [[0.0, 0.0, 0.5, 0.5], [0.0, 0.5, 0.5, 1.0], [0.5, 0.0, 1.0, 0.5], [0.5, 0.5, 1, 1]]
    np.testing.assert_array_equal(PriorCoder(QUARTERS).decode(np.zeros((4, 4), "f4")), expected)


def test_size_counts_from_the_clipped_corner():
    coder = PriorCoder([[0.25, 0.25, 0.5, 0.5]])
    # Centre x moves from 0.5 to 0.1, width grows to 0.6: x from -0.2, clipped to 0, to 0.6
    # (and not to 0.4). Centre y moves to 0.9, height stays: y from 0.65 to 1.15, clipped to 1.
    location = np.float32([[[-8.0, 8.0, np.log(1.2) / 0.2, 0.0]]])
    np.testing.assert_allclose(coder.decode(location), [[[0.65, 0.0, 1.0, 0.6]]], atol=1e-6)


def test_corner_beyond_the_far_edge_stays_there_as_in_the_original():
    coder = PriorCoder([[0.25, 0.25, 0.5, 0.5]])
    location = np.float32([[20.0, 0.0, 0.0, 0.0]])  # centre x 1.5
    np.testing.assert_allclose(coder.decode(location), [[0.25, 1.25, 0.75, 1.0]], atol=1e-6)


def test_decode_of_an_enormous_size_is_finite():
    decoded = PriorCoder(QUARTERS).decode(np.full((1, 4, 4), 1e6, np.float32)).numpy()
    assert np.isfinite(decoded[..., 2:]).all()


def test_decode_takes_a_batch():
    coder = PriorCoder(PRIORS)
    location = np.random.default_rng(3).normal(size=(2, len(PRIORS), 4)).astype(np.float32)
    decoded = tf.function(coder.decode)(location)
    for i in range(2):
        np.testing.assert_allclose(decoded[i], coder.decode(location[i]), atol=1e-6)


def test_an_unknown_class_loss_is_answered_with_those_that_exist():
    with pytest.raises(ValueError, match="'Focal'.*softmax, focal"):
        PriorCoder(QUARTERS, class_loss="Focal")
