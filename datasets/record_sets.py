"""What one set of records is made of: a list of VOC's, a split of COCO's, or the user's own.

Every kind has `name` (first part of the names of its files), `split`, `image_list` (the list of
its pictures), `ap_rule` (how detections on it are scored: "voc07", "voc12" or "coco", None where
there is nothing to detect), `command` (what writes it) and `note` (a further line for those who
read the command).
"""

import re
import shlex
from dataclasses import dataclass

VOC_SPLITS = ("train", "val", "trainval", "test")
# COCO's splits, and those that Faster R-CNN's authors made of val2014, with the folders of their
# pictures.
_COCO_PICTURES = {
    "train2014": "train2014",
    "val2014": "val2014",
    "minival2014": "val2014",
    "valminusminival2014": "val2014",
    "test2014": "test2014",
    "test2015": "test2015",
    "test-dev2015": "test2015",
    "train2017": "train2017",
    "val2017": "val2017",
    "test2017": "test2017",
    "test-dev2017": "test2017",
}
COCO_SPLITS = tuple(_COCO_PICTURES)
_VOC_NAME = re.compile(r"voc(07|12)-(.+?)(-seg(?:aug)?)?", re.DOTALL)
_COCO_NAME = re.compile(r"coco-(.+?)(-seg)?")


def split_name(text):
    """The name of a list: an official one in lower case, one of the user's own as it is."""
    return text.lower() if text.lower() in VOC_SPLITS + COCO_SPLITS else text


class _VocLists:
    """Lists and masks of the VOC layout, from the fields `split`, `segmentation`, `augmented`."""

    def __post_init__(self):
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
    def masks_required(self):
        """Whether every picture must have a mask: a list of one's own may name some without."""
        return self.split in VOC_SPLITS

    def _name(self, title):
        suffix = "-segaug" if self.augmented else "-seg" if self.segmentation else ""
        return f"{title}-{self.split}{suffix}"

    def _flags(self):
        flags = " --segmentation" * self.segmentation + " --augmented" * self.augmented
        return f"--split {shlex.quote(self.split)}{flags}"


@dataclass(frozen=True)
class VocSet(_VocLists):
    """One list of pictures of one VOC year, with or without masks.

    `segmentation` takes the official Segmentation list and masks; `augmented` (which needs
    `segmentation`) the SegmentationAug list with the masks of SBD.
    """

    year: str
    split: str
    segmentation: bool = False
    augmented: bool = False
    note = "\n(add --label_map FILE for classes of your own)"

    def __post_init__(self):
        if self.year not in ("07", "12"):
            raise ValueError(f"unknown VOC year {self.year!r}; valid: 07, 12")
        super().__post_init__()

    @classmethod
    def from_name(cls, name):
        """The set whose `name` this is; None if the text has not the form of one."""
        match = _VOC_NAME.fullmatch(name)
        if match is None:
            return None
        year, split, suffix = match.groups()
        return cls(year, split, suffix is not None, suffix == "-segaug")

    @property
    def name(self):
        """E.g. `voc12-train-segaug`."""
        return self._name(f"voc{self.year}")

    @property
    def ap_rule(self):
        """The rule of its year."""
        return f"voc{self.year}"

    @property
    def command(self):
        """Command that writes it."""
        return f"python -m tools.encode_voc --year {self.year} {self._flags()}"


@dataclass(frozen=True)
class CocoSet:
    """One split of COCO, with masks drawn from its instances or without.

    Raises ValueError for an unknown split, and for masks of one without ground truth.
    """

    split: str
    segmentation: bool = False
    ap_rule = "coco"
    note = ""

    def __post_init__(self):
        if self.split not in _COCO_PICTURES:
            raise ValueError(f"COCO has no split {self.split!r}; valid: {', '.join(COCO_SPLITS)}")
        if self.segmentation and not self.has_boxes:
            raise ValueError(f"{self.split} has no ground truth, so no masks: no --segmentation")

    @classmethod
    def from_name(cls, name):
        """The set whose `name` this is; None if the text has not the form of one."""
        match = _COCO_NAME.fullmatch(name)
        if match is None or match[1] not in COCO_SPLITS:
            return None
        return cls(match[1], match[2] is not None)

    @property
    def name(self):
        """E.g. `coco-train2017-seg`."""
        return f"coco-{self.split}" + "-seg" * self.segmentation

    @property
    def has_boxes(self):
        """Whether its ground truth is public."""
        return not self.split.startswith("test")

    @property
    def image_list(self):
        """Its file below `annotations`, without `.json`."""
        return f"{'instances' if self.has_boxes else 'image_info'}_{self.split}"

    @property
    def image_folder(self):
        """Name of the folder of its pictures."""
        return _COCO_PICTURES[self.split]

    @property
    def command(self):
        """Command that writes it."""
        flag = " --segmentation" * self.segmentation
        return f"python -m tools.encode_coco --split {self.split}{flag}"


@dataclass(frozen=True)
class OwnVocSet(_VocLists):
    """One list of the user's own folder `root` in the VOC layout; `title` is the set's name."""

    root: str
    title: str
    label_map: str
    split: str
    segmentation: bool = False
    augmented: bool = False
    ap_rule = "voc12"
    note = ""

    def __post_init__(self):
        super().__post_init__()
        _check_own_name(self.title)
        _check_own_name(self.name)

    @property
    def name(self):
        """E.g. `animals-train-seg`."""
        return self._name(self.title)

    @property
    def command(self):
        """Command that writes it."""
        flags = {"--root": self.root, "--name": self.title, "--label_map": self.label_map}
        return f"python -m tools.encode_voc {_words(flags)} {self._flags()}"


@dataclass(frozen=True)
class _OwnSet:
    """The user's own pictures under a name of their own, which is that of the split too."""

    name: str
    note = ""

    def __post_init__(self):
        _check_own_name(self.name)

    @property
    def split(self):
        """It has no other name."""
        return self.name


@dataclass(frozen=True)
class OwnCocoSet(_OwnSet):
    """Pictures below the folder `images` with the user's own annotations in COCO's JSON."""

    annotations: str
    images: str
    label_map: str = None
    segmentation: bool = False
    ap_rule = "coco"

    @property
    def image_list(self):
        """Its annotations."""
        return self.annotations

    @property
    def command(self):
        """Command that writes it."""
        flags = {"--annotations": self.annotations, "--images": self.images, "--name": self.name}
        flags.update({"--label_map": self.label_map} if self.label_map else {})
        return f"python -m tools.encode_coco {_words(flags)}" + (
            " --segmentation" * self.segmentation
        )


@dataclass(frozen=True)
class OwnFolderSet(_OwnSet):
    """Pictures below the folder `root`, with a sub-folder for each class of pictures."""

    root: str
    label_map: str = None
    ap_rule = None

    @property
    def image_list(self):
        """Its folder."""
        return self.root

    @property
    def command(self):
        """Command that writes it."""
        flags = {"--root": self.root, "--name": self.name}
        flags.update({"--label_map": self.label_map} if self.label_map else {})
        return f"python -m tools.encode_folder {_words(flags)}"


def _words(flags):
    return " ".join(f"{flag} {shlex.quote(value)}" for flag, value in flags.items())


def _check_own_name(name):
    if not name or set(name) & set("/\\"):
        raise ValueError(f"--name is the name of a set of records, without folder: {name!r}")
    if VocSet.from_name(name) or CocoSet.from_name(name):
        raise ValueError(f"--name {name} is the name of an official set: choose another")
