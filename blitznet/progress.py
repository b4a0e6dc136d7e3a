"""The progress bar that all long work shows: count, bar, rate, time left."""

import sys

import progressbar

# A terminal's line is redrawn; a log gets a line at a time, at this distance in seconds.
_LOG_SECONDS = 10


def progress_bar(total, unit, details=None):
    """A `progressbar.ProgressBar` up to `total` things called `unit`, on standard error.

    `details` is a widget shown in place of the count, such as a
    `progressbar.FormatCustomText`.
    """
    return progressbar.ProgressBar(
        max_value=total,
        widgets=[
            details or progressbar.SimpleProgress(),
            " ",
            progressbar.Bar(),
            " ",
            progressbar.FileTransferSpeed(unit=unit, prefixes=("",)),
            " ",
            progressbar.ETA(),
        ],
        min_poll_interval=None if sys.stderr.isatty() else _LOG_SECONDS,
    )
