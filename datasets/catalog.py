"""The one table from the names of `--dataset` to the sets of records on disk.

The encoders write what a set of `record_sets` says and the readers look it up by the same object.
"""

from datasets.record_sets import COCO_SPLITS, VOC_SPLITS, CocoSet, VocSet, split_name

_TRAINVAL_07 = VocSet("07", "trainval")
_TRAIN_SBD_12 = VocSet("12", "train", segmentation=True, augmented=True)
_VAL_SEG_12 = VocSet("12", "val", segmentation=True)

# Names that leave no choice: the split that they mean, and their sets.
_FIXED = {
    "voc07": ("trainval", (_TRAINVAL_07,)),
    "voc12-train": ("train", (_TRAIN_SBD_12,)),
    "voc12-val": ("val", (_VAL_SEG_12,)),
    "voc12-trainval": ("trainval", (_TRAIN_SBD_12, _VAL_SEG_12)),
    "voc07+12": ("trainval", (_TRAINVAL_07, VocSet("12", "train"), VocSet("12", "val"))),
    "voc07+12-segmentation": ("train", (_TRAINVAL_07, _TRAIN_SBD_12)),
    "voc07+12-segfull": ("trainval", (_TRAINVAL_07, _TRAIN_SBD_12, _VAL_SEG_12)),
}
_COCO = ("coco", "coco-seg")
# What `--split train` means for COCO: the original program's training set.
_COCO_TRAIN = ("train2014", "valminusminival2014")

# Records of the user's own, named by their files: `datasets.custom` opens them.
CUSTOM = "custom"
TRAINING_DATASETS = ("voc12", *_FIXED, *_COCO)
EVALUATION_DATASETS = ("voc07", "voc12", *_COCO, "voc12-train", "voc12-val")
# What a set of records of an official list is called.
_OFFICIAL_SETS = {
    *(f"voc{y}-{s}{m}" for y in ("07", "12") for s in VOC_SPLITS for m in ("", "-seg", "-segaug")),
    *(f"coco-{s}{m}" for s in COCO_SPLITS for m in ("", "-seg")),
}


def dataset_name(text):
    """A value of `--dataset`: official names in lower case, one with a list of one's own as is."""
    official = {*TRAINING_DATASETS, CUSTOM, *_OFFICIAL_SETS}
    return text.lower() if text.lower() in official else text


def training_sets(dataset, split, segment):
    """Sets of records that `--dataset dataset --split split` trains on, a tuple.

    `dataset` is `voc12`, the Segmentation list `split` if the run segments (`segment`), else
    the Main list; `coco` (boxes) or `coco-seg` (boxes and masks), train2014 and
    valminusminival2014, or one of COCO's splits alone; or a name of the original BlitzNet
    program, which says its split; or the name of any set. Case does not matter but in names of
    lists of one's own.

    Raises ValueError for another name, listing the valid ones, and for a split other than
    the flag's default `train` that contradicts a name which says its own.
    """
    dataset, split = dataset_name(dataset), split_name(split)
    if dataset == "voc12":
        return (VocSet("12", split, segmentation=segment),)
    if dataset in _COCO:
        splits = _COCO_TRAIN if split == "train" else (split,)
        return tuple(CocoSet(part, dataset == "coco-seg") for part in splits)
    return _fixed_sets("training", dataset, split, TRAINING_DATASETS)


def evaluation_sets(dataset, split, segment):
    """Sets of records that can serve an evaluation, the preferred one first.

    The caller takes the first that exists. `voc07`, `voc12` and `coco` have any split, with
    `segment` preferably the one with masks (VOC's Segmentation list), without it the other;
    `coco-seg` the one with masks. Other names and errors are those of `training_sets`, but a
    name of several sets is not valid, and COCO's splits have to be given.
    """
    dataset, split = dataset_name(dataset), split_name(split)
    if dataset in ("voc07", "voc12"):
        year = dataset[len("voc") :]
        pair = (VocSet(year, split, segmentation=True), VocSet(year, split))
    elif dataset in _COCO:
        pair = _coco_evaluation(dataset, split)
    else:
        return _fixed_sets("evaluation", dataset, split, EVALUATION_DATASETS)
    return pair if segment else pair[::-1]


def _coco_evaluation(dataset, split):
    """The set with masks and, where the name allows it, the one without."""
    if split == "train":
        raise ValueError(f"--dataset {dataset} needs --split: {', '.join(COCO_SPLITS)}")
    if dataset == "coco-seg":
        return (CocoSet(split, segmentation=True),)
    boxes_only = CocoSet(split)
    if not boxes_only.has_boxes:
        return (boxes_only,)
    return (CocoSet(split, segmentation=True), boxes_only)


def _fixed_sets(purpose, dataset, split, valid):
    """Sets of a name among `valid`, or of a record set's name, that says its split."""
    if dataset in valid:
        meant, record_sets = _FIXED[dataset]
    else:
        # A name of the original program never means the record set that is called alike.
        record_set = None
        if dataset not in _FIXED:
            record_set = VocSet.from_name(dataset) or CocoSet.from_name(dataset)
        if record_set is None:
            raise ValueError(
                f"unknown {purpose} data set {dataset!r}; valid: {', '.join(valid)}, {CUSTOM}, "
                "and the name of a set of records, e.g. voc12-mine-seg"
            )
        meant, record_sets = record_set.split, (record_set,)
    if split not in ("train", meant):
        names = ", ".join(s.name for s in record_sets)
        raise ValueError(f"--split {split} has no say in --dataset {dataset}, which is {names}")
    return record_sets
