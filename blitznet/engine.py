"""The train step, the training loop, and prediction over batches."""

import contextlib
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from blitznet import accumulation, distribution, keys, monitor
from blitznet.layers import LegacyResize
from blitznet.losses.classification import classification_loss
from blitznet.losses.detection import detection_loss
from blitznet.losses.segmentation import segmentation_loss
from blitznet.postprocess.detection import detections
from blitznet.postprocess.tiles import tiled_class_map


class NonFiniteLoss(RuntimeError):
    """A loss or gradient became NaN or infinite; the text names terms, step and pictures."""


@dataclass(frozen=True)
class StepSettings:
    """How a training step is computed.

    Attributes:
      accumulate: number of parts that a batch is taken in, one after the other, so that memory
        for one part is enough (`accumulation.gradients`).
      clip_norm: the largest norm of all gradients together that is applied, None for any.
      xla: whether XLA compiles the step.
    """

    accumulate: int = 1
    clip_norm: float = None
    xla: bool = False


def batch_losses(model, outputs, batch, prior_loss=detection_loss, pixel_loss=segmentation_loss):
    """All loss terms of a batch, and their unweighted sum as `total`.

    `outputs`: what the model answered for the batch's images. `prior_loss`: that of the prior
    boxes, as `losses.detection.make_detection_loss` gives it; `pixel_loss`: one of
    `losses.segmentation.LOSSES`. Tasks without targets in the batch do not count. Of several
    replicas each has its part of the sums.
    """
    losses = {}
    if keys.PRIOR_LABELS in batch:
        losses.update(
            prior_loss(
                outputs[keys.CONFIDENCE],
                outputs[keys.LOCATION],
                batch[keys.PRIOR_LABELS],
                batch[keys.PRIOR_OFFSETS],
            )
        )
    if keys.MASK in batch:
        losses.update(pixel_loss(outputs[keys.SEGMENTATION], batch[keys.MASK]))
    if keys.CLASS_LABEL in batch:
        losses.update(classification_loss(outputs[keys.CLASS_LOGITS], batch[keys.CLASS_LABEL]))
    if model.losses:
        losses[keys.LOSS_WEIGHT_DECAY] = distribution.share_of_replica(tf.add_n(model.losses))
    losses[keys.LOSS_TOTAL] = tf.add_n(list(losses.values()))
    return losses


def make_train_step(
    model,
    optimizer,
    coder=None,
    prior_loss=detection_loss,
    settings=StepSettings(),
    devices=None,
    pixel_loss=segmentation_loss,
):
    """A compiled `batch -> (losses, scores)`, both dicts of scalars, that updates the weights.

    `coder` is the network's `PriorCoder`, None without detection; `prior_loss` and `pixel_loss` as
    for `batch_losses`, of fixed shapes for XLA; `settings` a `StepSettings`, without `accumulate`
    and `xla` for several replicas; `devices` the `distribution.Devices` that the batch is
    divided over. Scores have the norm of the gradients before it is clipped. Where the optimizer
    scales the loss (`loss_scaling.LossScale`, not for several replicas) they also have
    `loss_scale`, and a step whose gradients overflow leaves the weights alone and has norm 0.
    """
    devices = devices or distribution.start("none")
    scaling = getattr(optimizer, "loss_scale", None)
    if settings.xla:
        for layer in model.layers:
            if isinstance(layer, LegacyResize):
                layer.for_xla = True
    # Each replica moves batch norm's statistics by its own pictures: the mean of all is kept.
    averaged = model.non_trainable_variables if devices.replicas > 1 else []

    def step_of_replica(batch):
        def loss_of(outputs):
            losses = batch_losses(model, outputs, batch, prior_loss, pixel_loss)
            total = losses[keys.LOSS_TOTAL]
            scaled = scaling.scale_up(total) if scaling else total
            return scaled, (losses, _batch_counts(outputs, batch, coder))

        (losses, counts), gradients = accumulation.gradients(
            model, batch[keys.IMAGE], settings.accumulate, loss_of
        )
        statistics = [distribution.share_of_replica(v) for v in averaged]
        return distribution.sum_over_replicas((losses, counts, gradients, statistics))

    def update(gradients):
        # Outside of the replicas: within them Keras 3 would sum the gradients once more.
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    # Of pictures of their own sizes, one graph for all of them is traced after a few.
    @tf.function(jit_compile=settings.xla, reduce_retracing=True)
    def train_step(batch):
        losses, counts, gradients, statistics = devices.on_replicas(step_of_replica, batch)
        for variable, value in zip(averaged, statistics):
            variable.assign(value)
        scores = monitor.scores(counts)
        if scaling:
            gradients = scaling.scale_down(gradients)
        norm = tf.linalg.global_norm(gradients)
        if settings.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, settings.clip_norm, use_norm=norm)
        if scaling:
            scores["loss_scale"] = tf.identity(scaling.value)
            norm = scaling.update_if_finite(norm, lambda: update(gradients))
        else:
            update(gradients)
        return losses, {**scores, "gradient_norm": norm}

    # XLA knows no strings.
    return lambda batch: train_step({k: v for k, v in batch.items() if k != keys.FILENAME})


def _batch_counts(outputs, batch, coder):
    counts = {}
    if keys.PRIOR_LABELS in batch:
        predicted = coder.best_class(outputs[keys.CONFIDENCE])
        counts.update(monitor.prior_counts(predicted, batch[keys.PRIOR_LABELS]))
    if keys.MASK in batch:
        counts.update(monitor.pixel_counts(outputs[keys.SEGMENTATION], batch[keys.MASK]))
    if keys.CLASS_LABEL in batch:
        counts.update(monitor.class_counts(outputs[keys.CLASS_LOGITS], batch[keys.CLASS_LABEL]))
    return counts


