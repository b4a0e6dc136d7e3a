"""Measuring in a process of its own, so that its peak memory is that of one measurement."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool


def measure_apart(measure, *arguments):
    """`measure(*arguments)` of a fresh process; a module's own function, picklable arguments.

    Returns:
      What `measure` answers, a dict; where it fails, a dict with `error`, the reason.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, *arguments).result()
        except BrokenProcessPool:
            return {"error": "its process was killed, for want of memory as a rule"}
        except Exception as error:  # whatever it is, what else is measured shall not be lost
            return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


def environment_of(answers):
    """The `environment` in the first of `measure_apart`'s answers that has one; else `{}`."""
    return next((answer["environment"] for answer in answers if "environment" in answer), {})


def require_all(measured):
    """Raises ChildProcessError that names what failed; `measured`: dict name -> `measure_apart`."""
    failed = [f"{name}: {of['error']}" for name, of in measured.items() if "error" in of]
    if failed:
        raise ChildProcessError(f"{len(failed)} of {len(measured)} failed; {'; '.join(failed)}")
