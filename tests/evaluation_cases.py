"""Examples and predictions for the tests of the evaluation: cats and dogs in small pictures."""

import io

import numpy as np
from PIL import Image

from blitznet import evaluation, keys

CAT_BOX, DOG_BOX = [0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]


def png(array):
    file = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8)).save(file, "PNG")
    return file.getvalue()


def example(boxes, labels, difficult=None, mask=None, padding=2, crowd=None, source_id=b"1"):
    """As `engine.predictions` gives it: padded with label 0 to the batch's longest list."""
    count = len(labels)
    sides = np.reshape(boxes, (-1, 4))[:, 2:] - np.reshape(boxes, (-1, 4))[:, :2]
    return {
        keys.HEIGHT: 100,
        keys.WIDTH: 200,
        keys.SOURCE_ID: source_id,
        keys.FILENAME: b"cat.jpg",
        keys.IS_CROWD: np.array([*(crowd or [False] * count), *[False] * padding]),
        keys.AREA: np.array([*(2e4 * sides.prod(axis=1)), *[0.0] * padding], np.float32),
        keys.BOXES: np.concatenate([np.reshape(boxes, (-1, 4)), np.zeros((padding, 4))]),
        keys.LABELS: np.array([*labels, *[0] * padding]),
        keys.DIFFICULT: np.array([*(difficult or [False] * count), *[False] * padding]),
        keys.HAS_MASK: mask is not None,
        keys.ENCODED_MASK: b"" if mask is None else png(mask),
        keys.ENCODED_IMAGE: png(np.zeros((2, 2, 3))),
    }


def prediction(boxes=(), scores=(), classes=(), class_map=None):
    return {
        keys.DETECTION_BOXES: np.reshape(boxes, (-1, 4)),
        keys.DETECTION_SCORES: np.array(scores, float),
        keys.DETECTION_CLASSES: np.array(classes, int),
        keys.SEMANTIC_CLASSES: np.zeros((2, 2), np.uint8) if class_map is None else class_map,
    }


def scored(pairs, rule="voc12", segment=True, **options):
    meter = evaluation.Evaluation(("cat", "dog"), rule, 0.5, segment, **options)
    for pair in pairs:
        meter.add(*pair)
    return meter.scores()
