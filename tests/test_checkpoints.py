"""Checkpoints: nothing is lost on the way, and what does not fit is named."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from blitznet import addons, checkpoints, optim
from blitznet.variables import variables_by_path


def network(width=3, extra=False):
    """A convolution with batch norm, and a dense head unless it is called another way."""
    images = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(width, 3, name="conv")(images)
    x = keras.layers.BatchNormalization(name="conv_bn")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    if extra:
        x = keras.layers.Dense(2, name="extra")(x)
    return keras.Model(images, keras.layers.Dense(2, name="head")(x), name="toy")


def trained(optimizer="adam", seed=0, **shape):
    """A toy after two steps, so that weights, statistics and slots are all their own."""
    keras.utils.set_random_seed(seed)
    model = network(**shape)
    optimizer = optim.build_optimizer(optimizer, model)
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(tf.random.normal([3, 4, 4, 2]), training=True) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    return model, optimizer


def state(model, optimizer):
    """Every value that training hangs on; the rate is set at each step and does not count."""
    values = [v.numpy() for v in [*model.variables, *optimizer.slots.values()]]
    return [*values, np.array(int(optimizer.iterations.numpy()))]


def assert_equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a, b)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 10])


@pytest.mark.parametrize("kind", ["adam", "nesterov"])
def test_weights_slots_iterations_and_step_come_back(tmp_path, kind):
    source, target = trained(kind), trained(kind, seed=1)
    assert any(np.any(a != b) for a, b in zip(state(*source), state(*target)))
    prefix = checkpoints.save(tmp_path / "run", 12, *source)
    assert prefix == tmp_path / "run" / "model.ckpt-12"
    assert checkpoints.resume(prefix, *target) == 12
    assert_equal(state(*source), state(*target))
    assert int(target[1].iterations.numpy()) == 2


def test_weights_alone_come_out_of_a_training_checkpoint(tmp_path):
    source, target = trained(), trained(seed=1)
    before = state(*target)
    checkpoints.restore(checkpoints.save(tmp_path, 1, *source), target[0])
    weights = len(target[0].variables)
    assert_equal(state(*target)[:weights], state(*source)[:weights])
    assert_equal(state(*target)[weights:], before[weights:])


def test_any_reader_finds_plain_names(tmp_path):
    model, optimizer = trained()
    reader = tf.train.load_checkpoint(str(checkpoints.save(tmp_path, 5, model, optimizer)))
    names = set(reader.get_variable_to_shape_map())
    assert {f"net/{path}" for path in variables_by_path(model)} | {
        "step",
        "optimizer/adam/iterations",
    } <= names
    assert len(names) == len(model.variables) + 2 * len(model.trainable_variables) + 2
    assert reader.get_tensor("step") == 5
    kernel = variables_by_path(model)["conv/kernel"].numpy()
    np.testing.assert_array_equal(reader.get_tensor("net/conv/kernel"), kernel)


def test_steps_are_those_of_complete_checkpoints_ascending(tmp_path):
    model = network()
    assert checkpoints.steps(tmp_path / "none") == []
    for step in (1000, 9, 20):
        checkpoints.save(tmp_path, step, model)
    (tmp_path / ".partial-30").mkdir()
    (tmp_path / ".partial-30" / "model.ckpt-30.index").touch()
    (tmp_path / "model.ckpt-40.data-00000-of-00001").touch()
    (tmp_path / "model.ckpt-x.index").touch()
    assert checkpoints.steps(tmp_path) == [9, 20, 1000]
    assert checkpoints.find(tmp_path).name == "model.ckpt-1000"
    assert checkpoints.find(tmp_path, 9).name == "model.ckpt-9"
    assert checkpoints.save(tmp_path, 30, model) == tmp_path / "model.ckpt-30"


def test_a_missing_checkpoint_is_answered_with_those_that_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint in .*; there: none"):
        checkpoints.find(tmp_path)
    for step in range(1, 13):
        (tmp_path / f"model.ckpt-{step}.index").touch()
    with pytest.raises(FileNotFoundError, match="step 77 .*12 of them, the last 3, 4, .*, 12"):
        checkpoints.find(tmp_path, 77)
    with pytest.raises(FileNotFoundError, match="model.ckpt-5.index"):
        checkpoints.restore(tmp_path / "none" / "model.ckpt-5", network())
    for wrong in (tmp_path, tmp_path / "model.ckpt-77"):
        with pytest.raises(FileNotFoundError, match=f"no checkpoint {wrong} .*; there: .*ckpt-12$"):
            checkpoints.restore(wrong, network())


def test_a_failed_save_leaves_the_older_ones_and_no_half_one(tmp_path, monkeypatch):
    source = trained()
    checkpoints.save(tmp_path, 1, *source)
    write = tf.raw_ops.SaveV2

    def disk_full(**arguments):
        write(**arguments)
        raise OSError("no space left on device")

    monkeypatch.setattr(tf.raw_ops, "SaveV2", disk_full)
    for step in (1, 2):
        with pytest.raises(OSError, match="no space"):
            checkpoints.save(tmp_path, step, *trained(seed=step))
    assert checkpoints.steps(tmp_path) == [1]
    assert len(list(tmp_path.iterdir())) == 2, "leftovers of the failed saves"
    target = trained(seed=5)
    checkpoints.resume(checkpoints.find(tmp_path), *target)
    assert_equal(state(*source), state(*target))


def test_a_save_that_dies_while_it_replaces_leaves_no_mixture(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, 1, network())
    checkpoints.save(tmp_path, 2, network())
    path_type = type(tmp_path)
    move = path_type.replace

    def die_at_the_index(self, target):
        if str(target).endswith("ckpt-2.index"):
            raise KeyboardInterrupt
        return move(self, target)

    monkeypatch.setattr(path_type, "replace", die_at_the_index)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, 2, network())
    assert checkpoints.steps(tmp_path) == [1]


def test_a_step_saved_twice_is_the_later_one(tmp_path):
    checkpoints.save(tmp_path, 1, *trained())
    again, target = trained(seed=1), trained(seed=2)
    checkpoints.resume(checkpoints.save(tmp_path, 1, *again), *target)
    assert_equal(state(*again), state(*target))


@pytest.mark.parametrize(
    ("saved", "expected", "problem"),
    [
        ({}, {"extra": True}, "missing: net/extra/kernel"),
        ({"extra": True}, {}, "left over: net/extra/bias"),
        ({"width": 5}, {}, r"shape of net/conv/kernel: expected \[3, 3, 2, 3\], found .*2, 5\]"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_changes(tmp_path, saved, expected, problem):
    prefix = checkpoints.save(tmp_path, 1, *trained(**saved))
    target = trained(seed=1, **expected)
    before = state(*target)
    with pytest.raises(ValueError, match=problem) as error:
        checkpoints.resume(prefix, *target)
    assert str(prefix) in str(error.value)
    assert_equal(state(*target), before)


def test_another_optimizer_is_named(tmp_path):
    prefix = checkpoints.save(tmp_path, 1, *trained("adam"))
    with pytest.raises(ValueError) as error:
        checkpoints.resume(prefix, *trained("nesterov"))
    for text in ("was trained with --optimizer adam, ", "--optimizer nesterov", "--init_from"):
        assert text in str(error.value)
    bare = checkpoints.save(tmp_path, 2, network())
    with pytest.raises(ValueError, match="no optimizer state.*another run can start"):
        checkpoints.resume(bare, *trained())


@pytest.mark.parametrize(
    ("state", "flags"),
    [
        ("adam", "--optimizer adam"),
        ("sgdw_lookahead", "--optimizer sgdw --lookahead"),
        ("lamb-keras", "--optimizer lamb (as Keras has it)"),
        (
            "lamb-addons_lookahead",
            "--optimizer lamb (as tensorflow-addons has it) --lookahead",
        ),
    ],
)
def test_the_state_of_an_optimizer_is_told_in_flags(state, flags):
    assert optim.flags_of(state) == flags


def test_the_state_of_the_other_stacks_lamb_is_refused(tmp_path):
    model, optimizer = trained()
    there = "lamb-keras" if addons.package() else "lamb-addons"
    other = dataclasses.replace(optimizer, name=there)
    prefix = checkpoints.save(tmp_path, 1, model, other)
    here = dataclasses.replace(optimizer, name=optim._state_name("lamb", False))
    with pytest.raises(ValueError, match="lamb .as .*lamb .as .*--init_from"):
        checkpoints.resume(prefix, model, here)


def test_optimizer_state_of_an_earlier_version_is_told_as_such(tmp_path):
    model, optimizer = trained()
    slots = {f"slot_{i}": slot for i, slot in enumerate(optimizer.slots.values())}
    older = dataclasses.replace(optimizer, slots=slots)
    prefix = checkpoints.save(tmp_path, 1, model, older)
    with pytest.raises(ValueError, match="earlier version.*--init_from .*model.ckpt-1"):
        checkpoints.resume(prefix, model, optimizer)


@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", [truncate, lambda path: path.unlink()])
def test_a_damaged_checkpoint_is_named_and_nothing_changes(tmp_path, ending, damage):
    prefix = checkpoints.save(tmp_path, 1, *trained())
    damage(tmp_path / f"{prefix.name}.{ending}")
    target = trained(seed=1)
    before = state(*target)
    for load in (checkpoints.restore, checkpoints.init_from):
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            load(prefix, target[0])
        assert str(prefix) in str(error.value)
    assert_equal(state(*target), before)


def test_what_fits_by_name_and_shape_is_taken_over(tmp_path):
    source = network()
    prefix = checkpoints.save(tmp_path, 1, source)
    target = network(extra=True)
    kept = variables_by_path(target)["extra/kernel"].numpy()
    loaded, skipped = checkpoints.init_from(prefix, target)
    # The extra layer has the width of the head, so the head's kernel differs in shape.
    assert skipped == ["extra/bias", "extra/kernel", "head/kernel"]
    assert loaded == sorted(variables_by_path(target).keys() - skipped)
    for path in loaded:
        np.testing.assert_array_equal(
            variables_by_path(target)[path].numpy(), variables_by_path(source)[path].numpy()
        )
    np.testing.assert_array_equal(variables_by_path(target)["extra/kernel"].numpy(), kept)


def test_layers_that_are_left_out_keep_their_values(tmp_path):
    prefix = checkpoints.save(tmp_path, 1, network())
    target = network()
    kept = variables_by_path(target)["conv/kernel"].numpy()
    loaded, skipped = checkpoints.init_from(prefix, target, leave_out=("conv/", "conv_bn/b"))
    assert skipped == ["conv/bias", "conv/kernel", "conv_bn/beta"]
    assert loaded == sorted(variables_by_path(target).keys() - skipped)
    np.testing.assert_array_equal(variables_by_path(target)["conv/kernel"].numpy(), kept)


def test_nothing_that_fits_is_an_error(tmp_path):
    images = keras.Input((2,))
    other = keras.Model(images, keras.layers.Dense(1, name="other")(images))
    prefix = checkpoints.save(tmp_path, 1, other)
    with pytest.raises(ValueError, match="no variable that fits"):
        checkpoints.init_from(prefix, network())
