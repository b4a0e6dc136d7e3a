"""What the commands of tools.benchmark compute, print and write alike."""

from pathlib import Path

import numpy as np


def spread(seconds, percentiles=(50, 95)):
    """`mean` and percentiles (`p50`, `p95`), interpolated linearly: a dict of floats."""
    found = zip(percentiles, np.percentile(seconds, percentiles))
    return {"mean": float(np.mean(seconds)), **{f"p{share}": float(p) for share, p in found}}


def ms_figures(seconds):
    """`spread` in ms: `ms_mean`, `ms_p50` and `ms_p95`."""
    return {f"ms_{name}": value * 1e3 for name, value in spread(seconds).items()}


def rates(pictures, seconds):
    """Pictures/s by the `spread` of turns' seconds: `p95` is what 95% of the turns reach."""
    return {name: pictures / value for name, value in spread(seconds).items()}


def limit_figures(flop, seconds, product_flop, product_seconds):
    """What calls reach of a matrix product's speed.

    Returns:
      dict: at the median times, `gflop_per_second` and `limit_gflop_per_second` (the product's),
      and their ratio `share_of_limit`.
    """
    speed = flop / float(np.median(seconds))
    limit = product_flop / float(np.median(product_seconds))
    return {
        "gflop_per_second": speed / 1e9,
        "limit_gflop_per_second": limit / 1e9,
        "share_of_limit": speed / limit,
    }


def ms_rows(summary, what, decimals=1):
    """`[(what, value as text)]` of a summary's `ms_figures`."""
    return [
        (f"ms {what}, {name}", f"{summary[f'ms_{name}']:.{decimals}f}")
        for name in ("mean", "p50", "p95")
    ]


def network_text(shape):
    """A network in a few words; `shape`: the arguments of `build_model` that make it."""
    return f"{shape_text(shape)}, {shape['num_classes']} classes"


def shape_text(shape):
    """The same without the number of classes."""
    tasks = [name for name in ("detect", "segment") if shape[name]]
    side = f"{shape['image_size']}{' x4' if shape['x4'] else ''}"
    return f"{shape['trunk']} {side}, {' and '.join(tasks)}"


def environment_rows(environment, *titles):
    """`[(title, value as text)]` of a `timing.environment`.

    A title is a name in it, or "TensorFlow", "TensorFlow, Keras", "Python" with the interpreter's
    path, or "processor".
    """
    texts = {
        **environment,
        "TensorFlow": environment["tensorflow"],
        "TensorFlow, Keras": f"{environment['tensorflow']}, {environment['keras']}",
        "Python": f"{environment['python']}, {environment['interpreter']}",
        "processor": environment["cpu"],
    }
    return [(title, texts[title]) for title in titles]


def environment_line(environment, *names):
    """Names and values of a `timing.environment` on one line; None for what an empty one lacks."""
    return ", ".join(f"{name} {environment.get(name)}" for name in names)


def write_json(path, content):
    """Write what `--json` is for, if it is given."""
    if path:
        from blitznet import runs

        runs.write_json(Path(path), content)
