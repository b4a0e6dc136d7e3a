"""The versions of a model in its folder: the newest that loads is served, and followed."""

import contextlib
import gc
import threading

from tools.serve_json import RequestError


class _Served:
    """A loaded version and how many borrow it."""

    def __init__(self, model):
        self.model, self.borrowers = model, 0


class Versions:
    """Serves the newest version in `folder`, and moves on to one that appears there.

    Versions are subfolders named by numbers, as for TensorFlow Serving. One that does not load is
    told, and tried again when its files have changed; what was served goes on. One is loaded when
    its files are the same at two polls, so that a copy is given time to end. Where the served
    version is taken away, the newest that is left takes its place; the last one stays.
    """

    def __init__(self, folder, load, say):
        """
        Args:
          folder: `Path` of the versions.
          load: `Path` of a version -> what is served, with `version` and `close()`.
          say: called with a sentence for each change.
        """
        self._folder, self._load, self._say = folder, load, say
        self._lock = threading.Lock()
        self._current = None
        self._seen, self._failed = {}, {}
        self._ended = False
        # Version: (state, code of the error, its message), in TensorFlow Serving's words.
        self._status = {}

    def start(self):
        """Load the newest version that can be. Raises ValueError without one, saying why."""
        if (self._folder / "saved_model.pb").exists():
            raise ValueError(
                f"{self._folder} is a version itself: give the folder above it, "
                f"--model {self._folder.parent}"
            )
        if not self._on_disk():
            raise ValueError(
                f"{self._folder} has no version, a folder such as {self._folder / '1'}: "
                "python -m tools.export_saved_model --output writes one"
            )
        self._seen = self._fingerprints()
        self.poll()
        if self._current is None:
            raise ValueError(f"no version in {self._folder} loads, see above")

    def poll(self):
        """Look at the folder once and serve what is newest there, if it loads."""
        if self._ended:
            self._ended = False
            # A version's functions refer to one another, so that only this frees its memory.
            gc.collect()
        try:
            fingerprints = self._fingerprints()
        except OSError as error:
            self._say(f"the versions cannot be looked at: {error}")
            return
        settled = {v for v, files in fingerprints.items() if self._seen.get(v) == files}
        self._seen = fingerprints
        for version in sorted(fingerprints, reverse=True):
            if self._current is not None and version == self.served:
                return
            if version not in settled or self._failed.get(version) == fingerprints[version]:
                continue
            model = self._try(version, fingerprints[version])
            if model is not None:
                self._replace(model)
                return

    def _try(self, version, files):
        """The loaded model of a version, or None, and then it is told why."""
        self._status[version] = ("LOADING", "OK", "")
        try:
            model = self._load(self._on_disk()[version])
        except Exception as error:  # whatever it raises, what is served goes on
            self._failed[version] = files
            self._status[version] = ("END", "UNKNOWN", f"{error}")
            self._say(f"version {version} does not load, tried again when it changes: {error}")
            return None
        self._status[version] = ("AVAILABLE", "OK", "")
        return model

    def _replace(self, model):
        with self._lock:
            old, self._current = self._current, _Served(model)
            self._say(f"version {model.version} is served")
            if old is not None:
                if old.model.version != model.version:
                    self._status[old.model.version] = ("UNLOADING", "OK", "")
                self._end_unless_borrowed(old)

    @contextlib.contextmanager
    def borrow(self, version=None):
        """The served model, for a `with` block: it is not unloaded before the block ends.

        Raises RequestError 404 where `version` is given and another one is served.
        """
        with self._lock:
            served = self._current
            if version is not None and version != served.model.version:
                raise RequestError(404, f"Servable not found: version {version} is not served")
            served.borrowers += 1
        try:
            yield served.model
        finally:
            with self._lock:
                served.borrowers -= 1
                if served is not self._current:
                    self._end_unless_borrowed(served)

    def close(self):
        """End the threads of what is served, when they are done."""
        self._current.model.close(wait=True)

    def _end_unless_borrowed(self, served):
        if served.borrowers:
            return
        served.model.close()
        self._ended = True
        # The same number may have been loaded again.
        if served.model.version != self.served:
            self._status[served.model.version] = ("END", "OK", "")
        self._say(f"version {served.model.version} is unloaded")

    @property
    def served(self):
        """Number of the version that is served."""
        return self._current.model.version

    def status(self, version=None):
        """What `GET /v1/models/<name>` answers, for JSON; newest first.

        Raises RequestError 404 for a version that was never there.
        """
        known = sorted(self._status.items(), reverse=True)
        if version is not None:
            known = [(number, state) for number, state in known if number == version]
            if not known:
                raise RequestError(404, f"Could not find version {version} of the model")
        return {
            "model_version_status": [
                {
                    "version": str(number),
                    "state": state,
                    "status": {"error_code": code, "error_message": message},
                }
                for number, (state, code, message) in known
            ]
        }

    def _on_disk(self):
        """dict number -> `Path` of the subfolders that are versions."""
        found = self._folder.iterdir() if self._folder.is_dir() else ()
        return {int(path.name): path for path in found if _is_version(path)}

    def _fingerprints(self):
        """dict number -> what changes when a file of the version does."""
        return {number: _fingerprint(path) for number, path in self._on_disk().items()}


def _is_version(path):
    return path.name.isascii() and path.name.isdigit() and path.is_dir()


def _fingerprint(folder):
    files = []
    # What goes while we look is a change, which the next look at the folder sees as well.
    with contextlib.suppress(FileNotFoundError):
        for path in folder.rglob("*"):
            stat = path.stat()
            files.append((str(path), stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(files))
