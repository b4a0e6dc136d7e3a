"""People's own picture files, of many kinds, as upright 8-bit RGB; Pillow reads them."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow's names. Others of its formats run programs (EPS) or hold no photographs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 64_000_000


class PictureError(ValueError):
    """A file that cannot be taken as a picture; the message names it and says why."""


def read_picture(source, name=None, max_pixels=MAX_PIXELS):
    """A picture file as uint8 RGB `[H, W, 3]`, turned upright as a viewer shows it.

    Transparent pixels lie over white, 16-bit values lose their lower byte, CMYK becomes RGB by
    Pillow's plain rule and colour profiles are passed over. Of a file of several pictures the
    first is taken. A picture of more than `max_pixels` is refused by its header, undecoded.

    Args:
      source: a path, or the file's bytes.
      name: what errors call it; the path, or "the picture".
      max_pixels: most pixels, width times height; any shape, 1 x 1 and 20,000 x 20 alike.

    Raises:
      FileNotFoundError: no such file (other `OSError`s where it cannot be read).
      PictureError: empty, not a picture of `FORMATS`, damaged, cut short, or too large.
    """
    encoded = isinstance(source, (bytes, bytearray, memoryview))
    name = name or ("the picture" if encoded else str(source))
    with io.BytesIO(source) if encoded else _open_file(source) as file:
        if not file.read(1):
            raise PictureError(f"{name} is empty")
        file.seek(0)
        picture = _open_picture(file, name, max_pixels)
        # Pillow's plugins raise whatever a damaged file leads them to, of any type.
        try:
            picture.load()
            return np.asarray(_rgb(_upright(picture)))
        except Exception as error:
            raise PictureError(
                f"{name} is a {picture.format} that is damaged, cut short or of a rare kind "
                f"({error})"
            ) from error


def is_picture(path):
    """Whether a file begins as a picture of `FORMATS` does, or has the ending of one."""
    path = Path(path)
    if path.suffix.lower() in endings():
        return True
    try:
        with _open_file(path) as file:
            _open_picture(file, str(path), np.inf)
    except (OSError, PictureError):
        return False
    return True


def picture_paths(folder):
    """Paths of the files right in `folder` that have the ending of a picture, sorted."""
    return sorted(
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in endings() and not path.name.startswith(".")
    )


def endings():
    """Endings of the names of picture files, such as ".jpg"."""
    known = Image.registered_extensions()
    return {ending for ending, name in known.items() if name in FORMATS}


def _open_file(path):
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is {'a folder' if path.is_dir() else 'not there'}")
    return path.open("rb")


def _open_picture(file, name, max_pixels):
    """Pillow's picture of a file whose header alone has been read."""
    try:
        with warnings.catch_warnings():
            # It warns where this refuses, or where the caller allows more on purpose.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise PictureError(
            f"{name} is not a picture: expected one of {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        most = 2 * Image.MAX_IMAGE_PIXELS
        raise PictureError(_too_large(name, f"more than {most} pixels", max_pixels)) from None
    except Exception as error:
        raise PictureError(f"{name} is damaged ({error})") from error
    if picture.width * picture.height > max_pixels:
        sides = f"{picture.width} x {picture.height} pixels"
        raise PictureError(_too_large(name, sides, max_pixels))
    return picture


def _too_large(name, what, max_pixels):
    most = f"{max_pixels / 1e6:g} million"
    return f"{name} is too large: {what}, where at most {most} are read; make it smaller first"


def _upright(picture):
    """`picture`, turned as its EXIF orientation says; one that does not read says nothing."""
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _rgb(picture):
    """Any of Pillow's pictures as an 8-bit RGB one of the same size."""
    if picture.mode.startswith("I"):
        # Pillow's own conversion would clip 16-bit values at 255.
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"values {values.min()}..{values.max()} exceed 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise ValueError("floating-point values: save it with 8 bits first")
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    return picture.convert("RGB")
