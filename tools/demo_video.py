"""The demo on a video or a camera."""

import json
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path

import progressbar

from blitznet.opencv import cv2
from blitznet.progress import progress_bar
from tools.demo_report import Tally, check_outputs

# What stands in for a frame rate that a file or camera does not tell.
_USUAL_RATE = 25.0
# The header of a video may be a few frames off without anything being wrong.
_LEAST_SHARE = 0.95


class VideoWork:
    """What `--input` and `--output` ask for, checked before a network is loaded."""

    def __init__(self, args, source):
        """`source`: a path, or the number of a camera.

        Raises FileNotFoundError without such a camera, ValueError for a file that is no video,
        FileExistsError as `check_outputs`.
        """
        self._args, self._camera = args, isinstance(source, int)
        name = f"camera-{source}" if self._camera else source.stem
        self._target = Path(args.output) / name
        outputs = [_with_ending(self._target, ending) for ending in Recording.ENDINGS]
        check_outputs([] if self._camera else [source], outputs, args.overwrite)
        self._source = source
        self._capture = _open(source)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = rate if 0 < rate < 1000 else _USUAL_RATE
        self._seconds = deque()

    def run(self, predictor):
        """Draw and describe all frames, say what was found.

        Raises:
          ValueError: the video ends before its time; what there was is written all the same.
        """
        args = self._args
        # A camera's frames are shown as they come, not held until a batch is full.
        batch_size = 1 if self._camera else args.batch_size
        tally = Tally(predictor, args.min_score, "frames")
        began, done, total = time.monotonic(), 0, self._total()
        bar = progress_bar(total or progressbar.UnknownLength, "frames")
        try:
            with Recording(self._target, self._rate) as recording:
                for picture, prediction in predictor.stream(self._frames(), batch_size):
                    shown = tally.add(prediction)
                    drawn = shown.draw(picture, args.min_score, args.opacity)
                    seconds = self._seconds.popleft()
                    recording.add(drawn, done, seconds, shown, in_time=self._camera)
                    done += 1
                    bar.update(min(done, total or done))
        finally:
            if done:
                bar.update(force=True)
                bar.finish(dirty=True)
                tally.report()
                rate = done / (time.monotonic() - began)
                print(f"{rate:.1f} frames/s, reading, drawing and writing included")
                print(f"written: {', '.join(map(str, recording.paths))}")
        self._check_end(done)

    def _expected(self):
        """Frames that the header tells of, 0 where it does not."""
        return 0 if self._camera else max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def _total(self):
        """Frames to come, None where nobody knows."""
        return min(filter(None, (self._expected(), self._args.limit)), default=None)

    def _frames(self):
        """RGB frames to the end or the limit; notes the time of each in seconds."""
        began = time.monotonic()
        number = 0
        while number != self._args.limit:
            there, frame = self._capture.read()
            if not there:
                return
            seconds = time.monotonic() - began if self._camera else number / self._rate
            self._seconds.append(seconds)
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            number += 1

    def _check_end(self, done):
        if not done:
            raise ValueError(f"{self._args.input} holds no frame that OpenCV can read")
        total = self._total()
        if total and done < _LEAST_SHARE * total:
            raise ValueError(
                f"{self._args.input} ends after {done} of {total} frames: damaged or cut short? "
                "What there was is written"
            )


class Recording:
    """NAME.mp4 and NAME.jsonl, which appear when it is left, with all that was added until then,
    for whatever reason it is left.

    Attributes:
      paths: of both.
    """

    ENDINGS = (".mp4", ".jsonl")

    def __init__(self, target, rate):
        """`target`: path without ending; `rate`: frames per second."""
        self.paths = [_with_ending(target, ending) for ending in self.ENDINGS]
        # OpenCV goes by the ending of the name.
        self._partial = [path.with_name(f".partial-{path.name}") for path in self.paths]
        self._rate, self._frames = rate, 0
        self._writer = self._lines = None

    def __enter__(self):
        return self

    def add(self, picture, number, seconds, shown, in_time=False):
        """Add a drawn frame, and a line of its number, its time and what is shown.

        picture: uint8 RGB. seconds: since the beginning. in_time: repeat the frame until the
        video is as long as `seconds`, for a camera that is faster than the network.
        """
        if not self._writer:
            self._open(picture.shape[1], picture.shape[0])
        frame = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        wanted = round(seconds * self._rate) + 1 if in_time else 0
        for _ in range(max(1, wanted - self._frames)):
            self._writer.write(frame)
            self._frames += 1
        content = {"frame": number, "seconds": round(seconds, 3), **shown.to_dict()}
        print(json.dumps(content), file=self._lines)

    def _open(self, width, height):
        video, lines = self._partial
        video.parent.mkdir(parents=True, exist_ok=True)
        # MPEG-4 part 2: OpenCV's wheels have no H.264, and their VP9 takes 60 times as long.
        codec = cv2.VideoWriter_fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(video), codec, self._rate, (width, height))
        if not self._writer.isOpened():
            raise OSError(f"OpenCV cannot write a video of {width} x {height} to {video.parent}")
        self._lines = lines.open("w", encoding="utf-8")

    def __exit__(self, *_):
        with ExitStack() as stack:
            for partial, path in zip(self._partial, self.paths):
                if self._frames:
                    stack.callback(partial.replace, path)
                else:
                    stack.callback(partial.unlink, missing_ok=True)
            if self._lines:
                self._lines.close()
            if self._writer:
                self._writer.release()


def _open(source):
    """OpenCV's capture of a path or camera."""
    if isinstance(source, int):
        capture = cv2.VideoCapture(source)
        if not capture.isOpened():
            raise FileNotFoundError(f"no camera {source}, or another program has it")
        # Else the frames shown would be older and older.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture
    capture = cv2.VideoCapture(str(source))
    if not capture.isOpened():
        raise ValueError(f"{source} is neither a picture nor a video that OpenCV reads")
    # Telephones mark their videos as turned; only later versions go by it unasked.
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def _with_ending(target, ending):
    return target.with_name(target.name + ending)
