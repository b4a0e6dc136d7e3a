"""Scores of a set of pictures: what is counted, the tables, the pictures drawn."""

import io
import math

import numpy as np
from PIL import Image
from tabulate import tabulate

from blitznet import keys, visualize
from blitznet.metrics.coco_ap import IOU_THRESHOLDS, CocoAP
from blitznet.metrics.confusion import ConfusionMatrix
from blitznet.metrics.voc_ap import VocAP

NO_MASKS = "not computed: no masks"


class Evaluation:
    """Collects `engine.predictions` picture by picture; `scores` sums up.

    Args:
      class_names: names of the classes 1..C-1.
      ap_rule: "voc07", "voc12" or "coco"; None leaves detection out.
      iou_threshold: by VOC's rules a detection is right above this IoU; COCO's has its own.
      segment: whether class maps are compared with masks.
      ignore_label: the masks' value for pixels that do not count.
      category_ids: by COCO's rule, the data set's own id of each class; 1..C-1 for None.
    """

    def __init__(
        self,
        class_names,
        ap_rule,
        iou_threshold,
        segment,
        ignore_label=255,
        category_ids=None,
    ):
        self._class_names = tuple(class_names)
        self._boxes = None
        if ap_rule == "coco":
            self._boxes = _CocoBoxes(class_names, category_ids)
        elif ap_rule:
            self._boxes = _VocBoxes(class_names, iou_threshold, ap_rule)
        self._confusion = ConfusionMatrix(len(class_names) + 1, ignore_label) if segment else None
        self._images = self._masks = 0

    def add(self, example, prediction):
        """Count one picture, an item of `engine.predictions`.

        Raises ValueError for boxes or a mask that cannot be scored; names the picture.
        """
        self._images += 1
        try:
            if self._boxes:
                self._boxes.add(example, prediction)
            if self._confusion and example[keys.HAS_MASK]:
                self._masks += 1
                self._confusion.add(decode_mask(example), prediction[keys.SEMANTIC_CLASSES])
        except ValueError as error:
            raise ValueError(f"{example[keys.FILENAME].decode()}: {error}") from None

    def scores(self):
        """A dict for JSON, None where not computed.

        `images` and `images_with_masks`, counts; with detection `map` and `ap` by class, by
        COCO's rule (mean over IoU .50 to .95) also `ap50` by class, `coco` (its twelve numbers)
        and `by_size` ("AP" and "AR", by size and IoU); with segmentation `iou` by class, `miou`
        and `pixel_accuracy`.
        """
        answer = {"images": self._images, "images_with_masks": self._masks}
        if self._boxes:
            answer.update(self._boxes.scores())
        if self._confusion:
            names = ("background", *self._class_names)
            answer["iou"] = _by_name(names, self._confusion.iou())
            answer["miou"] = _number(self._confusion.mean_iou())
            answer["pixel_accuracy"] = _number(self._confusion.pixel_accuracy())
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
            *_without_padding(example, names),
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


def ground_truth(example):
    """`(boxes [N, 4] yxyx, labels [N], difficult [N])` without the padding of the batch."""
    return _without_padding(example, (keys.BOXES, keys.LABELS, keys.DIFFICULT))


def _without_padding(example, names):
    real = example[keys.LABELS] > 0
    return tuple(example[name][real] for name in names)


def image_id(example):
    """The data set's own id of a picture: an int where the record's text is one, else the text."""
    text = example[keys.SOURCE_ID].decode()
    # A text like 007 is no number: another one would be written to the results.
    return int(text) if text.isdecimal() and str(int(text)) == text else text


def decode_mask(example):
    """uint8 `[H, W]` class ids of an example that has a mask."""
    return np.asarray(Image.open(io.BytesIO(example[keys.ENCODED_MASK])))


def tables(scores):
    """The AP and the IoU tables of `Evaluation.scores`, as text."""
    texts = []
    if "coco" in scores:
        texts += [_table([scores["coco"].values()], scores["coco"]), _size_table(scores["by_size"])]
        columns = zip(scores["ap"].items(), scores["ap50"].values())
        rows = [(*of_class, ap50) for of_class, ap50 in columns]
        mean = ("mean", scores["coco"]["AP"], scores["coco"]["AP50"])
        texts.append(_table([*rows, mean], ("class", "AP", "AP50")))
    elif "ap" in scores:
        texts.append(_table([*scores["ap"].items(), ("mean", scores["map"])], ("class", "AP")))
    if "iou" in scores and scores["miou"] is None:
        texts.append(f"mIoU: {NO_MASKS}")
    elif "iou" in scores:
        texts.append(_table([*scores["iou"].items(), ("mean", scores["miou"])], ("class", "IoU")))
    return "\n\n".join(texts)


