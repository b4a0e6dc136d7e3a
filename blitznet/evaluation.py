"""Scores of a set of pictures: what is counted, the tables, the line of a checkpoint."""

import io
import math

import numpy as np
from PIL import Image
from tabulate import tabulate

from blitznet import keys, visualize
from blitznet.metrics.confusion import ConfusionMatrix
from blitznet.metrics.voc_ap import VocAP

NO_MASKS = "not computed: no masks"


class Evaluation:
    """Collects `engine.predictions` picture by picture; `scores` sums up.

    Args:
      class_names: names of the classes 1..C-1.
      ap_rule: "voc07" or "voc12"; None leaves detection out.
      iou_threshold: a detection is right above this IoU.
      segment: whether class maps are compared with masks.
      ignore_label: the masks' value for pixels that do not count.
    """

    def __init__(self, class_names, ap_rule, iou_threshold, segment, ignore_label=255):
        self._class_names = tuple(class_names)
        self._ap = VocAP(class_names, iou_threshold, ap_rule) if ap_rule else None
        self._confusion = ConfusionMatrix(len(class_names) + 1, ignore_label) if segment else None
        self._images = self._masks = 0

    def add(self, example, prediction):
        """Count one picture, an item of `engine.predictions`."""
        self._images += 1
        if self._ap:
            self._ap.add(
                *ground_truth(example),
                prediction[keys.DETECTION_BOXES],
                prediction[keys.DETECTION_SCORES],
                prediction[keys.DETECTION_CLASSES],
            )
        if self._confusion and example[keys.HAS_MASK]:
            self._masks += 1
            self._confusion.add(decode_mask(example), prediction[keys.SEMANTIC_CLASSES])

    def scores(self):
        """A dict for JSON: counts, `ap` and `map`, `iou` and `miou`, None where not computed."""
        answer = {"images": self._images, "images_with_masks": self._masks}
        if self._ap:
            result = self._ap.result()
            answer["ap"] = dict(zip(self._class_names, map(_number, result.ap)))
            answer["map"] = _number(result.mean_ap)
        if self._confusion:
            names = ("background", *self._class_names)
            answer["iou"] = dict(zip(names, map(_number, self._confusion.iou())))
            answer["miou"] = _number(self._confusion.mean_iou())
            answer["pixel_accuracy"] = _number(self._confusion.pixel_accuracy())
        return answer


def ground_truth(example):
    """`(boxes [N, 4] yxyx, labels [N], difficult [N])` without the padding of the batch."""
    real = example[keys.LABELS] > 0
    return tuple(example[name][real] for name in (keys.BOXES, keys.LABELS, keys.DIFFICULT))


def decode_mask(example):
    """uint8 `[H, W]` class ids of an example that has a mask."""
    return np.asarray(Image.open(io.BytesIO(example[keys.ENCODED_MASK])))


def tables(scores):
    """The AP table and the IoU table of `Evaluation.scores`, as text."""
    texts = []
    if "ap" in scores:
        texts.append(_table(scores["ap"], "AP", scores["map"]))
    if "iou" in scores:
        texts.append(_table(scores["iou"], "IoU", scores["miou"]))
        if scores["miou"] is None:
            texts[-1] = f"mIoU: {NO_MASKS}"
    return "\n\n".join(texts)


def summary_line(step, scores, records_name):
    """A checkpoint's line of `1evaluations.txt`: thousands of steps, mAP, mIoU, records."""
    columns = [f"{step / 1000:.10g}"]
    for key, name in (("map", "mAP"), ("miou", "mIoU")):
        value = scores.get(key)
        columns.append(f"no {name}" if value is None else f"{100 * value:.2f}% {name}")
    return "\t".join([*columns, records_name])


def evaluated_steps(path, records_name):
    """Steps that the file of summary lines has for `records_name`; none if there is no file.

    Raises:
      ValueError: a line for `records_name` does not begin with a number; names file and line.
    """
    if not path.is_file():
        return set()
    found = set()
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        thousands, *rest = line.split("\t")
        if rest and rest[-1] == records_name:
            try:
                found.add(round(float(thousands) * 1000))
            except (ValueError, OverflowError):
                raise ValueError(
                    f"{path}, line {number}: expected thousands of steps, not {thousands!r}"
                ) from None
    return found


def choose_steps(steps, evaluated, min_step, distance):
    """Checkpoints for a batch evaluation, ascending.

    From `min_step` on, the newest always, and backwards from it those at least `distance`
    steps away from every one taken or in `evaluated`; those in `evaluated` are left out.
    """
    candidates = sorted((s for s in steps if s >= min_step), reverse=True)
    taken, chosen = set(evaluated), []
    for place, step in enumerate(candidates):
        apart = all(abs(step - other) >= distance for other in taken)
        if step not in evaluated and (place == 0 or apart):
            taken.add(step)
            chosen.append(step)
    return chosen[::-1]


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
    boxes, labels, _ = ground_truth(example)
    truth = visualize.draw_detections(truth, boxes, labels, None, class_names)
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


def _table(by_class, heading, mean):
    rows = [*by_class.items(), ("mean", mean)]
    return tabulate(
        rows, headers=("class", heading), tablefmt="orgtbl", floatfmt=".3f", missingval="-"
    )


def _number(value):
    """A float for JSON; None for NaN, which JSON does not know."""
    return None if math.isnan(value) else float(value)
