"""Whether an export answers what the live network does."""

import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from blitznet.export.formats import FORMATS
from tools.runtimes import Runtime


@dataclass(frozen=True)
class Limits:
    """How far two answers may be apart.

    Attributes:
      tolerance: of scores and of the coordinates of boxes.
      detections: share of those that may lack a counterpart, or of the entries without NMS.
      pixels: share of those that may have another class.
      cut: how far above a threshold, or above the last of a full list, rounding may drop one.
    """

    tolerance: float = 1e-4
    detections: float = 0.0
    pixels: float = 1e-3
    cut: float = 1e-4


EXACT = Limits()
# Where a converter rounds by rules of its own, detections cross thresholds: what is looked for
# is a wrong file. How much is lost, `--evaluate` tells.
_ROUNDED = {"float16": Limits(0.02, 0.2, 0.05, 0.01), "int8": Limits(0.25, 0.5, 0.3, 0.02)}


class VerificationError(RuntimeError):
    """The exported model does not answer what the live one does."""


def verify_saved_model(folder, content, scratch):
    """Compare a SavedModel, loaded both ways in a fresh process, with `content`'s functions.

    Args:
      folder: of the SavedModel.
      content: the live `blitznet.export.content.Content`.
      scratch: a folder for arrays on their way.

    Raises:
      VerificationError: it does not load, has other labels, or answers otherwise; names the
        outputs.
    """
    check_labels((folder / "assets" / "labels.txt").read_text().splitlines(), content.class_names)
    functions = content.functions
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
            require_same(arrays(expected), found, prefix[:-1], settings=content.settings)
        print(f"{loader.replace('by_', '')} loader: both signatures answer as the live model")


def verify_file(format, precision, folder, content, calibration=None):
    """Compare an export for another runtime, run there, with the live functions of `content`.

    `calibration`: the pictures that it was calibrated with, as for `Content.write`. It is
    compared on the first of these, as others may leave the range that its 8 bits have.

    Raises:
      VerificationError: it has other labels or answers otherwise; names the outputs.
      runtimes.RuntimeFailed: the runtime does not run it.
    """
    limits = _ROUNDED[precision] if precision in FORMATS[format].rounded else EXACT
    pictures = probe_pictures()
    if calibration:
        pictures = [np.rint(images[0]).astype(np.uint8) for images in calibration[:3]]
    with Runtime(format, folder) as runtime:
        check_labels(runtime.names(), content.class_names)
        for number, picture in enumerate(pictures):
            expected = arrays(content.functions.from_images(picture[None]))
            found = runtime.answer(images=as_input(picture, content.side))
            require_same(expected, found, f"{format}, picture {number}", limits, content.settings)
    print(f"{format}: answers as the live model in its own runtime")


def check_labels(labels, class_names):
    """Raises VerificationError where `labels` are not the background and the classes."""
    if list(labels) != ["background", *class_names]:
        raise VerificationError(f"the export has the labels {labels}")


def require_same(expected, found, what, limits=EXACT, settings=None):
    """Raises VerificationError, naming `what`, where `differences` finds any."""
    wrong = differences(expected, found, limits, settings)
    if wrong:
        raise VerificationError(f"the export differs, {what}: {'; '.join(wrong)}")


def arrays(answer):
    """Dict of NumPy arrays for a dict of tensors."""
    return {name: tensor.numpy() for name, tensor in answer.items()}


def as_input(picture, side):
    """`images` float32 `[1, side, side, 3]` of a uint8 RGB picture, as the SavedModel resizes."""
    from blitznet.imaging import legacy_resize

    return legacy_resize(picture[None], (side, side)).numpy()


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


def differences(expected, found, limits=EXACT, settings=None):
    """What sets two answers of a signature apart, as sentences; rounding and ties are excused.

    `settings`: the `DetectionSettings` of both, whose thresholds and list lengths say where
    rounding may drop a detection; without them, only the end of a full list does.
    """
    if expected.keys() != found.keys():
        return [f"outputs {sorted(found)} instead of {sorted(expected)}"]
    wrong = [
        f"{name} has type {found[name].dtype} and shape {found[name].shape} instead of "
        f"{value.dtype} and {value.shape}"
        for name, value in expected.items()
        if (found[name].dtype, found[name].shape) != (value.dtype, value.shape)
    ]
    return wrong or [
        *_entries_apart(expected, found, limits),
        *_pixels_apart(expected, found, limits),
        *_detections_apart(expected, found, limits, settings),
    ]


def _entries_apart(expected, found, limits):
    for name in sorted(expected.keys() & {"class_scores", "decoded_boxes"}):
        # "Not within" is true of NaN, unlike "beyond".
        share = np.mean(~(np.abs(expected[name] - found[name]) <= limits.tolerance))
        if share > limits.detections:
            yield f"{name} differs by more than {limits.tolerance:g} in {share:.1%} of the entries"


def _pixels_apart(expected, found, limits):
    if "semantic_classes" not in expected:
        return
    apart = expected["semantic_classes"] != found["semantic_classes"]
    pixels = apart.size
    if "semantic_sizes" in expected:
        if not np.array_equal(expected["semantic_sizes"], found["semantic_sizes"]):
            sizes = (each["semantic_sizes"].tolist() for each in (found, expected))
            yield "semantic_sizes are {} instead of {}".format(*sizes)
        # What fills class maps up to one size would make every share a small one.
        pixels = np.prod(expected["semantic_sizes"], axis=1).sum()
    share = apart.sum() / pixels
    if share > limits.pixels:
        yield f"semantic_classes differ in {share:.1%} of the pixels"


def _detections_apart(expected, found, limits, settings):
    for i in range(len(expected.get("num_detections", ()))):
        for one, other in ((expected, found), (found, expected)):
            missing, count = _unmatched(one, other, i, limits, settings), one["num_detections"][i]
            if missing > limits.detections * count:
                yield f"{missing} detections of picture {i} have no counterpart"


def _unmatched(one, other, i, limits, settings):
    """Detections of picture `i` in `one` that `other` lacks, those at a cut excused."""
    fields = ("detection_boxes", "detection_scores", "detection_classes")
    boxes, scores, classes = (one[name][i][: one["num_detections"][i]] for name in fields)
    boxes2, scores2, classes2 = (other[name][i][: other["num_detections"][i]] for name in fields)
    if not len(scores):
        return 0
    same = (
        (classes[:, None] == classes2)
        & (np.abs(scores[:, None] - scores2) <= limits.tolerance)
        & (np.abs(boxes[:, None] - boxes2).max(axis=-1, initial=0) <= limits.tolerance)
    )
    room = one["detection_scores"].shape[1]
    excused = scores <= _least_certain(scores, classes, room, settings) + limits.cut
    return int(np.sum(~excused & ~same.any(axis=1)))


def _least_certain(scores, classes, room, settings):
    """For each detection, the score below which it would not be in the answer; -inf for none."""
    least = np.full(len(scores), -np.inf)
    if len(scores) == room:
        least[:] = scores.min()
    if settings is not None:
        least = np.maximum(least, max(settings.conf_thresh, settings.eval_min_conf))
        for of_class in (classes == c for c in np.unique(classes)):
            if of_class.sum() == settings.top_k_after_nms:
                least[of_class] = np.maximum(least[of_class], scores[of_class].min())
    return least
