"""A local server with the faults of real ones, and small archives for it to serve."""

import contextlib
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves `files`, {name: bytes}, with faults.

    faults: one for each of the first requests, {"cut": bytes after which to hang up},
    {"status": code to answer with} or {"unsized": True}; ranges: whether it knows Range.
    asked: (name, offset) of each request, offset None without Range.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.faults, self.ranges, self.asked = {}, [], True, []

    @classmethod
    @contextlib.contextmanager
    def running(cls):
        """A server that answers in a thread of its own until the block ends."""
        with cls() as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()

    def url(self, name):
        """Where it serves the file `name`."""
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path.lstrip("/")
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        server.asked.append((name, int(wanted[1]) if wanted else None))
        fault = server.faults.pop(0) if server.faults else {}
        content = server.files.get(name)
        if "status" in fault or content is None:
            self.send_error(fault.get("status", 404))
            return
        offset = int(wanted[1]) if wanted and server.ranges else 0
        if offset and offset >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if offset else 200)
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(content) - 1}/{len(content)}")
        if "unsized" not in fault:
            self.send_header("Content-Length", str(len(content) - offset))
        self.end_headers()
        self.wfile.write(content[offset:][: fault.get("cut")])

    def log_message(self, *_):
        pass


def checksum(content, algorithm="sha256"):
    """The checksum of bytes as the table of downloads writes it."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def names_in(folder):
    """The files at any depth of a folder, relative to it, sorted."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def make_tar(path, members, kind="w"):
    """Write a tar of {name: bytes, or a TarInfo to put as it is}; answers its path."""
    with tarfile.open(path, kind) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def make_zip(path, members):
    """Write a zip of {name: bytes}; answers its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path
