"""The weights that a training begins with: a checkpoint's, ImageNet's or random ones."""

import sys

from blitznet import checkpoints, choices, imagenet, runs

# Of the weights of a trunk that was pre-trained alone, all but those of its classes are taken over.
_ALONE = 0.9


def load(model, description, folder, init_from=None, imagenet_weights=None, random=False):
    """Load what a run at step 0 starts from, and print what was taken over and what was not.

    Args:
      model: of the network that `description` describes (`runs.describe`).
      folder: where ImageNet weights are looked for when no other start is given.
      init_from: prefix of a checkpoint to start from.
      imagenet_weights: file of ImageNet weights to start from.
      random: whether to keep the weights that the model has.

    Raises:
      OSError, ValueError: the weights are not there, or not of this network.
    """
    if not init_from and description["model"].get("arch") in choices.STAGED_FCNS:
        print(
            f"warning: {description['model']['arch']} is to start from a coarser net, --init_from "
            "PREFIX; fcn8s-atonce is made for starting without",
            file=sys.stderr,
        )
    if random:
        return
    if init_from:
        source = init_from
        loaded, skipped = _take_over(source, model, description)
    else:
        trunk = description["model"]["trunk"]
        source = imagenet_weights or imagenet.find(trunk, folder)
        loaded, skipped = imagenet.load(source, trunk, model)
    print(f"{source}: {len(loaded)} variables taken over")
    rest = len(model.variables) - len(loaded) - len(skipped)
    words = [", ".join(skipped)] * bool(skipped) + [f"{rest} beside the trunk"] * bool(rest)
    if words:
        print(f"values of their own stay in {' and '.join(words)}")


def _take_over(source, model, description):
    """The weights of a checkpoint that fit; paths of those taken over, and of the others.

    The others are not listed where it is a classifier's, which has a trunk alone.

    Raises:
      ValueError: hardly any fit.
    """
    runs.check_same_trunk(source, description)
    unfit = runs.unfit_layers(source, description)
    loaded, skipped = checkpoints.init_from(source, model, unfit)
    # A trunk that was pre-trained alone is most of its checkpoint, if not most of a detector.
    there = checkpoints.weights(source)
    if len(loaded) < len(skipped) and len(loaded) < _ALONE * there:
        raise ValueError(
            f"only {len(loaded)} of {len(loaded) + len(skipped)} variables fit, of {there} in "
            f"{source}: is it of another --trunk?"
        )
    for flag, was, wanted in runs.other_versions(source, description):
        print(
            f"warning: {source} is of --{flag} {was}, this run of --{flag} {wanted}: weights of "
            "another network are taken over as far as they fit",
            file=sys.stderr,
        )
    if runs.pretrains(source, description):
        print(f"{source} is a classifier's: its trunk is taken over")
        return loaded, []
    if unfit:
        print(
            f"{source} is of other classes, another --class_loss or other scales: left out are "
            f"layers {', '.join(unfit)}..."
        )
    return loaded, skipped
