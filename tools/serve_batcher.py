"""Requests of many clients, joined into calls of the network.

`tf.nondifferentiable_batch_function` would do so in the graph, but it knows its queues by the
names of operations, so that two versions of a model share one and answer each other's requests,
and neither its queue nor its threads end with the version.
"""

import queue
import threading
import time
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

_END = None


class _Request(NamedTuple):
    """A request in the queue: what may join it has the same `key`, None for nothing."""

    key: object
    signature: str
    inputs: dict
    rows: int
    future: Future
    arrived: float


class Batcher:
    """Calls a network from threads of its own, with the rows of several requests at a time."""

    def __init__(self, call, max_rows, timeout, threads):
        """
        Args:
          call: `(signature, inputs)` -> outputs, both dicts of arrays `[rows, ...]`.
          max_rows: most rows of a call that requests share; with 1 none do.
          timeout: seconds that the first request of a call waits for more. Requests that come
            while all threads are busy wait for these, and join without waiting longer.
          threads: calls at a time.
        """
        self._call, self._max_rows, self._timeout = call, max_rows, timeout
        self._queue = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, signature, inputs, key):
        """A `Future` of the outputs: dict of arrays, or what `call` raises for this request.

        A call that fails is repeated for each of its requests alone, so that one of them cannot
        spoil the others. A future that is cancelled in time is left out.

        Args:
          signature, inputs: as for `call`.
          key: of the requests that may share a call; None for one that shares with none.
        """
        rows = len(next(iter(inputs.values())))
        future = Future()
        self._queue.put(_Request(key, signature, inputs, rows, future, time.monotonic()))
        return future

    def close(self, wait=False):
        """Let the threads end when what was submitted is done; `wait` for that."""
        for _ in self._threads:
            self._queue.put(_END)
        for thread in self._threads if wait else ():
            thread.join()

    def _work(self):
        request = self._queue.get()
        while request is not _END:
            batch, following = self._collect(request)
            self._run([each for each in batch if each.future.set_running_or_notify_cancel()])
            del request, batch  # while the thread waits, nothing keeps their pictures
            request = following[0] if following else self._queue.get()

    def _collect(self, first):
        """The requests of a call that begins with `first`; and a list of what came after them,
        which is the next to be looked at, or empty.
        """
        batch, rows = [first], first.rows
        while first.key is not None and rows < self._max_rows:
            try:
                left = first.arrived + self._timeout - time.monotonic()
                request = self._queue.get(timeout=max(0, left))
            except queue.Empty:
                break
            stays = request is _END or request.key != first.key
            if stays or rows + request.rows > self._max_rows:
                return batch, [request]
            batch.append(request)
            rows += request.rows
        return batch, []

    def _run(self, batch):
        """Answer the requests of a call."""
        try:
            parts = self._outputs(batch) if batch else ()
        except Exception as error:  # whatever it is, the request's client is told
            if len(batch) == 1:
                batch[0].future.set_exception(error)
            else:
                for request in batch:
                    self._run([request])
            return
        for request, outputs in zip(batch, parts):
            request.future.set_result(outputs)

    def _outputs(self, batch):
        """The outputs of each of the requests, by one call."""
        if len(batch) == 1:
            return [self._call(batch[0].signature, batch[0].inputs)]
        names = batch[0].inputs
        joined = {name: np.concatenate([r.inputs[name] for r in batch]) for name in names}
        outputs = self._call(batch[0].signature, joined)
        ends = np.cumsum([request.rows for request in batch])
        if any(len(array) != ends[-1] for array in outputs.values()):
            raise ValueError("an output has not a row for each row of the inputs")
        parts = {name: np.split(array, ends[:-1]) for name, array in outputs.items()}
        return [{name: parts[name][i] for name in parts} for i in range(len(batch))]
