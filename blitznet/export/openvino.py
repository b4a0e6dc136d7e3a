"""The network with its post-processing as an OpenVINO model."""

import subprocess
import sys
import tempfile
from pathlib import Path

from blitznet.export.answers import LABELS, labels_text, save_portable
from blitznet.export.formats import FORMATS, check_installed


def save(function, model, class_names, folder):
    """Write `model.xml` and `model.bin`; the labels are `model_info/labels` of its rt_info.

    Args:
      function: an `answers.portable_function`, whose names of input and outputs the model has.
      model: whose variables it uses; kernels of float16 stay so.
      class_names: names of the classes 1..C-1.
      folder: an existing `Path`.

    Raises:
      ImportError: OpenVINO is missing; names the extra that installs it.
      RuntimeError: the conversion fails; with OpenVINO's message.
    """
    check_installed("openvino")
    script = Path(__file__).with_name("openvino_script.py")
    with tempfile.TemporaryDirectory() as scratch:
        source, labels = Path(scratch) / "saved_model", Path(scratch) / LABELS
        save_portable(function, model, source)
        labels.write_text(labels_text(class_names))
        # OpenVINO has crashed in a process that had TensorFlow loaded.
        command = [sys.executable, "-I", script, source, labels, folder / FORMATS["openvino"].file]
        process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(f"OpenVINO does not convert the network:\n{process.stderr[-2000:]}")
