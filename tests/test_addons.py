"""Losses of tensorflow-addons or Keras, and runs that are trained with what they give."""

import json

import numpy as np
import pytest
import tensorflow as tf

from blitznet import addons, engine, runs
from blitznet.coding import PriorCoder
from blitznet.losses.detection import hard_negative_softmax, make_detection_loss
from blitznet.variables import variables_by_path
from helpers import needs_addons, without_addons
from tiny_run import evaluate, read_events, tensors, train
from tools import export_saved_model

SOME_PRIORS = np.float32(
    [[0.1, 0.1, 0.4, 0.4], [0, 0.5, 0.6, 0.3], [0.5, 0, 0.5, 0.9], [0.3, 0.3, 0.2, 0.2]]
)


def focal_by_formula(confidence, labels):
    """arXiv 1708.02002, equation 5, in float64."""
    logits = confidence.astype("f8")[..., 1:]
    truth = np.arange(1, confidence.shape[-1]) == labels[..., None]
    # log p and log(1 - p), each without cancellation.
    log_p, log_not_p = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    p = np.exp(log_p)
    positive = -0.25 * (1 - p) ** 2 * log_p
    negative = -0.75 * p**2 * log_not_p
    return np.where(truth, positive, negative).sum()


def test_focal_loss_by_hand():
    # Scores of 1/2 for each of two classes: (1/2)^2 ln 2, by 1/4 where right, by 3/4 elsewhere.
    confidence, labels = np.float32([[[9, 0, 0], [-9, 0, 0]]]), np.int32([[1, 0]])
    expected = 0.25 * np.log(2) * (0.25 + 3 * 0.75)
    assert float(addons.focal_loss(confidence, labels)) == pytest.approx(expected, rel=1e-6)


def test_focal_loss_equals_a_second_implementation():
    rng = np.random.default_rng(4)
    confidence = rng.normal(0, 4, (3, 50, 6)).astype("f4")
    labels = np.where(rng.random((3, 50)) < 0.2, rng.integers(1, 6, (3, 50)), 0).astype("i4")
    found = tf.function(addons.focal_loss)(confidence, labels)
    assert float(found) == pytest.approx(focal_by_formula(confidence, labels), rel=1e-5)


def test_focal_loss_and_its_slope_hold_for_extreme_logits():
    # What is right costs nothing; what is wrong costs its logit, by 1/4 or 3/4.
    confidence = tf.Variable(np.float32([[[0, 100, -100], [0, -100, 100], [0, 100, 100]]]))
    with tf.GradientTape() as tape:
        loss = addons.focal_loss(confidence, np.int32([[1, 1, 0]]))
    assert float(loss) == pytest.approx(0.25 * 100 + 3 * 0.75 * 100, rel=1e-6)
    slope = [[[0, 0, 0], [0, -0.25, 0.75], [0, 0.75, 0.75]]]
    np.testing.assert_allclose(tape.gradient(loss, confidence), slope, rtol=1e-6, atol=1e-6)


def test_scores_under_focal_loss_are_sigmoids_of_the_classes():
    coder = PriorCoder(SOME_PRIORS, class_loss="focal")
    confidence = np.log(np.float32([[[1e6, 1 / 3, 3], [1e-6, 1 / 3, 1 / 4], [1, 4, 4]]]))
    expected = [[[0.25, 0.75], [0.25, 0.2], [0.8, 0.8]]]
    np.testing.assert_allclose(coder.class_scores(confidence), expected, rtol=1e-5)
    np.testing.assert_array_equal(coder.best_class(confidence), [[2, 0, 1]])


def giou_by_formula(one, other):
    """arXiv 1902.09630, algorithm 1, for two `yxyx` boxes in float64."""
    area = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    near, far = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.maximum(far - near, 0))
    hull = np.prod(np.maximum(one[2:], other[2:]) - np.minimum(one[:2], other[:2]))
    union = sum(area) - shared
    return shared / union - (hull - union) / hull


def giou_losses(coder, location, offsets):
    """1 - GIoU `[B, P]` of the decoded boxes, one by one."""
    boxes = [coder.decode_unclipped(o).numpy().astype("f8") for o in (location, offsets)]
    return [[1 - giou_by_formula(*pair) for pair in zip(*picture)] for picture in zip(*boxes)]


def random_offsets(rng, pictures):
    return rng.normal(0, 1, (pictures, len(SOME_PRIORS), 4)).astype("f4")


