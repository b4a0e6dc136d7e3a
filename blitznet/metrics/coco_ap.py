"""Average precision and recall by the rules of MS COCO, computed by pycocotools.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and
https://cocodataset.org/#detection-eval. The tables by size and IoU are those of Li et al.,
"DetNet: A Backbone Network for Object Detection" (arXiv 1804.06215).
"""

import contextlib
import io
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
SIZES = ("all", "small", "medium", "large")
NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# COCO's annotations are written in hundredths of a pixel. Rounding to them takes back what
# normalised float32 boxes lost, and the file of results then gives the very same numbers.
_DECIMALS = 2


@dataclass(frozen=True, eq=False)
class CocoAPResult:
    """What COCOeval says of boxes; NaN where there is no ground truth to be found.

    numbers: dict of `NUMBERS`, the twelve of COCO's tables, in 0..1. AP is the mean over the
        IoU thresholds .50 to .95, AR1, AR10 and AR100 the recall with that many detections of
        a picture; s, m and l stand for areas below 32^2, between, and above 96^2 pixels.
    ap, ap50: float64 `[C-1]`, of every class in the order of `class_names`.
    ap_by_size, ar_by_size: dicts of `SIZES`, float64 `[10]`, at each of `IOU_THRESHOLDS`, with
        100 detections of a picture.
    num_images: pictures added.
    """

    class_names: tuple
    numbers: dict
    ap: np.ndarray
    ap50: np.ndarray
    ap_by_size: dict
    ar_by_size: dict
    num_images: int


