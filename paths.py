"""Where data, records, checkpoints and results lie.

Each function takes what a flag gave (or None) and falls back to an environment
variable, then to a folder of the checkout. Nothing is created here.
"""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent


def _choose(flag, variable, default):
    return Path(flag or os.environ.get(variable) or default).expanduser()


def data_root(flag=None):
    """Folder of the raw data sets: `--data_root`, `BLITZNET_DATA` or `data/`."""
    return _choose(flag, "BLITZNET_DATA", CHECKOUT / "data")


def voc_dir(root, year):
    """Folder of one VOC year (`"07"` or `"12"`), holding JPEGImages, Annotations, ImageSets."""
    return Path(root) / "VOCdevkit" / f"VOC20{year}"


def coco_dir(root):
    """Folder of COCO, holding annotations, and pictures in images/<split> or <split>."""
    return Path(root) / "coco"


def records_dir(root, flag=None):
    """Folder of the TFRecords: `--records`, `BLITZNET_RECORDS` or `<data root>/records`.

    ValueError where that is a file.
    """
    folder = _choose(flag, "BLITZNET_RECORDS", Path(root) / "records")
    if folder.is_file():
        raise ValueError(
            f"{folder} is a file, and the folder of all records is asked for; one set of records "
            "of your own is --dataset custom with its file"
        )
    return folder


def weights_dir(root):
    """Folder of published ImageNet weights: `BLITZNET_WEIGHTS` or `<data root>/weights`."""
    return _choose(None, "BLITZNET_WEIGHTS", Path(root) / "weights")


def archive(flag=None):
    """Folder of the runs: `--archive`, `BLITZNET_ARCHIVE` or `archive/`."""
    return _choose(flag, "BLITZNET_ARCHIVE", CHECKOUT / "archive")


def run_dir(archive_dir, run_name):
    """Folder of one run: checkpoints, flags, summaries, evaluations."""
    return Path(archive_dir) / run_name
