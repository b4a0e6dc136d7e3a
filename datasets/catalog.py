"""The one table from the names of `--dataset` to the sets of records on disk.

The encoder writes what a `RecordSet` says and the readers look it up by the same object.
"""

from dataclasses import dataclass

_SPLITS = ("train", "val", "trainval", "test")
_MASKED_SPLITS = ("train", "val", "trainval")


@dataclass(frozen=True)
class RecordSet:
    """One list of pictures of one VOC year, with or without masks.

    `segmentation` takes the official Segmentation list and masks; `augmented` (which needs
    `segmentation`) the SegmentationAug list with the masks of SBD.
    """

    year: str
    split: str
    segmentation: bool = False
    augmented: bool = False

    def __post_init__(self):
        if self.year not in ("07", "12"):
            raise ValueError(f"unknown VOC year {self.year!r}; valid: 07, 12")
        if not self.split or set(self.split) & set("/\\"):
            raise ValueError(f"a split is the name of a list like train, not {self.split!r}")
        if self.augmented and not self.segmentation:
            raise ValueError("augmented masks need segmentation=True")

    @property
    def name(self):
        """First part of the names of its files, e.g. `voc12-train-segaug`."""
        suffix = "-segaug" if self.augmented else "-seg" if self.segmentation else ""
        return f"voc{self.year}-{self.split}{suffix}"

    @property
    def image_list(self):
        """Its list below `ImageSets`, without `.txt`, e.g. `Main/trainval`."""
        folder = "Main"
        if self.segmentation:
            folder = "SegmentationAug" if self.augmented else "Segmentation"
        return f"{folder}/{self.split}"

    @property
    def mask_folder(self):
        """Folder of its masks in the VOC layout, None without masks."""
        if not self.segmentation:
            return None
        return "SegmentationClassAug" if self.augmented else "SegmentationClass"

    @property
    def command(self):
        """Command that writes it."""
        flags = " --segmentation" * self.segmentation + " --augmented" * self.augmented
        return f"python -m tools.encode_voc --year {self.year} --split {self.split}{flags}"


_TRAINVAL_07 = RecordSet("07", "trainval")
_TRAIN_SBD_12 = RecordSet("12", "train", segmentation=True, augmented=True)
_VAL_SEG_12 = RecordSet("12", "val", segmentation=True)


def _fixed(*record_sets):
    """A data set whose name says its split already."""
    return lambda split: record_sets


def _official_masks_12(split):
    return (RecordSet("12", _check("split of voc12", split, _MASKED_SPLITS), segmentation=True),)


_TRAINING = {
    "voc07": _fixed(_TRAINVAL_07),
    "voc12": _official_masks_12,
    "voc12-train": _fixed(_TRAIN_SBD_12),
    "voc12-val": _fixed(_VAL_SEG_12),
    "voc12-trainval": _fixed(_TRAIN_SBD_12, _VAL_SEG_12),
    "voc07+12": _fixed(_TRAINVAL_07, RecordSet("12", "train"), RecordSet("12", "val")),
    "voc07+12-segmentation": _fixed(_TRAINVAL_07, _TRAIN_SBD_12),
    "voc07+12-segfull": _fixed(_TRAINVAL_07, _TRAIN_SBD_12, _VAL_SEG_12),
}


def _either_list(year):
    """The Segmentation list and the Main list of a year, the better fitting one first."""

    def candidates(split, segment):
        _check(f"split of voc{year}", split, _SPLITS)
        masked = RecordSet(year, split, segmentation=True)
        boxes_only = RecordSet(year, split)
        return (masked, boxes_only) if segment else (boxes_only, masked)

    return candidates


def _only(record_set):
    return lambda split, segment: (record_set,)


_EVALUATION = {
    "voc07": _either_list("07"),
    "voc12": _either_list("12"),
    "voc12-train": _only(_TRAIN_SBD_12),
    "voc12-val": _only(_VAL_SEG_12),
}

TRAINING_DATASETS = tuple(_TRAINING)
EVALUATION_DATASETS = tuple(_EVALUATION)


def training_sets(dataset, split):
    """Sets of records that `--dataset dataset --split split` trains on, a tuple of RecordSet.

    The names are those of the original BlitzNet program, which say their split, and `voc12`,
    the official Segmentation list of `split`. Case does not matter. Raises ValueError,
    listing the valid values, for another name or split.
    """
    return _TRAINING[_check("training data set", dataset, _TRAINING)](split.lower())


def evaluation_sets(dataset, split, segment):
    """Sets of records that can serve an evaluation, the preferred one first.

    The caller takes the first that exists: with `segment` the list with masks is preferred,
    without it the Main list. Raises ValueError, listing the valid values, for another name
    or split.
    """
    builder = _EVALUATION[_check("evaluation data set", dataset, _EVALUATION)]
    return builder(split.lower(), segment)


def _check(what, value, valid):
    """`value` in lower case if it is among `valid`."""
    if value.lower() not in valid:
        raise ValueError(f"unknown {what} {value!r}; valid: {', '.join(valid)}")
    return value.lower()
