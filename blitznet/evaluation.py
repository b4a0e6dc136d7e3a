"""Scores of a set of pictures: what is counted, picture by picture, and what comes of it."""

import math

from blitznet import keys
from blitznet.examples import decode_mask, ground_truth, image_id, without_padding
from blitznet.metrics.borders import check_radius, near_border
from blitznet.metrics.classification import TopK
from blitznet.metrics.coco_ap import IOU_THRESHOLDS, CocoAP
from blitznet.metrics.confusion import ConfusionMatrix
from blitznet.metrics.voc_ap import VocAP


class Evaluation:
    """Collects `engine.predictions` picture by picture; `scores` sums up.

    Args:
      class_names: names of the classes 1..C-1; of all N classes where pictures are classified.
      ap_rule: "voc07", "voc12" or "coco"; None leaves detection out.
      iou_threshold: by VOC's rules a detection is right above this IoU; COCO's has its own.
      segment: whether class maps are compared with masks.
      ignore_label: the masks' value for pixels that do not count.
      category_ids: by COCO's rule, the data set's own id of each class; 1..C-1 for None.
      border: if above 0, class maps are compared also within so many pixels of the masks' borders
        alone: see `metrics.borders.near_border`.
      classify: whether whole pictures are classified; then neither detection nor class maps.

    Raises ValueError for a border that is no whole number of pixels, or without class maps, and
    for `classify` together with other tasks, whose classes have a background.
    """

    def __init__(
        self,
        class_names,
        ap_rule,
        iou_threshold,
        segment,
        ignore_label=255,
        category_ids=None,
        *,
        border=0,
        classify=False,
    ):
        if classify and (ap_rule or segment):
            raise ValueError("pictures are classified alone, without detection and class maps")
        self._boxes = self._masks = self._classes = None
        if ap_rule == "coco":
            self._boxes = _CocoBoxes(class_names, category_ids)
        elif ap_rule:
            self._boxes = _VocBoxes(class_names, iou_threshold, ap_rule)
        if segment:
            self._masks = _Masks(class_names, ignore_label, border)
        elif border:
            raise ValueError(f"border is {border}, and no class maps are compared")
        if classify:
            self._classes = _Classes(class_names)
        self._parts = [part for part in (self._boxes, self._masks, self._classes) if part]
        self._images = 0

    def add(self, example, prediction):
        """Count one picture, an item of `engine.predictions`.

        Raises ValueError for boxes or a mask that cannot be scored; names the picture.
        """
        self._images += 1
        try:
            for part in self._parts:
                part.add(example, prediction)
        except ValueError as error:
            raise ValueError(f"{example[keys.FILENAME].decode()}: {error}") from None

    def scores(self):
        """A dict for JSON, None where not computed.

        `images` and `images_with_masks`, counts; with detection `map` and `ap` by class, by
        COCO's rule (mean over IoU .50 to .95) also `ap50` by class, `coco` (its twelve numbers)
        and `by_size` ("AP" and "AR", by size and IoU); with segmentation `iou` by class and the
        four scores of `ConfusionMatrix`: `pixel_accuracy`, `mean_accuracy`, `miou`,
        `frequency_weighted_iou`; of the pixels near borders `border_iou` by class and
        `border_miou`, with `border`, how near in pixels; with classification `top1` and `top5`
        of all pictures (of fewer than five classes `top5` is 1) and `top1_by_class`.
        """
        answer = {"images": self._images, "images_with_masks": 0}
        for part in self._parts:
            answer.update(part.scores())
        return answer

    def coco_results(self):
        """All detections as COCO's API takes them, by COCO's rule; else None."""
        return self._boxes.meter.detections() if isinstance(self._boxes, _CocoBoxes) else None


class _VocBoxes:
    """Detection scores by a VOC rule."""

    def __init__(self, class_names, iou_threshold, rule):
        self.meter = VocAP(class_names, iou_threshold, rule)

    def add(self, example, prediction):
        self.meter.add(
            *ground_truth(example),
            prediction[keys.DETECTION_BOXES],
            prediction[keys.DETECTION_SCORES],
            prediction[keys.DETECTION_CLASSES],
        )

    def scores(self):
        result = self.meter.result()
        return {"ap": _by_name(result.class_names, result.ap), "map": _number(result.mean_ap)}


class _CocoBoxes:
    """Detection scores by COCO's rule."""

    def __init__(self, class_names, category_ids):
        self.meter = CocoAP(class_names, category_ids)

    def add(self, example, prediction):
        names = (keys.BOXES, keys.LABELS, keys.IS_CROWD, keys.AREA)
        self.meter.add(
            image_id(example),
            (example[keys.HEIGHT], example[keys.WIDTH]),
            *without_padding(example, names),
            prediction[keys.DETECTION_BOXES],
            prediction[keys.DETECTION_SCORES],
            prediction[keys.DETECTION_CLASSES],
        )

    def scores(self):
        result = self.meter.result()
        levels = [f"{threshold:.2f}" for threshold in IOU_THRESHOLDS]
        by_size = {"AP": result.ap_by_size, "AR": result.ar_by_size}
        return {
            "map": _number(result.numbers["AP"]),
            "ap": _by_name(result.class_names, result.ap),
            "ap50": _by_name(result.class_names, result.ap50),
            "coco": _by_name(result.numbers, result.numbers.values()),
            "by_size": {
                kind: {size: _by_name(levels, values) for size, values in sizes.items()}
                for kind, sizes in by_size.items()
            },
        }


class _Masks:
    """Segmentation scores, of the pictures that have masks."""

    def __init__(self, class_names, ignore_label, border):
        self._names = ("background", *class_names)
        self._confusion = ConfusionMatrix(len(self._names), ignore_label)
        self._border = border
        self._near = None
        if border:
            check_radius(border)
            self._near = ConfusionMatrix(len(self._names), ignore_label)
        self._images = 0

    def add(self, example, prediction):
        if not example[keys.HAS_MASK]:
            return
        mask, found = decode_mask(example), prediction[keys.SEMANTIC_CLASSES]
        self._images += 1
        self._confusion.add(mask, found)
        if self._near:
            near = near_border(mask, self._border)
            self._near.add(mask[near], found[near])

    def scores(self):
        confusion = self._confusion
        answer = {
            "images_with_masks": self._images,
            "iou": _by_name(self._names, confusion.iou()),
            "pixel_accuracy": _number(confusion.pixel_accuracy()),
            "mean_accuracy": _number(confusion.mean_accuracy()),
            "miou": _number(confusion.mean_iou()),
            "frequency_weighted_iou": _number(confusion.frequency_weighted_iou()),
        }
        if self._near:
            answer["border"] = self._border
            answer["border_iou"] = _by_name(self._names, self._near.iou())
            answer["border_miou"] = _number(self._near.mean_iou())
        return answer


class _Classes:
    """Scores of whole pictures' classes."""

    def __init__(self, class_names):
        self._names = class_names
        self._meter = TopK(len(class_names))

    def add(self, example, prediction):
        self._meter.add(example[keys.CLASS_LABEL], prediction[keys.CLASS_LOGITS])

    def scores(self):
        return {
            "top1": _number(self._meter.accuracy(1)),
            "top5": _number(self._meter.accuracy(5)),
            "top1_by_class": _by_name(self._names, self._meter.accuracy_by_class(1)),
        }


def _by_name(names, values):
    return dict(zip(names, map(_number, values)))


def _number(value):
    """A float for JSON; None for NaN, which JSON does not know."""
    return None if math.isnan(value) else float(value)
