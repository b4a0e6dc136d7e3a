"""Convert other people's trained networks into runs: see `--help`."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

import config
import paths
from blitznet import choices
from blitznet.label_map import read_label_map
from datasets.coco import COCO
from datasets.info import VOC
from tools.flags.fields import run_name
from tools.flags.network import NetworkParser, add_arch_flag, add_model_flags, model_config


def build_parser():
    """The command line of this tool."""
    parser = NetworkParser(
        prog="python -m tools.convert_checkpoint",
        description="Convert a checkpoint of the original TensorFlow 1 program, or one of the "
        "FCNs that their authors released for Caffe, into a run that test.py evaluates and "
        "training.py --init_from starts from. The model flags must be those that it was trained "
        "with.",
        epilog="examples: python -m tools.convert_checkpoint --checkpoint tf1/model.ckpt-65000 "
        "--run_name published300 --x4; python -m tools.convert_checkpoint --caffe "
        "fcn8s-heavy-pascal.caffemodel --arch fcn8s --run_name released8s",
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", metavar="PREFIX", help="path without .index, .data-...")
    source.add_argument("--caffe", metavar="FILE", help=".caffemodel of an FCN")
    add(
        "--run_name",
        type=run_name,
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
    add_arch_flag(parser)
    add(
        "--geometry",
        choices=choices.GEOMETRIES,
        default=argparse.SUPPRESS,
        help="of FCNs (default: reference, which the released ones were trained with)",
    )
    add_model_flags(parser)
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
    from blitznet import caffemodel, checkpoints, runs
    from blitznet.convert import caffe_fcn, tf1_blitznet

    known = {"voc": VOC, "coco": COCO}.get(args.label_map)
    class_names = known.class_names if known else read_label_map(args.label_map)
    description = runs.describe(network_shape(args), class_names, vars(args))
    run_dir = paths.run_dir(paths.archive(args.archive), args.run_name)
    if checkpoints.steps(run_dir):
        raise FileExistsError(f"{run_dir} has checkpoints already: take another --run_name")
    if args.caffe:
        source, assign = args.caffe, caffe_fcn.assign
        variables, step = caffemodel.read(source), 0
    else:
        source, assign = args.checkpoint, tf1_blitznet.assign
        variables, step = read(source)
    model, _ = runs.build(description)
    count = len(variables)
    try:
        assign(model, variables)
    except ValueError as error:
        flags = "--arch, --trunk" if args.caffe else "--x4, --image_size, --head, ..."
        raise ValueError(
            f"{source}: {error}\nAre the model flags ({flags}) and the classes those that it was "
            "trained with?"
        ) from None
    runs.write_flags(run_dir, description)
    prefix = checkpoints.save(run_dir, step, model)
    return f"{count} variables of {source} are in {prefix}"


def network_shape(args):
    """The network's shape by the flags, as `archs.build` takes it, without `num_classes`.

    Raises:
      ValueError: a flag is of another architecture, or the source is.
    """
    archs = choices.FCNS if args.caffe else ("blitznet",)
    if args.arch not in archs:
        source = "--caffe" if args.caffe else "--checkpoint"
        raise ValueError(f"{source} holds no {args.arch}: give --arch {' or '.join(archs)}")
    if args.caffe:
        args.geometry = getattr(args, "geometry", "reference")
    return {"arch": args.arch, **dataclasses.asdict(model_config(args))}


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
