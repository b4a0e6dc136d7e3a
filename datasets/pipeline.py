"""tf.data assembly: records -> augmented, matched batches; records -> evaluation batches."""

import os
from dataclasses import dataclass
from typing import Union

import tensorflow as tf

from blitznet import keys
from blitznet.imaging import MEAN_RGB, legacy_resize
from datasets import augment, records

# Serialized records are shuffled, not decoded pictures: about 100 KB each.
SHUFFLE_BLOCK = 2048
# In place of a side in pixels: pictures and masks keep their sizes.
OWN_SIZE = "own"
# Pictures are padded with one number for all colours: none that a picture has.
_NO_PIXEL = -1.0


@dataclass(frozen=True)
class TrainingInput:
    """What makes training batches from examples.

    Attributes:
      image_size: side S of the network's input, in pixels, or `OWN_SIZE`: then a batch is padded
        to its largest picture, with the mean colour and the ignored label.
      mask_side: side F of the segmentation targets, `OWN_SIZE` with that of pictures, None without
        segmentation.
      coder: `PriorCoder` that makes the detection targets, None without detection.
      batch_size: pictures of a batch, over all replicas and workers.
      augmentation: "full" or "none" (resizing only); pictures of their own size get colours and
        flips alone.
      zoomout_prob: probability of the zoom-out.
      use_masks: False takes every picture as one without a mask.
      ignore_label: the mask's value for pixels that do not count.
      classify: whether the target is the picture's class.
      seed: everything random is a function of it and of the example's number.
    """

    image_size: Union[int, str]
    mask_side: Union[int, str, None]
    coder: object
    batch_size: int
    augmentation: str = "full"
    zoomout_prob: float = 0.5
    use_masks: bool = True
    ignore_label: int = 255
    seed: int = 0
    classify: bool = False


