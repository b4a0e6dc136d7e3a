"""TensorBoard summaries, read back from the event files."""

import numpy as np
import pytest
import tensorflow as tf

from blitznet import keys
from blitznet.coding import PriorCoder
from blitznet.engine import StepReport
from blitznet.summaries import SummaryWriter, target_boxes
from blitznet.visualize import name_classes
from helpers import OnReplicas
from tiny_run import read_events

PRIORS = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.1, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]], np.float32)
BOXES = np.array([[0.05, 0.0, 0.55, 0.5], [0.5, 0.5, 1.0, 0.9]], np.float32)
CODER = PriorCoder(PRIORS)


def batch(detect=True, segment=True):
    labels, offsets = CODER.encode(tf.constant(BOXES), tf.constant([2, 1]))
    content = {keys.IMAGE: tf.fill([1, 32, 32, 3], 0.5)}
    if detect:
        content |= {keys.PRIOR_LABELS: labels[None], keys.PRIOR_OFFSETS: offsets[None]}
    if segment:
        content[keys.MASK] = tf.constant(np.full((1, 8, 8), 255, np.uint8))
    return content


def predict(images):
    return {
        keys.DETECTION_BOXES: tf.constant([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]]),
        keys.DETECTION_SCORES: tf.constant([[0.9, 0.0]]),
        keys.DETECTION_CLASSES: tf.constant([[1, 0]]),
        keys.SEGMENTATION: tf.one_hot(tf.ones([1, 8, 8], tf.int32), 3),
    }


def report(content):
    return StepReport(40, 1e-3, {"total": 3.5, "box": 0.25}, {"recall": 0.75}, content)


def test_scalars_stand_at_their_step_under_readable_names(tmp_path):
    SummaryWriter(tmp_path).scalars(report({}), {"images_per_second": 12.5})
    scalars, images = read_events(tmp_path)
    assert images == {}
    assert {name: (step, pytest.approx(value)) for name, ((step, value),) in scalars.items()} == {
        "loss/total": (40, 3.5),
        "loss/box": (40, 0.25),
        "train/recall": (40, 0.75),
        "learning_rate": (40, 1e-3),
        "images_per_second": (40, 12.5),
    }


@pytest.mark.parametrize(("detect", "segment"), [(True, True), (True, False), (False, True)])
def test_pictures_show_targets_beside_predictions(tmp_path, detect, segment):
    writer = SummaryWriter(tmp_path)
    content = batch(detect, segment)
    writer.pictures(report(content), predict, CODER if detect else None, ("cat", "dog"))
    scalars, images = read_events(tmp_path)
    assert scalars == {} and list(images) == ["predictions"]
    ((step, panel),) = images["predictions"]
    assert step == 40
    left, right = panel[:, : panel.shape[1] // 2], panel[:, panel.shape[1] // 2 :]
    assert panel.dtype == np.uint8 and np.any(left != right)


def test_a_classifiers_pictures_show_the_likeliest_classes(tmp_path):
    logits = np.log(np.array([[0.2, 0.7, 0.1]], np.float32))
    content = {keys.IMAGE: tf.fill([1, 32, 32, 3], 0.5), keys.CLASS_LABEL: tf.constant([2])}
    names = ("cat", "dog", "emu")
    answer = {keys.CLASS_LOGITS: tf.constant(logits)}
    SummaryWriter(tmp_path).pictures(report(content), lambda images: answer, None, names)
    ((_, panel),) = read_events(tmp_path)[1]["predictions"]
    picture = np.full((32, 32, 3), 128, np.uint8)
    np.testing.assert_array_equal(panel, name_classes(picture, [0.2, 0.7, 0.1], names, 2))


def masked(count, height, width, seed):
    """A part of a batch: pictures and masks of their own size."""
    random = np.random.default_rng(seed)
    image = random.random((count, height, width, 3), np.float32)
    mask = random.integers(0, 3, (count, height, width)).astype(np.uint8)
    return {keys.IMAGE: tf.constant(image), keys.MASK: tf.constant(mask)}


def segment(images):
    """Another class for every tenth of brightness."""
    classes = tf.cast(images[..., 0] * 10, tf.int32) % 3
    return {keys.SEGMENTATION: tf.one_hot(classes, 3)}


def panels(folder, content):
    SummaryWriter(folder).pictures(report(content), segment, None, ("cat", "dog"))
    return [panel for _, panel in read_events(folder)[1]["predictions"]]


def test_the_first_pictures_of_parts_of_two_sizes_are_shown_on_paper(tmp_path):
    one, two = masked(3, 40, 24, 1), masked(3, 32, 48, 2)
    content = {name: OnReplicas(one[name], two[name]) for name in one}
    found = panels(tmp_path / "both", content)
    expected = panels(tmp_path / "one", one) + panels(tmp_path / "two", two)[:1]
    assert len({panel.shape for panel in expected}) == 2 and len(found) == 4
    for panel, alone in zip(found, expected):
        height, width = alone.shape[:2]
        np.testing.assert_array_equal(panel[:height, :width], alone)
        assert np.all(panel[height:] == 255) and np.all(panel[:, width:] == 255)


def test_targets_are_drawn_from_what_the_prior_boxes_encode():
    """Two prior boxes stand for the first object, which is drawn once."""
    labels, _ = CODER.encode(tf.constant(BOXES), tf.constant([2, 1]))
    assert labels.numpy().tolist() == [2, 2, 1]
    boxes, found = target_boxes(batch(), 0, CODER)
    order = np.argsort(found)
    assert found[order].tolist() == [1, 2]
    np.testing.assert_allclose(boxes[order], BOXES[::-1], atol=1e-3)


def test_a_picture_without_objects_has_no_target_boxes():
    empty = {keys.PRIOR_LABELS: tf.zeros([1, 3], tf.int32), keys.PRIOR_OFFSETS: tf.zeros([1, 3, 4])}
    boxes, labels = target_boxes(empty, 0, CODER)
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))