@dataclass(frozen=True)
class StepReport:
    """What one training step did: its number (from 1), rate, losses, scores and batch."""

    step: int
    rate: float
    losses: dict
    scores: dict
    batch: dict


def train(train_step, optimizer, batches, rate_at, start, stop):
    """Generator of a `StepReport` after each of the steps `start + 1` to `stop`.

    Args:
      train_step: what `make_train_step` returned.
      optimizer: its optimizer; the rate is set before each step.
      batches: iterable of batches.
      rate_at: number of earlier steps -> learning rate.
      start, stop: steps done before, and at the end.

    Raises:
      NonFiniteLoss: at the first loss or gradient that is NaN or infinite.
    """
    for step, batch in zip(range(start + 1, stop + 1), batches):
        rate = rate_at(step - 1)
        optimizer.learning_rate.assign(rate)
        losses, scores = train_step(batch)
        losses = {name: float(value) for name, value in losses.items()}
        scores = {name: float(value) for name, value in scores.items()}
        _check_finite(step, losses, scores, batch)
        yield StepReport(step, rate, losses, scores, batch)


def _check_finite(step, losses, scores, batch):
    # Scores too: a gradient that is not finite has ruined the weights, whatever the losses were.
    values = {**losses, **scores}
    broken = [name for name, value in values.items() if not np.isfinite(value)]
    if broken:
        # Names alone: pictures of two replicas may be of two sizes.
        files = distribution.local_batch({keys.FILENAME: batch[keys.FILENAME]})
        names = ", ".join(name.decode() for name in files[keys.FILENAME].numpy())
        raise NonFiniteLoss(
            f"step {step}: {', '.join(broken)} not finite ({values}); pictures here: {names}. "
            "A lower --learning_rate or a longer --warmup_step may help"
        )


@contextlib.contextmanager
def catch_signals(*numbers):
    """Inside, the given signals are only noted: yields a list that they are appended to.

    A second one of the kind acts as usual.
    """
    caught, previous = [], {}

    def note(number, frame):
        caught.append(number)
        signal.signal(number, previous[number])

    for number in numbers:
        previous[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def make_predict(model, coder, settings, segment=True):
    """A compiled `images [B, S, S, 3] in [0, 1] -> dict`, of any size where the model takes any.

    With detection: the entries of `postprocess.detection.detections`; with segmentation:
    `segmentation` logits; of a classifier `class_logits`. `coder` and `settings` may be
    None to leave detection out, `segment` False to leave segmentation out. An output of the network
    that is not finite raises `tf.errors.InvalidArgumentError` naming it: NMS would drop NaN
    without a word.
    """

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.float32)])
    def predict(images):
        outputs = {
            name: tf.debugging.check_numerics(value, f"{name} is not finite")
            for name, value in model(images, training=False).items()
        }
        answer = {}
        if coder is not None and keys.CONFIDENCE in outputs:
            answer.update(
                detections(outputs[keys.CONFIDENCE], outputs[keys.LOCATION], coder, settings)
            )
        if segment and keys.SEGMENTATION in outputs:
            answer[keys.SEGMENTATION] = outputs[keys.SEGMENTATION]
        if keys.CLASS_LOGITS in outputs:
            answer[keys.CLASS_LOGITS] = outputs[keys.CLASS_LOGITS]
        return answer

    return predict


def predictions(predict, batches):
    """Generator of `(example, prediction)`, NumPy, picture by picture.

    `batches` are those of `datasets.pipeline.evaluation_dataset`. A prediction has
    `detection_boxes` `[N, 4]`, `detection_scores` and `detection_classes` `[N]`, only the valid
    ones, `semantic_classes` `[H, W]` at the picture's own size, and `class_logits` `[N]`, for the
    model's tasks.

    A thread predicts the next batch while the caller has the pictures of the last one.
    """

    def predict_batch(batch):
        return list(_predict_each(predict, batch))

    with ThreadPoolExecutor(1) as thread:
        pending = None
        for batch in batches:
            upcoming = thread.submit(predict_batch, batch)
            if pending:
                yield from pending.result()
            pending = upcoming
        if pending:
            yield from pending.result()


def _predict_each(predict, batch):
    answer = predict(batch[keys.IMAGE])
    answer = {name: value.numpy() for name, value in answer.items()}
    logits = answer.pop(keys.SEGMENTATION, None)
    examples = {name: value.numpy() for name, value in batch.items() if name != keys.IMAGE}
    for i in range(len(examples[keys.FILENAME])):
        example = {name: value[i] for name, value in examples.items()}
        prediction = {}
        if keys.CLASS_LOGITS in answer:
            prediction[keys.CLASS_LOGITS] = answer[keys.CLASS_LOGITS][i]
        if keys.NUM_DETECTIONS in answer:
            count = answer[keys.NUM_DETECTIONS][i]
            for name in (keys.DETECTION_BOXES, keys.DETECTION_SCORES, keys.DETECTION_CLASSES):
                prediction[name] = answer[name][i, :count]
        if logits is not None:
            size = example[keys.HEIGHT], example[keys.WIDTH]
            prediction[keys.SEMANTIC_CLASSES] = tiled_class_map(logits[i], *size)
        yield example, prediction
