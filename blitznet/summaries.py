"""TensorBoard summaries of training and evaluation, in the run's folder."""

import numpy as np
import tensorflow as tf

from blitznet import keys, visualize
from blitznet.distribution import local_parts
from blitznet.evaluation_pictures import sure_detections

_PICTURES = 4


class SummaryWriter:
    """Writes scalars and pictures of one run; files appear with the first summary."""

    def __init__(self, run_dir):
        self._writer = tf.summary.create_file_writer(str(run_dir))

    def scalars(self, report, speed):
        """Losses, scores and learning rate of an `engine.StepReport`, and a dict of its speed."""
        with self._writer.as_default(step=report.step):
            for name, value in report.losses.items():
                tf.summary.scalar(f"loss/{name}", value)
            for name, value in report.scores.items():
                tf.summary.scalar(f"train/{name}", value)
            tf.summary.scalar("learning_rate", report.rate)
            for name, value in speed.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def pictures(self, report, predict, coder, class_names):
        """Predictions beside the targets, for the first pictures of the report's batch."""
        panels = []
        for part in local_parts(report.batch):
            batch = {name: value[: _PICTURES - len(panels)] for name, value in part.items()}
            answer = predict(batch[keys.IMAGE])
            count = len(batch[keys.IMAGE])
            panels += [_panel(i, batch, answer, coder, class_names) for i in range(count)]
            if len(panels) == _PICTURES:
                break
        with self._writer.as_default(step=report.step):
            tf.summary.image("predictions", visualize.stacked(panels), max_outputs=_PICTURES)
        self._writer.flush()


class NoSummaries:
    """A `SummaryWriter` that writes nothing, for all workers but one."""

    def scalars(self, report, speed):
        """Nothing."""

    def pictures(self, report, predict, coder, class_names):
        """Nothing."""


def write_scores(folder, step, scores):
    """Write the scores of an evaluation, dict name -> float, as scalars of `step` in `folder`."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=step):
        for name, value in scores.items():
            tf.summary.scalar(name, value)
    writer.close()


def _panel(i, batch, answer, coder, class_names):
    """Picture `i` twice, side by side: its targets, and what the network answers."""
    image = (batch[keys.IMAGE][i].numpy() * 255).round().astype(np.uint8)
    if keys.CLASS_LABEL in batch:
        scores = tf.nn.softmax(answer[keys.CLASS_LOGITS][i]).numpy()
        label = int(batch[keys.CLASS_LABEL][i])
        return visualize.name_classes(image, scores, class_names, label)
    answer = {name: value[i].numpy() for name, value in answer.items()}
    mask = found = None
    if keys.MASK in batch:
        mask = _grow(batch[keys.MASK][i].numpy(), image.shape[:2])
        found = _grow(answer[keys.SEGMENTATION].argmax(axis=-1), image.shape[:2])
    boxes, labels = np.zeros((0, 4)), np.zeros(0, int)
    if keys.PRIOR_LABELS in batch:
        boxes, labels = target_boxes(batch, i, coder)
    truth = visualize.draw(image, mask, boxes, labels, None, class_names)
    predicted = visualize.draw(image, found, *sure_detections(answer), class_names)
    return visualize.side_by_side([truth, predicted], ["ground truth", "prediction"])


def target_boxes(batch, i, coder):
    """`(boxes [N, 4] yxyx, labels [N])` that picture `i`'s positive prior boxes encode."""
    labels = batch[keys.PRIOR_LABELS][i].numpy()
    boxes = coder.decode(batch[keys.PRIOR_OFFSETS][i]).numpy()
    positive = labels > 0
    rows = np.column_stack([boxes[positive].round(3), labels[positive]])
    rows = np.unique(rows, axis=0)
    return rows[:, :4], rows[:, 4].astype(int)


def _grow(class_map, size):
    """Nearest neighbours of a class map `[F, G]` at `size` = (height, width), uint8."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, class_map.shape))
    return class_map[np.ix_(rows, columns)].astype(np.uint8)
