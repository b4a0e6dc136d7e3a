"""What the evaluation reads of an example, a picture with its ground truth in NumPy."""

import io

import numpy as np
from PIL import Image

from blitznet import keys


def ground_truth(example):
    """`(boxes [N, 4] yxyx, labels [N], difficult [N])` without the padding of the batch."""
    return without_padding(example, (keys.BOXES, keys.LABELS, keys.DIFFICULT))


def without_padding(example, names):
    """The entries `names` of an example, a tuple, for its real boxes alone."""
    real = example[keys.LABELS] > 0
    return tuple(example[name][real] for name in names)


def image_id(example):
    """The data set's own id of a picture: an int where the record's text is one, else the text."""
    text = example[keys.SOURCE_ID].decode()
    # A text like 007 is no number: another one would be written to the results.
    return int(text) if text.isdecimal() and str(int(text)) == text else text


def decode_mask(example):
    """uint8 `[H, W]` class ids of an example that has a mask."""
    return np.asarray(Image.open(io.BytesIO(example[keys.ENCODED_MASK])))
