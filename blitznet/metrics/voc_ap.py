"""Average precision of detections by the rules of PASCAL VOC 2007 and 2012.

Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010,
section 4.2, and the development kit's `VOCevaldet.m`. Two details follow BlitzNet's program:
a match needs an IoU strictly above the threshold, and areas are without the kit's "+1 pixel",
so that boxes of any unit may be given.
"""

from dataclasses import dataclass

import numpy as np

_MISS, _HIT, _IGNORED = 0, 1, 2


@dataclass(frozen=True, eq=False)
class VocAPResult:
    """AP of every class, in the order of `class_names` (background left out).

    ap: float64 `[C-1]` in 0..1, NaN where the class has no ground truth that counts.
    mean_ap: mean of `ap` over the classes that have some, NaN if none has.
    num_ground_truth, num_difficult: int64 `[C-1]`, boxes that count and boxes that do not.
    num_detections, num_hits: int64 `[C-1]`, detections given, and those matched to a box.
    num_images: pictures added.
    """

    class_names: tuple
    ap: np.ndarray
    mean_ap: float
    num_ground_truth: np.ndarray
    num_difficult: np.ndarray
    num_detections: np.ndarray
    num_hits: np.ndarray
    num_images: int


class VocAP:
    """Collects detections picture by picture and computes the AP of each class.

    class_names: names of the classes 1..C-1, without the background.
    iou_threshold: a detection hits a box if their IoU is above this (strictly).
    rule: "voc07" (11-point interpolation) or "voc12" (area under the monotone envelope).

    Raises ValueError for an unknown rule, no classes, or a threshold outside [0, 1).
    """

    def __init__(self, class_names, iou_threshold=0.5, rule="voc07"):
        if rule not in AP_RULES:
            raise ValueError(f"unknown AP rule {rule!r}: expected one of {', '.join(AP_RULES)}")
        if not 0.0 <= iou_threshold < 1.0:
            raise ValueError(f"iou_threshold is {iou_threshold}: expected a value in [0, 1)")
        self.class_names = tuple(class_names)
        if not self.class_names:
            raise ValueError("class_names is empty: expected the names of the classes 1..C-1")
        self.iou_threshold = iou_threshold
        self.rule = rule
        count = len(self.class_names)
        self._num_images = 0
        self._num_ground_truth = np.zeros(count, np.int64)
        self._num_difficult = np.zeros(count, np.int64)
        self._scores = [[] for _ in range(count)]
        self._outcomes = [[] for _ in range(count)]

    def add(self, gt_boxes, gt_labels, gt_difficult, boxes, scores, classes):
        """Adds one picture; both lists of boxes may be empty.

        gt_boxes: `[N, 4]` ymin, xmin, ymax, xmax, in the same unit as `boxes` (any).
        gt_labels: int `[N]` in 1..C-1. gt_difficult: bool `[N]`; difficult boxes are
            neither to be found nor wrong to find.
        boxes: `[K, 4]`. scores: `[K]`, higher is surer. classes: int `[K]` in 1..C-1.

        Raises ValueError for other shapes, class ids out of range, or NaN.
        """
        gt_boxes, (gt_labels, gt_difficult) = _check(
            "ground truth", gt_boxes, labels=gt_labels, difficult=gt_difficult
        )
        boxes, (classes, scores) = _check("detections", boxes, classes=classes, scores=scores)
        self._check_ids("ground truth labels", gt_labels)
        self._check_ids("detection classes", classes)
        if np.isnan(scores).any():
            raise ValueError("scores contain NaN")
        gt_difficult = gt_difficult.astype(bool)

        self._num_images += 1
        for index in range(len(self.class_names)):
            truth = gt_labels == index + 1
            found = np.flatnonzero(classes == index + 1)
            self._num_difficult[index] += np.sum(truth & gt_difficult)
            self._num_ground_truth[index] += np.sum(truth & ~gt_difficult)
            if found.size:
                found = found[np.argsort(-scores[found], kind="stable")]
                self._scores[index].append(scores[found])
                self._outcomes[index].append(
                    self._match(boxes[found], gt_boxes[truth], gt_difficult[truth])
                )

    def merge(self, other):
        """Adds what another VocAP with the same settings has seen, after one's own.

        Raises ValueError if the classes, the rule or the threshold differ.
        """
        for name in ("class_names", "rule", "iou_threshold"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"cannot merge: {name} differ ({mine!r} and {theirs!r})")
        self._num_images += other._num_images
        self._num_ground_truth += other._num_ground_truth
        self._num_difficult += other._num_difficult
        for index in range(len(self.class_names)):
            self._scores[index] += other._scores[index]
            self._outcomes[index] += other._outcomes[index]

    def result(self):
        """Returns the `VocAPResult` of what was added so far; more may be added after."""
        scores = [np.concatenate(s or [np.zeros(0)]) for s in self._scores]
        outcomes = [np.concatenate(o or [np.zeros(0, np.int8)]) for o in self._outcomes]
        ap = np.array(
            [
                self._average_precision(*of_class)
                for of_class in zip(scores, outcomes, self._num_ground_truth)
            ]
        )
        evaluated = ap[~np.isnan(ap)]
        return VocAPResult(
            class_names=self.class_names,
            ap=ap,
            mean_ap=float(evaluated.mean()) if evaluated.size else float("nan"),
            num_ground_truth=self._num_ground_truth.copy(),
            num_difficult=self._num_difficult.copy(),
            num_detections=np.array([len(s) for s in scores], np.int64),
            num_hits=np.array([np.sum(o == _HIT) for o in outcomes], np.int64),
            num_images=self._num_images,
        )

    def _match(self, boxes, gt_boxes, gt_difficult):
        """Outcome int8 `[K]` of one class's detections, which come by descending score.

        Each detection looks at its box of highest IoU only: if that one is taken, the
        detection is a miss, even if a free box overlaps it too (as in the development kit).
        """
        outcomes = np.full(len(boxes), _MISS, np.int8)
        if not len(gt_boxes):
            return outcomes
        overlaps = _iou(boxes, gt_boxes)
        best = overlaps.argmax(axis=1)
        taken = np.zeros(len(gt_boxes), bool)
        for k in np.flatnonzero(overlaps.max(axis=1) > self.iou_threshold):
            if gt_difficult[best[k]]:
                outcomes[k] = _IGNORED
            elif not taken[best[k]]:
                outcomes[k] = _HIT
                taken[best[k]] = True
        return outcomes

    def _average_precision(self, scores, outcomes, num_ground_truth):
        if num_ground_truth == 0:
            return np.nan
        outcomes = outcomes[np.argsort(-scores, kind="stable")]
        hits = outcomes[outcomes != _IGNORED] == _HIT
        cumulative = np.cumsum(hits)
        recall = cumulative / num_ground_truth
        precision = cumulative / np.arange(1, len(hits) + 1)
        return AP_RULES[self.rule](recall, precision)

    def _check_ids(self, what, ids):
        wrong = (ids < 1) | (ids > len(self.class_names))
        if wrong.any():
            raise ValueError(
                f"{what}: class id {ids[wrong][0]} is outside 1..{len(self.class_names)}"
            )


