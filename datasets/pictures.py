"""Picture files and masks as bytes, checked: what the layouts of VOC and COCO share."""

import contextlib
import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from blitznet import keys
from blitznet.opencv import cv2
from datasets.info import BadExample

_PIL_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
# MPO is a JPEG with further pictures behind it, as some cameras write.
JPEG = ("JPEG", "MPO")


def read_bytes(path, advice):
    """A file's content; BadExample with `advice` when it is missing."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise BadExample(path, f"missing, {advice}") from None


def read_picture(path, advice, formats=JPEG):
    """Bytes, width and height of a picture that decodes to its end.

    Raises BadExample for a missing file (with `advice`), a damaged one, another of PIL's formats,
    and for other pixels than 8-bit RGB or grey.
    """
    encoded = read_bytes(path, advice)
    otherwise = f"not a {' or '.join(name for name in formats if name != 'MPO')}"
    with _decoding(path, otherwise), Image.open(io.BytesIO(encoded)) as picture:
        mode, (width, height) = picture.mode, picture.size
        # A JPEG in grey and an eighth of its size: its file is read to the end all the same.
        picture.draft("L", (1, 1))
        picture.load()
    if picture.format not in formats:
        raise BadExample(path, f"{otherwise} but {picture.format}: convert it")
    if mode not in ("RGB", "L"):
        what = f"a {mode} {picture.format}"
        raise BadExample(path, f"{what}: convert it to RGB (save it with PIL)")
    return encoded, width, height


def open_encoded(path, encoded, otherwise):
    """PIL's picture of a file's bytes, decoded; BadExample where that fails."""
    with _decoding(path, otherwise), Image.open(io.BytesIO(encoded)) as picture:
        picture.load()
    return picture


@contextlib.contextmanager
def _decoding(path, otherwise):
    """Make BadExample of PIL's errors."""
    try:
        yield
    except UnidentifiedImageError:
        raise BadExample(path, f"truncated or {otherwise}") from None
    except _PIL_ERRORS as error:
        raise BadExample(path, f"truncated or {otherwise} ({error})") from error


def mask_bytes(ids):
    """Class ids uint8 `[H, W]` as the bytes of an 8-bit grey PNG."""
    # OpenCV compresses runs of pixels, of which masks are made: a quarter of Pillow's time.
    return cv2.imencode(".png", ids)[1].tobytes()


def objects(boxes, labels, difficult, is_crowd, area):
    """The entries of an example that have a row for each object, from lists.

    `boxes` are rows of normalised ymin, xmin, ymax, xmax, `area` is in pixels.
    """
    return {
        keys.BOXES: np.array(boxes, np.float32).reshape(-1, 4),
        keys.LABELS: np.array(labels, np.int32),
        keys.DIFFICULT: np.array(difficult, bool),
        keys.IS_CROWD: np.array(is_crowd, bool),
        keys.AREA: np.array(area, np.float32),
    }
