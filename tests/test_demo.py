"""The demo on pictures: what it draws, writes and tells, by a network of known answers."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import blitznet
from blitznet import keys
from blitznet.picture_files import read_picture
from blitznet.predictor import Predictor
from demo_fixture import contents, known_network, names, picture, run, save, write_video
from helpers import run_python
from tools import demo, demo_pictures, network_flags
from voc_fixture import ORIENTATION


@pytest.fixture
def network(monkeypatch):
    """What `--run_name r` names."""
    return known_network(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    """Three pictures of different brightness and size."""
    for n, value in enumerate((100, 150, 220)):
        save(tmp_path / "in" / f"p{n}.png", picture(value, 40 + n, 48 - n))
    return tmp_path / "in"


def test_each_picture_of_a_folder_gets_its_own_answer(folder, tmp_path, network, capsys):
    output = tmp_path / "out"
    assert run(folder, output, "--opacity", 0.25, "--batch_size", 2) == 0
    assert names(output) == ["contact-sheet.png"] + [
        f"p{n}{end}" for n in range(3) for end in ("-classes.png", ".json", ".png")
    ]
    for n in range(3):
        image = read_picture(folder / f"p{n}.png")
        (found,) = network.predictor.predict(image)
        expected = found.at_least(0.3)
        told = json.loads((output / f"p{n}.json").read_text())
        assert told == {
            "file": f"p{n}.png",
            "network": "archive/r",
            "step": 7,
            **expected.to_dict(),
        }
        drawn = np.asarray(Image.open(output / f"p{n}.png"))
        np.testing.assert_array_equal(drawn, expected.draw(image, 0.3, 0.25))
        ids = Image.open(output / f"p{n}-classes.png")
        assert ids.mode == "P"
        np.testing.assert_array_equal(np.asarray(ids), found.class_map)
    # 100 / 255 / 3 is below 0.3, so is 220 / 255 / 3: no dog anywhere, but its pixels are.
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cat", "3", "3", "0.0"] in lines
    assert [line[:3] for line in lines if line[:1] == ["dog"]] == [["dog", "0", "0"]]
    assert "3 detections of a score of at least 0.3 in 3 pictures" in map(" ".join, lines)


def test_the_contact_sheet_shows_every_picture_and_the_colours(folder, tmp_path, network):
    assert run(folder, tmp_path / "out") == 0
    sheet = np.asarray(Image.open(tmp_path / "out" / "contact-sheet.png")).astype(int)
    for n in range(3):
        drawn = np.asarray(Image.open(tmp_path / "out" / f"p{n}.png"))
        windows = np.lib.stride_tricks.sliding_window_view(sheet, drawn.shape)[:, :, 0]
        assert (windows == drawn).all(axis=(-1, -2, -3)).sum() == 1
    for colour in ([128, 0, 0], [0, 128, 0]):
        windows = np.lib.stride_tricks.sliding_window_view((sheet == colour).all(axis=-1), (8, 90))
        assert windows.all(axis=(-1, -2)).any(), "the bar under the name of the class"


def test_a_long_folder_has_a_sheet_of_its_first_pictures(
    folder, tmp_path, network, monkeypatch, capsys
):
    monkeypatch.setattr(demo_pictures, "_ON_SHEET", 2)
    assert run(folder, tmp_path / "out") == 0
    assert "contact sheet of the first 2: " in capsys.readouterr().out


def test_one_picture_is_turned_upright(tmp_path, network):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = save(tmp_path / "a.jpg", picture(200), exif=exif)
    assert run(path, tmp_path / "out") == 0
    assert names(tmp_path / "out") == ["a-classes.png", "a.json", "a.png"]
    assert Image.open(tmp_path / "out" / "a.png").size == (40, 48)
    told = json.loads((tmp_path / "out" / "a.json").read_text())
    assert (told["height"], told["width"]) == (48, 40)


def test_bad_pictures_are_told_and_the_others_done(folder, tmp_path, network, capsys):
    (folder / "p0.jpg").write_text("no picture")
    (folder / "q.jpg").touch()
    assert run(folder, tmp_path / "out", "--batch_size", 2) == 1
    err = capsys.readouterr().err
    assert f"left out: {folder / 'p0.jpg'} is not a picture" in err
    assert f"left out: {folder / 'q.jpg'} is empty" in err
    assert "error: 2 of 5 pictures could not be read" in err
    made = names(tmp_path / "out")
    # Two files share the name p0, so that their outputs keep the ending.
    assert [name for name in made if name.endswith(".json")] == [
        "p0.png.json",
        "p1.json",
        "p2.json",
    ]
    told = json.loads((tmp_path / "out" / "p2.json").read_text())
    assert told["detections"][0]["score"] == pytest.approx(
        picture(220, 42, 46).mean() / 255, abs=1e-6
    )


def test_a_bad_picture_alone_is_one_error_and_makes_nothing(tmp_path, network, capsys):
    (tmp_path / "a.jpg").write_text("no picture")
    assert run(tmp_path / "a.jpg", tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and "a.jpg is not a picture" in printed.err
    assert printed.out == "" and not (tmp_path / "out").exists()


def test_nothing_found_is_told_with_advice(folder, tmp_path, network, capsys):
    assert run(folder, tmp_path / "out", "--min_score", 0.95) == 0
    printed = capsys.readouterr()
    score = picture(220, 42, 46).mean() / 255
    assert "0 detections of a score of at least 0.95 in 3 pictures" in printed.out
    assert f"warning: no detections; the surest is cat at {score:.3f}" in printed.err
    assert f"--min_score {int(score * 100) / 100:g} shows" in printed.err
    assert "The classes that it knows: cat, dog" in printed.err
    assert json.loads((tmp_path / "out" / "p0.json").read_text())["detections"] == []


def test_a_network_that_only_segments_says_so(folder, tmp_path, network, monkeypatch, capsys):
    def segment(pictures):
        return {keys.SEMANTIC_CLASSES: network(pictures)[keys.SEMANTIC_CLASSES]}

    only = Predictor(segment, ("cat", "dog"), False, True, Path("archive/r"), 7)
    monkeypatch.setattr(demo, "load_predictor", lambda args: only)
    assert run(folder, tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "3 pictures; this network does not detect objects" in printed.out
    assert "warning" not in printed.err
    assert "detections" not in printed.out


def test_the_limit_is_of_pictures(folder, tmp_path, network):
    assert run(folder, tmp_path / "out", "--limit", 2) == 0
    assert [name for name in names(tmp_path / "out") if name.endswith(".json")] == [
        "p0.json",
        "p1.json",
    ]


def test_files_that_are_there_stay_without_overwrite(folder, tmp_path, network, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "p1.json").write_text("mine")
    (output / "p2.png").write_text("mine")
    assert run(folder, output) == 1
    assert "p1.json exists (and 1 more): --overwrite replaces it" in capsys.readouterr().err
    assert names(output) == ["p1.json", "p2.png"] and network.batches == []
    assert run(folder, output, "--overwrite") == 0
    assert json.loads((output / "p1.json").read_text())["file"] == "p1.png"


def test_a_picture_is_never_written_over(folder, network, capsys):
    before = contents(folder)
    assert run(folder, folder, "--overwrite") == 1
    assert "p0.png is read from: take another folder" in capsys.readouterr().err
    assert contents(folder) == before


def test_two_outputs_of_one_name_are_refused(folder, tmp_path, network, capsys):
    save(folder / "p0-classes.jpg", picture(90))
    assert run(folder, tmp_path / "out") == 1
    assert "two pictures of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "no picture, folder or video .*nowhere; a camera is camera:0"),
        ("empty", "no picture in .*empty"),
        ("text.txt", "text.txt is neither a picture nor a video"),
        ("cut.mp4", "cut.mp4 is neither a picture nor a video"),
        ("camera:97", "no camera 97"),
    ],
)
def test_what_cannot_be_read_is_one_error(tmp_path, network, capfd, source, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    whole = write_video(tmp_path / "whole.mp4", 20)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:-900])
    given = source if source.startswith("camera") else tmp_path / source
    assert run(given, tmp_path / "out") == 1
    assert not (tmp_path / "out").exists() and network.batches == []
    err = capfd.readouterr().err
    assert re.search(f"error: .*{message}", err)


@pytest.mark.parametrize(
    ("flags", "source", "step"),
    [
        (["--run_name", "x", "--archive", "runs"], Path("runs/x"), None),
        (["--run_name", "x", "--archive", "runs", "--ckpt", "0.7"], Path("runs/x"), 700),
        (["--saved_model", "exported/x", "--ckpt", "65"], "exported/x", 65000),
    ],
)
def test_the_flags_name_a_network(monkeypatch, flags, source, step):
    asked = []
    monkeypatch.setattr(blitznet, "load", lambda *what: asked.append(what), raising=False)
    args = demo.build_parser().parse_args([*flags, "--input", "a", "--output", "b"])
    network_flags.load_predictor(args)
    assert asked == [(source, step)]


@pytest.mark.parametrize("flags", [[], ["--run_name", "x", "--saved_model", "y"]])
def test_exactly_one_network_is_named(flags, capsys):
    with pytest.raises(SystemExit) as info:
        demo.main([*flags, "--input", "a", "--output", "b"])
    assert info.value.code == 2
    assert "--saved_model" in capsys.readouterr().err


def test_help_needs_no_tensorflow():
    script = (
        "import sys; from tools import demo; demo.build_parser().format_help(); "
        "print('tensorflow' in sys.modules)"
    )
    assert run_python("-c", script).strip() == "False"


@pytest.mark.slow
def test_a_real_run_from_its_flags(tiny_archive, tmp_path, capsys):
    path = save(tmp_path / "a.png", picture(150))
    flags = ["--archive", tiny_archive, "--min_score", 0]
    assert run(path, tmp_path / "out", *flags) == 0
    (expected,) = blitznet.load(tiny_archive / "r").predict(path)
    told = json.loads((tmp_path / "out" / "a.json").read_text())
    assert (told["step"], told["network"]) == (10, str(tiny_archive / "r"))
    assert told["detections"] == expected.to_dict()["detections"]
    ids = Image.open(io.BytesIO((tmp_path / "out" / "a-classes.png").read_bytes()))
    np.testing.assert_array_equal(np.asarray(ids), expected.class_map)
