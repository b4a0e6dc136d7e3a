"""The released FCNs of Caffe: what the network answers is what Caffe's layers compute."""

import numpy as np
import pytest

import caffe_net
import toy_fcn
from blitznet import caffemodel, keys
from blitznet.convert import caffe, caffe_fcn
from blitznet.imaging import MEAN_RGB
from blitznet.models.fcn import build_fcn
from caffe_fixture import write_caffemodel, write_v1_caffemodel

PICTURE = np.random.default_rng(9).uniform(0, 1, (40, 33, 3)).astype(np.float32)
# What surrounds pictures here, in BGR of 0..255 less Caffe's mean colour.
FRAME = np.subtract(MEAN_RGB, caffe.MEAN_RGB)[::-1]
ARCHS = ("fcn32s", "fcn16s", "fcn8s", "fcn8s-atonce")
NETS = [("vgg16", arch) for arch in ARCHS] + [("alexnet", "fcn32s")]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    toy_fcn.install(monkeypatch)


def build(trunk="vgg16", arch="fcn8s"):
    return build_fcn(caffe_net.CLASSES, trunk=trunk, arch=arch, geometry="reference")


def blobs_of(trunk, arch):
    return caffe_net.alexnet_blobs() if trunk == "alexnet" else caffe_net.vgg_blobs(arch)


def scores(trunk, arch, blobs, **frame):
    """Caffe's scores `[H, W, C]`."""
    forward = caffe_net.alexnet_scores if trunk == "alexnet" else caffe_net.vgg_scores
    return forward(PICTURE, blobs, arch, **frame).transpose(1, 2, 0)


@pytest.mark.parametrize(("trunk", "arch"), NETS)
@pytest.mark.parametrize("write", [write_caffemodel, write_v1_caffemodel])
def test_a_file_becomes_the_network_that_caffe_runs(trunk, arch, write, tmp_path):
    """On every pixel, once the frame is of one colour in both."""
    blobs = blobs_of(trunk, arch)
    model = build(trunk, arch)
    caffe_fcn.assign(model, caffemodel.read(write(tmp_path / "net.caffemodel", blobs)))
    found = model(PICTURE[None], training=False)[keys.SEGMENTATION][0].numpy()
    expected = scores(trunk, arch, blobs, pad_colour=FRAME)
    assert found.shape == expected.shape == (40, 33, caffe_net.CLASSES)
    assert expected.std((0, 1)).min() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.std())


@pytest.mark.parametrize("trunk", ["vgg16", "alexnet"])
def test_caffes_own_frame_is_seen_by_less_than_a_grey_level(trunk):
    blobs = blobs_of(trunk, "fcn32s")
    model = build(trunk, "fcn32s")
    caffe_fcn.assign(model, blobs)
    found = model(PICTURE[None], training=False)[keys.SEGMENTATION][0].numpy()
    expected = scores(trunk, "fcn32s", blobs)
    difference = np.abs(found - expected).max()
    assert 1e-4 * expected.std() < difference < 0.2 * expected.std()
    assert np.abs(FRAME).max() < 1


def test_the_arrays_that_were_read_stay_as_they_are():
    blobs = caffe_net.vgg_blobs("fcn32s")
    before = {name: blob.copy() for name, blob in blobs.items()}
    caffe_fcn.assign(build(arch="fcn32s"), blobs)
    assert list(blobs) == list(before)
    for name, blob in blobs.items():
        np.testing.assert_array_equal(blob, before[name])


def off_diagonal(blobs):
    blobs["upscore2/0"][0, 1, 2, 2] = 1e-3


def crooked(blobs):
    blobs["upscore8/0"][1, 1, 7, 7] *= 1.001


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda blobs: blobs.pop("conv4_2/0"), ["missing: conv4_2/0"]),
        (lambda blobs: blobs.pop("upscore_pool4/0"), ["missing: upscore_pool4/0"]),
        (
            lambda blobs: blobs.update({"score_pool2/0": np.zeros((3, 4, 1, 1), "f")}),
            ["left over: score_pool2/0"],
        ),
        (
            lambda blobs: blobs.update({"conv1_1/0": np.zeros((2, 3, 5, 5), "f")}),
            ["shape of conv1_1/0: expected (2, 3, 3, 3), found (2, 3, 5, 5)"],
        ),
        (
            lambda blobs: blobs.update({"score_fr/1": np.zeros(21, "f"), "fc8/1": np.zeros(2)}),
            ["2 differences", "shape of score_fr/1: expected (3,), found (21,)", "over: fc8/1"],
        ),
        (off_diagonal, ["1 differences", "upscore2/0 mixes channels"]),
        (crooked, ["1 differences", "upscore8/0 is not bilinear"]),
    ],
)
def test_other_weights_are_named_and_change_nothing(change, told):
    model, blobs = build(), caffe_net.vgg_blobs("fcn8s")
    change(blobs)
    before = model.get_weights()
    with pytest.raises(ValueError, match="other weights than expected") as error:
        caffe_fcn.assign(model, blobs)
    for text in told:
        assert text in str(error.value)
    for found, expected in zip(model.get_weights(), before):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("of_model", "of_blobs", "told"),
    [
        ("fcn8s", "fcn8s-atonce", "left over: scale_pool4/0"),
        ("fcn8s-atonce", "fcn8s", "missing: scale_pool4/0"),
        ("fcn16s", "fcn32s", "missing: score_pool4/0"),
        ("fcn32s", "fcn16s", "left over: upscore2/0"),
    ],
)
def test_another_of_the_nets_is_refused(of_model, of_blobs, told):
    with pytest.raises(ValueError, match=told):
        caffe_fcn.assign(build(arch=of_model), caffe_net.vgg_blobs(of_blobs))


def test_maps_of_other_factors_are_refused():
    blobs = caffe_net.vgg_blobs("fcn8s-atonce")
    blobs["scale_pool3/0"][:] = 0.001
    with pytest.raises(ValueError, match="scale_pool3/0 is not 0.0001 throughout"):
        caffe_fcn.assign(build(arch="fcn8s-atonce"), blobs)
