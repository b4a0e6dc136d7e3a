"""Training batches: deterministic, resumable, complete; evaluation batches: all, in order."""

import numpy as np
import pytest
import tensorflow as tf

from blitznet import keys
from blitznet.coding import PriorCoder
from blitznet.imaging import legacy_resize
from blitznet.priors import prior_boxes, prior_scales
from datasets import pipeline, records
from datasets.pipeline import TrainingInput, evaluation_dataset, training_dataset

CODER = PriorCoder(prior_boxes((8, 4, 2, 1), prior_scales(64, False)))


def _picture(index, crowd=None):
    """Example `index`: every third without objects, every fourth without mask."""
    rng = np.random.default_rng(index)
    height, width = 24 + index, 40 - index
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = b""
    if index % 4:
        ids = np.full((height, width, 1), index, np.uint8)
        mask = tf.io.encode_png(ids).numpy()
    boxes = np.float32([[0.1, 0.2, 0.6, 0.9], [0.3, 0.1, 0.9, 0.4]])[: index % 3]
    return {
        keys.FILENAME: f"{index}.jpg",
        keys.SOURCE_ID: str(index),
        keys.HEIGHT: height,
        keys.WIDTH: width,
        keys.ENCODED_IMAGE: tf.io.encode_jpeg(pixels, quality=95).numpy(),
        keys.ENCODED_MASK: mask,
        keys.BOXES: boxes,
        keys.LABELS: np.arange(index, index + len(boxes), dtype=np.int32),
        keys.DIFFICULT: np.arange(len(boxes)) == 1,
        keys.IS_CROWD: np.arange(len(boxes)) == crowd,
        keys.AREA: np.arange(len(boxes), dtype=np.float32) + index,
    }


def _write(folder, name, *shards, class_labels=None):
    """RecordsInfo of shards, each a list of picture numbers; `class_labels` those of some."""
    class_labels = class_labels or {}
    files = [str(folder / f"{name}-{i}.tfrecord") for i in range(len(shards))]
    for file, pictures in zip(files, shards):
        with tf.io.TFRecordWriter(file) as writer:
            for index in pictures:
                class_label = {keys.CLASS_LABEL: class_labels.get(index, -1)}
                writer.write(records.serialize({**_picture(index), **class_label}))
    pictures = [index for shard in shards for index in shard]
    return records.RecordsInfo(
        name=name,
        class_names=("cat",),
        ignore_label=255,
        files=tuple(files),
        images=len(pictures),
        images_with_masks=sum(index % 4 > 0 for index in pictures),
        objects={},
    )


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """Seven pictures in three shards of unequal length."""
    return _write(tmp_path_factory.mktemp("records"), "seven", [0, 1, 2], [3], [4, 5, 6])


def _settings(**changes):
    return TrainingInput(
        **{"image_size": 32, "mask_side": 8, "coder": CODER, "batch_size": 3, **changes}
    )


def _batches(record_sets, count, settings=None, start_step=0):
    dataset = training_dataset(record_sets, settings or _settings(), start_step)
    return list(dataset.take(count).as_numpy_iterator())


def _names(batches):
    return [int(name.split(b".")[0]) for batch in batches for name in batch[keys.FILENAME]]


def _assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_batches_are_a_function_of_the_seed(seven):
    first = _batches([seven], 5)
    tf.random.set_seed(1234)  # which is not the seed that counts
    _assert_equal(first, _batches([seven], 5))
    other = _batches([seven], 5, _settings(seed=1))
    assert _names(first) != _names(other)
    # The same picture is varied differently by another seed, and in another epoch.
    images = {}
    for batch in first + other:
        for name, image in zip(batch[keys.FILENAME], batch[keys.IMAGE]):
            images.setdefault(name, []).append(image.tobytes())
    assert all(len(set(versions)) == len(versions) > 1 for versions in images.values())


def test_starting_at_a_step_is_skipping_the_batches_before(seven):
    # Seven pictures, batches of three: epochs end inside batches, and after 7 of them.
    whole = _batches([seven], 9)
    for start_step in (2, 3, 7):
        _assert_equal(whole[start_step:], _batches([seven], 9 - start_step, None, start_step))


@pytest.mark.parametrize(("replicas", "workers"), [(1, 1), (2, 1), (4, 2), (2, 2)])
def test_workers_and_replicas_divide_the_batches_of_one_device(seven, replicas, workers):
    settings, per_worker = _settings(batch_size=4), replicas // workers
    parts = []
    for worker in range(workers):
        dataset = training_dataset([seven], settings, 2, replicas, worker, workers)
        parts.append(list(dataset.take(3 * per_worker).as_numpy_iterator()))
    whole = _batches([seven], 3, settings, 2)
    for number, batch in enumerate(whole):
        step = slice(number * per_worker, (number + 1) * per_worker)
        of_step = [part for worker in parts for part in worker[step]]
        assert len(of_step) == replicas
        for key, value in batch.items():
            together = np.concatenate([part[key] for part in of_step])
            np.testing.assert_array_equal(together, value, err_msg=key)


