"""The command `detect` of tools.benchmark: from pictures to detections and class maps."""

import dataclasses
import time

import numpy as np
from tabulate import tabulate

from tools.benchmark.flags import add_graph_flags, add_json_flag, add_number, add_run_flag
from tools.benchmark.report import environment_rows, network_text, spread, write_json
from tools.flags.network import add_model_flags, model_config
from tools.network_flags import refuse_model_flags

_PARTS = {"network": "network", "nms": "decoding and NMS", "class_maps": "class maps"}


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
    parser = commands.add_parser(
        "detect",
        help="network, decoding, NMS and class maps at the pictures' size",
        description="Time what is done with pictures that are in memory at the network's size: "
        "network, decoding and NMS, class maps at the pictures' own size, and a large float32 "
        "matrix product, the machine's limit, by turns. The weights are random, which is more "
        "work after the network than a trained one leaves, unless --run names a run's folder.",
        epilog="example: python -m tools.benchmark detect --x4 --graph constants",
    )
    parser.set_defaults(command=detect)
    add_run_flag(parser)
    add_number(parser, "--batch_size", 1, "pictures of a call")
    add_number(parser, "--height", 375, "of a picture's class map, pixels")
    add_number(parser, "--width", 500, "of a picture's class map, pixels")
    add_number(parser, "--repeats", 30, "calls that count")
    add_number(parser, "--warmup", 5, "calls before, which do not count")
    add_json_flag(parser, "the figures and every call's time")
    add_graph_flags(parser)
    add_model_flags(parser)


def detect(args):
    """Run the command; print and write what came of it."""
    from tools.benchmark import timing

    model, coder, shape = _network(args)
    size = (args.height, args.width)
    result = measure(model, coder, shape, size, args)
    result.update(network=shape, environment=timing.environment())
    result.update({name: getattr(args, name) for name in ("graph", "precision", "batch_size")})
    result["summary"] = summarise(result)
    print(tabulate(rows(result), disable_numparse=True))
    write_json(args.json, result)


def _network(args):
    """`(model, coder, shape)` of a run, or with random weights."""
    from blitznet import archs, runs
    from tools.benchmark import timing

    if args.run:
        refuse_model_flags(args)
        model, coder, description, _ = runs.load(args.run)
        return model, coder, description["model"]
    shape = archs.full_shape(dataclasses.asdict(model_config(args)))
    model = timing.random_model(shape)
    return model, runs.make_coder(model, shape) if shape["detect"] else None, shape


def measure(model, coder, shape, size, args):
    """Time the parts of a call by turns, and a matrix product after each.

    Returns:
      dict for JSON: `seconds` of each call of "network", "nms", "class_maps" and "product";
      `call_flop` of the network; `product_flop`.
    """
    import tensorflow as tf

    from blitznet import keys
    from blitznet.postprocess.detection import detections
    from blitznet.postprocess.settings import DetectionSettings
    from blitznet.postprocess.tiles import tiled_class_map
    from tools.benchmark import timing

    input_shape = (args.batch_size, *model.input_shape[1:])
    forward, call_flop = timing.network_and_flop(
        model, shape, input_shape, args.graph, args.precision
    )
    find = tf.function(
        lambda outputs: detections(
            outputs[keys.CONFIDENCE], outputs[keys.LOCATION], coder, DetectionSettings()
        )
    )
    images = tf.random.stateless_uniform(input_shape, seed=(0, 0))
    product, product_flop = timing.device_product()
    seconds = {name: [] for name in (*_PARTS, "product")}

    def class_maps(logits):
        # Their way from the device is part of it.
        return [tiled_class_map(each, *size) for each in logits.numpy()]

    def timed(name, call, *arguments):
        began = time.perf_counter()
        answer = call(*arguments)
        tf.test.experimental.sync_devices()
        seconds[name].append(time.perf_counter() - began)
        return answer

    for _ in range(args.warmup + args.repeats):
        outputs = timed("network", forward, images)
        if shape["detect"]:
            timed("nms", find, outputs)
        if shape["segment"]:
            timed("class_maps", class_maps, outputs[keys.SEGMENTATION])
        timed("product", product)
    counted = {name: values[args.warmup :] for name, values in seconds.items() if values}
    return {"seconds": counted, "call_flop": call_flop, "product_flop": product_flop}


def summarise(measured):
    """Figures of what `measure` measured, and the batch size.

    Returns:
      dict: `images_per_second`, all parts together; `ms` part -> dict of `mean`, `p50` and `p95`
      of a call, "all" being their sum; `after_network`, the median over the calls of what follows
      the network / the network; `share_of_limit` of the network at the median times.
    """
    parts = {n: np.array(s) for n, s in measured["seconds"].items() if n != "product"}
    product = np.median(measured["seconds"]["product"])
    whole, network = sum(parts.values()), parts["network"]
    limit = measured["product_flop"] / product
    return {
        "images_per_second": float(measured["batch_size"] / whole.mean()),
        "ms": {
            name: {figure: value * 1e3 for figure, value in spread(seconds).items()}
            for name, seconds in {**parts, "all": whole}.items()
        },
        "after_network": float(np.median((whole - network) / network)),
        "limit_gflop_per_second": float(limit / 1e9),
        "share_of_limit": float(measured["call_flop"] / np.median(network) / limit),
    }


def rows(measured):
    """`[(what, value as text)]` of a measurement with its `summary`."""
    summary, where, shape = (measured[name] for name in ("summary", "environment", "network"))
    titles = {**_PARTS, "all": "all of it"}
    times = [
        (f"ms a call, {titles[name]}: mean, p50, p95", ", ".join(f"{v:.1f}" for v in ms.values()))
        for name, ms in summary["ms"].items()
    ]
    return [
        ("images/s, mean", f"{summary['images_per_second']:.2f}"),
        *times,
        ("after the network / network", f"{summary['after_network']:.3f}"),
        ("GFLOP/s of a matrix product", f"{summary['limit_gflop_per_second']:.1f}"),
        ("network, share of that limit", f"{summary['share_of_limit']:.3f}"),
        ("network", network_text(shape)),
        ("graph", measured["graph"]),
        ("batch size", str(measured["batch_size"])),
        ("precision", f"{measured['precision']}, of the product {where['precision']}"),
        *environment_rows(where, "device", "threads", "cpu"),
    ]
