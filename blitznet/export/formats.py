"""The formats of an export: what each is called, needs and has. No TensorFlow is imported."""

import importlib.util
from dataclasses import dataclass

POSTPROCESS = ("nms", "none")


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
      file: what the export's folder holds beside `assets`.
      precisions: that it has; the first is the default.
      rounded: those whose numbers its converter rounds by rules of its own. In the others its
        weights, and so its answers, are those of the live network with weights rounded so.
      packages: import names that writing and running it needs beside TensorFlow.
      extra: of setup.py, that installs them.
    """

    file: str
    precisions: tuple
    rounded: tuple = ()
    packages: tuple = ()
    extra: str = ""


PRECISIONS = ("float32", "float16", "bfloat16", "int8")
FORMATS = {
    "savedmodel": Format("saved_model.pb", ("float32", "float16", "bfloat16")),
    "tflite": Format(
        "model.tflite",
        ("float32", "float16", "int8"),
        rounded=("float16", "int8"),
        packages=("ai_edge_litert",),
        extra="tflite",
    ),
    "onnx": Format(
        "model.onnx",
        PRECISIONS,
        rounded=("int8",),
        packages=("onnx", "onnxruntime", "tf2onnx"),
        extra="onnx",
    ),
    "openvino": Format(
        "model.xml", ("float32", "float16"), packages=("openvino",), extra="openvino"
    ),
}


def check_precision(name, precision):
    """Refuse what a format has not.

    Raises:
      ValueError: says what it has.
    """
    has = FORMATS[name].precisions
    if precision not in has:
        raise ValueError(f"{name} has no {precision}: it has {', '.join(has)}")


def check_installed(name):
    """Look for what a format needs, without importing it.

    Raises:
      ImportError: names the packages and the extra that installs them.
    """
    format = FORMATS[name]
    missing = [package for package in format.packages if not importlib.util.find_spec(package)]
    if missing:
        raise ImportError(
            f"{name} needs {', '.join(missing)}: pip install -e .[{format.extra}] installs it"
        )
