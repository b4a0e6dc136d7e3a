"""What tools.compare_systems trains: DetNet-59, classifiers and FCNs, and on what data."""

from dataclasses import dataclass

# The score that tells learning, and how far the end is above the start at least.
MARGIN = 0.05
# Of a net that starts as good as the coarser one is.
FINER_MARGIN = 0.01


@dataclass(frozen=True)
class System:
    """A training, scored after its first step and after its last.

    Attributes:
      data: "drawn", the quickstart's pictures, scored on held-out ones; "voc", the real pictures
        of VOC 2012's Segmentation list train, scored on themselves; "classes", the drawn
        classification set, scored on held-out ones.
      flags: of training.py.
      steps: of training.
      start: the system whose last weights it begins with; random weights without.
      margin: by how much each of its scores is to rise.
    """

    data: str
    flags: str
    steps: int
    start: str = None
    margin: float = MARGIN


_AT_128 = "--image_size 128 --batch_size 8"
_AT_192 = "--image_size 192 --batch_size 4"
_BLITZNET = "--trunk detnet59 --x4 --top_fm 128 --n_base_channels 32 --learning_rate 1e-3"
_CLASSES = "--arch classifier --image_size 64 --batch_size 16 --learning_rate 1e-3"
# VGG-16 of a quarter of the channels, for a small machine.
_QUARTER = "--trunk vgg16_quarter --learning_rate"


def _fcns(data, flags, prefix, steps, finer_steps):
    """The FCNs on one kind of data: 32s, and from it 16s and 8s; 8s at once."""
    first, finer = f"{flags} {_QUARTER} 5e-4", f"{flags} {_QUARTER} 3e-4"
    return {
        f"{prefix}fcn32s": System(data, f"--arch fcn32s {first}", steps),
        f"{prefix}fcn16s": System(
            data, f"--arch fcn16s {finer}", finer_steps, f"{prefix}fcn32s", FINER_MARGIN
        ),
        f"{prefix}fcn8s": System(
            data, f"--arch fcn8s {finer}", finer_steps, f"{prefix}fcn16s", FINER_MARGIN
        ),
        f"{prefix}fcn8s-atonce": System(data, f"--arch fcn8s-atonce {first}", steps),
    }


SYSTEMS = {
    "classifier-detnet59": System("classes", f"{_CLASSES} --trunk detnet59", 300),
    "classifier-resnet50": System("classes", f"{_CLASSES} --trunk resnet50", 300),
    "detnet59": System("drawn", f"{_AT_128} {_BLITZNET}", 1400),
    "detnet59-pretrained": System(
        "drawn", f"{_AT_128} {_BLITZNET}", 1400, start="classifier-detnet59"
    ),
    **_fcns("drawn", _AT_128, "", 2000, 500),
    "fcn32s-alexnet": System(
        "drawn", f"--arch fcn32s {_AT_128} --trunk alexnet --learning_rate 3e-4", 600
    ),
    "voc-detnet59": System("voc", f"{_AT_192} {_BLITZNET}", 150),
    **_fcns("voc", _AT_192, "voc-", 600, 200),
    "voc-fcn32s-alexnet": System(
        "voc", f"--arch fcn32s {_AT_192} --trunk alexnet --learning_rate 3e-4", 150
    ),
    "voc-fcn32s-vgg16": System(
        "voc",
        "--arch fcn32s --image_size 128 --batch_size 4 --trunk vgg16 --learning_rate 2e-4",
        400,
    ),
}
