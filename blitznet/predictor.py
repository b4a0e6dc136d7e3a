"""Detections and class maps of people's pictures, by a run or by an exported SavedModel."""

import io
import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from blitznet import keys, label_map
from blitznet.imaging import at_side
from blitznet.picture_files import MAX_PIXELS, read_picture
from blitznet.postprocess.settings import DetectionSettings
from blitznet.postprocess.tiles import answered_class_map, tiled_class_map
from blitznet.prediction import Prediction

_ENCODED = (bytes, bytearray, memoryview)
_RUN, _SAVED_MODEL = "flags.json", "saved_model.pb"
_SIGNATURE = "serving_default"
_ANSWERS = {
    keys.DETECTION_BOXES,
    keys.DETECTION_SCORES,
    keys.DETECTION_CLASSES,
    keys.NUM_DETECTIONS,
    keys.SEMANTIC_CLASSES,
    keys.SEMANTIC_SIZES,
}


class Predictor:
    """A network with its post-processing, as `load` makes it.

    Attributes:
      source: the folder that it comes from.
      step: of its checkpoint, or the number of the SavedModel's folder; None if that has none.
      class_names: names of the classes 1..C-1.
      detects, segments: what it does.
      own_sizes: whether the network sees pictures at their own sizes, one by one: it takes the
        more memory and time the larger they are.
    """

    def __init__(self, network, class_names, detects, segments, source, step, own_sizes=False):
        """`network`: from a list of pictures to a dict of tensors, a row for each picture."""
        self._network, self.own_sizes = network, own_sizes
        self.class_names, self.detects, self.segments = tuple(class_names), detects, segments
        self.source, self.step = source, step

    def predict(self, images, batch_size=8):
        """A list of `Prediction`, one for each picture in order, for a single one too.

        Args:
          images: a picture or an iterable of pictures, of any sizes: uint8 RGB arrays
            `[H, W, 3]`, paths, or the bytes of files. Files are turned upright
            (`picture_files.read_picture`), arrays are taken as they are.
          batch_size: most pictures that go through the network at a time; one that takes them
            at their own sizes has one at a time.

        Raises:
          FileNotFoundError: no such file.
          ValueError: something is no picture; names it, or its place, counted from 1.
        """
        return [prediction for _, prediction in self.stream(images, batch_size)]

    def stream(self, images, batch_size=8):
        """Generator of `(picture, Prediction)`, the picture as uint8 `[H, W, 3]`.

        Takes what `predict` takes, but holds no more than a batch at a time, so that it suits
        folders and videos. Errors come when it reaches the picture.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: expected 1 or more")
        for batch in _batches(_pictures(images), 1 if self.own_sizes else batch_size):
            answer = {name: value.numpy() for name, value in self._network(batch).items()}
            for i, picture in enumerate(batch):
                found = {name: value[i] for name, value in answer.items()}
                yield picture, self._prediction(found, *picture.shape[:2])

    def _prediction(self, answer, height, width):
        """`answer`: the network's for one picture, of `height` and `width`."""
        count = answer.get(keys.NUM_DETECTIONS, 0)
        boxes = answer.get(keys.DETECTION_BOXES, np.zeros((0, 4), np.float32))
        scores = answer.get(keys.DETECTION_SCORES, np.zeros(0, np.float32))
        classes = answer.get(keys.DETECTION_CLASSES, np.zeros(0, np.int32))[:count]
        class_map = None
        if keys.SEGMENTATION in answer:
            class_map = tiled_class_map(answer[keys.SEGMENTATION], height, width)
        elif keys.SEMANTIC_CLASSES in answer:
            class_map = answered_class_map(answer, height, width)
        names = tuple(self.class_names[c - 1] for c in classes)
        return Prediction(
            boxes[:count],
            scores[:count],
            classes,
            names,
            class_map,
            height,
            width,
            self.class_names,
        )


def load(source, step=None, settings=None, precision="float32", constants=False):
    """A `Predictor` of a run's folder, or of an exported SavedModel.

    Args:
      source: a run's folder (`archive/first`), whose code is this package; or what
        `tools.export_saved_model` wrote, one version (`exported/first/1000`) or the folder of
        versions (`exported/first`), for which TensorFlow is enough.
      step: of the checkpoint, or the version; the newest without.
      settings: `DetectionSettings` of a run, the defaults without; a SavedModel has its own.
      precision, constants: of a run's network, as for `inference.build`; constants suit a program
        that predicts picture by picture for long.

    Raises:
      FileNotFoundError: neither, or no such step; names those that exist.
      ValueError: the folder does not hold what it should, or a classifier, or an argument for
        runs is given for a SavedModel.
    """
    source = Path(source)
    if not source.is_dir():
        raise FileNotFoundError(f"no folder {source}: expected a run or an exported SavedModel")
    if (source / _RUN).is_file():
        return _load_run(source, step, settings or DetectionSettings(), precision, constants)
    folder = _saved_model_folder(source, step)
    if settings is not None or precision != "float32" or constants:
        raise ValueError(
            f"{folder} is a SavedModel, whose settings and precision were given at export: leave "
            "them and constants out"
        )
    return _load_saved_model(folder)


