"""A web page that finds things in pictures: `python -m tools.web_demo --help`."""

import argparse
import logging
import os
import sys
import tempfile

from tools import listening
from tools.flags.fields import number_in
from tools.network_flags import add_network_flags, load_predictor


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.web_demo",
        description="Serve a web page: upload a picture or take a sample, see boxes and masks, "
        "move the confidence, switch classes off. Nothing leaves this machine.",
        epilog="example: python -m tools.web_demo --run_name first, then open "
        "http://127.0.0.1:7860 in a browser. For a phone in the same network: --host 0.0.0.0, "
        "then http://ADDRESS-OF-THIS-MACHINE:7860. Whoever reaches the port may use the page.",
    )
    add_network_flags(parser)

    def add(flag, kind, default, metavar, help):
        help = f"{help} (default: %(default)s)"
        group.add_argument(flag, type=kind, default=default, metavar=metavar, help=help)

    group = parser.add_argument_group("page")
    add("--host", str, "127.0.0.1", "ADDRESS", "0.0.0.0 lets other machines in")
    port = number_in(0, 65535, kind=int)
    add("--port", port, 7860, "N", "0 takes a free one and prints it")
    group.add_argument(
        "--samples",
        metavar="FOLDER",
        help="pictures to offer (default: drawn ones, if the classes are the quickstart's)",
    )
    size = number_in(0, exclusive=True)
    add("--max_upload_mb", size, 20.0, "MB", "larger files are refused")
    return parser


def main(argv=None):
    """Serve until SIGTERM or Ctrl-C; the exit code, 1 where it cannot begin."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return serve(args)
    except (OSError, ValueError, MissingPackage) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


class MissingPackage(RuntimeError):
    """A package of the extra [web] is not installed."""


def serve(args):
    """Load the network, listen, answer, and end when asked to; the exit code.

    Raises:
      OSError: the address is taken, or the network or a folder is not there.
      ValueError: the network is not what it should be.
      MissingPackage: names the extra.
    """
    with listening.bound(args.host, args.port) as door, tempfile.TemporaryDirectory() as scratch:
        import_gradio(scratch)
        predictor = _ready(args)
        samples = _samples(args.samples, predictor)

        from tools.web_page import make_app

        app = make_app(predictor, samples, round(args.max_upload_mb * 2**20))
        _answer(app, door)
    return 0


def import_gradio(scratch):
    """Import Gradio, its calls home off and its files in the folder `scratch`.

    Raises MissingPackage.
    """
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=str(scratch), HF_HUB_DISABLE_TELEMETRY="1"
    )
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"{error}; run: pip install -e .[web] (Gradio needs Python 3.10 or later)"
        ) from None


def _ready(args):
    """The predictor of the flags, which has been through one picture: the first one compiles."""
    import numpy as np
    import tensorflow as tf

    try:
        predictor = load_predictor(args)
        predictor.predict([np.zeros((64, 64, 3), np.uint8)])
    except tf.errors.OpError as error:
        raise ValueError(error.message) from error
    return predictor


def _samples(folder, predictor):
    from tools import web_samples

    if folder:
        return web_samples.samples_of_folder(folder)
    return web_samples.drawn_samples(predictor.class_names)


def _answer(app, door):
    """Serve an ASGI application at a bound socket, print where, end at a signal."""
    import uvicorn

    settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(settings)
    # Pages that are open hold connections; that these are cut at the end is no news.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    listening.answer(server, door, lambda url: print(url, flush=True))


if __name__ == "__main__":
    sys.exit(main())
