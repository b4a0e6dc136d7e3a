"""BlitzNet: object detection and semantic segmentation in one fully convolutional pass.

N. Dvornik, K. Shmelkov, J. Mairal, C. Schmid, "BlitzNet: A Real-Time Deep Network for Scene
Understanding", ICCV 2017, arXiv 1708.02813. `blitznet.load` reads a trained network and finds
things in pictures, `blitznet.build_model` makes the network alone, `blitznet.build_fcn` and
`blitznet.build_classifier` the other networks.
"""

import importlib

__version__ = "0.1.0"

_LAZY = {
    "build_classifier": "blitznet.models.classifier",
    "build_fcn": "blitznet.models.fcn",
    "build_model": "blitznet.models.blitznet",
    "load": "blitznet.predictor",
}


def __getattr__(name):
    """Import TensorFlow only when something that needs it is asked for."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'blitznet' has no attribute {name!r}")
