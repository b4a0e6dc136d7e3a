"""Runs an export in its own runtime, in a process of its own, without this project's code.

Started by `tools.runtimes` with `python -I`. Reads pickled requests from standard input, a tuple
of the name of a method of `Worker` and its arguments, and answers each on standard output with
`(True, what the method returned)` or `(False, message)`.
"""

import argparse
import contextlib
import os
import pickle
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


class Worker:
    """An opened export.

    Attributes:
      run: from a dict of input arrays to a dict of output arrays.
      labels: text of the names inside the file, one a line, the background first.
    """

    def __init__(self, run, labels):
        self.run, self.labels = run, labels

    def answer(self, inputs):
        """Dict output -> array for a dict input -> array."""
        return self.run(inputs)

    def names(self):
        """Class names that the file holds, the background first."""
        return self.labels.splitlines()

    def time(self, inputs, calls):
        """Seconds of each of `calls` calls, a list."""
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            self.run(inputs)
            seconds.append(time.perf_counter() - began)
        return seconds


def open_savedmodel(folder):
    """A SavedModel by Python's loader; the input's name says which signature is meant."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))

    def run(inputs):
        signature = "images" if "images" in inputs else "serving_default"
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        answer = loaded.signatures[signature](**tensors)
        return {name: tensor.numpy() for name, tensor in answer.items()}

    return Worker(run, (folder / "assets" / "labels.txt").read_text())


def open_tflite(folder):
    """A TFLite file by LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    path = folder / "model.tflite"
    interpreter = Interpreter(str(path), num_threads=THREADS)
    # The order of the plain outputs is arbitrary: a signature names them.
    signature = interpreter.get_signature_runner("serving_default")
    with zipfile.ZipFile(path) as names:
        return Worker(lambda inputs: signature(**inputs), names.read("labels.txt").decode())


def open_onnx(folder):
    """An ONNX file by ONNX Runtime, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    outputs = [output.name for output in session.get_outputs()]
    labels = session.get_modelmeta().custom_metadata_map["labels"]
    return Worker(lambda inputs: dict(zip(outputs, session.run(outputs, inputs))), labels)


def open_openvino(folder):
    """An OpenVINO model on the processor, computing in float32."""
    # Without this, importing OpenVINO tells its makers so.
    sys.modules["openvino_telemetry"] = None
    import openvino

    core = openvino.Core()
    model = core.read_model(folder / "model.xml")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": THREADS}
    compiled = core.compile_model(model, "CPU", settings)

    def run(inputs):
        found = compiled(inputs)
        return {port.get_any_name(): np.array(value) for port, value in found.items()}

    return Worker(run, model.get_rt_info(["model_info", "labels"]).astype(str))


OPEN = {
    "savedmodel": open_savedmodel,
    "tflite": open_tflite,
    "onnx": open_onnx,
    "openvino": open_openvino,
}


def main(format, folder):
    """Serve requests until standard input ends."""
    # What a runtime prints goes to standard error: the answers alone are read.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker = None
    with contextlib.suppress(EOFError):
        while True:
            method, *arguments = pickle.load(sys.stdin.buffer)
            try:
                worker = worker or OPEN[format](Path(folder))
                reply = True, getattr(worker, method)(*arguments)
            except Exception as error:  # of any runtime: it is the asker's to judge
                reply = False, f"{type(error).__name__}: {error}"
            pickle.dump(reply, answers)
            answers.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("format", choices=OPEN)
    parser.add_argument("folder", help="DIR/STEP of the export")
    main(**vars(parser.parse_args()))
