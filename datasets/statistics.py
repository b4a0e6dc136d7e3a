"""Counts over a set of examples, and what in them is wrong. NumPy only, nothing decoded is kept."""

import hashlib
from collections import Counter, defaultdict

import numpy as np

from blitznet import keys

# Areas in pixels of the network's input from which a box counts as medium, as large: COCO's.
SIZES = ("small", "medium", "large")
_SIZE_LIMITS = (32**2, 96**2)
REACHED_IOU = 0.5
# Corners that float32 put beyond the edge are not outside.
_TOLERANCE = 1e-5
_SHOWN = 100

# Kinds of faults, and what they are to a reader.
FAULTS = {
    "unreadable": "unreadable pictures",
    "not_finite": "boxes that are not finite",
    "unknown_class": "boxes of an unknown class",
    "no_class": "pictures without one of the classes",
    "no_area": "boxes without area",
    "outside": "boxes that leave the picture",
    "duplicate_boxes": "boxes given twice (same class, same corners)",
    "picture_size": "pictures of another size than stated",
    "mask_size": "masks of another size than their picture",
    "mask_ids": "masks with ids outside the classes",
    "duplicate_pictures": "pictures that the set holds already (same bytes)",
    "shared_pictures": "pictures that the other set holds too (same bytes)",
}


