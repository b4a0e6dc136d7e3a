"""The flags that shape a network: a dataclass of the arguments of each architecture's builder."""

import argparse
import dataclasses
from dataclasses import dataclass

from blitznet import archs, choices, trunks
from tools.flags import presets
from tools.flags.fields import POSITIVE_INT, add_flags, flag, number_in, pick


@dataclass(frozen=True)
class NetworkConfig:
    """Arguments of `blitznet.build_model` that shape the network."""

    image_size: int = flag(
        300,
        "side of the square input in pixels; of a classifier 224 where it is not given, and an "
        "FCN then takes pictures at their own sizes",
        number_in(32, kind=int),
        "S",
    )
    trunk: str = flag(
        "resnet50",
        f"feature extractor; of FCNs {', '.join(trunks.FCN_NAMES)}, the first where none is given",
        choices=tuple(dict.fromkeys(trunks.NAMES + trunks.FCN_NAMES)),
    )
    dilated_projection: str = flag(
        "conv",
        "of detnet59: the 1x1 convolution on the shortcut that opens a dilated stage; none is the "
        "paper's ablation without",
        choices=choices.DILATED_PROJECTIONS,
    )
    x4: bool = flag(False, "finest source at stride 4 instead of 8")
    detect: bool = flag(True, "detect; without --detect and --segment, both")
    segment: bool = flag(True, "segment; without --detect and --segment, both")
    head: str = flag(
        "nonshared",
        "detection convolutions for each source, or for all",
        choices=("nonshared", "shared"),
    )
    resize: str = flag(
        "bilinear", "how the upscale stream grows maps", choices=("bilinear", "nearest")
    )
    top_fm: int = flag(512, "depth of the upscale stream", POSITIVE_INT, "N")
    det_kernel: int = flag(3, "kernel side of the detection head", POSITIVE_INT, "N")
    n_base_channels: int = flag(64, "depth of segmentation sources", POSITIVE_INT, "N")
    seg_filter_size: int = flag(1, "kernel side on segmentation sources", choices=(1, 3))


@dataclass(frozen=True)
class ModelConfig(NetworkConfig):
    """The network, and how its class logits are trained and read."""

    class_loss: str = flag(
        "softmax",
        "softmax with hard negatives, or sigmoid focal loss; the run's detections are then read "
        "by sigmoids too",
        choices=choices.CLASS_LOSSES,
    )


@dataclass(frozen=True)
class FcnConfig:
    """Arguments of `models.fcn.build_fcn` that shape the network."""

    image_size: int = None
    trunk: str = trunks.FCN_NAMES[0]
    geometry: str = flag(
        "same",
        "of FCNs: every map as large as its stride says, or the reference's, whose first "
        "convolution is padded by 100 and whose maps are cropped, for published weights",
        choices=choices.GEOMETRIES,
    )


@dataclass(frozen=True)
class ClassifierConfig:
    """Arguments of `models.classifier.build_classifier` that shape the network."""

    image_size: int = 224
    trunk: str = NetworkConfig.trunk
    dilated_projection: str = NetworkConfig.dilated_projection


_SHAPES = {
    "blitznet": ModelConfig,
    **dict.fromkeys(choices.FCNS, FcnConfig),
    "classifier": ClassifierConfig,
}
_TRUNKS = {
    "blitznet": trunks.NAMES,
    **dict.fromkeys(choices.FCNS, trunks.FCN_NAMES),
    "classifier": trunks.CLASSIFIERS,
}
_TASKS = (archs.DETECT, archs.SEGMENT)


def _fields():
    """Every field of every architecture, by name; of those that share a name BlitzNet's."""
    classes = (ClassifierConfig, FcnConfig, ModelConfig)
    return {field.name: field for each in classes for field in dataclasses.fields(each)}


class NetworkParser(argparse.ArgumentParser):
    """A parser with `--arch` and perhaps `--preset`, on which the defaults of other flags hang."""

    def parse_known_args(self, args=None, namespace=None):
        first, _ = super().parse_known_args(args, argparse.Namespace(learning_rate=None))
        try:
            usual = {**_usual(first.arch), **presets.usual(first)}
        except ValueError as error:
            self.error(str(error))
        usual = {name: value for name, value in usual.items() if name in first}
        before = {name: self.get_default(name) for name in usual}
        self.set_defaults(**usual)
        try:
            return super().parse_known_args(args, namespace)
        finally:
            self.set_defaults(**before)