@needs_addons
@pytest.mark.parametrize("pictures", [1, 2])
def test_giou_loss_equals_a_second_implementation(pictures):
    coder = PriorCoder(SOME_PRIORS)
    rng = np.random.default_rng(1)
    location, offsets = (random_offsets(rng, pictures) for _ in range(2))
    found = addons.giou_loss(coder)(tf.constant(location), tf.constant(offsets)).numpy()
    expected = giou_losses(coder, location, offsets)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@needs_addons
def test_giou_loss_by_hand():
    coder = PriorCoder(np.float32([[0, 0, 0.5, 0.5]]))
    zero = tf.zeros([1, 1, 4])
    # Half a width aside: IoU 1/3, no gap in the hull. Two widths: IoU 0, a third of the hull.
    aside, beyond = (tf.constant([[[x / 0.1, 0, 0, 0]]], tf.float32) for x in (0.5, 2))
    giou = addons.giou_loss(coder)
    assert [float(giou(x, zero)) for x in (zero, aside, beyond)] == pytest.approx(
        [0, 1 - 1 / 3, 1 + 1 / 3], abs=1e-6
    )


@needs_addons
def test_giou_loss_counts_positives_alone_and_pulls_towards_the_target():
    coder = PriorCoder(SOME_PRIORS)
    loss = make_detection_loss("softmax", "giou", coder)
    rng = np.random.default_rng(2)
    location = random_offsets(rng, 2)
    location[0, 0, 2:] = 500  # a negative whose size overflows
    location, offsets = tf.Variable(location), random_offsets(rng, 2)
    labels = np.zeros(location.shape[:2], np.int32)
    labels[1, 1:3] = 1
    confidence = tf.zeros([*location.shape[:2], 2])
    with tf.GradientTape() as tape:
        box = loss(confidence, location, labels, offsets)["box"]
    gradient = tape.gradient(box, location).numpy()
    np.testing.assert_array_equal(np.abs(gradient).sum(axis=-1) > 0, labels > 0)
    nearer = location - 0.01 * gradient
    assert loss(confidence, nearer, labels, offsets)["box"] < box


@pytest.fixture
def steps_seen(monkeypatch, eagerly):
    """Filled by training: weights before, outputs, batch and losses of each step, as arrays."""
    seen, batch_losses = [], engine.batch_losses

    def spy(model, outputs, batch, *losses_of):
        losses = batch_losses(model, outputs, batch, *losses_of)
        parts = (variables_by_path(model), outputs, batch, losses)
        seen.append(tuple({k: v.numpy() for k, v in part.items()} for part in parts))
        return losses

    monkeypatch.setattr(engine, "batch_losses", spy)
    return seen


@pytest.mark.parametrize(
    ("class_loss", "box_loss"),
    [("focal", "smooth_l1"), pytest.param("softmax", "giou", marks=needs_addons)],
)
def test_a_step_has_the_losses_and_the_decay_of_the_flags(
    tiny_data, tmp_path, steps_seen, class_loss, box_loss
):
    rate, decay = 1e-6, 1000
    flags = ["--detect", "--class_loss", class_loss, "--box_loss", box_loss]
    flags += ["--optimizer", "adamw", "--warmup_lr", rate, "--weight_decay", decay]
    assert train(tiny_data, *flags, "--max_iterations", 1, archive=tmp_path) == 0
    ((weights, outputs, batch, losses),) = steps_seen
    labels, offsets = batch["prior_labels"], batch["prior_offsets"]
    positive, location = labels > 0, outputs["location"]
    assert positive.sum() > 1
    _, coder, *_ = runs.load(tmp_path / "r")
    if box_loss == "giou":
        boxes = np.array(giou_losses(coder, location, offsets))
    else:
        size = np.abs(location - offsets)
        boxes = np.where(size < 1, size**2 / 2, size - 0.5).sum(axis=-1)
    assert losses["box"] == pytest.approx(boxes[positive].mean(), rel=1e-4)
    by_name = {"focal": focal_by_formula, "softmax": hard_negative_softmax}
    expected = float(by_name[class_loss](outputs["confidence"], labels)) / positive.sum()
    assert losses["class"] == pytest.approx(expected, rel=1e-4)

    trained = tensors(tmp_path / "r" / "model.ckpt-1")
    weights = {path: w for path, w in weights.items() if "/moving_" not in path}
    assert sum(path.endswith("/kernel") for path in weights) > 10
    for path, weight in weights.items():
        share = 1 - rate * decay if path.endswith("/kernel") else 1
        # Beside that, Adam moves a weight by the rate at most.
        np.testing.assert_allclose(trained[f"net/{path}"], share * weight, rtol=0, atol=2 * rate)


def protocol(archive, label, step):
    return json.loads((archive / "r" / f"evaluation-{label}-{step}.json").read_text())["protocol"]


