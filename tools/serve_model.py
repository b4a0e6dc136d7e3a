"""One version of a SavedModel, answering many requests in batches."""

import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from google.protobuf import descriptor_pool, message_factory
from PIL import Image

from blitznet import warmup
from tools.serve_batcher import Batcher
from tools.serve_json import RequestError

# How TensorFlow Serving turns TensorFlow's codes into HTTP's (util/net_http, http_rest_api_util).
_STATUS = {
    tf.errors.INVALID_ARGUMENT: 400,
    tf.errors.FAILED_PRECONDITION: 400,
    tf.errors.OUT_OF_RANGE: 400,
    tf.errors.NOT_FOUND: 404,
    tf.errors.RESOURCE_EXHAUSTED: 503,
    tf.errors.UNAVAILABLE: 503,
    tf.errors.DEADLINE_EXCEEDED: 504,
}

# Of a picture: more than cameras have; and where the network's maps grow with the picture.
_MOST_PIXELS, _MOST_AT_OWN_SIZE = 64_000_000, 4_000_000

# First bytes of JPEG, PNG, GIF, BMP and WebP files.
_DECODED = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF")


class Batching(NamedTuple):
    """How requests share calls of the network, as for `serve_batcher.Batcher`."""

    max_rows: int
    timeout: float
    threads: int


class ServedModel:
    """A loaded SavedModel that answers many requests at a time.

    Attributes:
      version: the number.
      definitions: dict signature -> `tensorflow.SignatureDef` message.
    """

    def __init__(self, folder, batching, on_call):
        """Load and warm up.

        Args:
          folder: `Path`, DIR/VERSION.
          batching: `Batching`.
          on_call: called with the number of rows of each call of the network.

        Raises:
          OSError, ValueError, tf.errors.OpError: it does not load, or its warm-up file does not
            suit it.
          RequestError: it does not answer its warm-up file.
        """
        if not (folder / "saved_model.pb").is_file():
            raise FileNotFoundError(
                f"{folder} has no saved_model.pb: a SavedModel is served, not an export of another "
                "--format"
            )
        self.version = int(folder.name)
        self.definitions = _signature_definitions(folder)
        # Kept, since its functions do not keep the variables alive.
        self._loaded = tf.saved_model.load(str(folder))
        self._on_call = on_call
        for signature, inputs in warmup.read(folder):
            known = signature in self._loaded.signatures
            if not known or inputs.keys() != self.specs(signature).keys():
                raise ValueError(f"{folder / warmup.FILE} does not suit signature {signature!r}")
            self._call(signature, inputs)
        self._batcher = Batcher(self._call, *batching)

    def specs(self, signature):
        """dict input -> `tf.TensorSpec`. Raises RequestError 400 without such a signature."""
        if signature not in self._loaded.signatures:
            raise RequestError(
                400,
                f'Serving signature name: "{signature}" not found in signature def '
                f"(there are: {', '.join(sorted(self._loaded.signatures))})",
            )
        return self._loaded.signatures[signature].structured_input_signature[1]

    def submit(self, signature, inputs):
        """A `Future` of a signature's outputs, dict output -> array.

        It raises RequestError where the model refuses these inputs, or fails.

        Args:
          signature: its name.
          inputs: dict input -> array, as `specs` says.
        """
        key = None
        if self._joins(signature):
            # Pictures as arrays can be one batch where their sizes are the same.
            key = (signature, *(array.shape[1:] for array in inputs.values()))
        return self._batcher.submit(signature, inputs, key)

    def most_pixels(self, signature):
        """Width times height of the largest picture that a server takes unless it is told."""
        return _MOST_PIXELS if self._has_fixed_rows(signature) else _MOST_AT_OWN_SIZE

    def _joins(self, signature):
        """Whether requests can share a call: rows of inputs make as many of outputs, of one shape.

        Class maps of any size are filled up to the largest of a call: nobody is to get, or to wait
        for, what another's picture takes.
        """
        specs = [*self.specs(signature).values(), *self._outputs(signature)]
        in_rows = all(spec.shape.rank and spec.shape[0] is None for spec in specs)
        return in_rows and self._has_fixed_rows(signature)

    def _has_fixed_rows(self, signature):
        """Whether a row of each output has one shape, whatever the inputs are."""
        outputs = self._outputs(signature)
        return all(spec.shape.rank and spec.shape[1:].is_fully_defined() for spec in outputs)

    def _outputs(self, signature):
        return self._loaded.signatures[signature].structured_outputs.values()

    def close(self, wait=False):
        """End its threads when they are done; `wait` for that."""
        self._batcher.close(wait)

    def _call(self, signature, inputs):
        """Outputs of a signature: dict output -> array. Raises RequestError."""
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        self._on_call(len(next(iter(inputs.values()))))
        try:
            outputs = self._loaded.signatures[signature](**tensors)
        except tf.errors.OpError as error:
            raise RequestError(_STATUS.get(error.error_code, 500), reason(error)) from None
        return {name: tensor.numpy() for name, tensor in outputs.items()}


