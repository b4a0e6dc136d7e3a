"""Requests that share calls: who joins whom, and that nobody suffers for another's fault."""

import threading

import numpy as np
import pytest

from tools.serve_batcher import Batcher


class Network:
    """Doubles what it gets, once it may; refuses negative numbers. `calls` has what it got."""

    def __init__(self):
        self.calls, self.may_go = [], threading.Semaphore(0)

    def __call__(self, signature, inputs):
        self.may_go.acquire()
        self.calls.append((signature, inputs["x"].ravel().tolist()))
        if (inputs["x"] < 0).any():
            raise ValueError(f"{inputs['x'].min()} is negative")
        return {"doubled": inputs["x"] * 2}


@pytest.fixture
def network():
    return Network()


def submit_all(network, requests, **settings):
    """Futures of requests `(signature, rows)` that came while the only thread was busy."""
    batcher = Batcher(network, **{"max_rows": 4, "timeout": 0, "threads": 1, **settings})
    busy = batcher.submit("busy", {"x": np.array([0])}, None)
    futures = [
        batcher.submit(signature, {"x": np.array(rows)}, (signature, np.shape(rows)[1:]))
        for signature, rows in requests
    ]
    network.may_go.release(100)
    busy.result(60)
    batcher.close(wait=True)
    assert network.calls.pop(0) == ("busy", [0])
    return futures


def results(futures):
    return [future.result(60)["doubled"].tolist() for future in futures]


def test_what_waits_joins_up_to_the_most_rows(network):
    futures = submit_all(network, [("a", [1]), ("a", [2, 3]), ("a", [4]), ("a", [5]), ("a", [6])])
    assert network.calls == [("a", [1, 2, 3, 4]), ("a", [5, 6])]
    assert results(futures) == [[2], [4, 6], [8], [10], [12]]


def test_a_request_that_would_be_too_much_begins_the_next_call(network):
    futures = submit_all(network, [("a", [1, 2, 3]), ("a", [4, 5]), ("a", [6, 7, 8, 9, 10])])
    assert network.calls == [("a", [1, 2, 3]), ("a", [4, 5]), ("a", [6, 7, 8, 9, 10])]
    assert results(futures) == [[2, 4, 6], [8, 10], [12, 14, 16, 18, 20]]


def test_other_signatures_and_other_sizes_do_not_join(network):
    requests = [("a", [1]), ("b", [2]), ("b", [[3, 4]]), ("b", [[5, 6]])]
    futures = submit_all(network, requests)
    assert network.calls == [("a", [1]), ("b", [2]), ("b", [3, 4, 5, 6])]
    assert results(futures) == [[2], [4], [[6, 8]], [[10, 12]]]


def test_a_bad_request_spoils_its_own_answer_alone(network):
    futures = submit_all(network, [("a", [1]), ("a", [-2]), ("a", [3])])
    assert network.calls == [("a", [1, -2, 3]), ("a", [1]), ("a", [-2]), ("a", [3])]
    with pytest.raises(ValueError, match="-2 is negative"):
        futures[1].result(60)
    assert results([futures[0], futures[2]]) == [[2], [6]]


def test_what_is_cancelled_is_left_out(network):
    batcher = Batcher(network, max_rows=4, timeout=0, threads=1)
    futures = [batcher.submit("a", {"x": np.array([n])}, None if n == 0 else "a") for n in range(4)]
    assert futures[2].cancel()
    network.may_go.release(100)
    batcher.close(wait=True)
    assert network.calls == [("a", [0]), ("a", [1, 3])]
    assert results([futures[1], futures[3]]) == [[2], [6]]


def test_with_one_row_at_most_nothing_joins(network):
    submit_all(network, [("a", [1]), ("a", [2]), ("a", [3, 4])], max_rows=1)
    assert network.calls == [("a", [1]), ("a", [2]), ("a", [3, 4])]


def test_outputs_that_are_not_by_row_are_never_divided():
    def mean(_, inputs):
        return {"mean": np.array([inputs["x"].mean()])}

    batcher = Batcher(mean, max_rows=4, timeout=60, threads=1)
    futures = [batcher.submit("a", {"x": np.array([n, n])}, "a") for n in (3, 5)]
    assert [future.result(60)["mean"].tolist() for future in futures] == [[3], [5]]
    batcher.close(wait=True)
