"""Draw the loss curves of a run: `python -m tools.plot_losses --help`."""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import config
import paths
from tools.flags.fields import run_name

_PREFIX = "loss/"


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.plot_losses",
        description="Draw a run's losses and learning rate, from its TensorBoard summaries.",
    )
    parser.add_argument(
        "--run_name", type=run_name, required=True, metavar="NAME", help="the run's folder"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="a PNG, SVG or PDF file")
    config.add_path_flags(parser)
    return parser


def main(argv=None):
    """Draw; the exit code, 1 for errors."""
    args = build_parser().parse_args(argv)
    try:
        scalars = read_scalars(paths.run_dir(paths.archive(args.archive), args.run_name))
        draw(scalars, args.run_name, args.output)
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(args.output)
    return 0


def read_scalars(run_dir):
    """`{tag: {step: value}}` of all summaries in a run's folder; later files win.

    Raises:
      FileNotFoundError: there are none.
      ValueError: they have no scalars.
    """
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util

    files = sorted(Path(run_dir).glob("events.out.tfevents.*"))
    if not files:
        raise FileNotFoundError(f"no TensorBoard summaries in {run_dir}")
    scalars = defaultdict(dict)
    for file in files:
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = tensor_util.make_ndarray(value.tensor)
                    scalars[value.tag][event.step] = float(number)
    if not scalars:
        raise ValueError(
            f"no losses in the summaries of {run_dir}: was the run shorter than --summary_every?"
        )
    return scalars


def draw(scalars, title, output):
    """One panel with all losses on a logarithmic axis, one with the learning rate.

    Raises:
      ImportError: matplotlib, the extra `plot`, is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(f"{error}: pip install -e .[plot]") from None
    figure, (losses, rate) = pyplot.subplots(
        2, 1, sharex=True, figsize=(8, 6), height_ratios=(4, 1), layout="constrained"
    )
    for tag in sorted(tag for tag in scalars if tag.startswith(_PREFIX)):
        steps, values = zip(*sorted(scalars[tag].items()))
        width = 2.5 if tag.endswith("total") else 1.2
        marker = "o" if len(steps) == 1 else None
        losses.plot(steps, values, label=tag[len(_PREFIX) :], linewidth=width, marker=marker)
    losses.set(yscale="log", ylabel="loss", title=title)
    losses.legend()
    steps, values = zip(*sorted(scalars["learning_rate"].items()))
    rate.step(steps, values, where="pre")
    rate.set(yscale="log", xlabel="step", ylabel="learning rate")
    for axes in (losses, rate):
        axes.grid(alpha=0.3)
    figure.savefig(output, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
