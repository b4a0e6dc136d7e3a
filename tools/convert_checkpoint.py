"""Convert a checkpoint of the TensorFlow 1 program: see `--help`."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

import config
import paths
from blitznet.label_map import read_label_map
from datasets.coco import COCO
from datasets.info import VOC


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert_checkpoint",
        description="Convert a checkpoint of the original TensorFlow 1 program into a run that "
        "test.py evaluates and training.py --init_from starts from. The model flags must be "
        "those that the checkpoint was trained with.",
        epilog="example: python -m tools.convert_checkpoint --checkpoint tf1/model.ckpt-65000 "
        "--run_name published300 --x4",
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="PREFIX", help="path without .index, .data-...")
    add(
        "--run_name",
        type=config.run_name,
        required=True,
        metavar="NAME",
        help="folder that the run gets; one without checkpoints",
    )
    add(
        "--label_map",
        default="voc",
        metavar="FILE",
        help="label_map.pbtxt of its classes, or voc, or coco (default: voc)",
    )
    config.add_model_flags(parser)
    config.add_path_flags(parser)
    return parser


def main(argv=None):
    """Convert; the exit code, 1 for errors."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        print(convert(args))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def convert(args):
    """Write the run; what was done, as a sentence."""
    from blitznet import checkpoints, runs
    from blitznet.convert import tf1_blitznet

    known = {"voc": VOC, "coco": COCO}.get(args.label_map)
    class_names = known.class_names if known else read_label_map(args.label_map)
    shape = dataclasses.asdict(config.model_config(args))
    description = runs.describe(shape, class_names, vars(args))
    run_dir = paths.run_dir(paths.archive(args.archive), args.run_name)
    if checkpoints.steps(run_dir):
        raise FileExistsError(f"{run_dir} has checkpoints already: take another --run_name")
    variables, step = read(args.checkpoint)
    model, _ = runs.build(description)
    count = len(variables)
    try:
        tf1_blitznet.assign(model, variables)
    except ValueError as error:
        raise ValueError(
            f"{args.checkpoint}: {error}\nAre the model flags (--x4, --image_size, --head, ...) "
            "and the classes those that it was trained with?"
        ) from None
    runs.write_flags(run_dir, description)
    prefix = checkpoints.save(run_dir, step, model)
    return f"{count} variables of {args.checkpoint} are in {prefix}"


def read(checkpoint):
    """`({variable name: array}, step)` of a TF1 checkpoint, without its training state.

    Raises:
      FileNotFoundError: it is not there.
      ValueError: it does not read.
    """
    import tensorflow as tf

    from blitznet.convert.tf1_blitznet import network_names

    if not Path(f"{checkpoint}.index").is_file():
        raise FileNotFoundError(f"there is no checkpoint {checkpoint} (no {checkpoint}.index)")
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        names = reader.get_variable_to_shape_map()
        variables = {name: reader.get_tensor(name) for name in network_names(names)}
        step = int(reader.get_tensor("global_step")) if "global_step" in names else 0
    # TensorFlow's reader answers a file that ends too early with IndexError.
    except (tf.errors.OpError, IndexError) as error:
        raise ValueError(f"{checkpoint} is damaged: {error}") from None
    return variables, step


if __name__ == "__main__":
    sys.exit(main())
