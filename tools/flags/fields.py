"""What makes a dataclass field a command-line flag, and the types that values have."""

import argparse
import dataclasses


def and_list(names):
    """At least two names as "a, b and c"."""
    return f"{', '.join(names[:-1])} and {names[-1]}"


def number_in(low, high=None, kind=float, exclusive=False):
    """An argparse type: a number from `low` to `high`, or above `low` if `exclusive`."""
    what = "a whole number" if kind is int else "a number"

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if value == float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not finite")
        above = value > low if exclusive else value >= low
        if not above or (high is not None and value > high):
            bound = f"above {low}" if exclusive else f"at least {low}"
            bound += "" if high is None else f" and at most {high}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: expected {bound}")
        return value

    return parse


def run_name(text):
    """An argparse type: the name of a run's folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a run needs a name")
    return text


def address(text):
    """An argparse type: `HOST:PORT`."""
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as cpu1:5050")
    return text


POSITIVE_INT = number_in(1, kind=int)
COUNT = number_in(0, kind=int)
POSITIVE = number_in(0, exclusive=True)
NOT_NEGATIVE = number_in(0)
SHARE = number_in(0, 1)


def flag(default, help, type=None, metavar=None, **arguments):
    """A dataclass field that is a flag too; `add_flags` reads its metadata.

    Text in `choices` is not case-sensitive, True and False make a switch, a tuple takes any
    number of values. Further `arguments` are those of `add_argument`.
    """
    arguments.update(help=help)
    if isinstance(default, bool):
        arguments.update(action="store_true", default=False)
    elif isinstance(default, tuple):
        arguments.update(type=type, metavar=metavar, nargs="*", default=list(default))
    elif "choices" in arguments:
        kind = str.lower if isinstance(default, str) else int
        arguments.update(type=kind, default=default, help=f"{help} (default: {default})")
    else:
        note = "" if default is None else f" (default: {default})"
        arguments.update(type=type, metavar=metavar, default=default, help=help + note)
    return dataclasses.field(default=default, metadata=arguments)


def add_flags(parser, settings, title=None, description=None):
    """Add the flags that the dataclass `settings` declares itself, as a group with a `title`.

    Returns the group, or the parser without a title.
    """
    group = parser.add_argument_group(title, description) if title else parser
    for name in settings.__annotations__:
        group.add_argument(f"--{name}", **settings.__dataclass_fields__[name].metadata)
    return group


def pick(config_class, args):
    """A frozen settings object whose fields are read from `args` by name."""
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(config_class)}
    return config_class(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