def _eleven_point_ap(recall, precision):
    # k / 10 is the float nearest to the tenth, as a recall of exactly k tenths is;
    # multiples of 0.1 are not (3 * 0.1 > 0.3).
    levels = np.arange(11) / 10
    return float(np.mean([precision[recall >= level].max(initial=0.0) for level in levels]))


def _area_ap(recall, precision):
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


AP_RULES = {"voc07": _eleven_point_ap, "voc12": _area_ap}


def _iou(boxes_a, boxes_b):
    """IoU float64 `[A, B]` of `[A, 4]` with `[B, 4]`; 0 where both areas are 0."""
    a, b = boxes_a[:, None], boxes_b[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.maximum(sides, 0).prod(axis=-1)
    area_a = np.maximum(a[..., 2:] - a[..., :2], 0).prod(axis=-1)
    area_b = np.maximum(b[..., 2:] - b[..., :2], 0).prod(axis=-1)
    union = area_a + area_b - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def _check(what, boxes, **columns):
    """Boxes as float64 `[N, 4]` and the columns as arrays `[N]`, or a ValueError."""
    boxes = np.asarray(boxes, np.float64)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{what}: boxes have shape {list(boxes.shape)}, expected [N, 4]")
    if np.isnan(boxes).any():
        raise ValueError(f"{what}: boxes contain NaN")
    arrays = [np.asarray(column) for column in columns.values()]
    for name, array in zip(columns, arrays):
        if array.shape != (len(boxes),):
            raise ValueError(
                f"{what}: {name} have shape {list(array.shape)}, expected [{len(boxes)}] "
                "(one per box)"
            )
    return boxes, arrays
