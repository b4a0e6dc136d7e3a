"""Makes an OpenVINO model of a SavedModel, in a process without TensorFlow: see `openvino.save`."""

import sys

# Without this, importing OpenVINO tells its makers so.
sys.modules["openvino_telemetry"] = None

import openvino  # noqa: E402
from openvino import opset13  # noqa: E402


def take_any_order(model):
    """Let TopK order equal scores as it likes: keeping their order takes it 50 times as long."""
    for node in model.get_ops():
        if node.get_type_name() == "TopK":
            given = node.get_attributes()
            names = ("axis", "mode", "sort", "index_element_type")
            other = opset13.topk(*node.input_values(), *(given[name] for name in names))
            for old, new in zip(node.outputs(), other.outputs()):
                old.replace(new)


def main(source, labels, target):
    """Convert the folder `source`, name the classes as the file `labels` does, write `target`."""
    model = openvino.Core().read_model(source)
    take_any_order(model)
    with open(labels) as file:
        model.set_rt_info(file.read(), ["model_info", "labels"])
    openvino.save_model(model, target, compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
