"""The network with its post-processing as an ONNX file."""

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from blitznet.export.answers import labels_text
from blitznet.export.formats import FORMATS, check_installed
from blitznet.inference import InferenceConv2D

OPSET = 17
_RESIZES = ("ResizeBilinear", "ResizeNearestNeighbor")
_ONNX_TYPES = {"float32": "FLOAT", "float16": "FLOAT16", "bfloat16": "BFLOAT16"}
_TO_NCHW, _TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def save(function, model, class_names, folder, precision, calibration=None):
    """Write `model.onnx`; the labels are its metadata `labels`, a name a line.

    Args:
      function: an `answers.portable_function`, whose names of input and outputs the file has.
      model: its network, of `inference.build` one to one.
      class_names: names of the classes 1..C-1.
      folder: an existing `Path`.
      precision: "float32"; "float16" or "bfloat16" for kernels stored so and used as float32;
        "int8" for convolutions of 8-bit numbers.
      calibration: for "int8", a sequence of `images` `[1, S, S, 3]` whose range of activations
        is taken.

    Raises:
      ImportError: a package is missing; names it and the extra that installs it.
    """
    check_installed("onnx")
    import onnx

    proto = convert(function, model, "float32" if precision == "int8" else precision)
    if precision == "int8":
        proto = _quantized(proto, calibration)
    onnx.helper.set_model_props(proto, {"labels": labels_text(class_names)})
    onnx.save(proto, str(folder / FORMATS["onnx"].file))


def convert(function, model, storage="float32"):
    """The `onnx.ModelProto` of a `portable_function`; arguments as for `save`.

    tf2onnx copies the whole graph at each of its passes, 13 GB for BlitzNet300. So the kernels
    go through as inputs of the graph, and become its constants afterwards.
    """
    import tf2onnx

    convs = {layer.name: layer for layer in model.layers if isinstance(layer, InferenceConv2D)}
    kernels = [tf.TensorSpec(conv.kernel.shape, name=name) for name, conv in convs.items()]
    signature = [*function.input_signature, *kernels]

    @tf.function(input_signature=signature)
    def with_kernels(images, *given):
        for conv, kernel in zip(convs.values(), given):
            conv.given_kernel = kernel
        try:
            return function.python_function(images)
        finally:
            for conv in convs.values():
                conv.given_kernel = None

    proto, _ = tf2onnx.convert.from_function(
        with_kernels,
        input_signature=signature,
        opset=OPSET,
        custom_op_handlers=dict.fromkeys(_RESIZES, (_resize, [])),
    )
    values = {name: tf.cast(conv.kernel, tf.float32).numpy() for name, conv in convs.items()}
    _put_kernels(proto.graph, values, storage)
    return proto


def _put_kernels(graph, kernels, storage):
    """Make constants of type `storage` of a graph's inputs.

    `kernels`: dict name -> float32 `[H, W, in, out]`. ONNX has `[out, in, H, W]`, so that a
    Transpose stands between the input and its use: the constant takes its place.
    """
    from onnx import TensorProto, helper

    dtype, stored_as = tf.as_dtype(storage), getattr(TensorProto, _ONNX_TYPES[storage])
    nodes, casts = [], []
    for node in graph.node:
        if node.op_type != "Transpose" or node.input[0] not in kernels:
            nodes.append(node)
            continue
        values = kernels[node.input[0]].transpose(node.attribute[0].ints)
        values = values.astype(dtype.as_numpy_dtype)
        name = node.output[0] if storage == "float32" else f"{node.output[0]}_{storage}"
        if name != node.output[0]:
            casts.append(helper.make_node("Cast", [name], [node.output[0]], to=TensorProto.FLOAT))
        constant = helper.make_tensor(name, stored_as, values.shape, values.tobytes(), raw=True)
        graph.initializer.append(constant)
    inputs = [each for each in graph.input if each.name not in kernels]
    for field, kept in ((graph.node, [*casts, *nodes]), (graph.input, inputs)):
        del field[:]
        field.extend(kept)


def _resize(graph, node, name, _):
    """tf2onnx's handler of both legacy resizes, by size.

    Its own goes by a float32 factor, of which readers make other sizes: 3 to 5 becomes 4.
    """
    batch, _, _, depth = graph.get_shape(node.input[0])
    size = [batch, depth, *node.inputs[1].get_tensor_value()]
    nothing = graph.make_const(f"{name}_none", np.zeros(0, np.float32)).output[0]
    sizes = graph.make_const(f"{name}_sizes", np.array(size, np.int64)).output[0]
    maps = graph.make_node("Transpose", node.input[:1], {"perm": _TO_NCHW}).output[0]
    attributes = {
        "mode": "linear" if node.type == "ResizeBilinear" else "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    resized = graph.make_node("Resize", [maps, nothing, nothing, sizes], attributes)
    types = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    outputs = node.output
    graph.remove_node(name)
    graph.make_node(
        "Transpose", resized.output, {"perm": _TO_NHWC}, name=name, outputs=outputs, **types
    )


def _quantized(model, calibration):
    """A model whose convolutions take and give 8-bit numbers, by ONNX Runtime's own tool.

    Weights have 7 bits: with 8, processors without VNNI would overflow.
    """
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self._pictures = iter(calibration)

        def get_next(self):
            images = next(self._pictures, None)
            return None if images is None else {"images": images}

    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        onnx.save(model, str(source))
        quantization.quantize_static(
            str(source),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(str(target))
