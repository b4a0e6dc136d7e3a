"""Draws a small classification set, a folder of pictures for each class.

    python -m tools.classification_data --output DIR [--train 1200] [--val 240] [--seed 0]

Each picture shows one object of the quickstart's six kinds (`tools.quickstart_scene`), 64 to 128
pixels a side: DIR/train/<class>/<number>.jpg and DIR/val/<class>/<number>.jpg, for
tools.encode_folder. Picture k is of class k modulo 6. The seed determines the set: picture k of
a split is the same for any length of the split.
"""

import argparse
import functools
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tools.drawn_set import put_in_place, stays
from tools.flags.fields import number_in
from tools.quickstart_scene import CLASS_NAMES, draw_object

SPLITS = ("train", "val")
JPEG_QUALITY = 92
PARAMETERS_FILE = "classification_data.json"


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.classification_data",
        description="Draw a small classification set of shapes, a folder for each class.",
    )
    # One of each class at least, so that both splits have the same folders.
    count = number_in(len(CLASS_NAMES), kind=int)
    add = parser.add_argument
    add("--output", metavar="DIR", required=True, help="gets the folders train and val")
    add("--train", type=count, default=1200, metavar="N", help="pictures to train on, of all kinds")
    add("--val", type=count, default=240, metavar="N", help="pictures held out")
    add("--seed", type=number_in(0, kind=int), default=0, metavar="N", help="(default: 0)")
    add("--overwrite", action="store_true", help="draw again, replacing a set drawn before")
    return parser


def main(argv=None):
    """Writes the set; returns 0, or 1 where something else lies in its place."""
    args = build_parser().parse_args(argv)
    counts = {"train": args.train, "val": args.val}
    try:
        written = write_set(args.output, counts, args.seed, args.overwrite)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    state = "drawn" if written else "already there, the same parameters"
    print(f"{args.output}: {counts['train']} + {counts['val']} pictures, {state}")
    return 0


def write_set(output, counts, seed, overwrite=False):
    """Draws `train` and `val` in the folder `output`, all of it or nothing.

    counts: {"train": N, "val": M}. Without `overwrite` the same set, if it is there already, is
    left as it is and False returned. Raises FileExistsError as `drawn_set.stays`.
    """
    output = Path(output).resolve()
    parameters = {"seed": seed, **counts}
    occupied = output.exists() and any(output.iterdir())
    if occupied and stays(output, PARAMETERS_FILE, parameters, overwrite, "--output"):
        return False
    draw = functools.partial(_draw_all, counts=counts, seed=seed)
    put_in_place(output, draw, PARAMETERS_FILE, parameters)
    return True


def _draw_all(folder, counts, seed):
    for number, split in enumerate(SPLITS):
        for name in CLASS_NAMES:
            (folder / split / name).mkdir(parents=True)
        for k in range(counts[split]):
            place = k % len(CLASS_NAMES)
            scene = draw_object(np.random.default_rng([seed, number, k]), place + 1)
            path = folder / split / CLASS_NAMES[place] / f"{k:06d}.jpg"
            Image.fromarray(scene.image).save(path, quality=JPEG_QUALITY)


if __name__ == "__main__":
    sys.exit(main())
