"""Fetches a tar or zip file over HTTP, goes on where it was cut, checks it and unpacks it."""

import hashlib
import http.client
import os
import shutil
import socket
import ssl
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import PurePosixPath

from blitznet.progress import progress_bar

MB = 1_000_000
TIMEOUT_SECONDS = 60
RETRIES, RETRY_SECONDS = 5, 3
_CHUNK = 1 << 20
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    socket.timeout,
    ssl.SSLError,
)
_UNPACKING_ERRORS = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error)


class FetchError(OSError):
    """A file could not be fetched; says the URL, the reason, and what to do by hand."""

    def __init__(self, url, path, reason):
        super().__init__(
            f"cannot fetch {url}: {reason}\n"
            f"Fetch it elsewhere and put it here, then the same command goes on:\n  {path}"
        )


def fetch(url, path, checksum):
    """Make the file at `url` be at `path`, a Path, whole and of the right checksum.

    checksum: "md5:..." or "sha256:...", in hexadecimal. A file that is at `path` already, put
    there by hand, is checked only. What has come of it so far waits in `<path>.partial`, from
    where the same call goes on if the server can (HTTP's Range, RFC 9110 section 14).

    Raises FetchError when the server cannot be reached, stays silent or refuses, ValueError for
    a wrong checksum.
    """
    if path.is_file():
        _check(path, checksum, "delete it, and the same command fetches it")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    _receive(url, path, partial)
    try:
        _check(partial, checksum, f"it is deleted; the same command fetches {url} again")
    except ValueError:
        partial.unlink()
        raise
    os.replace(partial, path)


def _receive(url, path, partial):
    """Get the whole of a file into `partial`; a connection that brought something may be cut."""
    retries = 0
    while True:
        before = _size(partial)
        try:
            if _receive_once(url, partial):
                return
            reason = "the connection was cut"
        except urllib.error.HTTPError as error:
            reason = f"the server says {error.code} {error.reason}"
            if error.code < 500:
                raise FetchError(url, path, reason) from None
        except _NETWORK_ERRORS as error:
            reason = getattr(error, "reason", None) or error
        if _size(partial) > before:
            retries = RETRIES
        elif retries == 0:
            raise FetchError(url, path, reason)
        else:
            retries -= 1
        print(f"{reason}; going on in {RETRY_SECONDS} s", file=sys.stderr)
        time.sleep(RETRY_SECONDS)


def _receive_once(url, partial):
    """Append to `partial` what it lacks, over one connection; True if it is complete."""
    offset = _size(partial)
    headers = {"User-Agent": "blitznet-download"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:  # nothing lies beyond what is here
            return True
        raise
    with response:
        length = response.headers["Content-Length"]
        if length is None:
            raise http.client.HTTPException("the server does not say how long the file is")
        # A server without Range sends the whole file.
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        print(
            f"{url}: {int(length) / MB:.0f} MB" + resumed * f" after {offset / MB:.0f} MB",
            flush=True,
        )
        with open(partial, "ab" if resumed else "wb") as file:
            return _copy(response, int(length), file.write) == int(length)


def _copy(source, length, write):
    """Hand the bytes of a readable `source` to `write`, with a bar; the number that came."""
    bar, done = _megabytes(length), 0
    try:
        while True:
            chunk = source.read(_CHUNK)
            if not chunk:
                return done
            write(chunk)
            done += len(chunk)
            bar.update(done // MB)
    finally:
        _finish(bar)


def _check(path, checksum, advice):
    """Raise ValueError, with the advice, if the file has another checksum."""
    algorithm, wanted = checksum.split(":")
    digest = hashlib.new(algorithm)
    print(f"{path}: comparing the {algorithm} checksum", flush=True)
    with open(path, "rb") as file:
        _copy(file, _size(path), digest.update)
    if digest.hexdigest() != wanted:
        raise ValueError(
            f"{path}: its {algorithm} checksum is {digest.hexdigest()}, not {wanted}: {advice}"
        )


def _size(path):
    return path.stat().st_size if path.exists() else 0


def unpack(path, target):
    """Unpack the tar or zip file `path` into the folder `target`, both Paths.

    All is unpacked in a hidden folder inside and then moved: a folder that was not there
    appears whole, in one that was there files of the same names are replaced. A run that was
    stopped is done again from the start.

    Raises ValueError for a damaged file or a member that would lie outside of `target`.
    """
    staging = target / f".{path.name}.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    print(f"{path}: unpacking", flush=True)
    try:
        (_unpack_zip if path.suffix == ".zip" else _unpack_tar)(path, staging)
        _move_all(staging, target)
    except _UNPACKING_ERRORS as error:
        raise ValueError(f"{path}: cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack_tar(path, folder):
    if not hasattr(tarfile, "data_filter"):
        raise OSError(
            "tarfile of this Python cannot unpack safely: take 3.9.17, 3.10.12, 3.11.4 or a later "
            f"one, or unpack {path} by hand"
        )
    bar = _megabytes(_size(path))
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file) as archive:
            for member in archive:
                archive.extract(member, folder, filter="data")
                bar.update(file.tell() // MB)
    finally:
        _finish(bar)


def _unpack_zip(path, folder):
    bar, done = _megabytes(_size(path)), 0
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename)
                if name.is_absolute() or ".." in name.parts:  # zipfile would put it elsewhere
                    raise zipfile.BadZipFile(f"{member.filename} lies outside of the folder")
                archive.extract(member, folder)
                done += member.compress_size
                bar.update(done // MB)
    finally:
        _finish(bar)


def _move_all(source, target):
    """Move what is in the folder `source` into the folder `target`, as whole as it can be."""
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move_all(entry, place)
        else:
            os.replace(entry, place)


def _megabytes(length):
    return progress_bar(length // MB, "MB")


def _finish(bar):
    if bar.start_time:
        bar.update(force=True)
        bar.finish(dirty=True)
