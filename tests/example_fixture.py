"""One example without files: the dict that readers answer and `records.serialize` takes."""

import numpy as np
import tensorflow as tf

from blitznet import keys

IMAGE = np.zeros((48, 64, 3), np.uint8)
JPEG = tf.io.encode_jpeg(IMAGE).numpy()


def example(name="a.jpg", boxes=(), labels=(), difficult=(), crowd=(), encoded=JPEG, mask=b""):
    """A picture of 64 x 48 pixels; boxes are normalised yxyx."""
    count = len(boxes)
    return {
        keys.FILENAME: name,
        keys.SOURCE_ID: name,
        keys.HEIGHT: 48,
        keys.WIDTH: 64,
        keys.ENCODED_IMAGE: encoded,
        keys.ENCODED_MASK: mask,
        keys.BOXES: np.array(boxes, np.float32).reshape(-1, 4),
        keys.LABELS: np.array(labels, np.int32),
        keys.DIFFICULT: np.array(difficult or [False] * count, bool),
        keys.IS_CROWD: np.array(crowd or [False] * count, bool),
        keys.AREA: np.ones(count, np.float32),
    }
