"""Pictures that the web page offers: those of a folder, or drawn ones."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import numpy as np
from PIL import Image

from blitznet.picture_files import PictureError, picture_paths, read_picture
from tools import quickstart_scene

MOST_SAMPLES = 24
_THUMBNAIL_SIDE = 320
# One that nobody gives the quickstart: the network has not seen these.
_DRAWN, _SEED = 8, 1_000_003


@dataclass(frozen=True, eq=False)
class Sample:
    """name: of its file. source: its path, or its bytes. thumbnail: a small `PIL.Image`."""

    name: str
    source: Union[Path, bytes]
    thumbnail: Image.Image


def samples_of_folder(folder):
    """A `Sample` for each of the first `MOST_SAMPLES` pictures in a folder, sorted by name.

    Those that do not read are left out with a line on standard error. Raises FileNotFoundError
    for a folder that is not there, or without a picture that reads.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"--samples: no folder {folder}")
    samples = []
    for path in picture_paths(folder):
        if len(samples) == MOST_SAMPLES:
            break
        try:
            samples.append(_sample(path.name, path))
        except (OSError, PictureError) as error:
            print(f"left out: {error}", file=sys.stderr)
    if not samples:
        raise FileNotFoundError(f"--samples: no picture in {folder}: expected .jpg, .png, ...")
    return samples


def drawn_samples(class_names):
    """Drawn pictures for a network of the quickstart's classes; none for another."""
    if tuple(class_names) != tuple(quickstart_scene.CLASS_NAMES):
        return []
    samples = []
    for n in range(_DRAWN):
        scene = quickstart_scene.draw_scene(np.random.default_rng([_SEED, n]))
        file = io.BytesIO()
        Image.fromarray(scene.image).save(file, "PNG")
        samples.append(_sample(f"drawn-{n + 1}.png", file.getvalue()))
    return samples


def _sample(name, source):
    thumbnail = Image.fromarray(read_picture(source))
    thumbnail.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    return Sample(name, source, thumbnail)
