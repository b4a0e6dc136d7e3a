"""The training loop, signals, and prediction over batches."""

import math
import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from blitznet import engine, keys
from blitznet.coding import PriorCoder
from blitznet.imaging import legacy_resize
from blitznet.losses.detection import detection_loss
from blitznet.losses.segmentation import segmentation_loss
from blitznet.postprocess.settings import DetectionSettings
from helpers import OnReplicas

PRIORS = np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]], np.float32)
CLASSES, SIDE = 3, 4


def answering(confidence, location, segmentation, decay=0.0):
    """A model of 8-pixel pictures whose raw outputs are constants plus a trained zero."""

    class Constant(keras.layers.Layer):
        def build(self, shape):
            penalty = keras.regularizers.L2(decay) if decay else None
            self.shift = self.add_weight(
                name="shift", shape=(), initializer="zeros", regularizer=penalty
            )

        def call(self, images):
            outputs = {}
            for name, value in values.items():
                value = tf.constant(value, tf.float32)[None]
                many = tf.repeat(value, tf.shape(images)[0], axis=0)
                outputs[name] = many + self.shift
            return outputs

    values = {
        keys.CONFIDENCE: confidence,
        keys.LOCATION: location,
        keys.SEGMENTATION: segmentation,
    }
    values = {name: value for name, value in values.items() if value is not None}
    images = keras.Input((8, 8, 3))
    return keras.Model(images, Constant(name="constant")(images))


