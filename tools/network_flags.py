"""Which network a tool runs, as flags: a run's checkpoint or an exported SavedModel."""

import dataclasses

import paths
from tools.flags.fields import run_name
from tools.flags.network import NetworkConfig
from tools.flags.settings import CheckpointConfig, PathConfig


def add_network_flags(parser):
    """`--run_name` or `--saved_model`, `--ckpt`, `--archive`."""
    group = parser.add_argument_group("network", "a run, or what tools.export_saved_model wrote")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--run_name", type=run_name, metavar="NAME", help="a run's folder in the archive"
    )
    source.add_argument(
        "--saved_model", metavar="DIR", help="an export: DIR/STEP, or DIR for its newest version"
    )
    fields = {
        **CheckpointConfig.__dataclass_fields__,
        **PathConfig.__dataclass_fields__,
    }
    for name in ("ckpt", "archive"):
        group.add_argument(f"--{name}", **fields[name].metadata)


def load_predictor(args):
    """The `blitznet.predictor.Predictor` that the flags name; raises what `blitznet.load` does."""
    import blitznet

    step = round(args.ckpt * 1000) or None
    if args.saved_model:
        return blitznet.load(args.saved_model, step)
    return blitznet.load(paths.run_dir(paths.archive(args.archive), args.run_name), step)


def refuse_model_flags(args):
    """Raises ValueError where `--run` comes with flags of `add_model_flags`."""
    fields = dataclasses.fields(NetworkConfig)
    # A switch is off unless it is given, whatever the field's default.
    given = [f.name for f in fields if getattr(args, f.name) != (f.type is not bool and f.default)]
    if given:
        flags = ", ".join(f"--{name}" for name in given)
        raise ValueError(f"{flags}: {args.run} has its own network; leave out these or --run")
