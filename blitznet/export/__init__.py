"""The network with its post-processing in files that need none of this code, one for a runtime."""

import importlib

_LAZY = {
    "LABELS": "blitznet.export.answers",
    "ServingFunctions": "blitznet.export.saved_model",
    "save": "blitznet.export.saved_model",
}


def __getattr__(name):
    """Import TensorFlow only when something that needs it is asked for."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
