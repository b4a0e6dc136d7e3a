"""The network with pre- and post-processing as a SavedModel that needs none of this code."""

import tensorflow as tf

from blitznet import keys, label_map
from blitznet.imaging import legacy_resize
from blitznet.postprocess.detection import detections
from blitznet.postprocess.segmentation import class_map
from blitznet.variables import variables_by_path

LABELS = "labels.txt"
_DECODED_AT_ONCE = 8


class ServingFunctions:
    """The two ways in that an export offers, as compiled functions of the live model.

    Both answer a dict, for the tasks that the model has: `detection_boxes` `[N, K, 4]`
    (ymin, xmin, ymax, xmax in 0..1), `detection_scores` `[N, K]`, `detection_classes`
    `[N, K]` int32 (1..C-1, 0 beyond the last), `num_detections` `[N]` int32, and
    `semantic_classes` `[N, S, S]` uint8.

    Attributes:
      from_bytes: `image_bytes`, string `[N]`: JPEG, PNG, GIF or BMP files of any sizes.
      from_images: `images`, uint8 `[N, H, W, 3]`, RGB.
    """

    def __init__(self, model, coder, settings):
        """`coder` and `settings` as for `postprocess.detection.detections`; coder may be None."""
        side = model.input_shape[1]

        def answer(images):
            outputs = model(images, training=False)
            result = {}
            if coder is not None:
                result.update(
                    detections(outputs[keys.CONFIDENCE], outputs[keys.LOCATION], coder, settings)
                )
            if keys.SEGMENTATION in outputs:
                result[keys.SEMANTIC_CLASSES] = class_map(outputs[keys.SEGMENTATION], (side, side))
            return result

        def read(encoded):
            image = tf.cond(
                tf.io.is_jpeg(encoded),
                # As evaluation decodes, while decode_image takes a coarser transform.
                lambda: tf.io.decode_jpeg(encoded, 3, dct_method="INTEGER_ACCURATE"),
                lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
            )
            image = tf.ensure_shape(image, [None, None, 3])
            return legacy_resize(image[None], (side, side))[0] / 255.0

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def from_bytes(image_bytes):
            # Sizes differ, so each picture is resized before they meet in a batch.
            images = tf.map_fn(
                read,
                image_bytes,
                fn_output_signature=tf.TensorSpec([side, side, 3], tf.float32),
                parallel_iterations=_DECODED_AT_ONCE,
            )
            return answer(images)

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "images")])
        def from_images(images):
            return answer(legacy_resize(images, (side, side)) / 255.0)

        self.from_bytes = from_bytes
        self.from_images = from_images


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
    folder.mkdir(parents=True)
    labels = folder / LABELS
    labels.write_text("".join(f"{name}\n" for name in ("background", *class_names)))
    ids = folder / label_map.FILE_NAME
    label_map.write_label_map(ids, class_names)
    module.labels = [tf.saved_model.Asset(str(path)) for path in (labels, ids)]
    tf.saved_model.save(
        module,
        str(folder),
        signatures={
            tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: functions.from_bytes,
            "images": functions.from_images,
        },
    )
    labels.unlink()
    ids.unlink()