class CocoAP:
    """Collects detections picture by picture, for COCO's scores and its file of results.

    class_names: names of the classes 1..C-1, without the background.
    category_ids: the data set's own id of each class; 1..C-1 if left out.

    Raises ValueError for no classes, or ids that repeat or are not as many as the classes.
    """

    def __init__(self, class_names, category_ids=None):
        self.class_names = tuple(class_names)
        if not self.class_names:
            raise ValueError("class_names is empty: expected the names of the classes 1..C-1")
        ids = range(1, len(self.class_names) + 1) if category_ids is None else category_ids
        self.category_ids = tuple(int(i) for i in ids)
        if not len(self.class_names) == len(self.category_ids) == len(set(self.category_ids)):
            raise ValueError(
                f"category_ids: expected {len(self.class_names)} different ids, one for each "
                f"class, got {list(self.category_ids)}"
            )
        self._image_ids = set()
        self._objects, self._detections = [], []

    def add(
        self, image_id, size, gt_boxes, gt_labels, gt_is_crowd, gt_area, boxes, scores, classes
    ):
        """Adds one picture; both lists of boxes may be empty.

        image_id: int or str, the data set's own. size: height and width in pixels.
        gt_boxes: `[N, 4]` normalised ymin, xmin, ymax, xmax. gt_labels: int `[N]` in 1..C-1.
        gt_is_crowd: bool `[N]`; crowds are neither to be found nor wrong to find.
        gt_area: `[N]` pixels of the object (not of its box), which make it small or large.
        boxes: `[K, 4]`. scores: `[K]`, higher is surer. classes: int `[K]` in 1..C-1.

        Raises ValueError for other shapes, class ids out of range, NaN, or a picture that was
        added before.
        """
        objects = self._entries(
            "ground truth", size, gt_boxes, gt_labels, iscrowd=gt_is_crowd, area=gt_area
        )
        detections = self._entries("detections", size, boxes, classes, score=scores)
        if image_id in self._image_ids:
            raise ValueError(f"picture {image_id} is added twice")
        self._image_ids.add(image_id)
        self._objects += [
            {**o, "image_id": image_id, "iscrowd": int(o["iscrowd"])} for o in objects
        ]
        self._detections += [
            # Seven digits tell any two float32 scores apart that differ by more than one bit.
            {**d, "image_id": image_id, "score": float(f"{d['score']:.7g}")}
            for d in detections
        ]

    def detections(self):
        """All detections as COCO's API takes them: a list of dicts, for JSON.

        image_id; category_id; bbox: x, y, width, height in pixels of the original picture, in
        hundredths; score.
        """
        return [
            {name: d[name] for name in ("image_id", "category_id", "bbox", "score")}
            for d in self._detections
        ]

    def result(self):
        """Returns the `CocoAPResult` of what was added so far; more may be added after."""
        # COCOeval reports its progress by printing.
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = self._evaluate()
        # Axes: IoU, recall, class (by ascending category id), size, detections of a picture.
        precision = evaluation.eval["precision"][..., -1]
        recall = evaluation.eval["recall"][..., -1]
        place = np.searchsorted(sorted(self.category_ids), self.category_ids)
        by_size = {name: n for n, name in enumerate(SIZES)}
        return CocoAPResult(
            class_names=self.class_names,
            numbers=dict(zip(NUMBERS, map(_or_nan, evaluation.stats))),
            ap=_mean(precision[:, :, place, 0], (0, 1)),
            ap50=_mean(precision[0][:, place, 0], 0),
            ap_by_size={s: _mean(precision[..., n], (1, 2)) for s, n in by_size.items()},
            ar_by_size={s: _mean(recall[..., n], 1) for s, n in by_size.items()},
            num_images=len(self._image_ids),
        )

    def _entries(self, what, size, boxes, labels, **columns):
        """Checked boxes of a picture as COCO's dicts, without image_id."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        columns = {name: np.asarray(column) for name, column in columns.items()}
        labels = np.asarray(labels)
        for name, column in {"labels": labels, **columns}.items():
            if column.shape != (len(boxes),):
                raise ValueError(
                    f"{what}: {name} have shape {list(column.shape)}, expected [{len(boxes)}] "
                    "(one per box)"
                )
            if np.isnan(column).any():
                raise ValueError(f"{what}: {name} contain NaN")
        if np.isnan(boxes).any():
            raise ValueError(f"{what}: boxes contain NaN")
        wrong = (labels < 1) | (labels > len(self.class_names))
        if wrong.any():
            raise ValueError(
                f"{what}: class id {labels[wrong][0]} is outside 1..{len(self.class_names)}"
            )
        height, width = map(int, size)
        low, high = boxes[:, [1, 0]] * [width, height], boxes[:, [3, 2]] * [width, height]
        pixels = np.round(np.hstack([low, high - low]), _DECIMALS).tolist()
        rows = zip(*(column.tolist() for column in columns.values()))
        return [
            {"category_id": self.category_ids[label - 1], "bbox": box, **dict(zip(columns, row))}
            for label, box, row in zip(labels.tolist(), pixels, rows)
        ]

    def _evaluate(self):
        """A COCOeval that has summarised."""
        # It sorts pictures by id, which decides between equal scores: numbers keep that order.
        ordered = sorted(self._image_ids, key=lambda i: (isinstance(i, str), i))
        number = {image_id: n for n, image_id in enumerate(ordered)}

        def index(entries):
            coco = COCO()
            # Ids begin at 1: COCOeval takes 0 for "matched by none".
            annotations = [
                {**e, "id": i, "image_id": number[e["image_id"]]}
                for i, e in enumerate(entries, start=1)
            ]
            coco.dataset = {
                "images": [{"id": n} for n in number.values()],
                "categories": [{"id": i} for i in self.category_ids],
                "annotations": annotations,
            }
            coco.createIndex()
            return coco

        found = [{**d, "area": d["bbox"][2] * d["bbox"][3], "iscrowd": 0} for d in self._detections]
        evaluation = COCOeval(index(self._objects), index(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation


def _or_nan(value):
    """A score; COCOeval says -1 where there is nothing to be found."""
    return float("nan") if value < 0 else float(value)


def _mean(values, axis):
    """Mean of the values that are not COCOeval's -1, NaN where all are."""
    valid = values >= 0
    count = valid.sum(axis=axis)
    total = np.where(valid, values, 0).sum(axis=axis)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
