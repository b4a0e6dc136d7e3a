"""Serve exported models over HTTP as TensorFlow Serving does: `python -m tools.serve --help`."""

import argparse
import os
import sys
from pathlib import Path

from tools import listening


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.serve",
        description="Serve an exported SavedModel over TensorFlow Serving's REST protocol. "
        "Of the model nothing but its folder is needed. Requests share calls of the network; "
        "versions that appear in DIR are taken over while requests go on.",
        epilog="example: python -m tools.serve --model exported/first, then "
        "python -m tools.client http://127.0.0.1:8501/v1/models/first picture.jpg",
    )
    parser.add_argument(
        "--model", required=True, type=Path, metavar="DIR", help="holds the versions, DIR/STEP"
    )

    def add(group, flag, kind, default, metavar, help):
        help = f"{help} (default: %(default)s)"
        group.add_argument(flag, type=kind, default=default, metavar=metavar, help=help)

    parser.add_argument("--name", help="the model's name in the URLs (default: DIR's own)")
    add(parser, "--host", str, "127.0.0.1", "ADDRESS", "0.0.0.0 lets other machines in")
    add(parser, "--port", _number(int, 0, 65535), 8501, "N", "0 takes a free one and prints it")
    add(parser, "--poll", _number(float, 0), 2.0, "S", "seconds between looks at DIR; 0: never")

    group = parser.add_argument_group("batching")
    most = "rows of a call that requests share; 1: none do"
    add(group, "--max_batch_size", _number(int, 1), 16, "N", most)
    waits = "milliseconds that a request waits for others to join"
    add(group, "--batch_timeout_ms", _number(float, 0), 5.0, "MS", waits)
    add(group, "--calls", _number(int, 1), 1, "N", "calls of the network at a time")

    group = parser.add_argument_group("limits")
    add(
        group,
        "--max_body_mb",
        _number(float, 0.001, 2000),
        32.0,
        "MB",
        "size of a request, else 413",
    )
    add(group, "--max_rows", _number(int, 1), 16, "N", "pictures of a request, else 400")
    group.add_argument(
        "--max_pixels",
        type=_number(int, 1),
        metavar="N",
        help="width x height of a picture, else 400 (default: 64 million; 4 million where the "
        "network sees pictures at their own sizes, which takes a gigabyte for 1.5 million)",
    )
    add(group, "--max_waiting", _number(int, 1), 64, "N", "requests at a time, else 503")
    add(group, "--timeout", _number(float, 0.001), 30.0, "S", "seconds for an answer, else 504")
    return parser


def _number(kind, least, most=1e9):
    """An argparse type: a number of `least` to `most`."""

    # Not config's: this process imports nothing that knows the network.
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"{text} is out of range: expected {least:g} to {most:g}"
            )
        return value

    return parse


def main(argv=None):
    """Serve until SIGTERM or Ctrl-C; the exit code, 1 where it cannot begin."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return serve(args)
    except ModuleNotFoundError as error:
        print(f"error: {error}; run: pip install -e .[serve]", file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def serve(args):
    """Load, listen, answer, and end when asked to; the exit code.

    Raises:
      OSError: the port is taken.
      ValueError: no version loads.
      ModuleNotFoundError: a package of the extra [serve] is missing.
    """
    import uvicorn

    name = model_name(args)
    with listening.bound(args.host, args.port) as door:
        app = make_app(args, lambda sentence: print(f"{name}: {sentence}", flush=True))
        wait = round(args.timeout) + 5
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=wait)
        )
        route = f"/v1/models/{name}:predict"
        listening.answer(server, door, lambda url: print(f"{name}: {url}{route}", flush=True))
    print(f"{name}: ended", flush=True)
    return 0


def model_name(args):
    """The model's name in the URLs."""
    return args.name or args.model.resolve().name


def make_app(args, say):
    """The ASGI application of the parsed flags, its model loaded.

    Args:
      args: of `build_parser`.
      say: called with a sentence whenever a version is loaded, refused or unloaded.

    Raises:
      ValueError: no version loads.
    """
    from tools import serve_app, serve_model, serve_versions

    limits = serve_app.Limits(
        body=round(args.max_body_mb * 1e6),
        rows=args.max_rows,
        pixels=args.max_pixels,
        waiting=args.max_waiting,
        seconds=args.timeout,
    )
    metrics = serve_app.Metrics()
    batching = serve_model.Batching(args.max_batch_size, args.batch_timeout_ms / 1e3, args.calls)
    versions = serve_versions.Versions(
        args.model,
        lambda folder: serve_model.ServedModel(folder, batching, metrics.call_rows.observe),
        say,
    )
    versions.start()
    return serve_app.Server(model_name(args), versions, limits, metrics, args.poll).app()


if __name__ == "__main__":
    sys.exit(main())
