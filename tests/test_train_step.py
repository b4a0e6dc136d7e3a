"""The train step: clipped, in parts, by XLA, in bfloat16 and float16, against a plain one."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from blitznet import accumulation, checkpoints, engine, keys
from blitznet.engine import StepSettings
from blitznet.loss_scaling import LossScale
from blitznet.losses.detection import (
    detection_loss,
    hard_negative_softmax,
    make_detection_loss,
)
from blitznet.optim import build_optimizer
from blitznet.variables import variables_by_path
from tiny_run import tensors
from toy_network import batch_for, part_of, toy

pytestmark = pytest.mark.usefixtures("eagerly")
RATE = 1e-2
PLAIN = StepSettings()
FOCAL = make_detection_loss("focal", "smooth_l1", None)


class PlainDescent:
    """Subtracts rate times gradient, and keeps the gradients of the last step."""

    def __init__(self, model, loss_scale=None):
        self.gradients = [tf.Variable(tf.zeros(v.shape)) for v in model.trainable_variables]
        self.loss_scale = loss_scale

    def apply_gradients(self, pairs):
        for kept, (gradient, variable) in zip(self.gradients, pairs):
            kept.assign(gradient)
            variable.assign_sub(RATE * gradient)


def step(network, batch, settings=PLAIN, prior_loss=detection_loss, loss_scale=None):
    """One step of descent on a network: `(losses, scores, gradients)`, NumPy."""
    model, coder = network
    descent = PlainDescent(model, loss_scale)
    run = engine.make_train_step(model, descent, coder, prior_loss, settings)
    losses, scores = ({k: float(v) for k, v in d.items()} for d in run(batch))
    return losses, scores, [gradient.numpy() for gradient in descent.gradients]


def assert_close(found, expected, rtol, atol=0.0):
    """Losses, scores and gradients; `atol` is relative to the largest of a variable's gradients."""
    for one, other in zip(found[:2], expected[:2]):
        assert one == pytest.approx(other, rel=rtol)
    assert len(found[2]) == len(expected[2])
    for one, other in zip(found[2], expected[2]):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol * np.abs(other).max() + 1e-12)


@pytest.fixture(scope="module")
def batch():
    return batch_for(*toy())


@pytest.fixture(scope="module")
def plain(batch):
    """A step without any settings."""
    return step(toy(), batch)


@pytest.mark.parametrize("share", [0.25, 2.0])
def test_clipped_gradients_have_the_norm_and_the_score_is_that_before(batch, plain, share):
    norm = plain[1]["gradient_norm"]
    by_hand = np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in plain[2]))
    assert norm == pytest.approx(by_hand, rel=1e-5)
    found = step(toy(), batch, StepSettings(clip_norm=share * norm))
    shortened = [g * min(share, 1) for g in plain[2]]
    assert_close(found, (*plain[:2], shortened), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prior_loss", [detection_loss, FOCAL], ids=["softmax", "focal"])
@pytest.mark.parametrize("parts", [2, 4])
def test_parts_have_losses_scores_and_gradients_of_the_whole(batch, parts, prior_loss):
    """Hard negatives too; without batch norm's statistics of a batch, which differ by design."""
    whole = step(toy(frozen=True), batch, prior_loss=prior_loss)
    found = step(toy(frozen=True), batch, StepSettings(accumulate=parts), prior_loss)
    assert whole[0][keys.LOSS_WEIGHT_DECAY] > 0 and whole[0][keys.LOSS_SEGMENTATION] > 0
    assert_close(found, whole, rtol=1e-4, atol=1e-5)


def test_the_batch_tells_mining_over_it_from_mining_over_its_parts(batch):
    model, _ = toy(frozen=True)
    logits = model(batch[keys.IMAGE], training=True)[keys.CONFIDENCE]
    labels = batch[keys.PRIOR_LABELS]
    whole = hard_negative_softmax(logits, labels)
    halves = [hard_negative_softmax(logits[rows], labels[rows]) for rows in (slice(2), slice(2, 4))]
    assert abs(float(sum(halves) / whole) - 1) > 0.01


def test_parts_without_positives(batch):
    empty = {**batch, keys.PRIOR_LABELS: tf.zeros_like(batch[keys.PRIOR_LABELS])}
    whole = step(toy(frozen=True), empty, prior_loss=FOCAL)
    assert_close(step(toy(frozen=True), empty, StepSettings(4), FOCAL), whole, 1e-4, 1e-5)


def test_parts_pass_batch_norm_one_after_the_other(batch):
    """Moving statistics are those of a forward pass over each part in turn."""
    model, coder = toy()
    step((model, coder), batch, StepSettings(accumulate=2))
    by_hand, _ = toy()
    for rows in (slice(0, 2), slice(2, 4)):
        by_hand(part_of(batch, rows)[keys.IMAGE], training=True)
    expected = variables_by_path(by_hand)
    moving = {p: v for p, v in variables_by_path(model).items() if "/moving_" in p}
    assert moving
    for path, value in moving.items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-4, atol=1e-6, err_msg=path)


def test_parts_that_do_not_divide_the_batch_are_refused(batch):
    with pytest.raises(ValueError, match="3 parts do not divide a batch of 4 pictures"):
        accumulation.gradients(toy()[0], batch[keys.IMAGE], 3, None)


