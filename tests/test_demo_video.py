"""The demo on videos and cameras, by a network of known answers."""

import json

import numpy as np
import pytest

from blitznet.opencv import cv2
from demo_fixture import (
    contents,
    frames,
    known_network,
    names,
    picture,
    read_video,
    run,
    write_video,
)
from tools import demo_video


@pytest.fixture
def network(monkeypatch):
    """What `--run_name r` names."""
    return known_network(monkeypatch)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_video_keeps_rate_size_and_frames(tmp_path, network, capsys):
    path = write_video(tmp_path / "ride.mp4", 20)
    assert run(path, tmp_path / "out", "--batch_size", 8) == 0
    assert names(tmp_path / "out") == ["ride.jsonl", "ride.mp4"]
    assert network.batches == [1, 8, 8, 4], "the first compiles the network"
    shown, _ = read_video(path)
    drawn, rate = read_video(tmp_path / "out" / "ride.mp4")
    assert rate == 12.5 and len(drawn) == 20
    lines = read_lines(tmp_path / "out" / "ride.jsonl")
    assert [line["frame"] for line in lines] == list(range(20))
    for n, (image, found, line) in enumerate(zip(shown, drawn, lines)):
        (prediction,) = network.predictor.predict(image)
        prediction = prediction.at_least(0.3)
        expected = {"frame": n, "seconds": pytest.approx(n / 12.5, abs=1e-3)}
        assert line == {**expected, **prediction.to_dict()}
        # MPEG loses some of every colour.
        assert np.abs(found.astype(int) - prediction.draw(image)).mean() < 12
    out = capsys.readouterr().out
    cats = sum(len(line["detections"]) for line in lines)
    assert f"{cats} detections of a score of at least 0.3 in 20 frames" in out
    assert "frames/s" in out


def test_the_limit_is_of_frames(tmp_path, network):
    path = write_video(tmp_path / "ride.mp4", 20)
    assert run(path, tmp_path / "out", "--limit", 5) == 0
    assert len(read_video(tmp_path / "out" / "ride.mp4")[0]) == 5


def test_a_video_that_is_marked_as_turned_comes_out_upright(tmp_path, network):
    path = write_video(tmp_path / "ride.mp4", 4)
    content = bytearray(path.read_bytes())
    # The matrix of the track header box (ISO/IEC 14496-12, 8.3.2): a quarter turn.
    matrix = content.index(b"tkhd") + 4 + 40
    turn = np.array([0, 0x10000, 0, -0x10000, 0, 0, 48 * 0x10000, 0, 0x40000000], ">i4")
    content[matrix : matrix + 36] = turn.tobytes()
    path.write_bytes(content)
    assert run(path, tmp_path / "out") == 0
    drawn, _ = read_video(tmp_path / "out" / "ride.mp4")
    assert drawn[0].shape == (64, 48, 3)
    # The lighter side, on the right as stored, is below.
    assert drawn[0][2:6, 2:6].mean() + 20 < drawn[0][-6:-2, 2:6].mean()
    assert read_lines(tmp_path / "out" / "ride.jsonl")[0]["width"] == 48


def test_a_video_that_ends_early_is_told_and_what_there_was_is_kept(tmp_path, network, capsys):
    path = write_video(tmp_path / "ride.avi", 40, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run(path, tmp_path / "out") == 1
    drawn, _ = read_video(tmp_path / "out" / "ride.mp4")
    assert 5 < len(drawn) < 30
    assert len(read_lines(tmp_path / "out" / "ride.jsonl")) == len(drawn)
    assert f"ride.avi ends after {len(drawn)} of 40 frames" in capsys.readouterr().err


def test_an_interrupted_video_stays_readable(tmp_path, network, capsys):
    path = write_video(tmp_path / "ride.mp4", 20)
    network.fails_after = 9
    assert run(path, tmp_path / "out", "--batch_size", 4) == 130
    assert names(tmp_path / "out") == ["ride.jsonl", "ride.mp4"]
    assert len(read_video(tmp_path / "out" / "ride.mp4")[0]) == 8
    assert len(read_lines(tmp_path / "out" / "ride.jsonl")) == 8
    assert "interrupted; what was made so far stays" in capsys.readouterr().err


def test_a_video_that_is_there_stays_without_overwrite(tmp_path, network):
    path = write_video(tmp_path / "ride.mp4", 4)
    before = path.read_bytes()
    assert run(path, tmp_path, "--overwrite") == 1, "it would become its own input"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ride.jsonl").write_text("mine")
    assert run(path, tmp_path / "out") == 1
    assert contents(tmp_path / "out") == {"ride.jsonl": b"mine"} and path.read_bytes() == before


class Camera:
    """In place of `cv2.VideoCapture`: frames without end."""

    def __init__(self, number):
        assert number == 3
        self._left = iter(frames(40))

    def isOpened(self):
        return True

    def set(self, *_):
        return True

    def get(self, name):
        return {cv2.CAP_PROP_FPS: 30.0}.get(name, -1.0)

    def read(self):
        return True, cv2.cvtColor(next(self._left), cv2.COLOR_RGB2BGR)


def test_a_camera_is_read_frame_by_frame_until_the_limit(tmp_path, network, monkeypatch):
    monkeypatch.setattr(demo_video.cv2, "VideoCapture", Camera)
    assert run("camera:3", tmp_path / "out", "--limit", 4) == 0
    monkeypatch.undo()
    assert network.batches == [1] * 5
    lines = read_lines(tmp_path / "out" / "camera-3.jsonl")
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert all(a["seconds"] <= b["seconds"] for a, b in zip(lines, lines[1:]))
    drawn, rate = read_video(tmp_path / "out" / "camera-3.mp4")
    assert rate == 30 and len(drawn) >= 4


def test_frames_are_repeated_until_the_video_is_in_time(tmp_path, network):
    (found,) = network.predictor.predict(picture(200, 48, 64))
    with demo_video.Recording(tmp_path / "a", 10.0) as recording:
        for number, seconds in enumerate((0.0, 0.1, 0.5)):
            recording.add(picture(200, 48, 64), number, seconds, found, in_time=True)
    # At 0.0 and 0.1 s a frame each; the third stands for 0.2 to 0.5 s.
    assert len(read_video(tmp_path / "a.mp4")[0]) == 6
    assert len(read_lines(tmp_path / "a.jsonl")) == 3
