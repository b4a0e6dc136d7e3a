"""Top-1 and top-5 by hand, and by sorting."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blitznet.metrics import TopK


def counted(pictures, num_classes):
    meter = TopK(num_classes)
    for label, scores in pictures:
        meter.add(label, np.array(scores))
    return meter


def test_scores_of_four_pictures_by_hand():
    """The true class comes first, second, second and last."""
    pictures = [
        (0, [0.7, 0.2, 0.1, 0.0]),
        (0, [0.3, 0.4, 0.2, 0.1]),
        (1, [-1.0, 2.0, -3.0, 5.0]),
        (3, [4, 3, 2, 1]),
    ]
    meter = counted(pictures, 4)
    assert meter.counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert meter.pictures == 4
    assert [meter.accuracy(k) for k in (1, 2, 3, 4)] == [0.25, 0.75, 0.75, 1.0]
    np.testing.assert_array_equal(meter.accuracy_by_class(1), [0.5, 0, np.nan, 0])
    np.testing.assert_array_equal(meter.accuracy_by_class(2), [1, 1, np.nan, 0])


def test_with_fewer_classes_than_k_every_picture_is_a_hit():
    meter = counted([(0, [0.0, 1.0]), (1, [1.0, 0.0])], 2)
    assert (meter.accuracy(1), meter.accuracy(5)) == (0.0, 1.0)
    np.testing.assert_array_equal(meter.accuracy_by_class(5), [1, 1])


def test_of_equal_scores_the_lower_class_ranks_first():
    """So a network that answers the same for all is right on class 0 alone, as argmax says."""
    meter = counted([(label, np.zeros(6)) for label in range(6)], 6)
    np.testing.assert_array_equal(meter.counts, np.eye(6))
    assert (meter.accuracy(1), meter.accuracy(5)) == (1 / 6, 5 / 6)
    tied_behind_one = counted([(3, [1, 2, 1, 1])], 4)
    assert tied_behind_one.counts[3].tolist() == [0, 0, 0, 1]


def test_without_pictures_every_score_is_nan():
    meter = TopK(3)
    assert meter.pictures == 0 and math.isnan(meter.accuracy(1))
    assert np.isnan(meter.accuracy_by_class(5)).all()


def test_infinite_scores_have_their_place():
    assert counted([(0, [0.0, -np.inf, np.inf])], 3).counts[0].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("label", "scores", "error", "message"),
    [
        (3, [0.0, 1.0, 2.0], ValueError, r"the label is 3: expected one of 0\.\.2"),
        (-1, [0.0, 1.0, 2.0], ValueError, "the label is -1"),
        ([1], [0.0, 1.0, 2.0], ValueError, r"the label is \[1\]"),
        (1.0, [0.0, 1.0, 2.0], TypeError, "the label is of type float64"),
        (1, [[0.0, 1.0, 2.0]], ValueError, r"scores have shape \[1, 3\]: expected \[3\]"),
        (1, [0.0, 1.0], ValueError, r"scores have shape \[2\]: expected \[3\]"),
        (1, [0.0, 1.0, np.nan], ValueError, "scores contain NaN"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_counted(label, scores, error, message):
    meter = TopK(3)
    with pytest.raises(error, match=message):
        meter.add(label, scores)
    assert meter.pictures == 0


def test_without_classes_there_is_no_meter():
    with pytest.raises(ValueError, match="num_classes is 0: expected at least 1"):
        TopK(0)


_PICTURES = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.integers(-2, 2), min_size=7, max_size=7)), max_size=20
)


@given(_PICTURES, st.integers(1, 9))
def test_equals_a_stable_sort(pictures, k):
    whole = counted(pictures, 7)
    hits = [
        label in sorted(range(7), key=lambda c: (-scores[c], c))[:k] for label, scores in pictures
    ]
    expected = sum(hits) / len(hits) if hits else math.nan
    np.testing.assert_allclose(whole.accuracy(k), expected)
    if k == 1 and pictures:
        assert whole.accuracy(1) == np.mean([np.argmax(s) == label for label, s in pictures])