@pytest.fixture
def compiled(eagerly):
    """As it is where it counts: compiled functions are compiled."""
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_xla_computes_the_same(batch):
    # Batch norm of a map of one cell would enlarge what rounding makes of the others.
    plain = step(toy(frozen=True), batch, StepSettings(accumulate=2), FOCAL)
    found = step(toy(frozen=True), batch, StepSettings(accumulate=2, xla=True), FOCAL)
    assert_close(found, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("compiled")
def test_xla_mines_hard_negatives(batch):
    labels = batch[keys.PRIOR_LABELS]
    confidence = tf.random.stateless_normal((*labels.shape, 4), (1, 2))
    location = tf.zeros((*labels.shape, 4))
    arguments = confidence, location, labels, location
    fixed = make_detection_loss("softmax", "smooth_l1", None, fixed_shapes=True)
    compiled = tf.function(functools.partial(fixed, *arguments), jit_compile=True)
    expected = detection_loss(*arguments)
    for name, value in compiled().items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5)


@pytest.mark.parametrize(("precision", "rtol"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_narrow_numbers_give_nearly_the_same_losses_and_descent(batch, precision, rtol):
    """Weights, outputs and losses stay float32; nearness is that of the number of digits."""
    plain = step(toy(frozen=True), batch, prior_loss=FOCAL)
    model, coder = toy(precision, frozen=True)
    assert {v.dtype for v in variables_by_path(model).values()} == {tf.float32}
    assert {v.dtype for v in model(batch[keys.IMAGE]).values()} == {tf.float32}
    assert model.get_layer("rev3_conv2").compute_dtype == precision
    scaling = LossScale() if precision == "float16" else None
    if scaling:
        # Gradients of random weights are large: they overflow at more.
        scaling.value.assign(1.0)
    losses, _, gradients = step((model, coder), batch, prior_loss=FOCAL, loss_scale=scaling)
    assert losses == pytest.approx(plain[0], rel=rtol)
    one, other = (np.concatenate([g.ravel() for g in gs]) for gs in (gradients, plain[2]))
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert cosine > 1 - 2 * rtol


def test_a_network_in_float32_has_the_layers_that_it_had_and_the_policy_is_left_alone():
    narrow, _ = toy("bfloat16")
    model, _ = toy()
    assert model.get_layer("rev3_conv2").compute_dtype == "float32"
    added = {layer.name for layer in narrow.layers} - {layer.name for layer in model.layers}
    assert added <= {"segmentation_float32", "confidence_float32", "location_float32"}
    assert variables_by_path(model).keys() == variables_by_path(narrow).keys()


@pytest.mark.usefixtures("compiled")
def test_loss_scale_by_hand():
    """Halved at each overflow, doubled after 2,000 good steps in a row, never below 1."""
    scale = LossScale()
    follow = tf.function(lambda norm: scale.update_if_finite(norm, lambda: None))
    assert float(follow(3.0)) == 3.0
    assert float(follow(np.inf)) == 0.0 and float(follow(np.nan)) == 0.0
    assert (float(scale.value), int(scale.good_steps)) == (2.0**13, 0)
    scale.good_steps.assign(1998)
    follow(1.0)
    assert (float(scale.value), int(scale.good_steps)) == (2.0**13, 1999)
    follow(1.0)
    assert (float(scale.value), int(scale.good_steps)) == (2.0**14, 0)
    scale.value.assign(1.0)
    assert np.isnan(follow(np.nan)) and float(scale.value) == 1.0
    scale.value.assign(2.0**127)
    scale.good_steps.assign(1999)
    follow(1.0)
    assert float(scale.value) == 2.0**127


def test_a_step_that_overflows_leaves_weights_and_optimizer_alone(batch):
    model, coder = toy("float16")
    optimizer = build_optimizer("adam", model, loss_scale=LossScale())
    optimizer.loss_scale.value.assign(16.0)
    run = engine.make_train_step(model, optimizer, coder)
    run(batch)
    weights = [v.numpy() for v in model.trainable_variables]
    optimizer.loss_scale.value.assign(2.0**100)
    _, scores = run(batch)
    assert float(scores["gradient_norm"]) == 0 and float(scores["loss_scale"]) == 2.0**100
    assert float(optimizer.loss_scale.value) == 2.0**99
    assert int(optimizer.iterations.numpy()) == 1
    for before, variable in zip(weights, model.trainable_variables):
        np.testing.assert_array_equal(variable.numpy(), before)


class TestCheckpoints:
    """The loss scale in checkpoints: gone on with, begun anew, left out."""

    @pytest.fixture(scope="class")
    def saved(self, tmp_path_factory):
        model, _ = toy("float16")
        optimizer = build_optimizer("adam", model, loss_scale=LossScale())
        optimizer.loss_scale.value.assign(64.0)
        optimizer.loss_scale.good_steps.assign(7)
        return checkpoints.save(tmp_path_factory.mktemp("scale"), 3, model, optimizer)

    def test_it_goes_on(self, saved):
        model, _ = toy("float16")
        optimizer = build_optimizer("adam", model, loss_scale=LossScale())
        assert checkpoints.resume(saved, model, optimizer) == 3
        state = {k: float(v) for k, v in optimizer.loss_scale.state().items()}
        assert state == {"value": 64, "good_steps": 7}

    def test_a_network_without_it_reads_the_weights_and_goes_on(self, saved):
        model, _ = toy()
        assert checkpoints.restore(saved, model) == 3
        assert checkpoints.resume(saved, model, build_optimizer("adam", model)) == 3

    def test_it_begins_anew_where_there_was_none(self, tmp_path):
        model, _ = toy()
        prefix = checkpoints.save(tmp_path, 2, model, build_optimizer("adam", model))
        assert not [name for name in tensors(prefix) if "loss_scale" in name]
        optimizer = build_optimizer("adam", model, loss_scale=LossScale())
        assert checkpoints.resume(prefix, model, optimizer) == 2
        assert float(optimizer.loss_scale.value) == 2.0**15
