"""The one table from the names of `--dataset` to the sets of records on disk.

The encoder writes what a `RecordSet` says and the readers look it up by the same object.
"""

import re
import shlex
from dataclasses import dataclass

OFFICIAL_SPLITS = ("train", "val", "trainval", "test")
_NAME = re.compile(r"voc(07|12)-(.+?)(-seg(?:aug)?)?", re.DOTALL)


def split_name(text):
    """The name of a list: an official one in lower case, one of the user's own as it is."""
    return text.lower() if text.lower() in OFFICIAL_SPLITS else text


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
        if self.split != split_name(self.split):
            raise ValueError(f"the official split {self.split} is written in lower case")
        if self.split.endswith(("-seg", "-segaug")):
            raise ValueError(
                f"the split {self.split} ends as names of sets with masks do: give the list "
                "a name without -seg or -segaug at its end"
            )
        if self.augmented and not self.segmentation:
            raise ValueError("augmented masks need segmentation=True")

    @classmethod
    def from_name(cls, name):
        """The set whose `name` this is; None if the text has not the form of one."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        year, split, suffix = match.groups()
        return cls(year, split, suffix is not None, suffix == "-segaug")

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
        split = shlex.quote(self.split)
        return f"python -m tools.encode_voc --year {self.year} --split {split}{flags}"


_TRAINVAL_07 = RecordSet("07", "trainval")
_TRAIN_SBD_12 = RecordSet("12", "train", segmentation=True, augmented=True)
_VAL_SEG_12 = RecordSet("12", "val", segmentation=True)

# Names that leave no choice: the split that they mean, and their sets.
_FIXED = {
    "voc07": ("trainval", (_TRAINVAL_07,)),
    "voc12-train": ("train", (_TRAIN_SBD_12,)),
    "voc12-val": ("val", (_VAL_SEG_12,)),
    "voc12-trainval": ("trainval", (_TRAIN_SBD_12, _VAL_SEG_12)),
    "voc07+12": ("trainval", (_TRAINVAL_07, RecordSet("12", "train"), RecordSet("12", "val"))),
    "voc07+12-segmentation": ("train", (_TRAINVAL_07, _TRAIN_SBD_12)),
    "voc07+12-segfull": ("trainval", (_TRAINVAL_07, _TRAIN_SBD_12, _VAL_SEG_12)),
}

TRAINING_DATASETS = ("voc12", *_FIXED)
EVALUATION_DATASETS = ("voc07", "voc12", "voc12-train", "voc12-val")


def dataset_name(text):
    """A value of `--dataset`: names of the two tuples in lower case, any other as it is."""
    return text.lower() if text.lower() in TRAINING_DATASETS else text


def training_sets(dataset, split, segment):
    """Sets of records that `--dataset dataset --split split` trains on, a tuple of RecordSet.

    `dataset` is `voc12`, the Segmentation list `split` if the run segments (`segment`), else
    the Main list; or a name of the original BlitzNet program, which says its split; or the
    name of any RecordSet. Case does not matter in the first two and in official splits.

    Raises ValueError for another name, listing the valid ones, and for a split other than
    the flag's default `train` that contradicts a name which says its own.
    """
    dataset, split = dataset_name(dataset), split_name(split)
    if dataset == "voc12":
        return (RecordSet("12", split, segmentation=segment),)
    return _fixed_sets("training", dataset, split, TRAINING_DATASETS)


def evaluation_sets(dataset, split, segment):
    """Sets of records that can serve an evaluation, the preferred one first.

    The caller takes the first that exists. `voc07` and `voc12` have any split, with `segment`
    preferably the Segmentation list, without it the Main list; other names and errors are
    those of `training_sets`, but a name of several sets is not valid.
    """
    dataset, split = dataset_name(dataset), split_name(split)
    if dataset in ("voc07", "voc12"):
        year = dataset[len("voc") :]
        masked = RecordSet(year, split, segmentation=True)
        boxes_only = RecordSet(year, split)
        return (masked, boxes_only) if segment else (boxes_only, masked)
    return _fixed_sets("evaluation", dataset, split, EVALUATION_DATASETS)


def _fixed_sets(purpose, dataset, split, valid):
    """Sets of a name among `valid`, or of a record set's name, that says its split."""
    if dataset in valid:
        meant, record_sets = _FIXED[dataset]
    else:
        # A name of the original program never means the record set that is called alike.
        record_set = None if dataset in _FIXED else RecordSet.from_name(dataset)
        if record_set is None:
            raise ValueError(
                f"unknown {purpose} data set {dataset!r}; valid: {', '.join(valid)}, and the "
                "name of a set of records, e.g. voc12-mine-seg"
            )
        meant, record_sets = record_set.split, (record_set,)
    if split not in ("train", meant):
        names = ", ".join(s.name for s in record_sets)
        raise ValueError(f"--split {split} has no say in --dataset {dataset}, which is {names}")
    return record_sets