class Statistics:
    """Counts of a set; `add` every example, then ask for `summary`.

    Attributes:
      faults: `{kind of FAULTS: {"count": int, "examples": the first 100 as text}}`.
    """

    def __init__(self, class_names, ignore_label, image_size, best_overlaps, of_pictures=False):
        """`image_size`: side S of the network's input in pixels; `best_overlaps`: boxes float32
        `[N, 4]` `yxyx` -> their highest IoU `[N]` with any prior box; `of_pictures`: whether the
        classes are those of whole pictures, as `DatasetInfo` says.
        """
        self._names, self._ignore_label = tuple(class_names), ignore_label
        self._of_pictures = of_pictures
        self._image_size, self._best_overlaps = image_size, best_overlaps
        rows = len(self._names) + 1
        self._per_class = defaultdict(lambda: np.zeros(rows, np.int64))
        self._boxes = np.zeros((rows, len(SIZES)), np.int64)
        self._reached = np.zeros((rows, len(SIZES)), np.int64)
        self._mask_pixels = np.zeros(256, np.int64)
        self._pictures = Counter()
        self._sizes = Counter()
        self._first_names = {}
        self.faults = {kind: {"count": 0, "examples": []} for kind in FAULTS}

    def add_unreadable(self, error):
        """Count a BadExample."""
        self._fault("unreadable", str(error))

    def add(self, example, image, mask):
        """Count one example; answers the kinds of its faults.

        Args:
          example: a dict of `blitznet.keys` in NumPy.
          image: its pixels `[H, W, 3]`.
          mask: uint8 `[H, W]` class ids, None without mask.
        """
        before = {kind: fault["count"] for kind, fault in self.faults.items()}
        name = example[keys.FILENAME]
        height, width = image.shape[:2]
        self._pictures["all"] += 1
        self._sizes[width, height] += 1
        stated = (int(example[keys.WIDTH]), int(example[keys.HEIGHT]))
        if stated != (width, height):
            reason = f"{name}: {width} x {height}, stated {stated[0]} x {stated[1]}"
            self._fault("picture_size", reason)
        self._add_bytes(name, example[keys.ENCODED_IMAGE])
        self._add_objects(name, example)
        if self._of_pictures:
            self._add_class(name, int(example[keys.CLASS_LABEL]))
        if mask is not None:
            self._add_mask(name, mask, (height, width))
        return [kind for kind, fault in self.faults.items() if fault["count"] > before[kind]]

    def compare(self, name, encoded):
        """Count the picture `name` of another set if this set holds one of the same bytes."""
        mine = self._first_names.get(hashlib.sha256(encoded).digest())
        if mine:
            self._fault("shared_pictures", f"{mine} is {name} of the other set")

    def summary(self):
        """All counts as a dict for JSON; classes by name, background and ignored pixels apart."""
        all_pictures = self._pictures["all"]
        masks = self._pictures["with_masks"]
        return {
            "pictures": {
                "all": all_pictures,
                "without_objects": self._pictures["without_objects"],
                "with_masks": masks,
                "without_masks": all_pictures - masks,
            },
            "picture_sizes": self._size_summary(),
            "boxes": self._box_summary(slice(1, None)),
            "classes": {
                name: {
                    **self._box_summary(slice(i, i + 1)),
                    "pictures": int(self._per_class["pictures"][i]),
                    "mask_pixels": int(self._mask_pixels[i]),
                    "mask_pictures": int(self._per_class["mask_pictures"][i]),
                }
                for i, name in enumerate(self._names, 1)
            },
            "mask_pixels": self._mask_summary(),
            "faults": self.faults,
        }

    def _add_bytes(self, name, encoded):
        digest = hashlib.sha256(encoded).digest()
        if digest in self._first_names:
            self._fault("duplicate_pictures", f"{name} is {self._first_names[digest]}")
        else:
            self._first_names[digest] = name

    def _add_objects(self, name, example):
        boxes, labels = example[keys.BOXES], example[keys.LABELS]
        empty = int(example.get(keys.EMPTY_BOXES, 0))
        if empty:
            self._fault("no_area", f"{name}: {empty} of its annotations", empty)
        sound = self._sound(name, boxes, labels)
        boxes, labels = boxes[sound], labels[sound]
        crowd = example[keys.IS_CROWD][sound]
        self._count("crowd", labels[crowd])
        self._count("difficult", labels[example[keys.DIFFICULT][sound] & ~crowd])
        boxes, labels = boxes[~crowd], labels[~crowd]
        self._pictures["without_objects"] += not len(boxes)
        self._count("objects", labels)
        self._count("pictures", np.unique(labels))
        self._find_repeated(name, boxes, labels)
        self._add_boxes(boxes, labels)

    def _add_class(self, name, class_label):
        if 0 <= class_label < len(self._names):
            self._count("pictures", [class_label + 1])
        else:
            stated = "no class" if class_label == -1 else f"class {class_label}"
            self._fault("no_class", f"{name}: {stated}")

    def _sound(self, name, boxes, labels):
        """bool `[N]`: which boxes nothing is wrong with; the others are counted as faults."""
        with np.errstate(invalid="ignore"):
            faults = {
                "not_finite": ~np.isfinite(boxes).all(axis=1),
                "unknown_class": (labels < 1) | (labels > len(self._names)),
                "no_area": (boxes[:, 2:] <= boxes[:, :2]).any(axis=1),
                "outside": ((boxes < -_TOLERANCE) | (boxes > 1 + _TOLERANCE)).any(axis=1),
            }
        sound = np.ones(len(boxes), bool)
        for kind, wrong in faults.items():
            for n in np.flatnonzero(wrong & sound):
                corners = ", ".join(f"{corner:.4g}" for corner in boxes[n])
                self._fault(kind, f"{name}: object {n + 1}, class {labels[n]}, at {corners}")
            sound &= ~wrong
        return sound

    def _find_repeated(self, name, boxes, labels):
        rows = Counter((int(label), *map(float, box)) for label, box in zip(labels, boxes))
        for (label, *_), times in rows.items():
            if times > 1:
                text = f"{name}: {self._names[label - 1]}, {times} times"
                self._fault("duplicate_boxes", text, times - 1)

    def _add_boxes(self, boxes, labels):
        """Count what the network's input makes of boxes: too small, of which size, reached."""
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (sides >= 2 / self._image_size).all(axis=1)
        self._count("too_small", labels[~kept])
        labels = labels[kept]
        areas = sides[kept].prod(axis=1) * self._image_size**2
        sizes = np.digitize(areas, _SIZE_LIMITS)
        np.add.at(self._boxes, (labels, sizes), 1)
        reached = self._best_overlaps(boxes[kept]) >= REACHED_IOU
        np.add.at(self._reached, (labels[reached], sizes[reached]), 1)

    def _add_mask(self, name, mask, shape):
        self._pictures["with_masks"] += 1
        if mask.shape != shape:
            reason = f"{name}: mask {mask.shape[1]} x {mask.shape[0]}, picture {shape[1]} x "
            self._fault("mask_size", f"{reason}{shape[0]}")
        pixels = np.bincount(mask.ravel(), minlength=256)
        self._mask_pixels += pixels
        ids = np.flatnonzero(pixels)
        known = ids <= len(self._names)
        self._count("mask_pictures", ids[known])
        foreign = ids[~known & (ids != self._ignore_label)]
        if len(foreign):
            self._fault("mask_ids", f"{name}: {', '.join(map(str, foreign))}")

    def _count(self, what, labels):
        np.add.at(self._per_class[what], labels, 1)

    def _fault(self, kind, text, times=1):
        fault = self.faults[kind]
        fault["count"] += times
        if len(fault["examples"]) < _SHOWN:
            fault["examples"].append(text)

    def _box_summary(self, rows):
        """Sound boxes of the classes `rows`: `objects` are all but crowd regions."""
        counts = ("objects", "difficult", "crowd", "too_small")
        boxes, reached = self._boxes[rows].sum(axis=0), self._reached[rows].sum(axis=0)
        return {
            **{what: int(self._per_class[what][rows].sum()) for what in counts},
            "out_of_reach": int(boxes.sum() - reached.sum()),
            "by_size": {
                size: {"boxes": int(of_size), "reached": int(hit)}
                for size, of_size, hit in zip(SIZES, boxes, reached)
            },
        }

    def _size_summary(self):
        """Least, median and greatest width and height, and the commonest sizes with counts."""
        if not self._sizes:
            return {}
        sizes = np.array(list(self._sizes))
        often = np.array(list(self._sizes.values()))
        sides = {}
        for axis, side in enumerate(("width", "height")):
            order = np.argsort(sizes[:, axis])
            middle = np.searchsorted(np.cumsum(often[order]), (often.sum() + 1) // 2)
            values = sizes[order, axis]
            sides[side] = {
                "least": int(values[0]),
                "median": int(values[middle]),
                "greatest": int(values[-1]),
            }
        common = [[width, height, n] for (width, height), n in self._sizes.most_common(5)]
        return {**sides, "commonest": common}

    def _mask_summary(self):
        """Pixels of the background, of no class that counts, and of each id outside the classes."""
        known = len(self._names)
        outside = {
            str(i): int(self._mask_pixels[i])
            for i in range(known + 1, 256)
            if i != self._ignore_label and self._mask_pixels[i]
        }
        return {
            "background": int(self._mask_pixels[0]),
            "ignored": int(self._mask_pixels[self._ignore_label]),
            "outside": outside,
        }
