"""The network with pre- and post-processing as a SavedModel that needs none of this code."""

import tempfile
from pathlib import Path

import tensorflow as tf

from blitznet import keys
from blitznet.export.answers import read_outputs, write_names
from blitznet.imaging import at_side
from blitznet.postprocess.detection import detections
from blitznet.postprocess.portable import raw_detections
from blitznet.variables import variables_by_path

_DECODED_AT_ONCE = 8
_NO_CLASS = 255
# Of an answer's class maps together: a tall picture and a wide one make large ones of both.
_MOST_PIXELS = 2**27
# Its header says 8 bits a pixel in byte 28.
_PALETTE_BMP = r"(?s)BM\C{26}\x08\x00\C*"


class ServingFunctions:
    """The two ways in that an export offers, as compiled functions of the live model.

    Both answer a dict, for the tasks that the model has: `detection_boxes` `[N, K, 4]`
    (ymin, xmin, ymax, xmax in 0..1), `detection_scores` `[N, K]`, `detection_classes`
    `[N, K]` int32 (1..C-1, 0 beyond the last), `num_detections` `[N]` int32, and
    `semantic_classes` `[N, S, S]` uint8. Without post-processing, the entries of
    `postprocess.portable.raw_detections` stand for the detections. An empty batch is an
    InvalidArgumentError.

    A network for pictures of any size sees them at their own, one after another, and answers
    `semantic_classes` `[N, H, W]`, H and W those of the largest: each class map lies at the upper
    left, 255 beyond it, and `semantic_sizes` `[N, 2]` int32 are their heights and widths. More
    than 2 ** 27 pixels together are an InvalidArgumentError.

    Attributes:
      from_bytes: `image_bytes`, string `[N]`: JPEG, PNG, GIF or BMP files of any sizes. A file
        that does not decode is an InvalidArgumentError that names the index of every such file.
      from_images: `images`, uint8 `[N, H, W, 3]`, RGB.
    """

    def __init__(self, model, coder, settings, postprocess="nms"):
        """`coder` and `settings` as for `postprocess.detection.detections`; coder may be None.

        `postprocess`: "nms" or "none".
        """
        side = model.input_shape[1]

        def detect(confidence, location):
            if postprocess == "none":
                return raw_detections(confidence, location, coder)
            return detections(confidence, location, coder, settings)

        def answer(images):
            outputs = model(images / 255.0, training=False)
            return read_outputs(outputs, side, detect if coder else None)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def from_bytes(image_bytes):
            if side is not None:
                return answer(_some(read_pictures(image_bytes, side)))
            stored, sizes = read_own_sizes(image_bytes)
            return one_by_one(answer, stored, sizes, _restored)

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")])
        def from_images(images):
            if side is not None:
                return answer(_some(at_side(images, side)))
            sizes = tf.repeat([tf.shape(images)[1:3]], tf.shape(images)[0], axis=0)
            return one_by_one(answer, images, sizes)

        self.from_bytes = from_bytes
        self.from_images = from_images


def _some(pictures):
    """The pictures themselves; InvalidArgumentError when run where there are none."""
    # The convolutions of some devices take no empty batch, and would say so darkly.
    some = tf.debugging.Assert(tf.shape(pictures)[0] > 0, ["no pictures: the batch is empty"])
    with tf.control_dependencies([some]):
        return tf.identity(pictures)


def _not_too_large(size, number):
    """`size` itself; InvalidArgumentError when run where so many class maps of it are too much."""
    pixels = tf.reduce_prod(tf.cast(size, tf.float32)) * tf.cast(number, tf.float32)
    message = tf.strings.format(
        "{} class maps, each filled up to {} pixels, are too large together: ask about fewer",
        (number, size),
    )
    with tf.control_dependencies([tf.debugging.Assert(pixels <= _MOST_PIXELS, [message])]):
        return tf.identity(size)


def one_by_one(answer, pictures, sizes, restore=tf.identity):
    """The answer for pictures of any sizes, none of which changes another's.

    Args:
      answer: from float32 `[1, H, W, 3]` in 0..255 to a dict of `semantic_classes` `[1, H, W]`.
      pictures: `[N, ...]`.
      sizes: int32 `[N, 2]`, the height and width of each.
      restore: from one of `pictures` to uint8 `[H, W, 3]`.

    Returns:
      `semantic_classes` uint8 `[N, H, W]`, of the largest height and width, each filled up with
      255 behind its own part; `semantic_sizes`, which is `sizes`.

    Raises:
      tf.errors.InvalidArgumentError: there is no picture, or there are too many pixels.
    """
    pictures = _some(pictures)
    largest = _not_too_large(tf.reduce_max(sizes, axis=0), tf.shape(pictures)[0])

    def filled_up(picture):
        images = at_side(restore(picture)[None], None)
        classes = answer(images)[keys.SEMANTIC_CLASSES][0]
        beyond = largest - tf.shape(classes)
        padding = [[0, beyond[0]], [0, beyond[1]]]
        return tf.pad(classes, padding, constant_values=tf.constant(_NO_CLASS, tf.uint8))

    # At a time one picture has the processor, and its maps the memory.
    class_maps = tf.map_fn(
        filled_up,
        pictures,
        parallel_iterations=1,
        fn_output_signature=tf.TensorSpec([None, None], tf.uint8),
    )
    return {keys.SEMANTIC_CLASSES: class_maps, keys.SEMANTIC_SIZES: sizes}


