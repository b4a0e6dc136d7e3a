"""The network with its post-processing as a file for TensorFlow Lite, that is LiteRT."""

import tempfile
import zipfile
from pathlib import Path

import tensorflow as tf

from blitznet.export.answers import LABELS, labels_text, save_portable
from blitznet.export.formats import FORMATS


def save(function, model, class_names, folder, precision):
    """Write `model.tflite`, whose signature is `serving_default`.

    The labels are `labels.txt` in a zip archive at the file's end, where Android's readers of
    TFLite metadata look.

    Args:
      function: an `answers.portable_function`, whose names of input and outputs the file has.
      model: whose variables it uses.
      class_names: names of the classes 1..C-1.
      folder: an existing `Path`.
      precision: "float32"; "float16" for weights stored so; "int8" for kernels stored so, each
        output channel with a factor of its own, while activations stay float32 in the file
        (dynamic range quantization).
    """
    path = folder / FORMATS["tflite"].file
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "saved_model"
        save_portable(function, model, source)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(source))
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as names:
        names.writestr(LABELS, labels_text(class_names))
