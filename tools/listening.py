"""A socket to listen at, and a server that ends in peace when asked to."""

import signal
import socket


def bound(host, port):
    """A socket with the address; port 0 takes a free one.

    Raises OSError, naming both, where the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise OSError(
            f"cannot listen at {host}, port {port}: {error.strerror}; --port takes another"
        ) from None
    return made


def answer(server, listening, say):
    """Serve at a bound socket until SIGTERM or Ctrl-C.

    Args:
      server: a `uvicorn.Server`.
      listening: of `bound`.
      say: called with `http://HOST:PORT` once nobody is turned away any more.
    """
    # uvicorn ends in peace on these, and then hands them on to whoever had them before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    listening.listen()
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    say(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    server.run(sockets=[listening])
