"""A tools.serve in a process of its own, for measurements."""

import base64
import collections
import contextlib
import json
import signal
import subprocess
import sys
import threading

import paths

TIMEOUT = 120


class LoadTestError(RuntimeError):
    """The server did not start, or did not answer as it must."""


@contextlib.contextmanager
def running_server(model, *flags):
    """The model's url at a tools.serve that ends with the block.

    Raises:
      LoadTestError: it does not start, or does not end with exit code 0 when asked to.
    """
    command = [sys.executable, "-m", "tools.serve", "--model", str(model.resolve()), "--port", "0"]
    process = subprocess.Popen(
        [*command, *flags], cwd=paths.CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    try:
        lines = (line.split(": ", 1)[-1].strip() for line in process.stdout)
        url = next((line for line in lines if line.startswith("http")), None)
        if url is None:
            raise LoadTestError("tools.serve did not start, its message is above")
        # What it says later is read too, so that it never waits for a reader.
        threading.Thread(target=collections.deque, args=(process.stdout, 0), daemon=True).start()
        yield url.removesuffix(":predict")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(TIMEOUT)
        finally:
            process.kill()
    if code:
        raise LoadTestError(f"tools.serve ended with exit code {code}")


def request_body(picture):
    """The body (bytes) of a request about one picture (bytes)."""
    encoded = base64.b64encode(picture).decode()
    return json.dumps({"instances": [{"image_bytes": {"b64": encoded}}]}).encode()


def resident_mb(url):
    """Memory of the server in MB, by its own metrics. Raises LoadTestError where it says none."""
    with session() as asking:
        text = asking.get(f"{url.split('/v1/')[0]}/metrics", timeout=TIMEOUT).text
    for line in text.splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split()[1]) / 1e6
    raise LoadTestError("the server does not tell its memory: this check needs Linux")


def session():
    """A `requests.Session`, which keeps its connection. Raises LoadTestError without requests."""
    try:
        import requests
    except ModuleNotFoundError as error:
        raise LoadTestError(f"{error}; run: pip install -e .[serve]") from error
    return requests.Session()
