"""The demo on one picture or on those of a folder."""

import io
import json
import math
import sys
import time
from collections import Counter, deque
from pathlib import Path

import numpy as np
from PIL import Image

from blitznet import visualize
from blitznet.picture_files import PictureError, picture_paths, read_picture
from blitznet.progress import progress_bar
from tools.demo_report import Tally, check_outputs, write

_DRAWN, _CLASSES, _JSON = ".png", "-classes.png", ".json"
_SHEET = "contact-sheet.png"
_ON_SHEET, _MOST_COLUMNS, _SHEET_SIDE = 48, 6, 320
_SWATCH = 12, 90


class PictureWork:
    """What `--input` and `--output` ask for, checked before a network is loaded."""

    def __init__(self, args):
        """Raises FileNotFoundError for a folder without pictures, FileExistsError as
        `check_outputs`.
        """
        self._args, source = args, Path(args.input)
        self._folder = source.is_dir()
        paths = picture_paths(source) if self._folder else [source]
        if not paths:
            raise FileNotFoundError(f"no picture in {source}: expected .jpg, .png and the like")
        self._names = output_names(paths[: args.limit])
        self._output = Path(args.output)
        files = [
            f"{name}{end}" for name in self._names.values() for end in (_DRAWN, _CLASSES, _JSON)
        ]
        files += [_SHEET] if self._folder else []
        twice = [file for file, count in Counter(files).items() if count > 1]
        if twice:
            raise FileExistsError(f"two pictures of {source} would become {twice[0]}: rename one")
        check_outputs(self._names, [self._output / file for file in files], args.overwrite)
        self._bad, self._read = [], deque()

    def run(self, predictor):
        """Draw and describe all pictures, say what was found.

        Raises:
          PictureError: after all others are done, if some could not be read.
        """
        began, args = time.monotonic(), self._args
        tally, sheet = Tally(predictor, args.min_score, "pictures"), []
        bar = progress_bar(len(self._names), "pictures")
        stream = predictor.stream(self._pictures(), args.batch_size)
        for done, (picture, prediction) in enumerate(stream, start=1):
            path = self._read.popleft()
            shown = tally.add(prediction)
            drawn = shown.draw(picture, args.min_score, args.opacity)
            self._write(path, drawn, shown, predictor)
            if len(sheet) < _ON_SHEET:
                sheet.append(_panel(drawn, path.name))
            if self._folder:
                bar.update(done)
        if self._folder:
            bar.update(force=True)
            bar.finish(dirty=True)
        self._finish(predictor, tally, sheet, time.monotonic() - began)

    def _pictures(self):
        """The pictures that can be read; notes the path of each, and the errors of others."""
        for path in self._names:
            try:
                picture = read_picture(path)
            except (OSError, PictureError) as error:
                self._bad.append(error)
                continue
            self._read.append(path)
            yield picture

    def _write(self, path, drawn, shown, predictor):
        target = self._output / self._names[path]
        write(target.with_name(target.name + _DRAWN), _png(drawn))
        if shown.class_map is not None:
            file = visualize.palette_png(shown.class_map)
            write(target.with_name(target.name + _CLASSES), file)
        content = {"file": path.name, "network": f"{predictor.source}", "step": predictor.step}
        text = json.dumps({**content, **shown.to_dict()}, indent=1)
        write(target.with_name(target.name + _JSON), f"{text}\n".encode())

    def _finish(self, predictor, tally, sheet, seconds):
        done = len(self._names) - len(self._bad)
        if sheet:
            tally.report()
            print(f"{done / seconds:.1f} pictures/s, drawing and writing included")
            print(f"drawn pictures and JSON: {self._output}")
        if sheet and self._folder:
            classes = {c: predictor.class_names[c - 1] for c in tally.classes()}
            write(self._output / _SHEET, _png(_sheet(sheet, classes)))
            first = f" of the first {len(sheet)}" if done > len(sheet) else ""
            print(f"contact sheet{first}: {self._output / _SHEET}")
        if not self._bad:
            return
        if not self._folder:
            raise self._bad[0]
        for error in self._bad:
            print(f"left out: {error}", file=sys.stderr)
        raise PictureError(f"{len(self._bad)} of {len(self._names)} pictures could not be read")


def output_names(paths):
    """`{path: name of its outputs without endings}`.

    That is the file's name without its ending; with it where several files would share a name.
    """
    shared = Counter(path.stem for path in paths)
    return {path: path.name if shared[path.stem] > 1 else path.stem for path in paths}


def _panel(drawn, title):
    """A drawn picture, made small enough, under its title."""
    small = Image.fromarray(drawn)
    small.thumbnail((_SHEET_SIDE, _SHEET_SIDE))
    return visualize.side_by_side([np.asarray(small)], [title], gap=0)


def _sheet(panels, classes):
    """All panels in a grid, and below them the colour of each of `classes`, `{id: name}`."""
    columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(len(panels))))
    sheet = visualize.contact_sheet(panels, columns)
    if not classes:
        return sheet
    colours = visualize.class_colours(max(classes) + 1)
    height, width = _SWATCH
    swatches = [np.full((height, width, 3), colours[c], np.uint8) for c in classes]
    legend = [visualize.side_by_side([s], [n], gap=0) for s, n in zip(swatches, classes.values())]
    legend = visualize.contact_sheet(legend, max(1, sheet.shape[1] // (width + 8)))
    width = max(sheet.shape[1], legend.shape[1])
    parts = [
        np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255)
        for p in (sheet, legend)
    ]
    return np.vstack(parts)


def _png(picture):
    file = io.BytesIO()
    # Less than the usual 6: at that, packing takes longer than a small network.
    Image.fromarray(picture).save(file, "PNG", compress_level=3)
    return file.getvalue()