def _load_run(folder, step, settings, precision, constants):
    from blitznet import archs, engine, inference, runs

    runs.refuse_classifier(folder)
    model, coder, description, step = runs.load(folder, step)
    network, _ = inference.build(model, description["model"], precision, constants)
    predict = engine.make_predict(network, coder, settings)
    side = model.input_shape[1]

    def answer(pictures):
        images = [at_side(picture[None], side) for picture in pictures]
        return predict(tf.concat(images, axis=0) / 255.0)

    tasks = archs.tasks(description["model"])
    tasks = tasks[archs.DETECT], tasks[archs.SEGMENT]
    return Predictor(answer, description["class_names"], *tasks, folder, step, side is None)


def _load_saved_model(folder):
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures.get(_SIGNATURE)
    names = label_map.read_label_map(folder / "assets" / label_map.FILE_NAME)
    if signature is None or "image_bytes" not in signature.structured_input_signature[1]:
        raise ValueError(
            f"{folder} has no signature {_SIGNATURE} that takes image_bytes: export the run by "
            "tools.export_saved_model"
        )
    outputs = set(signature.structured_outputs)
    if not outputs or outputs - _ANSWERS:
        raise ValueError(
            f"{folder} answers {', '.join(sorted(outputs))}, not detections and class maps: "
            "export the run by tools.export_saved_model with --postprocess nms"
        )

    def network(pictures):
        # Through `loaded`, since a signature alone would let go of its variables.
        encoded = tf.constant([_bmp(picture) for picture in pictures])
        return loaded.signatures[_SIGNATURE](image_bytes=encoded)

    tasks = (keys.DETECTION_BOXES in outputs, keys.SEMANTIC_CLASSES in outputs)
    step = int(folder.name) if folder.name.isdigit() else None
    return Predictor(network, names, *tasks, folder, step, keys.SEMANTIC_SIZES in outputs)


def _saved_model_folder(folder, step):
    """The folder of the version `step`, or of the newest, in an export's folder."""
    if (folder / _SAVED_MODEL).is_file():
        if step is not None and folder.name != str(step):
            raise FileNotFoundError(f"{folder} is one version, not that of step {step}")
        return folder
    names = [path.parent.name for path in folder.glob(f"*/{_SAVED_MODEL}")]
    versions = [int(name) for name in names if name.isdigit()]
    if not versions:
        raise FileNotFoundError(
            f"{folder} is neither a run (it has no {_RUN}) nor an exported SavedModel (it has no "
            f"{_SAVED_MODEL}, nor has a folder in it that a number names; exports of other formats "
            "are for their own runtimes)"
        )
    if step is None:
        step = max(versions)
    if step not in versions:
        there = ", ".join(map(str, sorted(versions)))
        raise FileNotFoundError(f"no version {step} in {folder}; there: {there}")
    return folder / str(step)


def _bmp(picture):
    """A file of a picture: a signature takes those of mixed sizes, and BMP loses no pixel."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "BMP")
    return file.getvalue()


def _pictures(images):
    """Each of `images`, or the one picture that it is, as a uint8 array."""
    if isinstance(images, (str, os.PathLike, *_ENCODED)) or getattr(images, "ndim", 0) == 3:
        images = [images]
    for number, image in enumerate(images, start=1):
        yield _as_array(image, f"picture {number}")


def _as_array(image, name):
    if isinstance(image, (str, os.PathLike)):
        return read_picture(image)
    if isinstance(image, _ENCODED):
        return read_picture(image, name)
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(
            f"{name} has type {array.dtype} and shape {list(array.shape)}: expected uint8 RGB "
            "[H, W, 3], a path, or the bytes of a file"
        )
    return array


def _batches(pictures, most):
    """Lists of up to `most` pictures, fewer where these are large: memory has its limit too."""
    batch, pixels = [], 0
    for picture in pictures:
        size = picture.shape[0] * picture.shape[1]
        if batch and (len(batch) == most or pixels + size > MAX_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append(picture)
        pixels += size
    if batch:
        yield batch
