"""Settings of the post-processing; no TensorFlow, so that flags can be made of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DetectionSettings:
    """Thresholds and counts of the detection post-processing, named as the flags.

    Attributes:
      conf_thresh: scores must exceed it to enter NMS.
      top_k_nms: best prior boxes of each class that enter NMS.
      nms_thresh: a box goes where its IoU with a better one of its class exceeds this.
      top_k_after_nms: most detections of one class.
      top_k_post_nms: most detections of one picture.
      eval_min_conf: scores below it are left out at the end.
    """

    conf_thresh: float = 0.01
    top_k_nms: int = 400
    nms_thresh: float = 0.45
    top_k_after_nms: int = 50
    top_k_post_nms: int = 200
    eval_min_conf: float = 0.0
