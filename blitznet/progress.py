"""The progress lines of long work, on standard error."""

import sys
import time

import progressbar

from blitznet import keys

# A terminal's line is redrawn; a log gets a line at a time, at this distance in seconds.
_LOG_SECONDS = 10
_LOG_WIDTH = 120
_SHORT_NAMES = {keys.LOSS_SEGMENTATION: "seg", keys.LOSS_WEIGHT_DECAY: "decay"}


def progress_bar(total, unit):
    """A `progressbar.ProgressBar` up to `total` things called `unit`: count, bar, rate, time.

    It appears with the first `update`.
    """
    return _bar([progressbar.SimpleProgress(), " ", progressbar.Bar(), " "], total, unit)


class Timed:
    """An iterable that tells how long its consumer has waited for it.

    Attributes:
      waited: seconds spent in `next` so far, the making of the iterator with them.
    """

    def __init__(self, iterable):
        self._iterable = iterable
        self.waited = 0.0

    def __iter__(self):
        began = time.monotonic()
        iterator = iter(self._iterable)
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited += time.monotonic() - began
            yield item
            began = time.monotonic()


class TrainingProgress:
    """The line of a training: step, loss, rate, pictures per second, time left, waiting, terms.

    The speed and the share waited leave the first step out, which compiles the graph. On a
    terminal of fewer than 110 columns the share and the loss terms are left out.

    Attributes:
      speed: dict of means until the last step shown, 0 at the first: `images_per_second`, and
        `input_wait_share`, the share of the time that training waited for batches.
    """

    def __init__(self, stop, batch_size, batches):
        """`stop`: number of the last step; `batch_size`: pictures of a step; `batches`: `Timed`."""
        self._stop, self._batch_size, self._batches = stop, batch_size, batches
        self._head = progressbar.FormatCustomText("%(text)s ", {"text": ""})
        self._terms = progressbar.FormatCustomText(" (%(text)s)", {"text": ""}, min_width=110)
        self._bar = None
        self.speed = {"images_per_second": 0.0, "input_wait_share": 0.0}

    def show(self, report):
        """Show an `engine.StepReport`."""
        losses = dict(report.losses)
        total = losses.pop(keys.LOSS_TOTAL)
        self._head.update_mapping(
            text=f"step {report.step}/{self._stop} loss {total:.3f} rate {report.rate:.1e}"
        )
        if self._bar is None:
            self._first, self._began = report.step, time.monotonic()
            self._waited = self._batches.waited
            images = (self._stop - report.step) * self._batch_size
            self._bar = _bar([self._head], images, "images", self._terms)
        images = (report.step - self._first) * self._batch_size
        seconds = max(time.monotonic() - self._began, 1e-9)
        share = (self._batches.waited - self._waited) / seconds
        self.speed = {"images_per_second": images / seconds, "input_wait_share": share}
        terms = " ".join(f"{_SHORT_NAMES.get(n, n)} {value:.2f}" for n, value in losses.items())
        self._terms.update_mapping(text=f"input {share:.0%}; {terms}")
        self._bar.update(images)

    def finish(self):
        """Show the last step and leave the line standing."""
        if self._bar:
            self._bar.update(force=True)
            self._bar.finish(dirty=True)


def _bar(leading, total, unit, *trailing):
    """A bar with the rate and the time left between the given widgets."""
    terminal = sys.stderr.isatty()
    return progressbar.ProgressBar(
        max_value=total,
        widgets=[
            *leading,
            progressbar.FileTransferSpeed(
                unit=unit, prefixes=("",), format="%(scaled).1f %(prefix)s%(unit)s/s"
            ),
            " ",
            progressbar.ETA(
                format="ETA %(eta)s",
                format_not_started="ETA -",
                format_zero="ETA 0:00:00",
                format_finished="in %(elapsed)s",
            ),
            *trailing,
        ],
        term_width=None if terminal else _LOG_WIDTH,
        min_poll_interval=None if terminal else _LOG_SECONDS,
    )
