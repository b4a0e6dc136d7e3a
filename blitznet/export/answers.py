"""What an export answers, and the files of names beside it."""

import copy

import tensorflow as tf

from blitznet import keys, label_map
from blitznet.postprocess.portable import portable_detections, raw_detections
from blitznet.postprocess.segmentation import class_map
from blitznet.variables import variables_by_path

LABELS = "labels.txt"


def read_outputs(outputs, side, detect):
    """An export's answer for the network's raw tensors.

    Args:
      outputs: what `build_model`'s network answers.
      side: of the class map, in pixels; None for that of the logits.
      detect: from class logits and offsets to a dict; None leaves detection out.

    Returns:
      What `detect` answers, and with segmentation `semantic_classes` `[B, side, side]` uint8.
    """
    answer = {}
    if detect is not None:
        answer.update(detect(outputs[keys.CONFIDENCE], outputs[keys.LOCATION]))
    if keys.SEGMENTATION in outputs:
        size = side and (side, side)
        answer[keys.SEMANTIC_CLASSES] = class_map(outputs[keys.SEGMENTATION], size)
    return answer


def portable_function(model, coder, settings, postprocess="nms"):
    """The network and its post-processing for one picture, in operations that converters know.

    Args:
      model: a network of `build_model`; `inference.build` makes it faster.
      coder: `PriorCoder` of its prior boxes, or None without detection.
      settings: a `DetectionSettings`.
      postprocess: "nms" for `portable.portable_detections`, "none" for `portable.raw_detections`.

    Returns:
      A `tf.function` from `images`, float32 `[1, S, S, 3]`, RGB in 0..255, to a dict whose every
      entry has a first axis of 1.
    """
    side = model.input_shape[1]

    def detect(confidence, location):
        here = _constants_of_this_graph(coder)
        if postprocess == "none":
            return raw_detections(confidence, location, here)
        return portable_detections(confidence, location, here, settings)

    @tf.function(input_signature=[tf.TensorSpec([1, side, side, 3], tf.float32, "images")])
    def answer(images):
        outputs = model(images / 255.0, training=False)
        return read_outputs(outputs, side, detect if coder else None)

    return answer


def _constants_of_this_graph(coder):
    """A copy whose tensors are constants of the graph: tf2onnx takes captured ones for inputs."""
    here = copy.copy(coder)
    for name, value in vars(coder).items():
        if tf.is_tensor(value):
            setattr(here, name, tf.constant(value.numpy()))
    return here


def labels_text(class_names):
    """Content of `labels.txt`: a name a line, the background first."""
    return "".join(f"{name}\n" for name in ("background", *class_names))


def write_names(folder, class_names):
    """Write `labels.txt` (line 1 the background) and `label_map.pbtxt`; their paths.

    `folder` is made. `class_names` are those of the classes 1..C-1.
    """
    folder.mkdir(parents=True)
    labels, ids = folder / LABELS, folder / label_map.FILE_NAME
    labels.write_text(labels_text(class_names))
    label_map.write_label_map(ids, class_names)
    return labels, ids


def save_portable(function, model, folder):
    """Write a `portable_function` of `model` as a SavedModel for converters to read."""
    module = tf.Module()
    module.weights = list(variables_by_path(model).values())
    tf.saved_model.save(module, str(folder), signatures=function)
