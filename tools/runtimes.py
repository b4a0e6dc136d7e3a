"""Exports opened in their own runtimes, each in a process of its own."""

import contextlib
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

_SCRIPT = Path(__file__).with_name("runtime_outputs.py")


class RuntimeFailed(RuntimeError):
    """A runtime does not open an export, or does not run it."""


class Runtime:
    """An export in its runtime, as a context.

    A process for each keeps the libraries apart, and shows that a file needs none of this code.
    """

    def __init__(self, format, folder):
        """`format`: a name of `blitznet.export.formats.FORMATS`; `folder`: DIR/STEP."""
        self._format = format
        # -I leaves out the current folder and PYTHONPATH.
        command = [sys.executable, "-I", str(_SCRIPT), format, str(folder)]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Of a process that has ended, closing the pipe may fail.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def answer(self, **inputs):
        """Dict output -> array for input arrays by name.

        Raises:
          RuntimeFailed: with the runtime's message.
        """
        return self._ask("answer", inputs)

    def names(self):
        """Class names inside the export, the background first; raises as `answer`."""
        return self._ask("names")

    def time(self, calls, **inputs):
        """Seconds of each of `calls` calls, measured beside the runtime; raises as `answer`."""
        return self._ask("time", inputs, calls)

    def _ask(self, *request):
        try:
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()
            works, reply = pickle.load(self._process.stdout)
        except (OSError, EOFError):
            self._process.wait()
            self._errors.seek(0)
            end = self._errors.read().decode(errors="replace")[-2000:]
            raise RuntimeFailed(
                f"{self._format}: its process ended with {self._process.returncode}:\n{end}"
            ) from None
        if not works:
            raise RuntimeFailed(f"{self._format}: {reply}")
        return reply
