"""A doctor for records and raw data sets: `python -m tools.check_data --help`."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from blitznet import keys
from blitznet.progress import progress_bar
from blitznet.trunks import check_fits
from datasets import catalog
from datasets.info import BadExample
from tools.flags.fields import number_in
from tools.flags.network import ModelConfig
from tools.flags.settings import InputConfig, PathConfig

STRICT = 3
_EXAMPLE = """\
examples:
  python -m tools.check_data --dataset voc12 --split train --against voc12:val --output check
      the records that training.py takes with the same flags; their pictures must not be among
      those of --split val
  python -m tools.check_data --raw --dataset coco-seg --split val2017
      the raw files that these records would be made of
  python -m tools.check_data --root animals --label_map animals/label_map.pbtxt --split train
      pictures of your own in the layout of VOC2012
  python -m tools.check_data --annotations animals/train.json --images animals/jpg --detect
      pictures of your own with annotations in COCO's format
  python -m tools.check_data --dataset custom --train_records data/records/animals-train.json \\
          --against data/records/animals-val.json
      records of your own, of any of the encoders

exit code: 0; 1 for errors and unreadable pictures (the rest is counted all the same); 3 with
--strict where something else is wrong; what is only "worth a look" does not count.
"""


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_data",
        description="Count what is in a data set and find what is wrong with it.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("data, as for training.py")
    _borrow(group, InputConfig, "dataset", "split", "train_records", "label_map")
    _borrow(group, ModelConfig, "detect", "segment")
    _borrow(group, PathConfig, "data_root", "records")
    group = parser.add_argument_group("raw files in the place of records")
    add = group.add_argument
    add("--raw", action="store_true", help="those that the records of --dataset are made of")
    add("--root", metavar="DIR", help="a folder of your own in the layout of VOC2012")
    add("--annotations", metavar="FILE", help="annotations of your own, a JSON of COCO's format")
    add("--images", metavar="DIR", help="folder of their pictures (default: that of the JSON)")
    group = parser.add_argument_group("network, for the size of boxes and the prior boxes")
    _borrow(group, ModelConfig, "image_size", "trunk", "x4")
    group = parser.add_argument_group("report")
    add = group.add_argument
    add(
        "--against",
        nargs="*",
        default=[],
        metavar="SET",
        help="another set whose pictures must not be in this one: DATASET or DATASET:SPLIT; with "
        "--dataset custom a value of --train_records, with --root of --split, with --annotations "
        "another JSON",
    )
    add("--output", metavar="DIR", help="gets report.txt, report.json, samples.png and wrong.png")
    count = number_in(0, kind=int)
    add("--pictures", type=count, default=24, metavar="N", help="most on a sheet (default: 24)")
    add("--strict", action="store_true", help=f"exit code {STRICT} where something is wrong")
    return parser


def _borrow(group, settings, *names):
    """Flags of a dataclass of `tools.flags`."""
    for name in names:
        group.add_argument(f"--{name}", **settings.__dataclass_fields__[name].metadata)


def check(args):
    """Look at the set that the flags name, print and write the report; the exit code."""
    # TensorFlow takes seconds to import: not for --help or a wrong flag.
    from tools import check_data_report, check_data_sources

    check_flags(args)
    check_fits(args.trunk, args.image_size, x4=args.x4, head="nonshared", det_kernel=3)
    sources = check_data_sources.open_sources(args)
    others = check_data_sources.open_others(args)
    of_pictures = sources[0].info.of_pictures
    priors = [] if of_pictures else prior_boxes(args.image_size, args.trunk, args.x4)
    statistics, gallery = inspect(sources, others, args.image_size, priors, args.pictures)
    report = make_report(args, sources, len(priors), statistics)
    text = check_data_report.as_text(report)
    print(text, end="")
    if args.output:
        files = {
            "report.txt": text.encode(),
            "report.json": (json.dumps(report, indent=2) + "\n").encode(),
            **gallery.sheets(),
        }
        _write(Path(args.output), files)
    if report["faults"]["unreadable"]["count"]:
        print("error: some pictures cannot be read; the report names them", file=sys.stderr)
        return 1
    wrong = any(fault["count"] for fault in report["faults"].values())
    return STRICT if args.strict and wrong else 0


def check_flags(args):
    """ValueError for flags of different data sets, and for those that would have no effect."""
    names = ("raw", "root", "annotations", "train_records")
    given = [f"--{name}" for name in names if getattr(args, name)]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} name different data sets: give one of them")
    if args.train_records and args.dataset != catalog.CUSTOM:
        raise ValueError(f"--train_records has no effect without --dataset {catalog.CUSTOM}")
    if args.images and not args.annotations:
        raise ValueError("--images has no effect without --annotations")
    if args.label_map and not given and args.dataset != catalog.CUSTOM:
        raise ValueError(f"--label_map has no effect on {args.dataset}: records know their classes")


def prior_boxes(image_size, trunk, x4):
    """Prior boxes `[P, 4]` `x, y, w, h` of the network."""
    from blitznet import runs
    from blitznet.models.blitznet import build_model

    # The depth of the upscale stream has no say in them: the least builds fastest.
    shape = {"image_size": image_size, "trunk": trunk, "x4": x4, "segment": False, "top_fm": 4}
    return runs.make_coder(build_model(**shape), shape).priors


def inspect(sources, others, image_size, priors, most):
    """`(Statistics, Gallery)` of all examples of `sources`, compared with those of `others`."""
    from datasets import inspection
    from datasets.statistics import Statistics
    from tools.check_data_page import Gallery

    info = sources[0].info
    counts = [sum(source.count for source in group) for group in (sources, others)]
    statistics = Statistics(
        info.class_names,
        info.ignore_label,
        image_size,
        lambda boxes: inspection.best_overlaps(priors, boxes),
        info.of_pictures,
    )
    gallery = Gallery(info.class_names, info.ignore_label, counts[0], most)
    bar = progress_bar(sum(counts), "pictures")
    for number, (where, example) in enumerate(_examples(sources, bar)):
        _look_at(number, where, example, statistics, gallery)
    for _, example in _examples(others, bar):
        if not isinstance(example, BadExample):
            statistics.compare(example[keys.FILENAME], example[keys.ENCODED_IMAGE])
    if bar.start_time:
        bar.update(force=True)
        bar.finish(dirty=True)
    return statistics, gallery


def _examples(sources, bar):
    """All examples of the sources; each moves the bar on."""
    for source in sources:
        for found in source.examples():
            # Where records are damaged their number is a guess.
            bar.update(min(bar.value + 1, bar.max_value))
            yield found


def _look_at(number, where, example, statistics, gallery):
    from datasets import inspection

    try:
        if isinstance(example, BadExample):
            raise example
        image, mask = inspection.decode(example, where)
    except BadExample as error:
        statistics.add_unreadable(error)
        return
    faults = statistics.add(example, image, mask)
    gallery.offer(number, example, image, mask, faults)


def make_report(args, sources, priors, statistics):
    """Everything that was counted, as a dict for JSON; `priors` is their number."""
    from tools.check_data_report import worth_a_look

    stated = [source.stated for source in sources]
    report = {
        "sets": [source.name for source in sources],
        "image_size": args.image_size,
        "trunk": args.trunk,
        "x4": args.x4,
        "priors": priors,
        "has_boxes": any(source.has_boxes for source in sources),
        "has_class_labels": sources[0].info.of_pictures,
        "pictures_stated": None if None in stated else sum(stated),
        **statistics.summary(),
    }
    return {**report, "worth_a_look": worth_a_look(report)}


def _write(folder, files):
    """Write `{name: bytes}`, each replacing an earlier file only when it is complete.

    Sheets of an earlier report that this one has not go away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        temporary = folder / f".{name}.tmp"
        temporary.write_bytes(content)
        os.replace(temporary, folder / name)
        print(folder / name)
    for old in {"samples.png", "wrong.png"} - set(files):
        (folder / old).unlink(missing_ok=True)


def main(argv=None):
    """Run the tool; answers the exit code, 130 when interrupted."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return check(args)
    except KeyboardInterrupt:
        print("error: stopped; nothing is written", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as with Ctrl-C
    sys.exit(main())
