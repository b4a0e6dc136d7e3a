"""The variables of a Keras model under names that both Keras generations share."""

import tensorflow as tf


def variable_path(variable):
    """Name of a Keras variable without its `:0`, e.g. `block2_unit1_conv1/kernel`."""
    return getattr(variable, "path", variable.name).split(":")[0]


def tf_variable(variable):
    """The `tf.Variable` behind a Keras variable."""
    return variable if isinstance(variable, tf.Variable) else variable.value


def variables_by_path(model):
    """Dict path -> `tf.Variable` of all weights, batch-norm statistics included.

    Raises:
      ValueError: two variables share a path.
    """
    named = {}
    for variable in model.variables:
        path = variable_path(variable)
        if path in named:
            raise ValueError(f"two variables of {model.name} are called {path}")
        named[path] = tf_variable(variable)
    return named