def _signature_definitions(folder):
    """The signatures that a SavedModel offers, as it stores them.

    Raises:
      OSError, ValueError: there is no SavedModel, or its file is damaged.
    """
    path = Path(folder) / "saved_model.pb"
    # TensorFlow registers the message, and offers no public name for its class.
    descriptor = descriptor_pool.Default().FindMessageTypeByName("tensorflow.SavedModel")
    try:
        saved_model = message_factory.GetMessageClass(descriptor).FromString(path.read_bytes())
        (graph,) = [g for g in saved_model.meta_graphs if "serve" in g.meta_info_def.tags]
    except OSError:
        raise
    except Exception as error:  # the errors of protobuf's implementations share no other class
        raise ValueError(f"{path} is damaged, or has no graph tagged 'serve': {error}") from error
    internal = ("__saved_model_init_op", "__saved_model_train_op")
    return {n: graph.signature_def[n] for n in sorted(graph.signature_def) if n not in internal}


def reason(error):
    """The sentence of a TensorFlow error, without the nodes and traces around it."""
    sentences = error.message.split("\n\t [[")[0].split(" [Op:")[0].strip().splitlines()
    sentence = sentences[-1].strip() if sentences else type(error).__name__
    asserted = re.fullmatch(r"assertion failed: \[(.*)\]", sentence)
    return asserted[1] if asserted else sentence


def check_pictures(arrays, max_pixels):
    """Refuse a picture that decoding would blow up, from the size that its header states.

    Args:
      arrays: dict input -> array; those of bytes are looked at, other values pass.
      max_pixels: width x height of the largest picture; of a GIF, of all its pictures together.

    Raises:
      RequestError: 400, names the input and the index.
    """
    for name, array in arrays.items():
        for i, value in enumerate(array.flat if array.dtype == object else ()):
            width, height, count = _picture_size(value, f"input '{name}', value {i}")
            if width * height * count > max_pixels:
                size = f"{width} x {height}" + (f" x {count}" if count > 1 else "")
                raise RequestError(
                    400,
                    f"input '{name}', value {i}: a picture of {size} pixels; this "
                    f"server takes up to {max_pixels:,} (--max_pixels)",
                )


def _picture_size(encoded, what):
    """Width and height in pixels by a picture's header, and how many pictures the file has.

    Zeros for a file of no kind that TensorFlow decodes: the model refuses it. Raises
    RequestError, naming `what`, where it is of such a kind and tells no size.
    """
    if not encoded.startswith(_DECODED):
        return 0, 0, 0
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures, which are what is asked about.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(encoded))
            # TensorFlow decodes all pictures of a GIF, and no more than one of other files.
            return (*image.size, image.n_frames if image.format == "GIF" else 1)
    except Image.DecompressionBombError as error:
        raise RequestError(400, f"{what}: {error}") from None
    except Exception as error:  # damaged headers raise whatever they please
        raise RequestError(400, f"{what}: no size can be read from the file: {error}") from None
