"""The benchmark of one pass against crops: arithmetic by hand, what cells see, a small run."""

import json

import numpy as np
import pytest
import tensorflow as tf

import toy_fcn
from tools.benchmark import crops, timing
from tools.benchmark.__main__ import main


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    toy_fcn.install(monkeypatch)
    monkeypatch.setattr(timing, "PRODUCT_SIDE", {"CPU": 32, "GPU": 32})


def test_figures_by_hand():
    seconds = {"pass": [0.2, 0.4, 0.3], "crops": [2.0, 2.0, 3.3], "product": [0.1, 0.2, 0.3]}
    flop = {"pass": 3e9, "crops": 24e9, "product": 10e9}
    found = crops.summarise({"seconds": seconds, "flop": flop})
    assert found["ms"]["pass"]["p50"] == pytest.approx(300)
    assert found["ms"]["crops"]["mean"] == pytest.approx(7300 / 3)
    assert found["ratio"] == pytest.approx(2 / 0.3)
    assert found["ratio_of_turns"] == pytest.approx([5, 11])
    assert found["flop_ratio"] == 8
    assert found["limit_gflop_per_second"] == pytest.approx(50)
    # 3 GFLOP in 0.3 s and 24 in 2 s, where the product does 50 a second.
    assert found["share_of_limit"] == pytest.approx({"pass": 0.2, "crops": 0.24})


@pytest.mark.parametrize(("trunk", "crop"), [("alexnet", 227), ("vgg16", 224)])
def test_a_picture_of_500_pixels_has_10_x_10_cells_and_a_crop_one(trunk, crop):
    model = crops.classifier(trunk, 7)
    sizes = [(1, side, side, 3) for side in (500, crop, crop + 32)]
    answers = [model(np.zeros(size, np.float32), training=False).shape for size in sizes]
    assert answers == [(1, 10, 10, 7), (1, 1, 1, 7), (1, 2, 2, 7)]


@pytest.mark.parametrize(("trunk", "crop", "beyond"), [("alexnet", 227, 15), ("vgg16", 224, 12)])
def test_crops_begin_32_pixels_apart_and_may_end_beyond_the_picture(trunk, crop, beyond):
    image = tf.random.stateless_uniform((1, 500, 500, 3), seed=(0, 0))
    found = crops.crops_of(image, trunk, 10).numpy()
    assert found.shape == (100, crop, crop, 3)
    for row, column in [(0, 0), (0, 3), (8, 8), (5, 1)]:
        top, left = 32 * row, 32 * column
        expected = image[0, top : top + crop, left : left + crop]
        np.testing.assert_array_equal(found[10 * row + column], expected)
    assert not found[99, -beyond:].any() and not found[99, :, -beyond:].any()
    np.testing.assert_array_equal(found[99, :-beyond, :-beyond], image[0, 288:, 288:])


def test_the_command_prints_and_writes_the_same(tmp_path, capsys):
    report = tmp_path / "made" / "report.json"
    flags = ["--image_size", "260", "--num_classes", "5", "--batch_size", "3"]
    turns = ["--repeats", "2", "--warmup", "1", "--json", str(report)]
    assert main(["crops", *flags, *turns]) == 0
    found = json.loads(report.read_text())
    assert (found["cells"], found["crop"], found["num_classes"]) == (2, 227, 5)
    assert all(len(seconds) == 2 for seconds in found["seconds"].values())
    assert found["flop"]["product"] == 2 * 32**3
    # Four crops have as many cells of fc6 and fc7, and more of all before.
    assert 1 < found["summary"]["flop_ratio"] < 4
    assert found["summary"] == crops.summarise(found)
    lines = dict(
        line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if line[0] != "-"
    )
    for name, value in crops.rows(found):
        assert lines[name].strip() == value
    assert "4 crops, share of that limit" in lines


def test_pictures_smaller_than_a_crop_are_refused(capsys):
    assert main(["crops", "--trunk", "vgg16", "--image_size", "200"]) == 1
    assert "--image_size is at least that of a crop, 224; got 200" in capsys.readouterr().err
