"""What tensorflow-addons gives, and Keras' own in its place where Keras has the same.

tensorflow-addons 0.23 works with TensorFlow 2.15 alone; nothing else in this project imports it.
"""

import functools
import re
import warnings

import tensorflow as tf
from tensorflow import keras

from blitznet import choices

_FOCAL = {"alpha": 0.25, "gamma": 2.0}


@functools.cache
def _load():
    """`(the module tensorflow_addons, None)`, or `(None, why it cannot be imported)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns that its development has ended.
        try:
            import tensorflow_addons
        except ImportError as error:
            return None, error
    return tensorflow_addons, None


def package():
    """The module tensorflow_addons, or None where it cannot be imported."""
    return _load()[0]


def need(feature):
    """The module tensorflow_addons, for `feature`, a flag.

    Raises:
      ImportError: it cannot be imported; says why, which TensorFlow has it and what to run.
    """
    module, error = _load()
    if error:
        raise ImportError(
            f"{feature} needs tensorflow-addons ({error}), which works with TensorFlow 2.15 alone "
            f"(this is {tf.__version__}): `make setup-addons` makes .venv-addons with both, and "
            ".venv-addons/bin/python runs this command with them"
        ) from error
    return module


def focal_loss(confidence, prior_labels):
    """Sigmoid focal loss summed over all prior boxes and classes (arXiv 1708.02002, section 3).

    Each class but the background is told apart from the rest on its own, with alpha 0.25 and
    gamma 2. By tensorflow-addons where it is there, by Keras elsewhere.

    Args:
      confidence: `[B, P, C]` logits; that of the background does not count.
      prior_labels: `[B, P]` int, 0 for negatives.

    Returns:
      A scalar.
    """
    truth = tf.one_hot(prior_labels, tf.shape(confidence)[-1])[..., 1:]
    logits = confidence[..., 1:]
    if package():
        loss = package().losses.SigmoidFocalCrossEntropy(
            from_logits=True, reduction="none", **_FOCAL
        )
        return tf.reduce_sum(loss(truth, logits))
    mean_of_classes = keras.losses.binary_focal_crossentropy(
        truth, logits, apply_class_balancing=True, from_logits=True, **_FOCAL
    )
    return tf.reduce_sum(mean_of_classes) * tf.cast(tf.shape(logits)[-1], logits.dtype)


def giou_loss(coder):
    """A box loss `(location, prior_offsets) -> [B, P]`: 1 - GIoU of the decoded boxes.

    Boxes are compared before they are clipped to the picture (arXiv 1902.09630, algorithm 1).

    Raises:
      ImportError: tensorflow-addons is not there.
    """
    loss = need("--box_loss giou").losses.GIoULoss(reduction="none")

    def giou(location, prior_offsets):
        distance = loss(coder.decode_unclipped(prior_offsets), coder.decode_unclipped(location))
        # It drops every axis of length 1.
        return tf.reshape(distance, tf.shape(location)[:-1])

    return giou


def legacy_optimizer(name, weight_decay, undecayed, momentum=0.9):
    """The optimiser of this name as tensorflow-addons' wrappers take it.

    Decay, where the optimiser has its own, takes `learning_rate * weight_decay * w` from all
    variables but `undecayed`, as Keras' optimisers do.
    """
    optimizers, legacy = package().optimizers, keras.optimizers.legacy
    patterns = [f"^{re.escape(variable.name)}$" for variable in undecayed]
    decay = {"weight_decay": weight_decay, "exclude_from_weight_decay": patterns}
    if name == "lamb":
        return optimizers.LAMB(name=name, **decay)
    if name == "radam":
        return optimizers.RectifiedAdam(epsilon=1e-8, name=name)
    if name == "adam":
        return legacy.Adam(epsilon=1e-8, name=name)
    if name in choices.LINEAR:
        return legacy.SGD(momentum=momentum, nesterov=name == "nesterov", name=name)

    # AdamW and SGDW leave it to their user to multiply the decay by the rate.
    decay["weight_decay"] = lambda: weight_decay * optimizer.learning_rate
    if name == "adamw":
        optimizer = optimizers.AdamW(learning_rate=1e-4, epsilon=1e-8, name=name, **decay)
    else:
        optimizer = optimizers.SGDW(learning_rate=1e-4, momentum=momentum, name=name, **decay)
    return optimizer


def wrap(optimizer, lookahead, averaging):
    """The optimiser within its wrappers, innermost first: `[optimizer, ...]`.

    Args:
      optimizer: a `legacy_optimizer`, its slots created: only by applying gradients itself does
        it learn which weights decay.
      lookahead: whether to step back to slow weights every 6 steps (arXiv 1907.08610).
      averaging: an `optim.Averaging`, or None.
    """
    optimizers, levels = package().optimizers, [optimizer]
    if lookahead:
        levels.append(optimizers.Lookahead(levels[-1], sync_period=6, slow_step_size=0.5))
    if averaging and averaging.kind == "ema":
        # The first step counts as the average of what went before, as in Keras.
        levels.append(
            optimizers.MovingAverage(levels[-1], average_decay=averaging.decay, start_step=1)
        )
    elif averaging:
        # It counts the steps done before.
        levels.append(
            optimizers.SWA(
                levels[-1],
                start_averaging=averaging.start - 1,
                average_period=averaging.period,
            )
        )
    for level in levels[1:]:
        # Of wrappers in one another only the outer two would count together, and bias correction
        # in the innermost would stay at its first step.
        level.iterations = optimizer.iterations
    return levels
