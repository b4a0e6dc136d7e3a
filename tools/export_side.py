"""The pictures' size in exports that take one size alone, of runs that take any."""

from tools.flags.fields import number_in

_USUAL_SIDE = 500


def add_side_flag(parser):
    """`--side`, which `of_one_side` reads."""
    parser.add_argument(
        "--side",
        type=number_in(32, kind=int),
        metavar="S",
        help="of a run that takes pictures of any size, in a format that takes one size alone: "
        f"the side of its square in pixels (default: {_USUAL_SIDE})",
    )


def of_one_side(content, side):
    """A `Content` that takes pictures of one size: itself, or of the side of the flag.

    Raises:
      ValueError: `side` is given, and the run has a size of its own.
    """
    if content.side is None:
        return content.of_side(side or _USUAL_SIDE)
    if side is not None:
        raise ValueError(
            f"--side {side}: the run takes pictures of {content.side} x {content.side} pixels, as "
            "its --image_size says, and is exported for these: leave --side out"
        )
    return content
