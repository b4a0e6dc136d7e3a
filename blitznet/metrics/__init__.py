"""Evaluation metrics in NumPy; nothing here imports TensorFlow."""

from blitznet.metrics.borders import near_border
from blitznet.metrics.classification import TopK
from blitznet.metrics.coco_ap import CocoAP, CocoAPResult
from blitznet.metrics.confusion import ConfusionMatrix
from blitznet.metrics.voc_ap import VocAP, VocAPResult

__all__ = [
    "CocoAP",
    "CocoAPResult",
    "ConfusionMatrix",
    "TopK",
    "VocAP",
    "VocAPResult",
    "near_border",
]
