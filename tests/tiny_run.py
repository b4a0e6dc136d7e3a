"""A data set of VOC's classes, and runs of a network so small that a test can train it."""

from collections import defaultdict
from pathlib import Path

import tensorflow as tf

import test as evaluation_script
import training
from tools import encode_voc
from voc_fixture import write_voc

MODEL = ["--image_size", "64", "--trunk", "resnet18_half", "--top_fm", "16"]
MODEL += ["--n_base_channels", "8"]


def write_data(root, *, pictures=8, class_names=None):
    """Write pictures and the records of voc12 (train and val, with masks and without).

    With `class_names`, the classes are these. Answers `root`.
    """
    names = {"class_names": class_names} if class_names else {}
    write_voc(root, pictures=pictures, **names)
    flags = []
    if class_names:
        label_map = Path(root) / "label_map.pbtxt"
        label_map.write_text(
            "".join(
                f"item {{\n id: {i}\n name: '{name}'\n}}\n"
                for i, name in enumerate(class_names, start=1)
            )
        )
        flags = ["--label_map", label_map]
    for split in ("train", "val"):
        for masks in (["--segmentation"], []):
            arguments = ["--split", split, *masks, "--data_root", root, "--workers", "1", *flags]
            assert encode_voc.main([str(argument) for argument in arguments]) == 0
    return root


def training_flags(root, *flags, run_name="r", archive=None):
    """The command line of a run on `write_data`'s set, in the archive `root`/archive."""
    where = ["--data_root", root, "--archive", archive or Path(root) / "archive"]
    rhythm = ["--batch_size", "2", "--save_every", "1000", "--summary_every", "1000"]
    start = [] if "--init_from" in flags else ["--random_trunk_init"]
    all_flags = ["--run_name", run_name, "--dataset", "voc12", *where, *MODEL, *rhythm, *start]
    return [str(flag) for flag in [*all_flags, *flags]]


def train(root, *flags, **where):
    """Exit code of training.py with `training_flags`."""
    return training.main(training_flags(root, *flags, **where))


def evaluate(root, *flags, run_name="r", archive=None):
    """Exit code of test.py on `write_data`'s validation pictures, or on `--eval_records`."""
    where = ["--data_root", root, "--archive", archive or Path(root) / "archive"]
    pictures = [] if "--eval_records" in flags else ["--dataset", "voc12", "--split", "val"]
    names = ["--run_name", run_name, *pictures]
    return evaluation_script.main([str(flag) for flag in [*names, *where, *flags]])


def tensors(prefix):
    """Dict name -> array of a checkpoint."""
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def read_events(folder):
    """`(scalars, images)` of the event files in a folder: dicts name -> [(step, value)]."""
    scalars, images = defaultdict(list), defaultdict(list)
    for path in sorted(Path(folder).glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for entry in event.summary.value:
                value = tf.make_ndarray(entry.tensor)
                if entry.metadata.plugin_data.plugin_name == "scalars":
                    scalars[entry.tag].append((event.step, float(value)))
                elif entry.metadata.plugin_data.plugin_name == "images":
                    # Width and height stand before the pictures.
                    for picture in value[2:]:
                        decoded = tf.io.decode_png(picture).numpy()
                        images[entry.tag].append((event.step, decoded))
    return dict(scalars), dict(images)
