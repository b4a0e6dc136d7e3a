"""A small model to serve, whose answers are known by hand, and a server of it in this process."""

import contextlib
import io
import socket
import threading
import time

import numpy as np
import requests
import tensorflow as tf
import uvicorn
from PIL import Image

from tools import serve


class _Toy(tf.Module):
    """Mean colour times `scale`, and height and width, of each picture."""

    def __init__(self, scale):
        super().__init__()
        self.scale = tf.Variable(float(scale))

    def answer(self, image):
        mean = tf.reduce_mean(tf.cast(image, tf.float32), [0, 1])
        return {"mean": mean * self.scale, "size": tf.shape(image)[:2]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def from_bytes(self, image_bytes):
        def read(encoded):
            image = tf.io.decode_image(encoded, 3, expand_animations=False)
            return self.answer(tf.ensure_shape(image, [None, None, 3]))

        types = {"mean": tf.TensorSpec([3]), "size": tf.TensorSpec([2], tf.int32)}
        answer = tf.map_fn(read, image_bytes, fn_output_signature=types)
        return {**answer, "first_bytes": tf.strings.substr(image_bytes, 0, 4)}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")])
    def from_images(self, images):
        return {"mean": tf.reduce_mean(tf.cast(images, tf.float32), [1, 2]) * self.scale}


def write_toy(folder, scale=1):
    """Write the model as a SavedModel into `folder`, DIR/VERSION; answers `folder`."""
    toy = _Toy(scale)
    signatures = {"serving_default": toy.from_bytes, "images": toy.from_images}
    tf.saved_model.save(toy, str(folder), signatures)
    return folder


class _Detector(tf.Module):
    """One detection of the mean brightness as its score; a class map of one pixel."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def from_bytes(self, image_bytes):
        def read(encoded):
            image = tf.io.decode_image(encoded, 3, expand_animations=False)
            return tf.reduce_mean(tf.cast(tf.ensure_shape(image, [None, None, 3]), tf.float32))

        brightness = tf.map_fn(read, image_bytes, fn_output_signature=tf.float32) / 255
        return {
            "detection_scores": brightness[:, None],
            "semantic_classes": tf.zeros([tf.size(image_bytes), 1, 1], tf.uint8),
        }


def write_detector(folder):
    """Write a SavedModel whose answers tell pictures apart by brightness; answers `folder`."""
    detector = _Detector()
    tf.saved_model.save(detector, str(folder), {"serving_default": detector.from_bytes})
    return folder


def noise(height, width, seed=0):
    """A uint8 RGB picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def encoded(array, format="PNG", mode=None, **settings):
    """The file, as bytes, of a picture, as another of Pillow's modes if one is given."""
    file = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, format, **settings)
    return file.getvalue()


@contextlib.contextmanager
def serving(folder, *flags, said=None):
    """The address `http://HOST:PORT` of a server of `folder`, in a thread until the block ends.

    `said` gets what it tells of versions.
    """
    args = serve.build_parser().parse_args(["--model", str(folder), *map(str, flags)])
    app = serve.make_app(args, [].append if said is None else said.append)
    settings = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=10)
    server = uvicorn.Server(settings)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def wait_until(holds, seconds=60):
    """Return when `holds()` is true; AssertionError when it does not become so."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def metric(address, name):
    """A figure of the server's metrics; 0 where there is none yet."""
    lines = requests.get(f"{address}/metrics", timeout=60).text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)
