"""Every answer of a server under load, compared with the one that is known beforehand."""

import collections
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tabulate import tabulate

from tools.benchmark.server import (
    TIMEOUT,
    LoadTestError,
    request_body,
    resident_mb,
    running_server,
    session,
)

_RIGHT, _REFUSED = "right answers", "bad requests refused by 400"
# Of the server's memory after the first tenth of the requests.
_MOST_GROWTH = 0.1
# Answers agree where the surest scores and the class map do, but for rounding.
_SUREST, _SCORE_TOLERANCE, _PIXELS_THAT_MAY_DIFFER = 10, 1e-3, 0.01


def check(args, pictures):
    """Ask `args.requests` times, bad ones among them, and judge every answer; prints a table.

    Returns:
      dict for JSON: `outcomes` and, of these, what is `wrong`, by name; `resident_mb` of the
      server after each tenth.

    Raises:
      LoadTestError: two pictures have the same answer, so that mixing them up would not show.
    """
    with running_server(args.model) as url:
        bodies = [request_body(picture) for picture in pictures]
        known = [_answer(_post(url, body)) for body in bodies]
        _require_distinct(known)
        plan = plan_requests(args.requests, args.bad_share, len(pictures))
        bad = bad_bodies(pictures[0])

        def ask(wanted):
            try:
                if isinstance(wanted, str):
                    return judge_bad(_post(url, bad[wanted]))
                return judge(_post(url, bodies[wanted]), known[wanted])
            except OSError as error:  # as the errors of requests are
                return f"requests lost ({type(error).__name__})"

        outcomes, memory = _ask_all(ask, plan, max(args.clients), lambda: resident_mb(url))
    wrong = {what: n for what, n in outcomes.items() if what not in (_RIGHT, _REFUSED)}
    grown = memory[-1] / memory[0] - 1
    if grown > _MOST_GROWTH:
        wrong["% more memory at the end than after a tenth"] = round(100 * grown)
    rows = [*sorted(outcomes.items()), ("sent", len(plan)), ("answered", sum(outcomes.values()))]
    rows += [("server's memory at 10%, MB", memory[0]), ("at the end, MB", memory[-1])]
    print(tabulate(rows, floatfmt=".0f"))
    return {"outcomes": dict(outcomes), "wrong": wrong, "resident_mb": memory}


def _post(url, body):
    with session() as asking:
        return asking.post(f"{url}:predict", data=body, timeout=TIMEOUT)


def _ask_all(ask, plan, clients, memory_of):
    """Counts of what `ask` says of each of `plan`, and what `memory_of` says after each tenth."""
    from blitznet.progress import progress_bar

    outcomes, memory = collections.Counter(), []
    bar = progress_bar(len(plan), "requests")
    with ThreadPoolExecutor(clients) as threads:
        for done, outcome in enumerate(threads.map(ask, plan), 1):
            outcomes[outcome] += 1
            bar.update(done)
            if done * 10 // len(plan) > len(memory):
                memory.append(memory_of())
    bar.finish()
    return outcomes, memory


def plan_requests(number, bad_share, pictures):
    """A list of what to ask: the index of a picture, or the name of a bad request; seeded."""
    rng = np.random.default_rng(0)
    kinds = list(bad_bodies(b""))
    return [
        kinds[rng.integers(len(kinds))] if rng.random() < bad_share else int(index)
        for index in rng.integers(pictures, size=number)
    ]


def bad_bodies(picture):
    """Bodies, by name, each of which must be answered by 400 and trouble nobody else."""
    return {
        "not a picture": request_body(b"this is text"),
        "empty picture": request_body(b""),
        "half a picture": request_body(picture[: len(picture) // 2]),
        "not base64": b'{"instances": [{"b64": "?"}]}',
        "not JSON": b'{"instances": [',
        "unknown signature": b'{"signature_name": "none", "instances": [1]}',
    }


def judge(response, known):
    """What became of a good request, as a name."""
    if response.status_code != 200:
        return f"good requests answered {response.status_code}"
    return _RIGHT if same(_answer(response), known) else "answers that are not the picture's"


def judge_bad(response):
    """What became of a bad request, as a name."""
    refused = response.status_code == 400 and response.json().get("error")
    return _REFUSED if refused else f"bad requests answered {response.status_code}"


def same(answer, other):
    """Whether two answers are of the same picture: arrays `scores` and `class_map`."""
    if answer["class_map"].shape != other["class_map"].shape:
        return False
    apart = np.abs(answer["scores"] - other["scores"])[:_SUREST].max(initial=0)
    differing = np.mean(answer["class_map"] != other["class_map"])
    return apart <= _SCORE_TOLERANCE and differing <= _PIXELS_THAT_MAY_DIFFER


def _answer(response):
    """What `same` compares, of an answer to one picture."""
    if response.status_code != 200:
        raise LoadTestError(f"the server answers {response.status_code}: {response.text}")
    (row,) = response.json()["predictions"]
    if isinstance(row, list):  # an only output comes without its name
        row = {"semantic_classes": row}
    scores = np.array(row.get("detection_scores", []))
    return {"scores": scores, "class_map": np.array(row.get("semantic_classes", [[0]]))}


def _require_distinct(known):
    for (i, one), (j, other) in itertools.combinations(enumerate(known), 2):
        if same(one, other):
            raise LoadTestError(
                f"pictures {i} and {j} have the same answer, so that mixing them up would not "
                "show: give other --pictures, or a trained model"
            )