def scalars(scores, iou_threshold):
    """Scores under the names that TensorBoard has them by in other programs, dict name -> float.

    `iou_threshold`: the one of VOC's rules. Names: those of the Object Detection API's
    `coco_evaluation.py` and `object_detection_evaluation.py`. What is not computed is left out.
    """
    if "coco" in scores:
        found = {_COCO_SCALARS[name]: value for name, value in scores["coco"].items()}
        by_class = "DetectionBoxes_PerformanceByCategory/mAP/"
    else:
        level = f"@{iou_threshold:g}IOU"
        found = {f"PascalBoxes_Precision/mAP{level}": scores.get("map")}
        by_class = f"PascalBoxes_PerformanceByCategory/AP{level}/"
    found.update({by_class + name: value for name, value in scores.get("ap", {}).items()})
    found["segmentation/mIoU"] = scores.get("miou")
    return {name: value for name, value in found.items() if value is not None}


_COCO_SCALARS = {
    "AP": "DetectionBoxes_Precision/mAP",
    "AP50": "DetectionBoxes_Precision/mAP@.50IOU",
    "AP75": "DetectionBoxes_Precision/mAP@.75IOU",
    "APs": "DetectionBoxes_Precision/mAP (small)",
    "APm": "DetectionBoxes_Precision/mAP (medium)",
    "APl": "DetectionBoxes_Precision/mAP (large)",
    "AR1": "DetectionBoxes_Recall/AR@1",
    "AR10": "DetectionBoxes_Recall/AR@10",
    "AR100": "DetectionBoxes_Recall/AR@100",
    "ARs": "DetectionBoxes_Recall/AR@100 (small)",
    "ARm": "DetectionBoxes_Recall/AR@100 (medium)",
    "ARl": "DetectionBoxes_Recall/AR@100 (large)",
}


def draw(example, prediction, class_names):
    """uint8 `[H, W, 3]`: ground truth beside prediction, boxes and class maps on the picture."""
    image = Image.open(io.BytesIO(example[keys.ENCODED_IMAGE])).convert("RGB")
    truth = predicted = np.asarray(image)
    classes = len(class_names) + 1
    if example[keys.HAS_MASK]:
        truth = visualize.overlay_classes(truth, decode_mask(example), classes)
    if keys.SEMANTIC_CLASSES in prediction:
        found = prediction[keys.SEMANTIC_CLASSES]
        predicted = visualize.overlay_classes(predicted, found, classes)
    boxes, labels, crowd = _without_padding(example, (keys.BOXES, keys.LABELS, keys.IS_CROWD))
    # A crowd is not to be found as one object.
    truth = visualize.draw_detections(truth, boxes[~crowd], labels[~crowd], None, class_names)
    if keys.DETECTION_BOXES in prediction:
        sure = visualize.worth_drawing(prediction[keys.DETECTION_SCORES])
        predicted = visualize.draw_detections(
            predicted,
            prediction[keys.DETECTION_BOXES][sure],
            prediction[keys.DETECTION_CLASSES][sure],
            prediction[keys.DETECTION_SCORES][sure],
            class_names,
        )
    return visualize.side_by_side([truth, predicted], ["ground truth", "prediction"])


def pictures(example, prediction, class_names):
    """PNG files (bytes) of one picture, by what is added to its name.

    ".png": `draw`; where there is a predicted class map or a mask, "-classes.png" and
    "-true-classes.png": class ids with VOC's palette.
    """
    panel = io.BytesIO()
    Image.fromarray(draw(example, prediction, class_names)).save(panel, "PNG")
    files = {".png": panel.getvalue()}
    if keys.SEMANTIC_CLASSES in prediction:
        files["-classes.png"] = visualize.palette_png(prediction[keys.SEMANTIC_CLASSES])
    if example[keys.HAS_MASK]:
        files["-true-classes.png"] = visualize.palette_png(decode_mask(example))
    return files


def _size_table(by_size):
    """AP and AR by size of object, and by IoU in percent."""
    levels = [f"{threshold:.0%}"[:-1] for threshold in IOU_THRESHOLDS]
    rows = [
        (f"{kind} {size}", _mean(values.values()), *values.values())
        for kind, sizes in by_size.items()
        for size, values in sizes.items()
    ]
    return _table(rows, ("by IoU", "mean", *levels))


def _table(rows, headers):
    return tabulate(rows, headers=headers, tablefmt="orgtbl", floatfmt=".3f", missingval="-")


def _mean(values):
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _by_name(names, values):
    return dict(zip(names, map(_number, values)))


def _number(value):
    """A float for JSON; None for NaN, which JSON does not know."""
    return None if math.isnan(value) else float(value)