def _usual(arch):
    """Defaults of an architecture's flags where they are not those of the parser."""
    fields = dataclasses.fields(_SHAPES[arch])
    usual = {f.name: f.default for f in fields if f.name in ("image_size", "trunk")}
    # A small object in a large surround is for detection to learn.
    return {**usual, "zoomout_prob": 0.0} if arch == "classifier" else usual


def add_arch_flag(parser):
    """`--arch`."""
    parser.add_argument(
        "--arch",
        type=str.lower,
        choices=choices.ARCHS,
        default="blitznet",
        help="blitznet detects and segments, FCNs segment (the finer ones start from the coarser: "
        "--init_from), a classifier of whole pictures pre-trains a trunk (default: blitznet)",
    )


def add_model_flags(parser, from_run=False):
    """The flags of `NetworkConfig`.

    With `from_run` those of every architecture, without defaults: `flags.json` has them.
    """
    if not from_run:
        add_flags(parser, NetworkConfig, "model")
        return
    group = parser.add_argument_group(
        "model", "taken from the run's flags.json; contradicting it is an error"
    )
    group.add_argument("--arch", type=str.lower, choices=choices.ARCHS, default=argparse.SUPPRESS)
    for name, field in _fields().items():
        arguments = {**field.metadata, "default": argparse.SUPPRESS}
        arguments["help"] = arguments["help"].split(" (default")[0]
        group.add_argument(f"--{name}", **arguments)


def add_training_model_flags(parser):
    """`--arch` and the flags of every architecture, with their defaults."""
    add_arch_flag(parser)
    add_flags(parser, NetworkConfig, "model")
    add_flags(parser, ModelConfig, "classes")
    parser.add_argument_group("FCN").add_argument("--geometry", **_fields()["geometry"].metadata)


def foreign_flags(arch):
    """Names of the flags that shape networks of other architectures alone."""
    mine = {field.name for field in dataclasses.fields(_SHAPES[arch])}
    return [name for name in _fields() if name not in mine]


def model_config(args):
    """The dataclass of the network that flags describe.

    That of `--arch`; without that flag, of BlitzNet. Of a tool's flags that have no
    `--class_loss`, BlitzNet's is a `NetworkConfig`. Neither task given means both.

    Raises:
      ValueError: a flag is of another architecture, or the trunk is.
    """
    arch = getattr(args, "arch", "blitznet")
    of_tool = arch == "blitznet" and "class_loss" not in args
    kind = NetworkConfig if of_tool else _SHAPES[arch]
    for name in foreign_flags(arch):
        usual = _fields()[name].metadata["default"]
        if getattr(args, name, usual) != usual:
            owners = ", ".join(each for each in _SHAPES if name not in foreign_flags(each))
            raise ValueError(f"--{name} is no flag of --arch {arch} but of {owners}: leave it out")
    if args.trunk not in _TRUNKS[arch]:
        raise ValueError(
            f"--arch {arch} has no --trunk {args.trunk}: choose one of {', '.join(_TRUNKS[arch])}"
        )
    model = pick(kind, args)
    if arch == "blitznet" and not (model.detect or model.segment):
        return dataclasses.replace(model, detect=True, segment=True)
    return model


def tasks_of(args, shape):
    """Which tasks of a run to evaluate: `{"detect": bool, "segment": bool, "classify": bool}`.

    All of the run's, or those of them that `--detect` and `--segment` name.

    Raises:
      ValueError: a model flag contradicts the run's `shape`; both values are shown.
    """
    present = archs.tasks(shape)
    has = {**shape, **present}
    names = ("arch", *_fields())
    given = {name: getattr(args, name) for name in names if name in args}
    wrong = [
        f"--{name} {value}, but the run has {has.get(name, 'none')}"
        for name, value in given.items()
        if value != has.get(name)
    ]
    if wrong:
        raise ValueError("flags contradict the run's flags.json: " + "; ".join(wrong))
    if not any(name in given for name in _TASKS):
        return present
    return {name: name in given for name in present}