def training_dataset(record_sets, settings, start_step=0, replicas=1, worker=0, workers=1):
    """Endless training batches; the same ones from `start_step` on, wherever it starts.

    Args:
      record_sets: list of `records.RecordsInfo`, at least one picture in all.
      settings: a `TrainingInput`.
      start_step: number of batches to leave out at the start.
      replicas: parts that each batch is divided into, B pictures in each.
      worker, workers: which contiguous share of the parts of each batch to make, and of how many.

    Returns:
      tf.data of dicts: `image` `[B, S, S, 3]` in [0, 1] and `filename` `[B]`; with detection
      `prior_labels` `[B, P]` int32 and `prior_offsets` `[B, P, 4]`; with segmentation `mask`
      `[B, F, F]` uint8; with classification `class_label` `[B]` int32. Of `OWN_SIZE` images are
      `[B, H, W, 3]` and masks `[B, H, W]`, H and W the largest height and width of the B pictures.

    Raises:
      ValueError: the batch cannot be divided so.
      tf.errors.InvalidArgumentError: with classification, a picture that comes up has no class, or
        several; names it.
    """
    if settings.batch_size % replicas or replicas % workers:
        raise ValueError(
            f"{settings.batch_size} pictures of a batch do not divide over {replicas} replicas of "
            f"{workers} workers"
        )
    # Absolute, for the workers of a tf.data service, which have another working folder.
    files = [os.path.abspath(file) for info in record_sets for file in info.files]
    images = sum(records_info.images for records_info in record_sets)
    dataset = _serialized(files, images, settings.seed, start_step * settings.batch_size)
    if workers > 1:
        share = settings.batch_size // workers
        dataset = dataset.filter(lambda number, _: number % settings.batch_size // share == worker)
    dataset = dataset.map(
        lambda number, serialized: _training_example(number, serialized, settings),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    dataset = _batched(dataset, settings.batch_size // replicas, settings)
    return _without_tuning(dataset.prefetch(2 * replicas // workers))


def _batched(dataset, size, settings):
    """Batches of `size` examples, padded where they keep their sizes."""
    if settings.image_size != OWN_SIZE:
        return dataset.batch(size, drop_remainder=True)
    values = {keys.IMAGE: _NO_PIXEL, keys.MASK: tf.cast(settings.ignore_label, tf.uint8)}
    padding = {key: values.get(key) for key in dataset.element_spec}
    dataset = dataset.padded_batch(size, padding_values=padding, drop_remainder=True)
    mean = tf.constant(MEAN_RGB) / 255.0

    def with_mean_colour(batch):
        image = batch[keys.IMAGE]
        return {**batch, keys.IMAGE: tf.where(image == _NO_PIXEL, mean, image)}

    return dataset.map(with_mean_colour)


def evaluation_dataset(record_sets, image_size, batch_size):
    """Every picture of the record sets once, in order.

    `image_size` None leaves pictures at their own sizes, one in a batch.

    Returns:
      tf.data of dicts: `image` `[B, S, S, 3]` in [0, 1], `[1, H, W, 3]` of their own sizes;
      `encoded_image`, `encoded_mask`, `filename`, `source_id` `[B]` strings; `has_mask`, `height`,
      `width`, `class_label` `[B]`; `boxes` `[B, N, 4]`, `labels`, `difficult`, `is_crowd` and
      `area` `[B, N]`, padded with label 0 to the batch's largest N.
    """
    files = [file for records_info in record_sets for file in records_info.files]

    def read(serialized):
        example = records.parse(serialized)
        image = records.decode_image(example[keys.ENCODED_IMAGE])
        if image_size:
            image = legacy_resize(image[None], (image_size, image_size))[0]
        return {**example, keys.IMAGE: tf.cast(image, tf.float32) / 255.0}

    dataset = tf.data.TFRecordDataset(files).map(read, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.padded_batch(batch_size if image_size else 1)
    return _without_tuning(dataset.prefetch(2))


def _without_tuning(dataset):
    """The same with one parallel call for each core.

    The thread by which tf.data looks for a better number has to end with each iterator, and
    sometimes sleeps on for as long again as it has run, up to a minute.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _serialized(files, images, seed, start):
    """Endless stream of `(number, record)`, numbers from `start` on.

    Epoch e has an order that depends on `seed` and e alone.
    """
    if not images:
        raise ValueError("there is no picture to train on: the records are empty")
    first_epoch, offset = divmod(start, images)

    def epoch(number):
        epoch_seed = tf.random.experimental.stateless_fold_in(_seed(seed, "order"), number)
        order = tf.random.experimental.stateless_shuffle(files, epoch_seed)
        dataset = tf.data.Dataset.from_tensor_slices(order).interleave(
            tf.data.TFRecordDataset,
            cycle_length=min(len(files), 8),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        # Not Dataset.shuffle: its order would hang on TensorFlow's global seed too.
        blocks = dataset.batch(min(images, SHUFFLE_BLOCK)).enumerate(1)
        return (
            blocks.map(
                lambda i, block: tf.random.experimental.stateless_shuffle(
                    block, tf.random.experimental.stateless_fold_in(epoch_seed, i)
                )
            )
            .unbatch()
            .enumerate(number * images)
        )

    endless = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return endless.flat_map(epoch).skip(offset)


def _seed(seed, purpose):
    """A seed `[2]` for each purpose, so that order and variation have nothing in common."""
    return tf.constant([seed, ("pictures", "order").index(purpose)], tf.int64)


def _training_example(number, serialized, settings):
    example = records.parse(serialized)
    # A crowd's box holds many objects or parts of them: nothing to learn a box from.
    example = augment.keep(example, ~example[keys.IS_CROWD])
    image = records.decode_image(example[keys.ENCODED_IMAGE])
    example[keys.IMAGE] = tf.cast(image, tf.float32) / 255.0
    if settings.mask_side:
        example[keys.HAS_MASK] &= settings.use_masks
        example[keys.MASK] = records.decode_mask(
            example[keys.ENCODED_MASK],
            example[keys.HAS_MASK],
            tf.shape(image)[0],
            tf.shape(image)[1],
        )
    seed = tf.random.experimental.stateless_fold_in(_seed(settings.seed, "pictures"), number)
    example = _augment(augment.whole_frame(example), seed, settings)
    return _targets(example, settings)


def _augment(example, seed, settings):
    """Spec section 10, in its order; seeds differ by operation."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
    whole = settings.image_size == OWN_SIZE
    if settings.augmentation == "full":
        example = augment.photometric(example, seeds[0])
        if not whole:
            example = augment.zoom_out(example, seeds[1], settings.zoomout_prob)
            example = augment.random_crop(example, seeds[2])
        example = augment.random_flip(example, seeds[3])
    if whole:
        return augment.render_whole(example)
    return augment.render(example, settings.image_size, settings.mask_side, settings.ignore_label)


def _targets(example, settings):
    batch = {key: example[key] for key in (keys.IMAGE, keys.FILENAME)}
    if settings.mask_side:
        batch[keys.MASK] = example[keys.MASK]
    if settings.classify:
        batch[keys.CLASS_LABEL] = _class_label(example)
    if settings.coder:
        labels, offsets = settings.coder.encode(example[keys.BOXES], example[keys.LABELS])
        batch[keys.PRIOR_LABELS], batch[keys.PRIOR_OFFSETS] = labels, offsets
    return batch


def _class_label(example):
    """That of the picture, an error naming it where there is none."""
    label, name = example[keys.CLASS_LABEL], example[keys.FILENAME]
    advice = " needs one class as a whole: leave it out of the records, or encode it with its class"
    with tf.control_dependencies([tf.debugging.Assert(label >= 0, [name + advice])]):
        return tf.identity(label)
