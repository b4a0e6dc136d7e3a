"""The command `evaluate` of tools.benchmark: evaluation end to end beside its bare network."""

import itertools
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from tools.benchmark.flags import add_json_flag, add_number, add_run_flag
from tools.benchmark.report import environment_rows, network_text, rates, write_json
from tools.flags.network import add_model_flags, model_config
from tools.network_flags import refuse_model_flags


def add_command(commands):
    """Add the command to the subparsers of tools.benchmark."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluation end to end beside the bare network",
        description="Time evaluation as test.py does it (read, decode, network, NMS, class maps, "
        "scores), the bare network on the same pictures, and a large float32 matrix product, the "
        "machine's limit, by turns. The weights are random unless --run names a run's folder.",
        epilog="example: python -m tools.benchmark evaluate --records "
        "data/records/voc12-val-seg.json --x4",
    )
    parser.set_defaults(command=evaluate)
    parser.add_argument(
        "--records", required=True, type=Path, metavar="FILE", help=".json of a set of records"
    )
    add_run_flag(parser)
    add_number(parser, "--batch_size", 8, "pictures at a time")
    add_number(parser, "--copies", 2, "times that each turn goes through the set")
    add_number(parser, "--rounds", 5, "turns that count, after one that does not")
    add_json_flag(parser, "the figures and every turn's time")
    add_model_flags(parser)


def evaluate(args):
    """Run the command; print and write what came of it."""
    from tools.benchmark import timing

    turns = Turns(args)
    result = {**measure(turns, args.rounds), "environment": timing.environment()}
    result.update(records=str(args.records), batch_size=args.batch_size, network=turns.shape)
    print(tabulate(rows(result), disable_numparse=True))
    write_json(args.json, result)


class Turns:
    """What is timed by turns.

    Attributes:
      shape: arguments of `build_model`.
      pictures: number of pictures of a turn.
      flop: floating-point operations of `network`.
    """

    def __init__(self, args):
        import tensorflow as tf

        from blitznet import engine, inference, keys, runs
        from blitznet.postprocess.settings import DetectionSettings
        from datasets import pipeline, records
        from tools.benchmark import timing

        self._info = records.read_json(args.records, "write the set again")
        if args.run:
            refuse_model_flags(args)
            self._model, coder, description, _ = runs.load(args.run)
            self.shape = description["model"]
            _check_classes(args, description["class_names"], self._info.class_names)
        else:
            flags = vars(model_config(args))
            self.shape = {"num_classes": len(self._info.class_names) + 1, **flags}
            self._model, coder = runs.build({"model": self.shape})
        network, _ = inference.build(self._model, self.shape)
        self._predict = engine.make_predict(network, coder, DetectionSettings())
        self._batches = pipeline.evaluation_dataset(
            [self._info] * args.copies, self._model.input_shape[1], args.batch_size
        )
        self._copies = args.copies
        self.pictures = args.copies * self._info.images
        self._images = [batch[keys.IMAGE] for batch in self._batches]
        specification = tf.TensorSpec(self._images[0].shape)
        self._forward = tf.function(lambda images: network(images, training=False))
        counted = tf.function(lambda images: self._model(images, training=False))
        counted = counted.get_concrete_function(specification)
        self.flop = timing.graph_flop(counted) * self.pictures / len(self._images[0])

    def network(self):
        """The bare network on all pictures; seconds."""
        from tools.benchmark import timing

        return timing.seconds_of(lambda: [self._forward(images) for images in self._images])

    def evaluation(self):
        """Seconds of evaluation, to the scores of each time through the set, and of the last ones.

        The latter are what evaluation takes after the last picture.
        """
        from blitznet import engine

        began = time.perf_counter()
        found = engine.predictions(self._predict, self._batches)
        for _ in range(self._copies):
            meter = self._meter()
            for example, prediction in itertools.islice(found, self._info.images):
                meter.add(example, prediction)
            last = time.perf_counter()
            meter.scores()
        ended = time.perf_counter()
        return ended - began, ended - last

    def _meter(self):
        from blitznet.evaluation import Evaluation

        info = self._info
        rule = info.ap_rule if self.shape["detect"] and info.has_boxes else None
        ids = info.category_ids
        return Evaluation(
            info.class_names, rule, 0.5, self.shape["segment"], info.ignore_label, ids
        )


def _check_classes(args, of_run, of_records):
    if list(of_run) != list(of_records):
        raise ValueError(
            f"{args.run} is a run of {', '.join(of_run)}, but {args.records} has "
            f"{', '.join(of_records)}: give --records of the run's classes"
        )


def measure(turns, rounds):
    """Time network, evaluation and matrix product by turns.

    Returns:
      dict for JSON: seconds of each turn, and `summary`, see `summarise`.
    """
    from tools.benchmark import timing

    product, product_flop = timing.device_product()
    turns.network(), turns.evaluation(), product()
    seconds = {"network": [], "evaluation": [], "after_last_picture": [], "product": []}
    for _ in range(rounds):
        seconds["network"].append(turns.network())
        end_to_end, after = turns.evaluation()
        seconds["evaluation"].append(end_to_end)
        seconds["after_last_picture"].append(after)
        products = [timing.seconds_of(product) for _ in range(5)]
        seconds["product"].append(float(np.median(products)))
    summary = summarise(seconds, turns.pictures, turns.flop, product_flop)
    return {"pictures": turns.pictures, "seconds": seconds, "summary": summary}


def summarise(seconds, pictures, flop, product_flop):
    """Figures of all turns.

    Args:
      seconds: lists of the seconds of a turn, as `measure` makes them.
      pictures, flop: of a turn. product_flop: of a matrix product.

    Returns:
      dict: of `network` and `evaluation` their `report.rates` and, at the median times,
      `share_of_limit`; `limit_gflop_per_second`; `ratio`, the median over the turns of
      evaluation's images/s over the network's; `seconds_after_last_picture`.
    """
    limit = product_flop / float(np.median(seconds["product"]))
    answer = {"limit_gflop_per_second": limit / 1e9}
    for name in ("network", "evaluation"):
        share = flop / float(np.median(seconds[name])) / limit
        answer[name] = {**rates(pictures, seconds[name]), "share_of_limit": share}
    ratios = np.divide(seconds["network"], seconds["evaluation"])
    answer["ratio"] = float(np.median(ratios))
    answer["seconds_after_last_picture"] = float(np.median(seconds["after_last_picture"]))
    return answer


def rows(measured):
    """`[(what, value as text)]` of what the command measured."""
    summary, environment = measured["summary"], measured["environment"]
    answer = []
    for name in ("network", "evaluation"):
        of = summary[name]
        answer += [(f"{name}, images/s, {key}", f"{of[key]:.2f}") for key in ("mean", "p50", "p95")]
        answer.append((f"{name}, share of the limit", f"{of['share_of_limit']:.3f}"))
    limit, after = summary["limit_gflop_per_second"], summary["seconds_after_last_picture"]
    return [
        *answer,
        ("evaluation / network", f"{summary['ratio']:.3f}"),
        ("s after the last picture", f"{after:.2f}"),
        ("GFLOP/s of a matrix product, the limit", f"{limit:.1f}"),
        ("network", network_text(measured["network"])),
        ("records", f"{measured['records']}, {measured['pictures']} pictures a turn"),
        ("batch size", str(measured["batch_size"])),
        *environment_rows(environment, "device", "precision", "threads", "cpu"),
    ]
