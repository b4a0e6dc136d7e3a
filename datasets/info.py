"""What the rest of the project knows about a data set: its classes and its ignored label."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """Classes of a data set.

    `class_names` leaves the background out: class id 0 is the background, id i is
    `class_names[i - 1]`. `ignore_label` marks the mask pixels that count for nothing.
    `category_ids` are the ids of the classes in annotations and results of COCO's format.
    Raises ValueError for no class, a repeated name, or more classes than a mask byte holds.
    """

    name: str
    class_names: tuple
    ignore_label: int = 255
    category_ids: tuple = None

    def __post_init__(self):
        if not self.class_names:
            raise ValueError(f"data set {self.name!r} has no class")
        repeated = sorted({n for n in self.class_names if self.class_names.count(n) > 1})
        if repeated:
            raise ValueError(f"data set {self.name!r} repeats the class {', '.join(repeated)}")
        if self.num_classes > self.ignore_label:
            raise ValueError(
                f"data set {self.name!r} has {len(self.class_names)} classes; "
                f"ids have to stay below the ignored label {self.ignore_label}"
            )

    @property
    def num_classes(self):
        """Number of classes with the background."""
        return len(self.class_names) + 1


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
