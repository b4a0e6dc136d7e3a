"""Ground truth beside prediction, drawn, and as files."""

import io

import numpy as np
from PIL import Image

from blitznet import keys, visualize
from blitznet.examples import decode_mask, without_padding


def draw(example, prediction, class_names):
    """uint8 `[H, W, 3]`: ground truth beside prediction, boxes and class maps on the picture.

    Of a picture that is classified: it under its class's name, beside the likeliest ones'.
    `class_names` as `Evaluation` has them.
    """
    image = Image.open(io.BytesIO(example[keys.ENCODED_IMAGE])).convert("RGB")
    truth = predicted = np.asarray(image)
    if keys.CLASS_LOGITS in prediction:
        probabilities = _softmax(prediction[keys.CLASS_LOGITS])
        return visualize.name_classes(
            truth, probabilities, class_names, int(example[keys.CLASS_LABEL])
        )
    classes = len(class_names) + 1
    if example[keys.HAS_MASK]:
        truth = visualize.overlay_classes(truth, decode_mask(example), classes)
    if keys.SEMANTIC_CLASSES in prediction:
        found = prediction[keys.SEMANTIC_CLASSES]
        predicted = visualize.overlay_classes(predicted, found, classes)
    boxes, labels, crowd = without_padding(example, (keys.BOXES, keys.LABELS, keys.IS_CROWD))
    # A crowd is not to be found as one object.
    truth = visualize.draw_detections(truth, boxes[~crowd], labels[~crowd], None, class_names)
    if keys.DETECTION_BOXES in prediction:
        sure = visualize.worth_drawing(prediction[keys.DETECTION_SCORES])
        predicted = visualize.draw_detections(
            predicted,
            prediction[keys.DETECTION_BOXES][sure],
            prediction[keys.DETECTION_CLASSES][sure],
            prediction[keys.DETECTION_SCORES][sure],
            class_names,
        )
    return visualize.side_by_side([truth, predicted], ["ground truth", "prediction"])


def pictures(example, prediction, class_names):
    """PNG files (bytes) of one picture, by what is added to its name.

    ".png": `draw`; where there is a predicted class map or a mask, "-classes.png" and
    "-true-classes.png": class ids with VOC's palette.
    """
    panel = io.BytesIO()
    Image.fromarray(draw(example, prediction, class_names)).save(panel, "PNG")
    files = {".png": panel.getvalue()}
    if keys.SEMANTIC_CLASSES in prediction:
        files["-classes.png"] = visualize.palette_png(prediction[keys.SEMANTIC_CLASSES])
    if example.get(keys.HAS_MASK):
        files["-true-classes.png"] = visualize.palette_png(decode_mask(example))
    return files


def _softmax(logits):
    powers = np.exp(logits - np.max(logits))
    return powers / powers.sum()