def read_pictures(image_bytes, side):
    """Files `[N]` of any sizes -> float32 `[N, side, side, 3]`, RGB in 0..255.

    Raises:
      tf.errors.InvalidArgumentError: files that do not decode; names their indices.
    """
    # Sizes differ, so each picture is resized before they meet in a batch.
    return _read(
        image_bytes,
        lambda picture: at_side(picture[None], side)[0],
        tf.TensorSpec([side, side, 3]),
    )


def read_own_sizes(image_bytes):
    """Files `[N]` of any sizes -> pictures by `tf.io.serialize_tensor`, string `[N]`, and sizes.

    The sizes are int32 `[N, 2]`, height and width; a picture is uint8 `[H, W, 3]`, RGB. Together
    they take no more memory than each by itself.

    Raises:
      tf.errors.InvalidArgumentError: files that do not decode; names their indices.
    """
    return _read(
        image_bytes,
        lambda picture: (tf.io.serialize_tensor(picture), tf.shape(picture)[:2]),
        (tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int32)),
    )


def _restored(stored):
    """A picture of `read_own_sizes`, uint8 `[H, W, 3]`."""
    return tf.ensure_shape(tf.io.parse_tensor(stored, tf.uint8), [None, None, 3])


def _read(image_bytes, make, specs):
    """What `make` makes of each picture, in batches; of these `specs`, without the batch's axis.

    Args:
      image_bytes: files, string `[N]`.
      make: from uint8 `[H, W, 3]` to a tensor, or a tuple of tensors.
      specs: `tf.TensorSpec`s in the same structure.
    """
    number = tf.shape(image_bytes, out_type=tf.int64)[0]

    def read(index, encoded):
        return index, make(decode(encoded))

    # Of operations on tensors, the first that fails ends them all; a data set goes on.
    pictures = tf.data.Dataset.from_tensor_slices(image_bytes).enumerate()
    pictures = pictures.map(read, num_parallel_calls=_DECODED_AT_ONCE, deterministic=True)
    pictures = pictures.ignore_errors().batch(tf.maximum(number, 1))
    empty = tf.nest.map_structure(lambda spec: tf.zeros([0, *spec.shape], spec.dtype), specs)
    nothing = (tf.zeros([0], tf.int64), empty)
    pictures = pictures.concatenate(tf.data.Dataset.from_tensors(nothing)).take(1)
    read_ones, made = pictures.get_single_element()
    failed = tf.sets.difference(tf.range(number)[None], read_ones[None]).values
    message = tf.strings.format(
        "image_bytes {} (counted from 0): not a JPEG, PNG, GIF or BMP file that can be read",
        failed,
        summarize=-1,
    )
    with tf.control_dependencies([tf.debugging.Assert(tf.size(failed) == 0, [message])]):
        return tf.nest.map_structure(tf.identity, made)


def decode(encoded):
    """uint8 `[H, W, 3]` RGB of a file (a string scalar), as stored: EXIF is ignored."""
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        # As evaluation decodes, while decode_image takes a coarser transform.
        lambda: tf.io.decode_jpeg(encoded, 3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.cond(
            tf.strings.regex_full_match(encoded, _PALETTE_BMP),
            lambda: _decode_palette_bmp(encoded),
            lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
        ),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _decode_palette_bmp(encoded):
    """As `decode`, of a BMP of 8 bits a pixel, whose colours TensorFlow takes for greys."""
    pixels, header = tf.unstack(_integers(encoded, 10, 2), num=2)
    table = _integers(encoded, 14 + header, (pixels - 14 - header) // 4)
    blue, green, red = (tf.bitwise.right_shift(table, bits) % 256 for bits in (0, 8, 16))
    colours = tf.stack([red, green, blue], axis=-1)
    numbers = tf.io.decode_bmp(encoded)[..., 0]
    return tf.cast(tf.gather(colours, tf.cast(numbers, tf.int32)), tf.uint8)


def _integers(encoded, start, count):
    """int32 `[count]`, little-endian, from the byte `start` of a file on."""
    return tf.io.decode_raw(tf.strings.substr(encoded, start, 4 * count), tf.int32)


def save(functions, model, class_names, folder):
    """Write a SavedModel of `ServingFunctions`.

    Its signatures are `serving_default` (bytes) and `images`; `assets/labels.txt` has the class
    names, line 1 the background, `assets/label_map.pbtxt` the classes 1..C-1 with their ids.

    Args:
      functions: `ServingFunctions` of `model`.
      model: whose variables are stored.
      class_names: names of the classes 1..C-1.
      folder: a `Path` that does not exist.
    """
    # Not the Keras model: tracking it would store every weight twice, and loaders other than
    # Python's would fill the copy that is not read.
    module = tf.Module()
    module.weights = list(variables_by_path(model).values())
    signatures = {
        tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: functions.from_bytes,
        "images": functions.from_images,
    }
    with tempfile.TemporaryDirectory() as scratch:
        names = write_names(Path(scratch) / "names", class_names)
        module.names = [tf.saved_model.Asset(str(path)) for path in names]
        tf.saved_model.save(module, str(folder), signatures=signatures)
