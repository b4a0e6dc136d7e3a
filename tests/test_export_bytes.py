"""Batches of files: right pictures of every kind, and errors that name those that are none."""

import io
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from blitznet import export
from blitznet.export.saved_model import read_pictures
from blitznet.imaging import legacy_resize
from blitznet.postprocess.settings import DetectionSettings

SIDE = 32
read = tf.function(
    lambda files: read_pictures(files, SIDE), input_signature=[tf.TensorSpec([None], tf.string)]
)


def blots(height, width, seed=0):
    """A smooth picture, so that JPEG loses little."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture, format, **options):
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def by_pillow(file):
    """What Pillow reads from a file, uint8 `[H, W, 3]`."""
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def animated(format):
    pictures = [blots(20, 30, seed).convert("P") for seed in range(3)]
    return encoded(pictures[0], format, save_all=True, append_images=pictures[1:])


KINDS = {
    "PNG": encoded(blots(20, 30), "PNG"),
    "palette PNG": encoded(blots(20, 30).convert("P"), "PNG"),
    "one bit": encoded(blots(20, 30).convert("1"), "PNG"),
    "1 x 1": encoded(blots(1, 1), "PNG"),
    "RGBA": encoded(blots(20, 30).convert("RGBA"), "PNG"),
    "grey PNG": encoded(blots(20, 30).convert("L"), "PNG"),
    "grey JPEG": encoded(blots(20, 30).convert("L"), "JPEG"),
    "CMYK JPEG": encoded(blots(20, 30).convert("CMYK"), "JPEG"),
    "progressive JPEG": encoded(blots(20, 30), "JPEG", progressive=True),
    "GIF": encoded(blots(20, 30), "GIF"),
    "first of an animated GIF": animated("GIF"),
    "BMP": encoded(blots(20, 30), "BMP"),
    "palette BMP": encoded(blots(20, 30).convert("P"), "BMP"),
    "grey BMP": encoded(blots(20, 30).convert("L"), "BMP"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_each_kind_is_read_as_pillow_reads_it(kind):
    expected = legacy_resize(by_pillow(KINDS[kind])[None], (SIDE, SIDE))
    # Pillow turns CMYK into RGB by a rule of its own; the others differ by rounding at most.
    np.testing.assert_allclose(read([KINDS[kind]]), expected, atol=1.01)


def test_of_sixteen_bits_the_higher_eight_are_kept():
    values = np.random.default_rng(3).integers(0, 65536, (SIDE, SIDE)).astype(np.uint16)
    found = read([encoded(Image.fromarray(values), "PNG")])
    np.testing.assert_array_equal(found, np.repeat((values >> 8)[None, ..., None], 3, -1))


JPEG = encoded(blots(60, 80), "JPEG")
BAD = {
    "empty": b"",
    "text": b"not a picture",
    "cut JPEG": JPEG[: len(JPEG) // 2],
    "cut PNG": KINDS["PNG"][:-30],
    "cut BMP": encoded(blots(20, 30).convert("P"), "BMP")[:200],
    "TIFF": encoded(blots(20, 30), "TIFF"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_picture_is_named_by_its_index(kind):
    files = [KINDS["PNG"], JPEG, BAD[kind], KINDS["GIF"]]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes \[2\]") as error:
        read(files)
    assert "not a JPEG, PNG, GIF or BMP file that can be read" in error.value.message


def test_all_such_files_are_named():
    many = [KINDS["PNG"] if i % 2 else b"" for i in range(20)]
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        read(many)
    (named,) = re.findall(r"image_bytes \[([\d ]+)\]", error.value.message)
    assert list(map(int, named.split())) == list(range(0, 20, 2))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes \[0 1\]"):
        read([b"", b"x"])


def test_pictures_keep_their_places():
    files = [encoded(blots(10 + 9 * i, 90 - 7 * i, i), "PNG") for i in range(10)]
    together = read(files)
    for i, file in enumerate(files):
        np.testing.assert_array_equal(together[i], read([file])[0])
        np.testing.assert_array_equal(
            together[i], legacy_resize(by_pillow(file)[None], (SIDE, SIDE))[0]
        )


@pytest.fixture(scope="module")
def functions(tiny_archive):
    from blitznet import runs

    model, coder, _, _ = runs.load(tiny_archive / "r")
    return export.ServingFunctions(model, coder, DetectionSettings())


def test_no_pictures_are_told(functions):
    with pytest.raises(tf.errors.InvalidArgumentError, match="the batch is empty"):
        functions.from_bytes(tf.zeros([0], tf.string))
    with pytest.raises(tf.errors.InvalidArgumentError, match="the batch is empty"):
        functions.from_images(tf.zeros([0, 9, 9, 3], tf.uint8))