@pytest.mark.parametrize(("replicas", "workers"), [(3, 1), (4, 3)])
def test_a_batch_that_does_not_divide_is_an_error(seven, replicas, workers):
    with pytest.raises(ValueError, match=f"4 pictures .* over {replicas} replicas of {workers}"):
        training_dataset([seven], _settings(batch_size=4), 0, replicas, 0, workers)


@pytest.mark.parametrize("block", [2048, 3])
def test_every_picture_is_seen_once_an_epoch(seven, monkeypatch, block):
    monkeypatch.setattr(pipeline, "SHUFFLE_BLOCK", block)
    names = _names(_batches([seven], 14, _settings(augmentation="none")))  # six epochs
    epochs = [tuple(names[i : i + 7]) for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(epochs)) > 4


def test_several_sets_make_one(seven, tmp_path):
    more = _write(tmp_path, "more", [7, 8])
    names = _names(_batches([seven, more], 6, _settings(augmentation="none")))
    assert sorted(names[:9]) == sorted(names[9:]) == list(range(9))


def test_a_set_smaller_than_a_batch_is_repeated(tmp_path):
    two = _write(tmp_path, "two", [1, 2])
    batches = _batches([two], 2, _settings(batch_size=5))
    names = _names(batches)
    assert all(sorted(names[i : i + 2]) == [1, 2] for i in range(0, 10, 2))
    assert batches[0][keys.IMAGE].shape == (5, 32, 32, 3)


def test_no_picture_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no picture to train on"):
        training_dataset([_write(tmp_path, "none", [])], _settings())


def _decoded(index):
    """Image [H, W, 3] in 0..255 and mask [H, W], or None, of a picture."""
    example = _picture(index)
    image = records.decode_image(example[keys.ENCODED_IMAGE])
    mask = example[keys.ENCODED_MASK]
    return tf.cast(image, tf.float32), tf.io.decode_png(mask)[..., 0] if mask else None


def test_without_augmentation_pictures_are_resized_and_boxes_encoded(seven):
    for batch in _batches([seven], 3, _settings(augmentation="none")):
        for i, index in enumerate(_names([batch])):
            image, mask = _decoded(index)
            expected = legacy_resize(image[None] / 255, (32, 32))[0]
            np.testing.assert_allclose(batch[keys.IMAGE][i], expected, atol=1e-5)
            if mask is None:
                mask = tf.fill(image.shape[:2], tf.constant(255, tf.uint8))
            expected = legacy_resize(mask[None, ..., None], (8, 8), "nearest")[0, ..., 0]
            np.testing.assert_array_equal(batch[keys.MASK][i], expected)
            example = _picture(index)
            labels, offsets = CODER.encode(example[keys.BOXES], example[keys.LABELS])
            np.testing.assert_array_equal(batch[keys.PRIOR_LABELS][i], labels)
            np.testing.assert_allclose(batch[keys.PRIOR_OFFSETS][i], offsets, atol=1e-5)


def test_full_augmentation_varies_every_part(seven):
    batches = _batches([seven], 7, _settings(zoomout_prob=1.0))
    plain = _batches([seven], 7, _settings(augmentation="none"))
    assert _names(batches) == _names(plain)
    images, masks, labels = (
        [sum(not np.array_equal(a, b) for x, y in zip(batches, plain) for a, b in zip(x[k], y[k]))]
        for k in (keys.IMAGE, keys.MASK, keys.PRIOR_LABELS)
    )
    assert images == [21]
    assert masks[0] > 5 and labels[0] > 8
    for batch in batches:
        assert batch[keys.IMAGE].min() >= 0 and batch[keys.IMAGE].max() <= 1
        assert np.isfinite(batch[keys.PRIOR_OFFSETS]).all()


def test_masks_left_out_of_account_are_ignored_everywhere(seven):
    for batch in _batches([seven], 3, _settings(use_masks=False)):
        assert (batch[keys.MASK] == 255).all()


