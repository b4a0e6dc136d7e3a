"""A network whose answers are known beforehand, and pictures and videos for the demo."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from blitznet import keys
from blitznet.opencv import cv2
from blitznet.predictor import Predictor
from tools import demo

SIZE = 32


class Network:
    """Sees a cat and, at a third of its score, a dog; the score is the picture's brightness.

    Attributes:
      batches: how many pictures came at a time.
      fails_after: pictures after which it raises KeyboardInterrupt.
    """

    def __init__(self):
        self.batches, self.fails_after = [], np.inf

    def __call__(self, pictures):
        if sum(self.batches) >= self.fails_after:
            raise KeyboardInterrupt
        self.batches.append(len(pictures))
        number = len(pictures)
        bright = np.array([picture.mean() / 255 for picture in pictures], np.float32)
        boxes = np.array([[0.25, 0.25, 0.75, 0.75], [0.0, 0.5, 0.5, 1.0], [0, 0, 0, 0]], np.float32)
        class_map = np.zeros((number, SIZE, SIZE), np.uint8)
        class_map[:, 8:24, 8:24] = 2
        return {
            keys.DETECTION_BOXES: tf.constant(np.stack([boxes] * number)),
            keys.DETECTION_SCORES: tf.constant(bright[:, None] * np.float32([1, 1 / 3, 0])),
            keys.DETECTION_CLASSES: tf.constant([[1, 2, 0]] * number),
            keys.NUM_DETECTIONS: tf.constant([2] * number),
            keys.SEMANTIC_CLASSES: tf.constant(class_map),
        }


def known_network(monkeypatch):
    """The `Network` that every flag of the demo names in a test; `predictor` is made of it."""
    network = Network()
    network.predictor = Predictor(network, ("cat", "dog"), True, True, Path("archive/r"), 7)
    monkeypatch.setattr(demo, "load_predictor", lambda args: network.predictor)
    return network


def run(source, output, *flags):
    """Exit code of the demo."""
    arguments = ["--run_name", "r", "--input", source, "--output", output, *flags]
    return demo.main([str(argument) for argument in arguments])


def picture(value, height=40, width=48):
    """A picture of the brightness `value`, lighter on its right."""
    columns = np.linspace(value - 20, value + 20, width)
    return np.broadcast_to(columns[None, :, None], (height, width, 3)).astype(np.uint8)


def save(path, array, **options):
    """Save a picture with Pillow's `options`; answers `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def names(folder):
    """Names of the files of a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    """`{name: bytes}` of a folder's files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def frames(number, height=48, width=64):
    """Frames that grow brighter, uint8 RGB."""
    return [picture(60 + 4 * n, height, width) for n in range(number)]


def write_video(path, number, rate=12.5, codec="mp4v"):
    """Write so many `frames` as a video; answers `path`."""
    shown = frames(number)
    size = shown[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
    for frame in shown:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read_video(path):
    """`(frames uint8 RGB, frames per second)`."""
    capture, found = cv2.VideoCapture(str(path)), []
    assert capture.isOpened()
    while True:
        there, frame = capture.read()
        if not there:
            return found, capture.get(cv2.CAP_PROP_FPS)
        found.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
