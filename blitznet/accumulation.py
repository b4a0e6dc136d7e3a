"""A batch in parts, one after the other, whose losses and gradients are those of the whole."""

import tensorflow as tf

from blitznet.variables import tf_variable

_ZERO = tf.UnconnectedGradients.ZERO


def gradients(model, images, parts, loss_of):
    """Gradients of a loss over a batch, with the memory of a part of it.

    The outputs of all parts come first. The loss, and its slope by the outputs, are those of the
    whole batch, hard negatives and divisors too. Then each part is computed once more for what
    its outputs owe to the weights (arXiv 2101.06983, section 3.2). So a step computes four thirds
    of what it does in one part, and differs from that in batch norm, which normalises each part by
    its own mean and variance, and in the masks of dropout.

    Args:
      model: a network that answers a dict of float32 tensors `[B, ...]`.
      images: `[B, S, S, 3]`.
      parts: how many; they divide B, which must be known for more than one.
      loss_of: `outputs -> (scalar, rest)`.

    Returns:
      `(rest, gradients of the scalar)`, one for each trainable variable.

    Raises:
      ValueError: the parts do not divide B.
    """
    variables = [tf_variable(variable) for variable in model.trainable_variables]
    if parts == 1:
        with tf.GradientTape() as tape:
            loss, rest = loss_of(model(images, training=True))
        return rest, tape.gradient(loss, variables)
    divided = _divide(images, parts)
    outputs = _outputs(model, divided)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss, rest = loss_of(outputs)
    # Of the variables themselves: weight decay.
    slopes, decay = tape.gradient(loss, (outputs, variables), unconnected_gradients=_ZERO)
    slopes = {name: _divide(slope, parts) for name, slope in slopes.items()}

    def add_part(i, total):
        with tf.GradientTape() as tape:
            answer = model(divided[i], training=True)
        slope = {name: slopes[name][i] for name in answer}
        added = tape.gradient(answer, variables, slope, unconnected_gradients=_ZERO)
        return i + 1, tf.nest.map_structure(tf.add, total, added)

    # A loop of the graph: a graph of all parts would compute them at once, with all their memory.
    _, total = tf.while_loop(
        lambda i, _: i < parts, add_part, (0, list(decay)), parallel_iterations=1
    )
    return rest, total


def _divide(tensor, parts):
    """`[B, ...]` -> `[parts, B / parts, ...]`."""
    size, rest = divmod(tensor.shape[0], parts)
    if rest:
        raise ValueError(f"{parts} parts do not divide a batch of {tensor.shape[0]} pictures")
    # Of pictures of their own sizes, the graph does not know theirs.
    divided = tf.reshape(tensor, tf.concat([[parts, size], tf.shape(tensor)[1:]], axis=0))
    return tf.ensure_shape(divided, (parts, size, *tensor.shape[1:]))


def _outputs(model, divided):
    """What the model answers for all parts, as if it had not seen them: dict of `[B, ...]`."""
    statistics = [tf.identity(variable) for variable in model.non_trainable_variables]
    signature = dict.fromkeys(model.output, tf.float32)
    outputs = tf.map_fn(
        lambda images: model(images, training=True),
        divided,
        fn_output_signature=signature,
        parallel_iterations=1,
    )
    for variable, value in zip(model.non_trainable_variables, statistics):
        variable.assign(value)
    size = divided.shape[0] * divided.shape[1]

    def joined(value):
        flat = tf.reshape(value, tf.concat([[size], tf.shape(value)[2:]], axis=0))
        return tf.ensure_shape(flat, (size, *value.shape[2:]))

    return {name: joined(value) for name, value in outputs.items()}
