"""Raw outputs of a network on which implementations of NMS may part, and how to compare them."""

import numpy as np

from blitznet import keys
from blitznet.coding import PriorCoder
from blitznet.postprocess.settings import DetectionSettings

PRIORS = 40
# Fewer boxes enter NMS than there are, fewer leave it than could, fewer still are answered.
SETTINGS = DetectionSettings(top_k_nms=30, top_k_after_nms=6, top_k_post_nms=15)


def coder(class_loss="softmax"):
    """Of prior boxes that overlap by chance."""
    rng = np.random.default_rng(5)
    corner, size = rng.uniform(0, 0.6, (PRIORS, 2)), rng.uniform(0.1, 0.4, (PRIORS, 2))
    return PriorCoder(np.concatenate([corner, size], axis=1), class_loss=class_loss)


def _ordinary(rng, classes):
    return rng.normal(0, 2, (PRIORS, classes)), rng.normal(0, 1, (PRIORS, 4))


def _nothing(rng, classes):
    confidence, location = _ordinary(rng, classes)
    confidence[:, 0] = 30
    return confidence, location


def _one_place(rng, classes):
    """Every box becomes the whole picture: one of each class is left."""
    return rng.normal(0, 1, (PRIORS, classes)), np.tile([0, 0, 40, 40], (PRIORS, 1))


def _one_place_and_score(rng, classes):
    return np.zeros((PRIORS, classes)), np.tile([0, 0, 40, 40], (PRIORS, 1))


def _ties(rng, classes):
    """Five small boxes of one score in each of up to two classes, all apart."""
    confidence = np.zeros((PRIORS, classes))
    confidence[:, 0] = 30
    for which in range(1, min(classes, 3)):
        confidence[5 * which : 5 * which + 5, which] = 31
    return confidence, np.tile([0, 0, -20, -20], (PRIORS, 1))


def _without_area(rng, classes):
    return rng.normal(0, 2, (PRIORS, classes)), np.tile([0, 0, -1000, -1000], (PRIORS, 1))


def _beyond_the_edge(rng, classes):
    """Boxes whose first corner comes out of decoding beyond the second."""
    confidence, location = _ordinary(rng, classes)
    location[::2, 0], location[1::4, 1] = 60, 60
    return confidence, location


def _saturated(rng, classes):
    """The softmax of every box is 1 for one class, 0 for the others."""
    confidence = np.full((PRIORS, classes), -1e4)
    confidence[np.arange(PRIORS), rng.integers(0, classes, PRIORS)] = 1e4
    # All apart: of boxes with the same score that overlap, implementations keep any.
    return confidence, np.tile([0, 0, -20, -20], (PRIORS, 1))


CASES = {
    "ordinary": _ordinary,
    "nothing": _nothing,
    "one place": _one_place,
    "one place and score": _one_place_and_score,
    "ties": _ties,
    "without area": _without_area,
    "beyond the edge": _beyond_the_edge,
    "saturated": _saturated,
}
# Those in which more boxes of one score are left than may be answered: any of them may be.
ANY_OF_MANY = ("one place and score", "saturated")


def raw(name, classes):
    """`(confidence [1, P, C], location [1, P, 4])` of a case, float32."""
    parts = CASES[name](np.random.default_rng(0), classes)
    return tuple(part.astype(np.float32)[None] for part in parts)


def arrays(answer):
    """An answer of tensors as NumPy arrays."""
    return {name: np.asarray(value) for name, value in answer.items()}


def assert_same_detections(found, expected, name, tolerance=1e-4):
    """Both answers, of one picture, hold the same detections and the same padding."""
    found, expected = arrays(found), arrays(expected)
    assert {k: (v.dtype, v.shape) for k, v in found.items()} == {
        k: (v.dtype, v.shape) for k, v in expected.items()
    }
    assert all(np.isfinite(value).all() for value in found.values())
    count = int(expected[keys.NUM_DETECTIONS][0])
    assert found[keys.NUM_DETECTIONS].tolist() == [count]
    for value in found.values():
        assert value.ndim == 1 or not value[0, count:].any(), "padding is not zero"
    scores = [answer[keys.DETECTION_SCORES] for answer in (found, expected)]
    np.testing.assert_allclose(*scores, atol=tolerance)
    if name not in ANY_OF_MANY:
        np.testing.assert_allclose(_rows(found, count), _rows(expected, count), atol=tolerance)


def _rows(answer, count):
    """Rows `(class, score, box)` in an order that does not depend on rounding of the scores."""
    columns = (keys.DETECTION_CLASSES, keys.DETECTION_SCORES, keys.DETECTION_BOXES)
    table = np.column_stack([answer[name][0, :count] for name in columns])
    return table[np.lexsort(table.round(3).T[::-1])]
