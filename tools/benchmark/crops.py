"""The command `crops` of tools.benchmark: one pass over a picture against the crops it replaces."""

import numpy as np
from tabulate import tabulate

from blitznet.grids import Geometry
from blitznet.trunks import FCN_NAMES, get_fcn_trunk
from tools.benchmark.flags import add_json_flag, add_number
from tools.benchmark.report import environment_rows, spread, write_json
from tools.flags.fields import number_in

# The classifier's own picture, and its padding, by which such a picture has one cell.
_AS_CLASSIFIER = {"alexnet": (227, Geometry(0, False))}
_VGG = (224, Geometry(None, False))


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
    parser = commands.add_parser(
        "crops",
        help="one pass of a convolutional classifier against the crops that it replaces",
        description="Time a classifier whose dense layers are convolutions, with random weights: "
        "one pass over a large picture, which has a grid of class scores, a pass over as many "
        "crops of the size that it was made for (alexnet 227, vgg16 224 pixels), and a large "
        "float32 matrix product, the machine's limit, by turns (FCN, arXiv 1411.4038, section 3.1: "
        "more than 5 times as fast).",
        epilog="example: python -m tools.benchmark crops --repeats 5 --json crops.json",
    )
    parser.set_defaults(command=crops)
    parser.add_argument(
        "--trunk", choices=FCN_NAMES, default="alexnet", help="(default: %(default)s)"
    )
    add_number(parser, "--num_classes", 1000, "classes", number_in(2, kind=int))
    add_number(parser, "--image_size", 500, "side of the picture, pixels")
    add_number(parser, "--batch_size", 50, "crops of a call")
    add_number(parser, "--repeats", 10, "turns that count")
    add_number(parser, "--warmup", 2, "turns before, which do not count")
    add_json_flag(parser, "the figures and every turn's time")


def crops(args):
    """Run the command; print and write what came of it.

    Raises ValueError where the picture is smaller than a crop.
    """
    from tools.benchmark import timing

    result = measure(
        args.trunk, args.num_classes, args.image_size, args.batch_size, args.warmup, args.repeats
    )
    result["environment"] = timing.environment()
    result["summary"] = summarise(result)
    print(tabulate(rows(result), disable_numparse=True))
    write_json(args.json, result)


def measure(trunk, num_classes, image_size, batch_size, warmup, repeats):
    """Time one pass, the crops of the same cells, and a matrix product, by turns.

    Args:
      trunk: a name of `trunks.FCN_NAMES`.
      num_classes, image_size: classes, and side of the picture in pixels.
      batch_size: crops of a call; the last call has what is left.
      warmup, repeats: turns that do not count, and turns that do.

    Returns:
      dict for JSON: `seconds` of each turn, `{"pass": ..., "crops": ..., "product": ...}`, and
      `flop`, likewise, of one turn; `cells`, the side of the grid of scores; `crop`, that of a
      crop; the arguments.
    """
    import tensorflow as tf

    from tools.benchmark import timing

    crop, _ = _AS_CLASSIFIER.get(trunk, _VGG)
    if image_size < crop:
        raise ValueError(f"--image_size is at least that of a crop, {crop}; got {image_size}")
    model = classifier(trunk, num_classes)
    image = tf.random.stateless_uniform((1, image_size, image_size, 3), seed=(0, 0))
    forward = tf.function(lambda images: model(images, training=False))
    cells = forward(image).shape[1]
    parts = tf.split(
        crops_of(image, trunk, cells),
        [min(batch_size, cells**2 - done) for done in range(0, cells**2, batch_size)],
    )
    product, product_flop = timing.device_product()
    calls = {
        "pass": lambda: forward(image),
        "crops": lambda: [forward(part) for part in parts],
        "product": product,
    }
    flop = {
        "pass": _flop(forward, image),
        "crops": sum(_flop(forward, part) for part in parts),
        "product": product_flop,
    }
    return {
        "trunk": trunk,
        "num_classes": num_classes,
        "image_size": image_size,
        "batch_size": batch_size,
        "cells": cells,
        "crop": crop,
        "flop": flop,
        "seconds": _by_turns(calls, warmup, repeats),
    }


def _by_turns(calls, warmup, repeats):
    """Seconds of each call, dict name -> list, one call after the other in every turn."""
    from tools.benchmark.timing import seconds_of

    turns = [
        {name: seconds_of(call) for name, call in calls.items()} for _ in range(warmup + repeats)
    ]
    return {name: [turn[name] for turn in turns[warmup:]] for name in calls}


