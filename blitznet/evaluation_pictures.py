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
    image = np.asarray(Image.open(io.BytesIO(example[keys.ENCODED_IMAGE])).convert("RGB"))
    if keys.CLASS_LOGITS in prediction:
        probabilities = _softmax(prediction[keys.CLASS_LOGITS])
        label = int(example[keys.CLASS_LABEL])
        return visualize.name_classes(image, probabilities, class_names, label)
    boxes, labels, crowd = without_padding(example, (keys.BOXES, keys.LABELS, keys.IS_CROWD))
    # A crowd is not to be found as one object, and nothing is without detection.
    wanted = ~crowd & (keys.DETECTION_BOXES in prediction)
    mask = decode_mask(example) if example[keys.HAS_MASK] else None
    truth = visualize.draw(image, mask, boxes[wanted], labels[wanted], None, class_names)
    predicted = visualize.draw(
        image, prediction.get(keys.SEMANTIC_CLASSES), *sure_detections(prediction), class_names
    )
    return visualize.side_by_side([truth, predicted], ["ground truth", "prediction"])


def sure_detections(prediction):
    """Boxes `[N, 4]`, class ids and scores that are worth drawing of one picture's answer, a dict
    of arrays; none of a network that does not detect.
    """
    if keys.DETECTION_BOXES not in prediction:
        return np.zeros((0, 4)), np.zeros(0, int), np.zeros(0)
    sure = visualize.worth_drawing(prediction[keys.DETECTION_SCORES])
    names = (keys.DETECTION_BOXES, keys.DETECTION_CLASSES, keys.DETECTION_SCORES)
    return tuple(prediction[name][sure] for name in names)


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
