"""What goes into an export, and its writing in each format."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from blitznet import archs, inference, warmup
from blitznet.export import onnx, openvino, saved_model, tflite
from blitznet.export.answers import portable_function, write_names


@dataclass(frozen=True)
class Content:
    """A network and what is made of its outputs.

    Attributes:
      model: a network of `build_model`.
      shape: the arguments that it was made of, without those for training.
      coder: `PriorCoder` of its prior boxes, or None without detection.
      settings: a `DetectionSettings`.
      class_names: names of the classes 1..C-1.
      postprocess: "nms" or "none".
    """

    model: object
    shape: dict
    coder: object
    settings: object
    class_names: tuple
    postprocess: str = "nms"

    @property
    def side(self):
        """Of the network's input, in pixels; None where it takes pictures of any size."""
        return self.model.input_shape[1]

    @property
    def segments(self):
        """Whether the network answers class maps."""
        return archs.tasks(archs.full_shape(self.shape))[archs.SEGMENT]

    @cached_property
    def functions(self):
        """The live `ServingFunctions`."""
        return saved_model.ServingFunctions(self.model, self.coder, self.settings, self.postprocess)

    def of_side(self, side):
        """The same for pictures of `side` x `side`, of a network that takes those of any size.

        Raises:
          ValueError: it has a size of its own.
        """
        if self.side is not None:
            size = f"{self.side} x {self.side}"
            raise ValueError(f"the network is one for pictures of {size} pixels, and stays so")
        shape = {**self.shape, "image_size": side}
        model = archs.build(shape)
        for layer in self.model.layers:
            model.get_layer(layer.name).set_weights(layer.get_weights())
        return dataclasses.replace(self, model=model, shape=shape)

    def with_weights(self, precision):
        """The same with weights rounded to `precision`, where that is a floating-point type."""
        if precision not in ("float16", "bfloat16"):
            return self
        return self._stored(precision, one_to_one=True)

    def _stored(self, storage, one_to_one):
        """The same of the network for inference, its kernels stored as `storage`."""
        network, _ = inference.build(self.model, self.shape, storage=storage, one_to_one=one_to_one)
        return dataclasses.replace(self, model=network)

    def write(self, format, precision, folder, calibration=None):
        """Write an export.

        Args:
          format, precision: as `formats.FORMATS` has them.
          folder: a `Path` that does not exist, DIR/STEP. It gets the format's file and, in
            `assets`, `labels.txt` and `label_map.pbtxt`.
          calibration: for ONNX in int8, as for `onnx.save`.

        Raises:
          ImportError, RuntimeError: as the formats' `save`.
          ValueError: the network takes pictures of any size, as SavedModels alone do: see
            `of_side`.
        """
        if self.side is None and format != "savedmodel":
            raise ValueError(f"{format} takes pictures of one size, of which the network has none")
        storage = precision if precision in inference.STORAGE else "float32"
        if format == "savedmodel":
            stored = self._stored(storage, one_to_one=False)
            saved_model.save(stored.functions, stored.model, self.class_names, folder)
            warmup.write(folder, warmup.picture_requests(self.side))
            return
        # One to one: what a quantiser sees of one layer is not mixed with another's.
        stored = self._stored(storage, one_to_one=True)
        write_names(folder / "assets", self.class_names)
        function = portable_function(stored.model, self.coder, self.settings, self.postprocess)
        if format == "onnx":
            onnx.save(function, stored.model, self.class_names, folder, precision, calibration)
        elif format == "tflite":
            tflite.save(function, stored.model, self.class_names, folder, precision)
        else:
            openvino.save(function, stored.model, self.class_names, folder)
