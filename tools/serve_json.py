"""TensorFlow Serving's REST forms of requests and answers, and of a version's metadata.

https://www.tensorflow.org/tfx/serving/api_rest is where they are laid down. Nothing here knows
the network: signatures say what they take and give.
"""

import base64
from typing import NamedTuple

import numpy as np
import orjson
import tensorflow as tf

DEFAULT_SIGNATURE = "serving_default"
_ROW, _COLUMN = "instances", "inputs"


class RequestError(Exception):
    """A request that cannot be answered: the HTTP `status`, and a sentence that says why."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Request(NamedTuple):
    """The body of a request to predict: the signature, `by_row`, and what is to become inputs."""

    signature: str
    by_row: bool
    values: object


def parse(body):
    """`Request` of a body (bytes). Raises RequestError 400 where it has not the REST form."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"JSON Parse error: {error}") from None
    if not isinstance(content, dict):
        raise RequestError(400, "JSON Value is not an object")
    forms = [form for form in (_ROW, _COLUMN) if form in content]
    if len(forms) != 1:
        raise RequestError(400, f"expected exactly one of '{_COLUMN}' or '{_ROW}' in the request")
    signature = content.get("signature_name") or DEFAULT_SIGNATURE
    if not isinstance(signature, str):
        raise RequestError(400, "'signature_name' must be a string value")
    return Request(signature, forms[0] == _ROW, content[forms[0]])


def input_arrays(request, specs):
    """Inputs of a signature.

    Args:
      request: `Request`.
      specs: dict input -> `tf.TensorSpec`; the first dimension is the batch.

    Returns:
      dict input -> array of the spec's dtype and shape, strings as objects (bytes). All have
      the same number of rows, at least 1.

    Raises:
      RequestError: 400, names the input and the row.
    """
    columns = _columns_of_rows(request.values, specs) if request.by_row else request.values
    if not request.by_row and not (isinstance(columns, dict) and columns.keys() == specs.keys()):
        if len(specs) > 1 or (isinstance(columns, dict) and not _is_base64(columns)):
            raise RequestError(400, f"'{_COLUMN}' must have exactly the keys {sorted(specs)}")
        columns = {next(iter(specs)): columns}
    arrays = {name: _array(name, columns[name], spec) for name, spec in specs.items()}
    counts = {len(array) for array in arrays.values()}
    if len(counts) != 1:
        raise RequestError(400, f"inputs have different numbers of rows: {sorted(counts)}")
    return arrays


def _columns_of_rows(rows, specs):
    """dict input -> list of its values; a row is a dict, or the value of the only input."""
    if not isinstance(rows, list) or not rows:
        raise RequestError(400, f"'{_ROW}' must be a list of at least one value")
    named = isinstance(rows[0], dict) and not _is_base64(rows[0])
    if not named:
        if len(specs) > 1:
            raise RequestError(400, f"each of '{_ROW}' must have the keys {sorted(specs)}")
        return {next(iter(specs)): rows}
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != specs.keys():
            raise RequestError(400, f"{_ROW}[{i}] must have exactly the keys {sorted(specs)}")
    return {name: [row[name] for row in rows] for name in specs}


def _is_base64(value):
    return isinstance(value, dict) and value.keys() == {"b64"}


def _array(name, values, spec):
    """Array of JSON values for an input, checked against its spec."""
    if not isinstance(values, list) or not values:
        raise RequestError(400, f"input '{name}' must be a list of at least one value")
    array = _strings(name, values) if spec.dtype == tf.string else _numbers(name, values, spec)
    if not spec.shape.is_compatible_with(array.shape):
        raise RequestError(
            400, f"input '{name}' has shape {list(array.shape)}: expected {list(spec.shape)}"
        )
    return array


def _strings(name, values):
    array = np.array(values, object)
    for i, value in enumerate(array.flat):
        array.flat[i] = _bytes(f"input '{name}', value {i}", value)
    return array


def _bytes(where, value):
    if isinstance(value, str):
        return value.encode()
    if not (_is_base64(value) and isinstance(value["b64"], str)):
        raise RequestError(400, f'{where}: expected a string or {{"b64": "..."}}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except ValueError as error:  # binascii.Error among them
        raise RequestError(400, f"{where}: not base64: {error}") from None


def _numbers(name, values, spec):
    wanted = np.dtype(spec.dtype.as_numpy_dtype)
    try:
        array = np.array(values)
    except ValueError:
        raise RequestError(400, f"input '{name}' has rows of different lengths") from None
    if not array.size:
        return array.astype(wanted)
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}.get(wanted.kind, "")
    if array.dtype.kind not in kinds:
        raise RequestError(400, f"input '{name}' has values that are not {spec.dtype.name}")
    if wanted.kind in "iu":
        bounds = np.iinfo(wanted)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise RequestError(400, f"input '{name}' has values outside {bounds.min}..{bounds.max}")
    return array.astype(wanted)


def answer(by_row, outputs):
    """The body (bytes) of an answer.

    Args:
      by_row: whether the request had the row form; the answer has it too.
      outputs: dict output -> array, the first dimension the batch. Strings of outputs whose
        name ends in `_bytes` become base64, as in TensorFlow Serving.
    """
    columns = {n: _text(n, a) if a.dtype == object else a for n, a in outputs.items()}
    alone = next(iter(columns.values())) if len(columns) == 1 else None
    if not by_row:
        content = {"outputs": columns if alone is None else alone}
    elif alone is not None:
        content = {"predictions": alone}
    else:
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        content = {"predictions": rows}
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def _text(name, array):
    """Nested lists of what JSON writes for an array of bytes."""
    encoded = np.empty_like(array)
    for i, value in enumerate(array.flat):
        binary = name.endswith("_bytes")
        encoded.flat[i] = (
            {"b64": base64.b64encode(value).decode()} if binary else value.decode("utf-8")
        )
    return encoded.tolist()


def metadata(name, version, signatures):
    """What `GET .../metadata` answers, for JSON.

    Args:
      name: of the model.
      version: its number.
      signatures: dict signature -> `tensorflow.SignatureDef` message.
    """
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    signature: {
                        "inputs": {n: _tensor_info(i) for n, i in definition.inputs.items()},
                        "outputs": {n: _tensor_info(i) for n, i in definition.outputs.items()},
                        "method_name": definition.method_name,
                    }
                    for signature, definition in signatures.items()
                }
            }
        },
    }


def _tensor_info(info):
    # JSON has int64 as strings, by protobuf's rules.
    dims = [{"size": str(dim.size), "name": dim.name} for dim in info.tensor_shape.dim]
    return {
        "dtype": info.DESCRIPTOR.fields_by_name["dtype"]
        .enum_type.values_by_number[info.dtype]
        .name,
        "tensor_shape": {"dim": dims, "unknown_rank": info.tensor_shape.unknown_rank},
        "name": info.name,
    }