@pytest.mark.slow
def test_a_run_of_focal_loss_and_averaged_weights_is_evaluated_as_such(tiny_data, tmp_path):
    flags = ["--class_loss", "focal", "--optimizer", "adamw", "--weight_decay", 0.05]
    flags += ["--average_weights", "ema", "--average_decay", 0.5, "--summary_every", 1]
    for steps in (2, 4):
        assert train(tiny_data, *flags, "--max_iterations", steps, archive=tmp_path) == 0
    losses, _ = read_events(tmp_path / "r")
    assert [step for step, _ in losses["loss/class"]] == [1, 2, 3, 4]
    assert "loss/weight_decay" not in losses
    model, coder, *_ = runs.load(tmp_path / "r")
    assert coder.class_loss == "focal"
    saved = tensors(tmp_path / "r" / "model.ckpt-4")
    kernel = model.get_layer("segmentation").get_weights()[0]
    np.testing.assert_array_equal(kernel, saved["average/segmentation/kernel"])
    assert np.abs(kernel - saved["net/segmentation/kernel"]).max() > 1e-6

    assert evaluate(tiny_data, archive=tmp_path) == 0
    assert evaluate(tiny_data, "--no_average", archive=tmp_path) == 0
    assert protocol(tmp_path, "voc12-val-seg", 4)["weights"] == "averaged"
    assert protocol(tmp_path, "voc12-val-seg-as-trained", 4)["weights"] == "as trained"


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_an_export_of_focal_loss_answers_as_the_live_model(tiny_data, tmp_path):
    assert train(tiny_data, "--class_loss", "focal", "--max_iterations", 1, archive=tmp_path) == 0
    tf.config.run_functions_eagerly(False)
    flags = ["--run_name", "r", "--archive", tmp_path, "--output", tmp_path / "exported"]
    assert export_saved_model.main([str(flag) for flag in flags]) == 0
    served = tf.saved_model.load(str(tmp_path / "exported" / "1")).signatures["images"]
    best = served(images=tf.zeros([1, 64, 64, 3], tf.uint8))["detection_scores"].numpy()[0, 0]
    model, *_ = runs.load(tmp_path / "r")
    logits = model(tf.zeros([1, 64, 64, 3]))["confidence"].numpy()[..., 1:]
    assert best == pytest.approx(1 / (1 + np.exp(-logits.max())), rel=1e-4)


@needs_addons
@pytest.mark.slow
def test_a_run_of_all_that_tensorflow_addons_gives_goes_on_exactly(tiny_data, tmp_path):
    flags = ["--class_loss", "focal", "--box_loss", "giou", "--optimizer", "lamb", "--lookahead"]
    flags += ["--average_weights", "swa", "--average_start", 3, "--average_period", 2]
    flags += ["--augmentation", "none", "--save_every", 1]
    for name, stops in (("whole", [8]), ("parts", [4, 8])):
        for stop in stops:
            more = ["--max_iterations", stop]
            assert train(tiny_data, *flags, *more, run_name=name, archive=tmp_path) == 0
    whole, parts = (tensors(tmp_path / name / "model.ckpt-8") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name], value, err_msg=name)
    kernel = "segmentation/kernel"
    slow = whole[f"optimizer/lamb-addons_lookahead/slow/{kernel}"]
    # Those of step 6, where the weights were put.
    at_6 = tensors(tmp_path / "whole" / "model.ckpt-6")
    np.testing.assert_array_equal(slow, at_6[f"net/{kernel}"])
    assert str(at_6["averaging"], "utf8") == "swa of every 2 steps from step 3 on"
    snapshots = [
        tensors(tmp_path / "whole" / f"model.ckpt-{step}")[f"net/{kernel}"] for step in (3, 5, 7)
    ]
    np.testing.assert_allclose(whole[f"average/{kernel}"], np.mean(snapshots, axis=0), rtol=1e-5)


@without_addons
@pytest.mark.parametrize(
    "flags",
    [
        ["--box_loss", "giou"],
        ["--optimizer", "radam"],
        ["--lookahead"],
        ["--average_weights", "swa", "--average_start", 5],
    ],
)
def test_what_is_missing_and_how_to_get_it_is_said(tiny_data, tmp_path, capsys, flags):
    assert train(tiny_data, *flags, archive=tmp_path) == 1
    message = capsys.readouterr().err
    asked = " ".join(map(str, flags[:2]))
    for text in (asked, "tensorflow-addons", "TensorFlow 2.15", tf.__version__, "setup-addons"):
        assert text in message
    assert not list(tmp_path.iterdir())
