"""The command `serve` of tools.benchmark: `tools.serve` under load, from a process of its own."""

import contextlib
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tabulate import tabulate

from tools.benchmark import answers
from tools.benchmark.flags import add_json_flag, add_number
from tools.benchmark.report import environment_line, spread, write_json
from tools.benchmark.server import TIMEOUT, LoadTestError, request_body, running_server, session
from tools.flags.fields import number_in

_DRAWN_PICTURES = 16


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
    parser = commands.add_parser(
        "serve",
        help="tools.serve under load",
        description="Start tools.serve on an export and ask it from several clients at a time: "
        "requests a second, a picture in each, and waiting times, with batching and without. With "
        "--requests, ask that often instead, bad requests among them, and compare every answer "
        "with the known one.",
        epilog="example: python -m tools.benchmark serve --model exported/first",
    )
    parser.set_defaults(command=serve)
    parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="of DIR/STEP")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="sent as they are (default: drawn ones)"
    )
    add_number(parser, "--clients", [1, 4, 16], "clients at a time, one after another")
    seconds, share = number_in(0, exclusive=True), number_in(0, 1)
    add_number(parser, "--seconds", 10.0, "length of a measurement", seconds, "S")
    add_number(parser, "--rounds", 2, "measurements of each, by turns with the others")
    add_number(parser, "--requests", None, "check this many answers, from the most clients")
    add_number(parser, "--bad_share", 0.01, "with --requests: share of bad ones", share, "P")
    add_json_flag(parser)


def serve(args):
    """Run the command; print and write what came of it.

    Raises:
      LoadTestError: no server, or it lost or mixed up requests.
    """
    pictures = read_pictures(args.pictures)
    run = answers.check if args.requests else measure
    result = run(args, pictures)
    from tools.benchmark import timing

    result["model"] = str(args.model)
    result["environment"] = timing.environment()
    print(environment_line(result["environment"], "device", "threads", "cpu"))
    write_json(args.json, result)
    if result.get("wrong"):
        raise LoadTestError("; ".join(f"{n} {what}" for what, n in result["wrong"].items()))


def read_pictures(folder):
    """Files (bytes) in a folder, sorted by name, or drawn JPEGs without one."""
    if folder is None:
        from blitznet.opencv import cv2
        from tools import quickstart_scene

        drawn = (
            quickstart_scene.draw_scene(np.random.default_rng(seed)).image
            for seed in range(_DRAWN_PICTURES)
        )
        return [cv2.imencode(".jpg", image[..., ::-1])[1].tobytes() for image in drawn]
    from blitznet.picture_files import picture_paths

    found = [path.read_bytes() for path in picture_paths(folder)]
    if not found:
        raise ValueError(f"{folder} has no pictures")
    return found


def measure(args, pictures):
    """Requests a second and waiting times, batching off and on by turns; prints a table.

    Returns:
      dict for JSON: `load`, a list with `batching`, `clients`, `requests`,
      `requests_per_second`, `mean_ms`, `p50_ms`, `p95_ms`, `p99_ms`.
    """
    bodies = [request_body(picture) for picture in pictures]
    modes = {"off": ["--max_batch_size", "1"], "on": []}
    measured = {(mode, clients): [] for clients in args.clients for mode in modes}
    with contextlib.ExitStack() as stack:
        urls = {
            mode: stack.enter_context(running_server(args.model, *flags))
            for mode, flags in modes.items()
        }
        for url in urls.values():
            ask_for(url, bodies, 1, args.seconds / 5)
        for _ in range(args.rounds):
            for mode, clients in measured:
                one = ask_for(urls[mode], bodies, clients, args.seconds)
                measured[mode, clients].append(one)
    rows = [
        {"batching": mode, "clients": clients, **summarise(parts)}
        for (mode, clients), parts in measured.items()
    ]
    print(tabulate(rows, headers="keys", floatfmt=".1f"))
    return {"load": rows}


def ask_for(url, bodies, clients, seconds):
    """`(seconds of each request, seconds of all)` of clients that ask without a pause.

    Raises:
      LoadTestError: an answer is not 200.
    """
    end = time.perf_counter() + seconds

    def ask(first):
        waited = []
        with session() as asking:
            for body in itertools.islice(itertools.cycle(bodies), first, None):
                began = time.perf_counter()
                if began > end:
                    return waited
                response = asking.post(f"{url}:predict", data=body, timeout=TIMEOUT)
                waited.append(time.perf_counter() - began)
                if response.status_code != 200:
                    raise LoadTestError(f"{url} answers {response.status_code}: {response.text}")

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        each = list(threads.map(ask, range(clients)))
    return [second for waited in each for second in waited], time.perf_counter() - began


def summarise(parts):
    """Figures of one or more results of `ask_for`, their requests taken together."""
    waited = np.concatenate([seconds for seconds, _ in parts])
    waiting = spread(waited, (50, 95, 99))
    return {
        "requests": len(waited),
        "requests_per_second": len(waited) / sum(seconds for _, seconds in parts),
        **{f"{name}_ms": value * 1e3 for name, value in waiting.items()},
    }
