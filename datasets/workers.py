"""Processes that share out long work and end together, however that happens."""

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait


def run_in_pool(function, jobs, workers, progress):
    """`[function(job, tick) for job in jobs]`, over `workers` processes.

    `function` is a module's own, jobs and answers are picklable; it calls `tick` after each unit
    of work, `progress` hears the number of all units done. The first exception of a worker, or
    Ctrl-C, stops all at their next tick and is raised.
    """
    # Fork is unsafe once TensorFlow has threads.
    context = multiprocessing.get_context("spawn")
    done, stop = context.Value("q", 0), context.Event()
    with ProcessPoolExecutor(workers, context, _enter_worker, (done, stop)) as pool:
        try:
            with _interrupt_ignored():  # the workers inherit that: Ctrl-C is for this process
                pending = [pool.submit(_run, function, job) for job in jobs]
            futures = list(pending)
            while pending:
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
                progress(done.value)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


@contextlib.contextmanager
def _interrupt_ignored():
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


class _Stopped(Exception):
    """The main process gave up."""


def _enter_worker(done, stop):
    """Take the shared counter and stop sign; end with the main process, however that ends."""
    global _tick

    def _tick():
        if stop.is_set():
            raise _Stopped
        with done.get_lock():
            done.value += 1

    def follow():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _run(function, job):
    return function(job, _tick)
