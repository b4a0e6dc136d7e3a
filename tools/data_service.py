"""Make training batches for `training.py --data_service`: see `--help`."""

import argparse
import os
import signal
import sys
import threading

from tools import listening
from tools.flags.fields import address, number_in

_PORT = number_in(0, 65535, int)


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.data_service",
        description="Start a tf.data service, a dispatcher and a worker on all cores, which makes "
        "training's batches in its stead; with --join a further worker of one. The records must "
        "lie at the same absolute paths for all, and all must have the same TensorFlow. Whoever "
        "reaches the ports can read this machine's files: keep them inside a trusted network.",
        epilog="example: python -m tools.data_service --port 5050 --host cpu1, then on another "
        "machine python training.py --data_service cpu1:5050 ...",
    )
    parser.add_argument(
        "--port",
        type=_PORT,
        metavar="N",
        help="where training and workers reach the dispatcher (default: 5050), or with --join "
        "where training reaches this worker (default: a free one); 0 takes a free one",
    )
    parser.add_argument(
        "--host",
        default="localhost",
        metavar="NAME",
        help="name of this machine for the others (default: %(default)s)",
    )
    parser.add_argument(
        "--join",
        type=address,
        metavar="HOST:PORT",
        help="start no dispatcher, but work for the one there",
    )
    return parser


def main(argv=None):
    """Serve until SIGTERM or Ctrl-C; the exit code, 1 where it cannot begin."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        serve(args)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def serve(args):
    """Start what the flags say, and end when asked to.

    Raises:
      OSError: a port is taken, or nobody is at `--join`.
    """
    if args.join:
        worker = start_worker(args.join, args.host, args.port or 0)
        ready = f"working for {args.join}"
    else:
        dispatcher, address = start_dispatcher(args.host, 5050 if args.port is None else args.port)
        worker = start_worker(address, args.host, 0)
        ready = f"tf.data service: training.py --data_service {address}"
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    print(ready, flush=True)
    ended.wait()
    # A worker without its dispatcher would complain.
    del worker
    print("ended", flush=True)


def start_dispatcher(host, port):
    """`(server, HOST:PORT)`; port 0 takes a free one. Raises OSError where it is taken."""
    import tensorflow as tf

    _check_free(port)
    service = tf.data.experimental.service
    server = service.DispatchServer(service.DispatcherConfig(port=port))
    return server, f"{host}:{server.target.rpartition(':')[2]}"


def start_worker(dispatcher, host, port):
    """A server that works for the dispatcher at `HOST:PORT`; port 0 takes a free one.

    Raises OSError where the port is taken or there is no dispatcher.
    """
    import tensorflow as tf

    from datasets.service import check_reachable

    check_reachable(dispatcher)
    _check_free(port)
    service = tf.data.experimental.service
    settings = service.WorkerConfig(dispatcher, worker_address=f"{host}:%port%", port=port)
    return service.WorkerServer(settings)


def _check_free(port):
    # TensorFlow would share a taken port with whoever has it.
    listening.bound("0.0.0.0", port).close()


if __name__ == "__main__":
    sys.exit(main())
