"""The warm-up file of an export: requests that a server answers for itself before others'.

TensorFlow Serving replays `assets.extra/tf_serving_warmup_requests` when it loads a version, so
that nobody waits for what the first call of a signature costs. It is a TFRecord of `PredictionLog`
messages (tensorflow_serving/apis, `prediction_log.proto`, `predict.proto`, `model.proto`).
"""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from blitznet.protobuf import BYTES, STRING, message_class

FILE = Path("assets.extra", "tf_serving_warmup_requests")
# Height and width where pictures of any size are taken: those of most of VOC's.
_USUAL_SIZE = 375, 500

_PredictionLog = message_class(
    {
        "Input": [("key", 1, STRING), ("value", 2, BYTES)],
        "ModelSpec": [("signature_name", 3, STRING)],
        "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, ["Input"])],
        "PredictLog": [("request", 1, "PredictRequest")],
        "PredictionLog": [("predict_log", 6, "PredictLog")],
    },
    "PredictionLog",
)
_TensorProto = type(tf.make_tensor_proto(0))


def picture_requests(side):
    """A request for each signature of an export: dict signature -> dict input -> array.

    The picture is a gradient of `side` x `side` pixels, with None of 375 x 500, as a JPEG for
    `serving_default` (`image_bytes` `[1]`) and as uint8 for `images` `[1, H, W, 3]`.
    """
    size = (side, side) if side else _USUAL_SIZE
    rows, columns = (np.linspace(0, 255, length).astype(np.uint8) for length in size)
    picture = np.stack(np.broadcast_arrays(rows[:, None], columns, np.uint8(128)), -1)
    return {
        "serving_default": {"image_bytes": np.array([tf.io.encode_jpeg(picture).numpy()], object)},
        "images": {"images": picture[None]},
    }


def write(folder, requests):
    """Write the warm-up file of a SavedModel, replacing it only when complete.

    Args:
      folder: of the SavedModel, DIR/STEP.
      requests: dict signature -> dict input -> array, such as `picture_requests` makes.

    Raises:
      FileNotFoundError: `folder` holds no SavedModel.
    """
    folder = Path(folder)
    if not (folder / "saved_model.pb").is_file():
        raise FileNotFoundError(f"{folder} holds no SavedModel: expected a file saved_model.pb")
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with tf.io.TFRecordWriter(str(temporary)) as writer:
        for signature, inputs in requests.items():
            log = _PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name, array in inputs.items():
                tensor = tf.make_tensor_proto(array)
                request.inputs.add(key=name, value=tensor.SerializeToString(deterministic=True))
            writer.write(log.SerializeToString(deterministic=True))
    os.replace(temporary, path)


def read(folder):
    """The requests of a SavedModel's warm-up file, none without one.

    Returns:
      list of `(signature, {input: array})`, in the file's order; entries that are not requests
      to predict are left out.

    Raises:
      ValueError: the file is damaged, or is no warm-up file; names it.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return []
    try:
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        return [_request(record) for record in records if _is_predict(record)]
    except Exception as error:  # the errors of protobuf's implementations share no other class
        raise ValueError(f"{path} is not a warm-up file: {error}") from error


def _is_predict(record):
    return _PredictionLog.FromString(record).HasField("predict_log")


def _request(record):
    request = _PredictionLog.FromString(record).predict_log.request
    tensors = {each.key: _TensorProto.FromString(each.value) for each in request.inputs}
    signature = request.model_spec.signature_name or "serving_default"
    return signature, {name: tf.make_ndarray(tensor) for name, tensor in tensors.items()}
