"""Pictures that keep their sizes: padded training batches, evaluation one by one, the losses."""

import numpy as np
import pytest
import tensorflow as tf

import toy_fcn
from blitznet import archs, engine, keys
from blitznet.imaging import MEAN_RGB
from blitznet.optim import build_optimizer
from datasets import records
from datasets.pipeline import OWN_SIZE, TrainingInput, evaluation_dataset, training_dataset
from example_fixture import example

SIZES = [(20, 31), (33, 24), (27, 40)]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """RecordsInfo of three noisy pictures of `SIZES`, the last one without a mask."""
    file = str(tmp_path_factory.mktemp("records") / "three.tfrecord")
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(file) as writer:
        for number, (height, width) in enumerate(SIZES):
            pixels = random.integers(0, 256, (height, width, 3), np.uint8)
            labels = random.integers(0, 4, (height, width, 1), np.uint8)
            entries = example(f"{number}.jpg", encoded=tf.io.encode_jpeg(pixels).numpy())
            size = {keys.HEIGHT: height, keys.WIDTH: width}
            mask = {keys.ENCODED_MASK: tf.io.encode_png(labels).numpy()} if number < 2 else {}
            writer.write(records.serialize({**entries, **size, **mask}))
    return records.RecordsInfo("three", ("a", "b", "c"), 255, (file,), 3, 2, {})


def batches(info, count, **changes):
    arguments = {"image_size": OWN_SIZE, "mask_side": OWN_SIZE, "coder": None, "batch_size": 3}
    settings = TrainingInput(**{**arguments, "augmentation": "none", **changes})
    return list(training_dataset([info], settings).take(count).as_numpy_iterator())


def stored(info):
    """Image in [0, 1] and mask (None without) of each picture, by its name."""
    found = {}
    for file in info.files:
        for record in tf.data.TFRecordDataset(file):
            example = records.parse(record)
            image = records.decode_image(example[keys.ENCODED_IMAGE]).numpy() / np.float32(255)
            mask = None
            if example[keys.HAS_MASK]:
                mask = tf.io.decode_png(example[keys.ENCODED_MASK])[..., 0].numpy()
            found[example[keys.FILENAME].numpy()] = image, mask
    return found


def test_a_batch_is_padded_with_the_mean_colour_and_the_ignored_label(three):
    (batch,) = batches(three, 1)
    assert batch[keys.IMAGE].shape == (3, 33, 40, 3)
    assert batch[keys.MASK].shape == (3, 33, 40)
    pictures = stored(three)
    assert set(batch[keys.FILENAME]) == set(pictures)
    for name, image, mask in zip(*(batch[key] for key in (keys.FILENAME, keys.IMAGE, keys.MASK))):
        expected, labels = pictures[name]
        height, width = expected.shape[:2]
        np.testing.assert_allclose(image[:height, :width], expected, atol=1e-6)
        beyond = np.ones(image.shape[:2], bool)
        beyond[:height, :width] = False
        np.testing.assert_allclose(
            image[beyond], np.broadcast_to(np.float32(MEAN_RGB) / 255, (beyond.sum(), 3)), rtol=1e-6
        )
        assert (mask[beyond] == 255).all()
        if labels is None:
            assert (mask == 255).all()
        else:
            np.testing.assert_array_equal(mask[:height, :width], labels)


def test_alone_a_picture_has_its_own_size(three):
    shapes = [batch[keys.IMAGE].shape for batch in batches(three, 3, batch_size=1)]
    assert sorted(shapes) == sorted((1, *size, 3) for size in SIZES)


def test_augmentation_is_colours_and_flips_of_image_and_mask_together(three):
    pictures, flips = stored(three), []
    for batch in batches(three, 24, batch_size=1, augmentation="full"):
        image, mask = batch[keys.IMAGE][0], batch[keys.MASK][0]
        plain, labels = pictures[batch[keys.FILENAME][0]]
        assert image.shape == plain.shape
        assert image.min() >= 0 and image.max() <= 1
        assert not np.array_equal(image, plain)
        if labels is not None:
            assert np.array_equal(mask, labels) != np.array_equal(mask, labels[:, ::-1])
            flips.append(np.array_equal(mask, labels[:, ::-1]))
    assert 2 < sum(flips) < len(flips) - 2


def test_evaluation_leaves_pictures_as_they_are_one_in_a_batch(three):
    found = list(evaluation_dataset([three], None, 8).as_numpy_iterator())
    assert [batch[keys.IMAGE].shape for batch in found] == [(1, *size, 3) for size in SIZES]
    pictures = stored(three)
    for batch in found:
        image, _ = pictures[batch[keys.FILENAME][0]]
        np.testing.assert_allclose(batch[keys.IMAGE][0], image, atol=1e-6)


def test_padding_changes_neither_loss_nor_counts_of_pixels(three, monkeypatch):
    """What is ignored has no loss: the padded batch's is that of its pixels that count."""
    toy_fcn.install(monkeypatch)
    model = archs.build({"arch": "fcn32s", "num_classes": 4}, weight_decay=0.0)
    (batch,) = batches(three, 1)
    outputs = model(batch[keys.IMAGE], training=False)
    # All scores start at zero: every pixel costs log 4, whatever else is in the batch.
    losses = engine.batch_losses(model, outputs, batch)
    assert float(losses[keys.LOSS_SEGMENTATION]) == pytest.approx(np.log(4), rel=1e-6)


def test_one_step_takes_batches_of_all_sizes(three, monkeypatch):
    toy_fcn.install(monkeypatch)
    model = archs.build({"arch": "fcn8s-atonce", "num_classes": 4})
    step = engine.make_train_step(model, build_optimizer("momentum", model))
    for batch in batches(three, 4, batch_size=1):
        losses, scores = step({key: tf.constant(value) for key, value in batch.items()})
        assert np.isfinite(float(losses["total"])) and np.isfinite(float(scores["gradient_norm"]))
