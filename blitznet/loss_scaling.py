"""Loss scaling, without which the gradients of float16 vanish."""

import tensorflow as tf

# As Keras has it: the scale of the first step, and steps without overflow until it is doubled.
_START = 2.0**15
_GROWTH_STEPS = 2000


class LossScale:
    """A factor of the loss as large as gradients in float16 bear (arXiv 1710.03740, section 3.2).

    It is halved, down to 1, where they overflow, and doubled after 2,000 steps without. Both Keras
    generations have this as an optimizer, each with another interface and state.

    Attributes:
      value: the factor, float32.
      good_steps: steps since it changed, int32.
    """

    def __init__(self):
        self.value = tf.Variable(_START, trainable=False, name="loss_scale")
        self.good_steps = tf.Variable(0, trainable=False, name="good_steps")

    def state(self):
        """What checkpoints keep: dict name -> variable."""
        return {"value": self.value, "good_steps": self.good_steps}

    def scale_up(self, loss):
        """The loss whose gradients `scale_down` takes."""
        return loss * self.value

    def scale_down(self, gradients):
        """Gradients of the loss itself, infinite or NaN where they overflowed."""
        return [gradient / self.value for gradient in gradients]

    def update_if_finite(self, norm, update):
        """Call `update` unless `norm`, that of the gradients, overflowed, and adapt the scale.

        Returns:
          The norm; 0 for an overflow, which is no error, unless the scale is down at 1.
        """
        finite = tf.math.is_finite(norm)
        tolerated = tf.where(finite | (self.value <= 1.0), norm, 0.0)

        def apply():
            update()
            self._count_good_step()
            return tolerated

        def skip():
            self.value.assign(tf.maximum(self.value / 2, 1.0))
            self.good_steps.assign(0)
            return tolerated

        return tf.cond(finite, apply, skip)

    def _count_good_step(self):
        full = self.good_steps + 1 >= _GROWTH_STEPS
        self.good_steps.assign(tf.where(full, 0, self.good_steps + 1))
        grown = self.value * 2
        self.value.assign(tf.where(full & tf.math.is_finite(grown), grown, self.value))
