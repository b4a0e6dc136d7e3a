"""Scores as text tables, and under the names that TensorBoard has them by."""

from tabulate import tabulate

from blitznet.metrics.coco_ap import IOU_THRESHOLDS

NO_MASKS = "not computed: no masks"


def tables(scores):
    """The tables of `Evaluation.scores`, as text: each class, then the scores of all together."""
    found = [*_box_tables(scores), *_mask_tables(scores), *_class_tables(scores)]
    return "\n\n".join(found)


def _box_tables(scores):
    if "coco" in scores:
        columns = zip(scores["ap"].items(), scores["ap50"].values())
        rows = [(*of_class, ap50) for of_class, ap50 in columns]
        mean = ("mean", scores["coco"]["AP"], scores["coco"]["AP50"])
        yield _table([scores["coco"].values()], scores["coco"])
        yield _size_table(scores["by_size"])
        yield _table([*rows, mean], ("class", "AP", "AP50"))
    elif "ap" in scores:
        yield _table([*scores["ap"].items(), ("mean", scores["map"])], ("class", "AP"))


def _mask_tables(scores):
    if "iou" not in scores:
        return
    if scores["miou"] is None:
        yield f"mIoU: {NO_MASKS}"
        return
    yield _table([*scores["iou"].items(), ("mean", scores["miou"])], ("class", "IoU"))
    rows = [
        ("pixel accuracy", scores["pixel_accuracy"]),
        ("mean accuracy", scores["mean_accuracy"]),
        ("mean IoU", scores["miou"]),
        ("frequency-weighted IoU", scores["frequency_weighted_iou"]),
    ]
    if "border" in scores:
        rows.append((f"mean IoU within {scores['border']} px of borders", scores["border_miou"]))
    yield _table(rows, ("segmentation", "score"))


def _class_tables(scores):
    if "top1" in scores:
        yield _table(scores["top1_by_class"].items(), ("class", "top-1"))
        rows = [("top-1", scores["top1"]), ("top-5", scores["top5"])]
        yield _table(rows, ("classification", "score"))


def scalars(scores, iou_threshold):
    """Scores under the names that TensorBoard has them by, dict name -> float.

    `iou_threshold`: the one of VOC's rules. Names for detection: those of the Object Detection
    API's `coco_evaluation.py` and `object_detection_evaluation.py`. What is not computed is left
    out.
    """
    if "coco" in scores:
        found = {_COCO_SCALARS[name]: value for name, value in scores["coco"].items()}
        by_class = "DetectionBoxes_PerformanceByCategory/mAP/"
    else:
        level = f"@{iou_threshold:g}IOU"
        found = {f"PascalBoxes_Precision/mAP{level}": scores.get("map")}
        by_class = f"PascalBoxes_PerformanceByCategory/AP{level}/"
    found.update({by_class + name: value for name, value in scores.get("ap", {}).items()})
    found.update({name: scores.get(key) for key, name in _SCALARS.items()})
    if "border" in scores:
        found[f"segmentation/border_mIoU@{scores['border']}px"] = scores["border_miou"]
    return {name: value for name, value in found.items() if value is not None}


_SCALARS = {
    "pixel_accuracy": "segmentation/pixel_accuracy",
    "mean_accuracy": "segmentation/mean_accuracy",
    "miou": "segmentation/mIoU",
    "frequency_weighted_iou": "segmentation/frequency_weighted_IoU",
    "top1": "classification/top1",
    "top5": "classification/top5",
}

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