CONFIDENCE = np.array([[0.0, 3.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
LOCATION = np.zeros((2, 4), np.float32)
SEGMENTATION = np.zeros((SIDE, SIDE, CLASSES), np.float32)
SEGMENTATION[..., 2] = 1
SEGMENTATION[:2, :, 1] = 2


def batch_of(count):
    return {
        keys.IMAGE: tf.zeros([count, 8, 8, 3]),
        keys.FILENAME: tf.constant([f"{i}.jpg" for i in range(count)]),
        keys.PRIOR_LABELS: tf.constant([[1, 0]] * count),
        keys.PRIOR_OFFSETS: tf.ones([count, 2, 4]) * 0.5,
        keys.MASK: tf.ones([count, SIDE, SIDE], tf.uint8),
    }


def test_the_total_is_the_unweighted_sum_of_all_terms():
    model = answering(CONFIDENCE, LOCATION, SEGMENTATION, decay=0.25)
    model.get_layer("constant").shift.assign(2.0)
    batch = batch_of(2)
    outputs = model(batch[keys.IMAGE])
    losses = engine.batch_losses(model, outputs, batch)
    expected = {
        **detection_loss(
            outputs[keys.CONFIDENCE],
            outputs[keys.LOCATION],
            batch[keys.PRIOR_LABELS],
            batch[keys.PRIOR_OFFSETS],
        ),
        **segmentation_loss(outputs[keys.SEGMENTATION], batch[keys.MASK]),
        keys.LOSS_WEIGHT_DECAY: 0.25 * 2.0**2,
    }
    total = losses.pop(keys.LOSS_TOTAL)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-6)
    np.testing.assert_allclose(total, sum(map(float, expected.values())), rtol=1e-6)


@pytest.mark.parametrize(
    ("left_out", "expected"),
    [
        ([keys.MASK], {keys.LOSS_CLASS, keys.LOSS_BOX, keys.LOSS_TOTAL}),
        (
            [keys.PRIOR_LABELS, keys.PRIOR_OFFSETS],
            {keys.LOSS_SEGMENTATION, keys.LOSS_TOTAL},
        ),
    ],
)
def test_a_task_without_targets_does_not_count(left_out, expected):
    model = answering(CONFIDENCE, LOCATION, SEGMENTATION)
    batch = {name: value for name, value in batch_of(1).items() if name not in left_out}
    assert engine.batch_losses(model, model(batch[keys.IMAGE]), batch).keys() == expected


def test_a_step_goes_down_the_gradient_of_the_total():
    """One shared shift moves every logit and offset: only the box term has a slope in it.

    Offsets 0 against targets 0.5 on one positive: smooth L1 has slope -0.5 in each of four.
    """
    model = answering(CONFIDENCE, LOCATION, SEGMENTATION)
    step = engine.make_train_step(model, keras.optimizers.SGD(0.1), PriorCoder(PRIORS))
    losses, scores = step(batch_of(1))
    np.testing.assert_allclose(losses[keys.LOSS_BOX], 4 * 0.5 * 0.5**2)
    np.testing.assert_allclose(model.get_layer("constant").shift.numpy(), 0.1 * 2.0, rtol=1e-5)
    assert float(scores["pixel_accuracy"]) == 0.5
    assert float(scores["recall"]) == 1.0


def reports(losses, start=0, stop=10, rates=lambda step: 0.1 * step):
    """Run the loop on a train step that answers the given losses in turn."""
    optimizer = SimpleNamespace(learning_rate=tf.Variable(0.0))
    seen = []

    def train_step(batch):
        seen.append(round(float(optimizer.learning_rate.numpy()), 6))
        return {"class": tf.constant(losses[len(seen) - 1])}, {"recall": tf.constant(0.5)}

    found = engine.train(train_step, optimizer, [batch_of(2)] * 20, rates, start, stop)
    return found, seen


def test_steps_count_from_one_and_the_rate_is_that_of_the_earlier_steps():
    found, seen = reports([3.0, 2.0, 1.0], start=4, stop=7)
    found = list(found)
    assert [r.step for r in found] == [5, 6, 7]
    assert [r.losses for r in found] == [{"class": 3.0}, {"class": 2.0}, {"class": 1.0}]
    assert [r.scores for r in found] == [{"recall": 0.5}] * 3
    np.testing.assert_allclose([r.rate for r in found], [0.4, 0.5, 0.6])
    np.testing.assert_allclose(seen, [0.4, 0.5, 0.6])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_loss_that_is_not_finite_stops_with_term_step_and_pictures(bad):
    found, seen = reports([1.0, bad, 1.0])
    assert next(found).step == 1
    with pytest.raises(engine.NonFiniteLoss, match=r"step 2: class not finite .*0\.jpg, 1\.jpg"):
        next(found)
    assert len(seen) == 2


def test_a_loss_of_replicas_that_is_not_finite_names_the_pictures_of_all():
    """Parts of a batch of pictures of their own sizes cannot be joined."""
    batch = {
        keys.IMAGE: OnReplicas(tf.zeros([2, 6, 8, 3]), tf.zeros([1, 8, 6, 3])),
        keys.FILENAME: OnReplicas(tf.constant(["a.jpg", "b.jpg"]), tf.constant(["c.jpg"])),
    }
    steps = engine.train(
        lambda batch: ({"class": tf.constant(math.nan)}, {}),
        SimpleNamespace(learning_rate=tf.Variable(0.0)),
        [batch],
        lambda step: 0.1,
        0,
        1,
    )
    with pytest.raises(engine.NonFiniteLoss, match=r"pictures here: a\.jpg, b\.jpg, c\.jpg\."):
        next(steps)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_saved():
    optimizer = SimpleNamespace(learning_rate=tf.Variable(0.0))
    scores = {"gradient_norm": tf.constant(math.inf)}
    steps = engine.train(
        lambda batch: ({"class": tf.constant(1.0)}, scores),
        optimizer,
        [batch_of(2)],
        lambda step: 0.1,
        0,
        1,
    )
    with pytest.raises(engine.NonFiniteLoss, match="step 1: gradient_norm not finite"):
        next(steps)


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where a shell started the tests with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_signals_are_noted_inside_and_act_as_before_outside():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with engine.catch_signals(signal.SIGINT, signal.SIGTERM) as caught:
        assert caught == []
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert caught == [signal.SIGTERM, signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def evaluation_batch(sizes):
    return {
        keys.IMAGE: tf.zeros([len(sizes), 8, 8, 3]),
        keys.FILENAME: tf.constant([f"{h}x{w}" for h, w in sizes]),
        keys.HEIGHT: tf.constant([h for h, _ in sizes]),
        keys.WIDTH: tf.constant([w for _, w in sizes]),
    }


def test_predictions_are_for_each_picture_its_own_size_and_its_valid_detections():
    model = answering(CONFIDENCE, LOCATION, SEGMENTATION)
    settings = DetectionSettings(conf_thresh=0.3)
    predict = engine.make_predict(model, PriorCoder(PRIORS), settings)
    found = list(
        engine.predictions(
            predict, [evaluation_batch([(6, 10), (5, 5)]), evaluation_batch([(9, 3)])]
        )
    )
    assert [example[keys.FILENAME] for example, _ in found] == [b"6x10", b"5x5", b"9x3"]
    sure = math.exp(3) / (math.exp(3) + 2)
    unsure = math.e / (math.e + 2)
    for example, prediction in found:
        np.testing.assert_allclose(prediction[keys.DETECTION_SCORES], [sure, unsure], rtol=1e-5)
        assert prediction[keys.DETECTION_CLASSES].tolist() == [1, 2]
        np.testing.assert_allclose(
            prediction[keys.DETECTION_BOXES], [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], atol=1e-6
        )
        size = (example[keys.HEIGHT], example[keys.WIDTH])
        expected = np.argmax(legacy_resize(SEGMENTATION[None], size)[0], axis=-1)
        assert prediction[keys.SEMANTIC_CLASSES].shape == size
        np.testing.assert_array_equal(prediction[keys.SEMANTIC_CLASSES], expected)


def test_the_next_batch_is_predicted_while_the_caller_has_the_last_one():
    next_begins, asked = threading.Event(), []

    def predict(images):
        asked.append(len(images))
        if len(asked) == 2:
            next_begins.set()
        return {keys.SEGMENTATION: tf.constant(SEGMENTATION[None])}

    batches = [evaluation_batch([(4, 4)]) for _ in range(3)]
    found = engine.predictions(predict, batches)
    next(found)
    assert next_begins.wait(60)
    assert len(list(found)) == 2
    assert asked == [1, 1, 1]


def test_tasks_can_be_left_out():
    model = answering(CONFIDENCE, LOCATION, SEGMENTATION)
    boxes = engine.make_predict(model, PriorCoder(PRIORS), DetectionSettings(), segment=False)
    classes = engine.make_predict(model, None, None)
    batch = evaluation_batch([(8, 8)])
    ((_, of_boxes),) = engine.predictions(boxes, [batch])
    ((_, of_classes),) = engine.predictions(classes, [batch])
    assert keys.SEMANTIC_CLASSES not in of_boxes and keys.DETECTION_BOXES in of_boxes
    assert list(of_classes) == [keys.SEMANTIC_CLASSES]


@pytest.mark.parametrize("broken", [keys.CONFIDENCE, keys.LOCATION, keys.SEGMENTATION])
def test_a_network_that_answers_nan_is_named_and_no_empty_result(broken):
    outputs = {
        keys.CONFIDENCE: CONFIDENCE.copy(),
        keys.LOCATION: LOCATION.copy(),
        keys.SEGMENTATION: SEGMENTATION.copy(),
    }
    outputs[broken].flat[0] = np.nan
    predict = engine.make_predict(
        answering(*outputs.values()), PriorCoder(PRIORS), DetectionSettings()
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{broken} is not finite"):
        list(engine.predictions(predict, [evaluation_batch([(8, 8)])]))
