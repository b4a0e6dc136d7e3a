"""What the input pipeline does fast equals what is plain, to the last bit."""

import resource
import sys

import numpy as np
import pytest
import tensorflow as tf

import plain_input
from blitznet import keys
from blitznet.coding import PriorCoder
from blitznet.priors import prior_boxes, prior_scales
from datasets import augment, pipeline, records
from helpers import run_python

PRIORS = prior_boxes((75, 38, 19, 10, 5, 3, 1), prior_scales(300, True))
FILL = tf.constant([0.25, 0.5, 0.75])
WINDOWS = {
    "whole": [0.0, 0.0, 1.0, 1.0],
    "crop": [0.13, 0.27, 0.71, 0.93],
    "zoomed out": [-0.61, -1.27, 1.93, 1.37],
    "beyond two corners": [-0.2, 0.3, 0.6, 1.4],
    "too narrow for a sample": [0.4, -30.0, 0.6, 30.0],
    "wholly outside": [1.25, 0.0, 2.0, 0.5],
}


def _boxes(seed, count):
    """yxyx inside the picture, from tiny to whole; every third one twice."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.02, 1, (count, 2)) ** 2
    corner = rng.uniform(0, 1 - size)
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    boxes[2::3] = boxes[1::3][: len(boxes[2::3])]
    return boxes


@pytest.mark.parametrize("count", [0, 1, 2, 7, 60])
def test_matching_box_by_box_is_matching_by_all_overlaps(count):
    boxes, labels = _boxes(count, count), np.arange(1, count + 1, dtype=np.int32)
    ours = tf.function(PriorCoder(PRIORS).encode)(boxes, labels)
    plain = tf.function(plain_input.PlainCoder(PRIORS).encode)(boxes, labels)
    for one, other in zip(ours, plain):
        np.testing.assert_array_equal(one, other)
    assert bool(count) == np.any(ours[0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss")
def test_matching_131070_priors_takes_less_memory_than_their_overlaps():
    """BlitzNet512 --x4 and a picture of 400 objects: the matrix alone would be 210 MB."""
    script = """
import sys; sys.path.insert(0, "tests")
from test_plain_input import peak_megabytes_of_matching
print(peak_megabytes_of_matching(400))
"""
    assert float(run_python("-c", script).split()[-1]) < 131070 * 400 * 4 / 1e6


def peak_megabytes_of_matching(count):
    """By how much the peak of this process rises when `count` boxes are matched."""
    sides = (128, 64, 32, 16, 8, 4, 2, 1)
    coder = PriorCoder(prior_boxes(sides, prior_scales(512, True)))
    encode = tf.function(coder.encode)
    encode = encode.get_concrete_function(tf.TensorSpec([None, 4]), tf.TensorSpec([None], tf.int32))
    boxes = tf.constant(_boxes(0, count)), tf.range(1, count + 1)
    encode(boxes[0][:1], boxes[1][:1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    encode(*boxes)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize(("height", "width", "side"), [(48, 64, 40), (37, 23, 61), (1, 1, 3)])
def test_sampling_what_is_seen_is_sampling_everything(height, width, side, window, mirrored):
    image = tf.random.stateless_uniform((height, width, 3), (height, width))
    mask = tf.cast(image[..., 0] * 200, tf.uint8)
    seen = tf.constant(window), side
    for name, pixels, fill in (
        ("sample_bilinear", image, FILL),
        ("sample_nearest", mask, tf.constant(201, tf.uint8)),
    ):
        ours = tf.function(getattr(augment, name))(pixels, *seen, fill, tf.constant(mirrored))
        plain = tf.function(getattr(plain_input, name))(pixels, *seen, fill, tf.constant(mirrored))
        np.testing.assert_array_equal(ours, plain, err_msg=name)


@pytest.mark.parametrize("chosen", [[], [True], [False, False], [True, False, True]])
def test_kept_objects_are_those_of_a_mask(chosen):
    chosen = np.array(chosen, bool)
    example = {
        keys.BOXES: tf.random.stateless_uniform((len(chosen), 4), (0, 1)),
        keys.LABELS: tf.range(len(chosen)),
    }
    ours, plain = augment.keep(example, chosen), plain_input.keep(example, chosen)
    for key in example:
        np.testing.assert_array_equal(ours[key], plain[key])


def test_batches_equal_those_of_the_plain_formulas(tiny_data, monkeypatch):
    info = records.read_json(tiny_data / "records" / "voc12-train-seg.json", "")
    priors = prior_boxes((8, 4, 2, 1), prior_scales(64, False))

    def batches(coder):
        settings = pipeline.TrainingInput(64, 16, coder, batch_size=4)
        return list(pipeline.training_dataset([info], settings).take(8).as_numpy_iterator())

    ours = batches(PriorCoder(priors))
    for name in ("keep", "random_flip", "sample_bilinear", "sample_nearest"):
        monkeypatch.setattr(augment, name, getattr(plain_input, name))
    plain = batches(plain_input.PlainCoder(priors))
    for one, other in zip(ours, plain):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)
    assert any(batch[keys.PRIOR_LABELS].any() for batch in ours)