def classifier(trunk, num_classes):
    """A classifier of pictures of any size: `[B, H, W, 3]` -> class scores `[B, h, w, N]`.

    A picture of the classifier's own size has one cell, one 32 pixels larger two.
    """
    from tensorflow import keras

    from blitznet.layers import Conv

    images, conv = keras.Input((None, None, 3), name="images"), Conv()
    _, geometry = _AS_CLASSIFIER.get(trunk, _VGG)
    features = get_fcn_trunk(trunk).features(images, conv, geometry)["fc7"]
    return keras.Model(images, conv.plain(num_classes, 1, "score_fr", "he_normal")(features))


def crops_of(image, trunk, cells):
    """What each of `cells * cells` cells sees of a picture `[1, S, S, 3]`: `[cells ** 2, K, K, 3]`.

    The last ones may reach beyond the picture, where they are black.
    """
    import tensorflow as tf

    crop, geometry = _AS_CLASSIFIER.get(trunk, _VGG)
    grid = get_fcn_trunk(trunk).grids(geometry)["fc7"]
    firsts = [int(grid.stride * i + grid.offset - (crop - 1) / 2) for i in range(cells)]
    beyond = max(firsts[-1] + crop - image.shape[1], 0)
    image = tf.pad(image, ((0, 0), (0, beyond), (0, beyond), (0, 0)))
    return tf.concat([image[:, i : i + crop, j : j + crop] for i in firsts for j in firsts], axis=0)


def _flop(forward, images):
    from tools.benchmark import timing

    return timing.graph_flop(forward.get_concrete_function(images))


def summarise(measured):
    """Figures of what `measure` measured.

    Returns:
      dict: `ms`, of "pass" and "crops" each a dict of `mean`, `p50` and `p95` of a turn;
      `ratio` of the median times, crops / pass, and `ratio_of_turns`, the least and the greatest
      of a turn; `flop_ratio`; `share_of_limit` of "pass" and "crops", at the median times, and
      `limit_gflop_per_second`, that of the product.
    """
    seconds = {name: np.array(values) for name, values in measured["seconds"].items()}
    speeds = {n: measured["flop"][n] / np.median(values) for n, values in seconds.items()}
    of_turns = seconds["crops"] / seconds["pass"]
    both = ("pass", "crops")
    return {
        "ms": {n: {k: v * 1e3 for k, v in spread(seconds[n]).items()} for n in both},
        "ratio": float(np.median(seconds["crops"]) / np.median(seconds["pass"])),
        "ratio_of_turns": [float(of_turns.min()), float(of_turns.max())],
        "flop_ratio": measured["flop"]["crops"] / measured["flop"]["pass"],
        "limit_gflop_per_second": float(speeds["product"] / 1e9),
        "share_of_limit": {n: float(speeds[n] / speeds["product"]) for n in both},
    }


def rows(measured):
    """`[(what, value as text)]` of a measurement with its `summary`."""
    summary, where = measured["summary"], measured["environment"]
    count = measured["cells"] ** 2
    titles = {"pass": "one pass", "crops": f"{count} crops"}
    least, most = summary["ratio_of_turns"]
    return [
        *(
            (f"ms, {titles[n]}: mean, p50, p95", ", ".join(f"{v:.1f}" for v in ms.values()))
            for n, ms in summary["ms"].items()
        ),
        ("crops / one pass, median time", f"{summary['ratio']:.2f} ({least:.2f} to {most:.2f})"),
        ("crops / one pass, FLOP", f"{summary['flop_ratio']:.2f}"),
        ("GFLOP of one pass", f"{measured['flop']['pass'] / 1e9:.2f}"),
        ("GFLOP/s of a matrix product", f"{summary['limit_gflop_per_second']:.1f}"),
        *(
            (f"{titles[n]}, share of that limit", f"{share:.3f}")
            for n, share in summary["share_of_limit"].items()
        ),
        ("network", f"{measured['trunk']}, {measured['num_classes']} classes"),
        ("picture", f"{measured['image_size']} pixels, {measured['cells']} x {measured['cells']}"),
        ("crops", f"{measured['crop']} pixels, {measured['batch_size']} a call"),
        *environment_rows(where, "TensorFlow, Keras", "device", "precision", "threads", "cpu"),
    ]
