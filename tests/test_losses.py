"""Losses on four prior boxes and a few pixels by hand, and second implementations in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from blitznet import keys
from blitznet.losses.detection import detection_loss, make_detection_loss
from blitznet.losses.segmentation import segmentation_loss, segmentation_loss_sum

LN2 = np.log(2.0)


def _logits(background_halvings):
    """Two-class logits whose probability of the background is 2 ** -halvings."""
    background = 0.5 ** np.array(background_halvings, np.float32)
    return np.log(np.stack([background, 1 - background], axis=-1))


def _class_loss(halvings, labels):
    """Class loss of `[B, P]` priors whose cross-entropy as negatives is `halvings` ln 2."""
    labels = np.array(labels, np.int32)
    zeros = np.zeros((*labels.shape, 4), np.float32)
    losses = detection_loss(_logits(halvings), zeros, labels, zeros)
    assert losses[keys.LOSS_BOX] == 0
    return float(losses[keys.LOSS_CLASS]) / LN2


def _entropy(logits, labels):
    logits = logits.astype(np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(logs, labels[..., None], axis=-1)[..., 0]


def _slow_detection_loss(confidence, location, labels, offsets):
    """Spec section 9, in float64."""
    entropy = _entropy(confidence, labels)
    positive = labels > 0
    count = positive.sum()
    wanted = min(3 * count, labels.shape[1] - count)
    kept = np.sort(entropy[~positive])[::-1][: max(1, wanted)]
    class_loss = (entropy[positive].sum() + (kept.sum() if wanted > 0 else 0)) / max(1, count)
    size = np.abs(location.astype(np.float64) - offsets)[positive]
    smooth = np.where(size < 1, size**2 / 2, size - 0.5)
    return class_loss, smooth.sum(axis=-1).mean() if count else 0.0


def test_class_loss_of_one_picture_by_hand():
    # A positive of probability 1/2, and all three negatives.
    assert _class_loss([[1, 2, 1, 3]], [[1, 0, 0, 0]]) == pytest.approx(1 + 2 + 1 + 3)


def test_negatives_are_mined_over_the_whole_batch():
    # One positive, so three negatives: all from the second picture, which has no object.
    halvings, labels = [[1, 2, 1, 3], [4, 5, 1, 6]], [[1, 0, 0, 0], [0, 0, 0, 0]]
    assert _class_loss(halvings, labels) == pytest.approx(1 + 4 + 5 + 6)


def test_negatives_are_no_more_than_one_picture_has_beside_all_positives():
    # Two positives: min(3 * 2, 4 - 2) = 2 negatives of the six, and the mean over two.
    halvings, labels = [[1, 1, 2, 3], [4, 5, 1, 1]], [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert _class_loss(halvings, labels) == pytest.approx((1 + 1 + 4 + 5) / 2)


@pytest.mark.parametrize("more", [0, 1])
def test_negatives_do_not_count_with_as_many_positives_as_priors_of_a_picture(more):
    # P - N is 0 or negative though the batch has negatives left.
    labels = [[1, 1, 1, 1], [more, 0, 0, 0]]
    assert _class_loss([[1, 1, 1, 1], [1, 9, 9, 9]], labels) == pytest.approx(1)


def test_batch_without_negatives():
    assert _class_loss([[1, 1, 1, 1]], [[1, 1, 1, 1]]) == pytest.approx(1)


def test_batch_without_positives_has_no_loss_and_a_finite_gradient():
    confidence = tf.Variable(_logits([[1, 2, 3, 9]]))
    location = tf.Variable(np.full((1, 4, 4), 5, np.float32))
    with tf.GradientTape() as tape:
        losses = detection_loss(
            confidence, location, np.zeros((1, 4), np.int32), np.zeros((1, 4, 4), np.float32)
        )
        total = tf.add_n(list(losses.values()))
    assert total == 0
    for gradient in tape.gradient(total, [confidence, location]):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_box_loss_by_hand():
    location = np.zeros((1, 4, 4), np.float32)
    offsets = np.float32([[[9] * 4, [0.5, -2, 0, 1], [0, 0, 0, 3], [9] * 4]])
    labels = np.int32([[0, 2, 1, 0]])
    loss = detection_loss(np.zeros((1, 4, 3), "f4"), location, labels, offsets)[keys.LOSS_BOX]
    # 0.5 * 0.25 + (2 - 0.5) + 0 + 0.5 and 3 - 0.5, over two positives.
    assert float(loss) == pytest.approx((2.125 + 2.5) / 2)


def test_gradient_reaches_positives_and_kept_negatives_alone():
    rng = np.random.default_rng(5)
    confidence = tf.Variable(rng.normal(size=(2, 8, 3)).astype(np.float32))
    location = tf.Variable(rng.normal(size=(2, 8, 4)).astype(np.float32))
    labels = np.zeros((2, 8), np.int32)
    labels[1, 2] = 2
    with tf.GradientTape() as tape:
        losses = detection_loss(confidence, location, labels, np.zeros((2, 8, 4), np.float32))
        total = tf.add_n(list(losses.values()))
    by_class, by_box = tape.gradient(total, [confidence, location])
    entropy = _entropy(confidence.numpy(), labels)
    hardest = np.argsort(np.where(labels > 0, -1, entropy), axis=None)[-3:]
    expected = labels > 0
    np.testing.assert_array_equal(np.abs(by_box).sum(axis=-1) > 0, expected)
    expected.flat[hardest] = True
    np.testing.assert_array_equal(np.abs(by_class).sum(axis=-1) > 0, expected)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.2, 0.4, 0.9, 1.0])
def test_detection_loss_equals_a_second_implementation(share):
    rng = np.random.default_rng(int(100 * share))
    confidence = rng.normal(0, 2, (3, 60, 5)).astype(np.float32)
    location, offsets = rng.normal(0, 1, (2, 3, 60, 4)).astype(np.float32)
    labels = np.where(rng.random((3, 60)) < share, rng.integers(1, 5, (3, 60)), 0)
    losses = tf.function(detection_loss)(confidence, location, labels, offsets)
    expected = _slow_detection_loss(confidence, location, labels, offsets)
    assert float(losses[keys.LOSS_CLASS]) == pytest.approx(expected[0], rel=1e-5)
    assert float(losses[keys.LOSS_BOX]) == pytest.approx(expected[1], rel=1e-5)


@pytest.mark.parametrize("labels", [[[1, 0, 0, 0, 0, 0]], [[0] * 6]])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_logits_of_any_prior_show_in_the_loss(labels, value):
    # Also those of a negative that would not be kept: NaN is nothing to pass over in silence.
    confidence = np.zeros((1, 6, 3), np.float32)
    confidence[0, 4, 1] = value
    zeros = np.zeros((1, 6, 4), np.float32)
    loss = detection_loss(confidence, zeros, np.int32(labels), zeros)[keys.LOSS_CLASS]
    assert not np.isfinite(loss)


@pytest.mark.parametrize("labels", [[[1, 0, 0, 0, 0, 0]], [[0] * 6]])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_offsets_of_any_prior_show_in_the_loss(labels, value):
    location = np.zeros((1, 6, 4), np.float32)
    location[0, 4, 1] = value
    losses = detection_loss(
        np.zeros((1, 6, 3), "f4"), location, np.int32(labels), np.zeros_like(location)
    )
    assert not np.isfinite(losses[keys.LOSS_BOX])
    assert np.isfinite(losses[keys.LOSS_CLASS])


@pytest.mark.parametrize(
    ("names", "choices"),
    [(("focal", "GIOU"), "smooth_l1, giou"), (("ce", "smooth_l1"), "softmax, focal")],
)
def test_an_unknown_loss_is_answered_with_those_that_exist(names, choices):
    with pytest.raises(ValueError, match=f"unknown .*_loss '.*': choose one of {choices}"):
        make_detection_loss(*names, coder=None)


def _segmentation(logits, labels, **kwargs):
    return float(segmentation_loss(logits, labels, **kwargs)[keys.LOSS_SEGMENTATION])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_segmentation_loss_by_hand(dtype):
    logits = _logits([[[1, 2], [3, 7]]])
    # Background of 1/2 and 1/4, the other class of 7/8, one pixel ignored.
    labels = np.array([[[0, 0], [1, 255]]], dtype)
    expected = (1 + 2 + 3 - np.log2(7)) / 3 * LN2
    assert _segmentation(logits, labels) == pytest.approx(expected, rel=1e-6)


def test_mean_is_over_the_pixels_of_the_batch_not_over_pictures():
    logits = _logits([[[1, 1], [1, 1]], [[4, 9], [9, 9]]])
    labels = np.uint8([[[0, 0], [0, 0]], [[0, 255], [255, 255]]])
    assert _segmentation(logits, labels) == pytest.approx((4 * 1 + 4) / 5 * LN2)


def test_another_ignored_label():
    logits = _logits([[[1, 5]]])
    assert _segmentation(logits, np.uint8([[[0, 7]]]), ignore_label=7) == pytest.approx(LN2)


def test_segmentation_loss_equals_a_second_implementation():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (2, 7, 5, 6)).astype(np.float32)
    labels = rng.integers(0, 6, (2, 7, 5))
    labels[rng.random(labels.shape) < 0.3] = 255
    counted = labels != 255
    expected = _entropy(logits, np.where(counted, labels, 0))[counted].mean()
    assert _segmentation(logits, labels) == pytest.approx(expected, rel=1e-5)


def test_ignored_pixels_have_no_gradient_and_all_ignored_no_loss():
    logits = tf.Variable(np.random.default_rng(1).normal(size=(1, 2, 2, 3)).astype(np.float32))
    some, all_ignored = np.uint8([[[1, 255], [255, 0]]]), np.full((1, 2, 2), 255, np.uint8)
    for labels in (some, all_ignored):
        with tf.GradientTape() as tape:
            loss = segmentation_loss(logits, labels)[keys.LOSS_SEGMENTATION]
        gradient = tape.gradient(loss, logits).numpy()
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(np.abs(gradient).sum(axis=-1) > 0, labels != 255)
    assert loss == 0


def test_the_summed_loss_is_that_of_each_pictures_pixels_averaged_over_pictures():
    """Two pictures of 2 x 2 pixels, 3 and 1 of which count; all logits 0: log 2 each."""
    logits = np.zeros((2, 2, 2, 2), np.float32)
    labels = np.uint8([[[0, 1], [1, 255]], [[255, 255], [255, 0]]])
    loss = segmentation_loss_sum(logits, labels)[keys.LOSS_SEGMENTATION]
    assert float(loss) == pytest.approx((3 + 1) / 2 * LN2, rel=1e-6)
    # Of one picture alone, as FCN's authors trained, the plain sum.
    loss = segmentation_loss_sum(logits[:1], labels[:1])[keys.LOSS_SEGMENTATION]
    assert float(loss) == pytest.approx(3 * LN2, rel=1e-6)


def test_a_wholly_ignored_picture_adds_nothing_to_the_summed_loss():
    logits = np.random.default_rng(0).normal(size=(1, 2, 2, 3)).astype(np.float32)
    labels = np.full((1, 2, 2), 255, np.uint8)
    assert float(segmentation_loss_sum(logits, labels)[keys.LOSS_SEGMENTATION]) == 0
