"""Optimisers and the learning-rate schedule."""

import bisect

from tensorflow import keras

OPTIMIZERS = {
    "adam": lambda rate: keras.optimizers.Adam(rate, epsilon=1e-8),
    "nesterov": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
}


def build_optimizer(name, model):
    """The optimiser called `name`, built for `model`; its rate is set at every step.

    Raises:
      ValueError: `name` is none of `OPTIMIZERS`.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}: choose one of {', '.join(OPTIMIZERS)}")
    optimizer = OPTIMIZERS[name](1e-4)
    # Slots must exist before a checkpoint is restored into them.
    optimizer.build(model.trainable_variables)
    return optimizer


def learning_rate(step, base, warmup_lr, warmup_step, decay_steps):
    """Rate of the update that follows `step` earlier ones (spec section 9).

    `warmup_lr` while `step <= warmup_step`, then `base`, a tenth of it after each step of the
    ascending `decay_steps` is passed.
    """
    if step <= warmup_step:
        return warmup_lr
    return base * 0.1 ** bisect.bisect_left(decay_steps, step)
