"""Classification sets on disk: a folder for each class, with small pictures."""

import numpy as np
from PIL import Image


def picture(path, colour=(200, 40, 90), size=(64, 48), mode="RGB"):
    """Write a picture of one colour at `path`, of `size` (width, height); its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), colour, np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path.read_bytes()


def write_folder(root, classes):
    """Write `{class name: number of JPEGs}` below `root`; pictures differ in colour and size."""
    for place, (name, count) in enumerate(classes.items()):
        for i in range(count):
            colour = (40 * place % 256, 30 * i % 256, 120)
            picture(root / name / f"{i}.jpg", colour, (40 + 4 * i, 48))
    return root
