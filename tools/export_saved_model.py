"""Export a checkpoint as a SavedModel: `python -m tools.export_saved_model --help`."""

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import config
import paths

_TOLERANCE = 1e-4
_PIXELS_THAT_MAY_DIFFER = 1e-3


def build_parser():
    """The command line of this tool."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.export_saved_model",
        description="Write a checkpoint with its pre- and post-processing as a SavedModel, "
        "DIR/STEP, and verify it in a fresh process without this project.",
        epilog="example: python -m tools.export_saved_model --run_name first --ckpt 65 "
        "--output exported/first",
    )
    config.add_run_flags(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="gets a folder STEP")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing DIR/STEP")
    config.add_detection_flags(parser)
    config.add_path_flags(parser)
    return parser


def main(argv=None):
    """Export and verify; the exit code, 1 for errors and for an export that answers wrongly."""
    args = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Both sides of the comparison on the processor: they would contend for a GPU's memory.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow as tf

    try:
        target = export(args)
    except tf.errors.OpError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    except (OSError, ValueError, VerificationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"PASS: {target}")
    return 0


class VerificationError(RuntimeError):
    """The exported model does not answer what the live one does."""


def export(args):
    """Write, verify, then move into place; the folder of the version."""
    from blitznet import export as blitznet_export
    from blitznet import runs
    from blitznet.postprocess.settings import DetectionSettings

    settings = config.pick(DetectionSettings, args)
    run_dir = paths.run_dir(paths.archive(args.archive), args.run_name)
    model, coder, description, step = runs.load(run_dir, round(args.ckpt * 1000) or None)
    target = Path(args.output) / str(step)
    if target.exists() and not args.overwrite:
        raise FileExistsError(f"{target} exists: --overwrite replaces it")

    functions = blitznet_export.ServingFunctions(model, coder, settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent) as scratch:
        partial = Path(scratch) / target.name
        blitznet_export.save(functions, model, description["class_names"], partial)
        verify(partial, functions, description["class_names"], Path(scratch))
        if target.exists():
            target.rename(Path(scratch) / "replaced")
        partial.rename(target)
    return target


def verify(folder, functions, class_names, scratch):
    """Compare the SavedModel, loaded both ways in a fresh process, with the live functions.

    Raises:
      VerificationError: it does not load, has other labels, or answers otherwise; names the
        outputs.
    """
    from blitznet.export import LABELS

    labels = (folder / "assets" / LABELS).read_text().splitlines()
    if labels != ["background", *class_names]:
        raise VerificationError(f"the export has the labels {labels}")
    pictures = probe_pictures()
    inputs = {
        "image_bytes": np.array([png(picture) for picture in pictures], object),
        "images": np.stack([pictures[0], pictures[0][::-1]]),
    }
    live = {
        "serving_default": functions.from_bytes(list(inputs["image_bytes"])),
        "images": functions.from_images(inputs["images"]),
    }
    np.savez(scratch / "inputs.npz", **inputs)
    script = Path(__file__).with_name("saved_model_outputs.py")
    # -I leaves out the current folder and PYTHONPATH: the SavedModel stands on its own.
    command = [sys.executable, "-I", script, folder, scratch / "inputs.npz", scratch / "out.npz"]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise VerificationError(f"the export does not load on its own:\n{process.stderr[-2000:]}")
    exported = np.load(scratch / "out.npz")
    for loader in ("by_python", "by_session"):
        for signature, expected in live.items():
            prefix = f"{loader}/{signature}/"
            found = {n[len(prefix) :]: exported[n] for n in exported if n.startswith(prefix)}
            expected = {name: tensor.numpy() for name, tensor in expected.items()}
            wrong = differences(expected, found)
            if wrong:
                raise VerificationError(f"the export differs, {prefix[:-1]}: {'; '.join(wrong)}")
        print(f"{loader.replace('by_', '')} loader: both signatures answer as the live model")


def probe_pictures():
    """Three uint8 RGB pictures of different sizes: blots, a gradient, noise."""
    rng = np.random.default_rng(0)
    blots = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(40, axis=0).repeat(40, axis=1)
    ramp = np.linspace(0, 255, 200).astype(np.uint8)
    gradient = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :150], 128), -1)
    noise = rng.integers(0, 256, (90, 160, 3), np.uint8)
    return [blots, gradient.astype(np.uint8), noise]


def png(picture):
    """PNG file of a uint8 RGB picture, as bytes."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def differences(expected, found):
    """What sets two answers of a signature apart, as sentences; rounding and ties are excused."""
    if expected.keys() != found.keys():
        return [f"outputs {sorted(found)} instead of {sorted(expected)}"]
    wrong = [
        f"{name} has type {found[name].dtype} and shape {found[name].shape} instead of "
        f"{value.dtype} and {value.shape}"
        for name, value in expected.items()
        if (found[name].dtype, found[name].shape) != (value.dtype, value.shape)
    ]
    if wrong:
        return wrong
    if "semantic_classes" in expected:
        share = np.mean(expected["semantic_classes"] != found["semantic_classes"])
        if share > _PIXELS_THAT_MAY_DIFFER:
            wrong.append(f"semantic_classes differ in {share:.1%} of the pixels")
    for i in range(len(expected.get("num_detections", ()))):
        for one, other in ((expected, found), (found, expected)):
            missing = unmatched(one, other, i)
            if missing:
                wrong.append(f"{missing} detections of picture {i} have no counterpart")
    return wrong


def unmatched(one, other, i):
    """Detections of picture `i` in `one` that `other` lacks, those at the cut excused."""
    fields = ("detection_boxes", "detection_scores", "detection_classes")
    boxes, scores, classes = (one[name][i][: one["num_detections"][i]] for name in fields)
    boxes2, scores2, classes2 = (other[name][i][: other["num_detections"][i]] for name in fields)
    if not len(scores):
        return 0
    same = (
        (classes[:, None] == classes2)
        & (np.abs(scores[:, None] - scores2) <= _TOLERANCE)
        & (np.abs(boxes[:, None] - boxes2).max(axis=-1, initial=0) <= _TOLERANCE)
    )
    above_cut = scores > scores.min() + _TOLERANCE
    return int(np.sum(above_cut & ~same.any(axis=1)))


if __name__ == "__main__":
    sys.exit(main())
