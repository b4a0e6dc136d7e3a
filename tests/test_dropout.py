"""Dropout: shares and scale, and masks that a checkpoint brings back."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from blitznet import accumulation, checkpoints
from blitznet.dropout import Dropout
from blitznet.layers import Conv, precision
from blitznet.variables import tf_variable, variables_by_path
from helpers import run_python

ONES = np.ones((2, 9, 11, 8), np.float32)


def network(rate=0.5):
    images = keras.Input((4, 4, 2))
    conv = Conv()
    x = conv.dropout(conv.plain(6, 1, "first")(images), rate, "drop6")
    x = conv.dropout(conv.plain(5, 1, "second")(x), rate, "drop7")
    return keras.Model(images, {"out": x})


def answers(model, count):
    """What the network answers in training, one call after the other."""
    return [model(np.ones((2, 4, 4, 2), np.float32), training=True)["out"] for _ in range(count)]


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_a_share_is_zero_and_the_rest_grows_so_that_the_mean_stays(rate):
    found = Dropout(rate, name="drop")(np.ones((1, 100, 100, 10), np.float32), training=True)
    assert set(np.unique(found)) == {np.float32(0), np.float32(1) / np.float32(1 - rate)}
    # 100,000 numbers: four standard deviations of the share.
    assert np.mean(found == 0) == pytest.approx(rate, abs=4 * 0.5 / 100000**0.5)


def test_outside_of_training_nothing_happens():
    layer = Dropout(0.5)
    np.testing.assert_array_equal(layer(ONES), ONES)
    np.testing.assert_array_equal(layer(ONES, training=False), ONES)
    assert float(layer.calls) == 0
    none = Dropout(0.0)
    np.testing.assert_array_equal(none(ONES, training=True), ONES)


def test_masks_differ_from_call_to_call_and_from_layer_to_layer():
    one, other = Dropout(0.5, name="drop6"), Dropout(0.5, name="drop7")
    masks = [layer(ONES, training=True).numpy() for layer in (one, one, other, other)]
    assert float(one.calls) == float(other.calls) == 2
    for i in range(4):
        for j in range(i):
            agreeing = np.mean(masks[i] == masks[j])
            assert agreeing == pytest.approx(0.5, abs=0.06), (i, j)


def test_training_goes_on_from_a_checkpoint_with_the_masks_that_were_next(tmp_path):
    model = network()
    answers(model, 2)
    checkpoints.save(tmp_path, 2, model)
    expected = answers(model, 2)
    resumed = network()
    assert checkpoints.restore(checkpoints.find(tmp_path), resumed) == 2
    for found, value in zip(answers(resumed, 2), expected):
        np.testing.assert_array_equal(found, value)
        assert np.any(value == 0) and np.any(value != 0)
    calls = [path for path in variables_by_path(resumed) if path.endswith("calls")]
    assert calls == ["drop6/calls", "drop7/calls"]


def test_a_graph_draws_the_masks_that_single_operations_draw():
    one, other = network(), network()
    other.set_weights(one.get_weights())
    graph = tf.function(lambda x: other(x, training=True)["out"])
    for expected in answers(one, 3):
        np.testing.assert_array_equal(graph(np.ones((2, 4, 4, 2), np.float32)), expected)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_in_narrow_numbers_calls_are_counted_beyond_256(name):
    with precision(name):
        layer = Dropout(0.5, name="drop")
        maps = tf.ones((1, 4, 4, 8), name)
        layer(maps, training=True)
        layer.calls.assign(3000.0)
        found = layer(maps, training=True)
    assert found.dtype == tf.as_dtype(name)
    assert float(layer.calls) == 3001
    wide = Dropout(0.5, name="drop")
    wide.build(maps.shape)
    wide.calls.assign(3000.0)
    expected = wide(tf.cast(maps, tf.float32), training=True)
    np.testing.assert_array_equal(tf.cast(found, tf.float32), expected)


def test_gradients_flow_where_nothing_was_dropped():
    maps = tf.constant(ONES)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        found = Dropout(0.5)(maps, training=True)
        total = tf.reduce_sum(found)
    np.testing.assert_array_equal(tape.gradient(total, maps), found)


def test_a_batch_in_parts_has_the_same_masks_in_both_of_its_passes():
    """Its gradients are those of the parts, called one after the other."""
    model, rows = network(), 4
    images = tf.random.stateless_uniform((rows, 4, 4, 2), seed=(1, 2))
    variables = [tf_variable(v) for v in model.trainable_variables]

    def loss_of(outputs):
        return tf.reduce_sum(outputs["out"] ** 2), None

    with tf.GradientTape() as tape:
        parts = [model(images[i : i + 2], training=True)["out"] for i in (0, 2)]
        loss = loss_of({"out": tf.concat(parts, axis=0)})[0]
    expected = tape.gradient(loss, variables)
    for layer in ("drop6", "drop7"):
        model.get_layer(layer).calls.assign(0.0)
    _, found = tf.function(lambda: accumulation.gradients(model, images, 2, loss_of))()
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert float(model.get_layer("drop7").calls) == 2


def test_the_layer_survives_serialization():
    layer = Dropout(0.25, name="drop")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    np.testing.assert_array_equal(copy(ONES, training=True), layer(ONES, training=True))
    assert (copy.rate, copy.seed) == (0.25, layer.seed)


REPLICAS = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
from blitznet import distribution
from blitznet.dropout import Dropout
from blitznet.variables import tf_variable
devices = distribution.start("mirrored")
with devices.scope():
    layer = Dropout(0.5, name="drop")
    layer.build((2, 8))

@tf.function
def step():
    def of_replica():
        mask = layer(tf.ones((2, 8)), training=True)
        calls = distribution.share_of_replica(layer.calls)
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        masks = tf.scatter_nd([[number]], [mask], (3, 2, 8))
        return distribution.sum_over_replicas((masks, calls))
    masks, calls = devices.on_replicas(of_replica)
    layer.calls.assign(calls)
    return masks

layer.calls.assign(1e6 + 1)
masks = [step().numpy() for _ in range(3)]
# A mean of three numbers in float32 is not quite whole.
calls = layer.calls.numpy()
assert round(calls) == 1e6 + 4, calls
flat = np.concatenate(masks).reshape(9, -1)
assert len(np.unique(flat, axis=0)) == 9, flat
alone = Dropout(0.5, name="drop")
alone.build((2, 8))
alone.calls.assign(1e6 + 1)
np.testing.assert_array_equal(alone(tf.ones((2, 8)), training=True), masks[0][0])
"""


@pytest.mark.slow
def test_each_of_three_replicas_has_its_own_masks_and_calls_are_counted_as_on_one():
    run_python("-c", REPLICAS)