@pytest.mark.parametrize("crowd", [0, 1])
def test_crowds_are_evaluated_but_not_trained_on(tmp_path, crowd):
    """Picture 5 has two objects, one of them a crowd: only the other one has targets."""
    file, example = str(tmp_path / "crowd.tfrecord"), _picture(5, crowd=crowd)
    with tf.io.TFRecordWriter(file) as writer:
        writer.write(records.serialize(example))
    info = records.RecordsInfo("crowd", ("cat",), 255, (file,), 1, 1, {})
    (batch,) = _batches([info], 1, _settings(augmentation="none", batch_size=1))
    other = slice(1 - crowd, 2 - crowd)
    labels, offsets = CODER.encode(example[keys.BOXES][other], example[keys.LABELS][other])
    np.testing.assert_array_equal(batch[keys.PRIOR_LABELS][0], labels)
    np.testing.assert_allclose(batch[keys.PRIOR_OFFSETS][0], offsets, atol=1e-5)
    assert set(batch[keys.PRIOR_LABELS][0]) == {0, 6 - crowd}
    (batch,) = evaluation_dataset([info], 32, 1).as_numpy_iterator()
    assert batch[keys.IS_CROWD][0].tolist() == [crowd == 0, crowd == 1]


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"coder": None}, {keys.PRIOR_LABELS, keys.PRIOR_OFFSETS}),
        ({"mask_side": None}, {keys.MASK}),
    ],
)
def test_a_task_that_is_off_has_no_targets(seven, changes, absent):
    everything = {
        keys.IMAGE,
        keys.FILENAME,
        keys.MASK,
        keys.PRIOR_LABELS,
        keys.PRIOR_OFFSETS,
    }
    assert _batches([seven], 1, _settings(**changes))[0].keys() == everything - absent


def test_of_classified_pictures_the_target_is_the_class_alone(tmp_path):
    classes = {1: 5, 2: 0, 4: 3}
    info = _write(tmp_path, "three", [1, 2, 4], class_labels=classes)
    settings = _settings(mask_side=None, coder=None, classify=True)
    for batch in _batches([info], 3, settings):
        assert batch.keys() == {keys.IMAGE, keys.FILENAME, keys.CLASS_LABEL}
        assert batch[keys.CLASS_LABEL].dtype == np.int32
        assert batch[keys.CLASS_LABEL].tolist() == [classes[name] for name in _names([batch])]


def test_a_picture_without_a_class_is_named(tmp_path):
    info = _write(tmp_path, "three", [1, 2, 4], class_labels={1: 5, 4: 3})
    with pytest.raises(tf.errors.InvalidArgumentError, match="2.jpg needs one class as a whole"):
        _batches([info], 1, _settings(mask_side=None, coder=None, classify=True))
    assert len(_batches([info], 1)) == 1


def test_batches_have_static_shapes(seven):
    spec = training_dataset([seven], _settings()).element_spec
    shapes = {key: tuple(value.shape) for key, value in spec.items()}
    assert shapes == {
        keys.IMAGE: (3, 32, 32, 3),
        keys.FILENAME: (3,),
        keys.MASK: (3, 8, 8),
        keys.PRIOR_LABELS: (3, 510),
        keys.PRIOR_OFFSETS: (3, 510, 4),
    }


def test_no_thread_outlasts_an_iterator(seven):
    """tf.data's tuning one sleeps on, so that ending an evaluation may take as long as it has."""
    for dataset in (training_dataset([seven], _settings()), evaluation_dataset([seven], 32, 4)):
        assert dataset.options().autotune.enabled is False


def test_evaluation_gives_every_picture_once_in_order(seven, tmp_path):
    more = _write(tmp_path, "more", [7, 8])
    batches = list(evaluation_dataset([seven, more], 32, 4).as_numpy_iterator())
    assert _names(batches) == list(range(9))
    assert [len(batch[keys.FILENAME]) for batch in batches] == [4, 4, 1]
    for batch in batches:
        most = max(index % 3 for index in _names([batch]))
        assert batch[keys.BOXES].shape[1:] == (most, 4)
        for i, index in enumerate(_names([batch])):
            expected = _picture(index)
            count = index % 3
            for key in (keys.BOXES, keys.LABELS, keys.DIFFICULT, keys.IS_CROWD, keys.AREA):
                np.testing.assert_array_equal(batch[key][i, :count], expected[key], err_msg=key)
                assert not batch[key][i, count:].any()
            assert batch[keys.HAS_MASK][i] == bool(expected[keys.ENCODED_MASK])
            for key in (keys.HEIGHT, keys.WIDTH, keys.ENCODED_IMAGE, keys.ENCODED_MASK):
                assert batch[key][i] == expected[key]
            assert batch[keys.SOURCE_ID][i].decode() == expected[keys.SOURCE_ID]
            resized = legacy_resize(_decoded(index)[0][None] / 255, (32, 32))[0]
            np.testing.assert_allclose(batch[keys.IMAGE][i], resized, atol=1e-5)


def test_augmentation_has_the_order_of_the_original(seven, monkeypatch):
    order = ["photometric", "zoom_out", "random_crop", "random_flip", "render"]
    called, seeds = [], []

    def recorded(name, operation):
        def record(example, *arguments):
            called.append(name)
            seeds.append(arguments[0])
            return operation(example, *arguments)

        return record

    for name in order:
        monkeypatch.setattr(pipeline.augment, name, recorded(name, getattr(pipeline.augment, name)))
    _batches([seven], 1)
    assert called == order
    assert len({id(seed) for seed in seeds[:4]}) == 4  # none is used twice
