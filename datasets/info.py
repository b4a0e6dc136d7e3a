"""What the rest of the project knows about a data set: its classes and its ignored label."""

import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """Classes of a data set.

    `class_names` leaves the background out: class id 0 is the background, id i is
    `class_names[i - 1]`. `ignore_label` marks the mask pixels that count for nothing.
    `category_ids` are the ids of the classes in annotations and results of COCO's format.
    With `of_pictures` the classes are those of whole pictures: id i, from 0, is `class_names[i]`,
    and there is neither background nor mask.
    Raises ValueError for no class, a repeated name, or more classes than a mask byte holds.
    """

    name: str
    class_names: tuple
    ignore_label: int = 255
    category_ids: tuple = None
    of_pictures: bool = False

    def __post_init__(self):
        if not self.class_names:
            raise ValueError(f"data set {self.name!r} has no class")
        repeated = sorted({n for n in self.class_names if self.class_names.count(n) > 1})
        if repeated:
            raise ValueError(f"data set {self.name!r} repeats the class {', '.join(repeated)}")
        if self.num_classes > self.ignore_label and not self.of_pictures:
            raise ValueError(
                f"data set {self.name!r} has {len(self.class_names)} classes; "
                f"ids have to stay below the ignored label {self.ignore_label}"
            )

    @property
    def num_classes(self):
        """Number of classes, with the background where there is one."""
        return len(self.class_names) + (not self.of_pictures)


def listed(names, others=(), most=20):
    """Class `names` as text; of more than `most`, three from where they leave `others`."""
    if len(names) <= most:
        return ", ".join(names)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(names, others))
    start = min(len(list(same)), len(names) - 1)
    shown = ", ".join(names[start : start + 3])
    return f"{len(names)} classes (from number {start + 1} on: {shown}, ...)"


class BadExample(ValueError):
    """A picture, annotation or mask that cannot be used: `file` says which, `reason` why."""

    def __init__(self, file, reason):
        super().__init__(str(file), reason)
        self.file = str(file)
        self.reason = reason

    def __str__(self):
        return f"{self.file}: {self.reason}"


VOC = DatasetInfo(
    "voc",
    (
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
)
