"""Outputs of a SavedModel through both loaders, computed without this project's code.

Run by `tools.export_saved_model` with `python -I`: feeds `image_bytes` to the signature
`serving_default` and `images` to the signature `images`, once through Python's loader and once
through the session loader, which restores as TensorFlow Serving does. Outputs are called
`<loader>/<signature>/<output>`.
"""

import argparse
import sys

import numpy as np
import tensorflow as tf

INPUTS = {"serving_default": "image_bytes", "images": "images"}


def by_python(folder, signature, value):
    """Outputs of a signature through `tf.saved_model.load`."""
    function = tf.saved_model.load(folder).signatures[signature]
    outputs = function(**{INPUTS[signature]: tf.constant(value)})
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def by_session(folder, signature, value):
    """Outputs of a signature through TensorFlow 1's session loader."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        definition = loaded.signature_def[signature]
        outputs = {name: info.name for name, info in definition.outputs.items()}
        return session.run(outputs, {definition.inputs[INPUTS[signature]].name: value})


def main(folder, inputs_path, outputs_path):
    """Run both signatures through both loaders and store what they answer."""
    inputs = np.load(inputs_path, allow_pickle=True)
    outputs = {}
    for loader in (by_python, by_session):
        for signature, name in INPUTS.items():
            answer = loader(folder, signature, inputs[name])
            outputs.update({f"{loader.__name__}/{signature}/{k}": v for k, v in answer.items()})
    if "blitznet" in sys.modules:
        sys.exit("the SavedModel was not loaded on its own: blitznet is imported")
    np.savez(outputs_path, **outputs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the SavedModel")
    parser.add_argument("inputs_path", help=".npz file with image_bytes and images")
    parser.add_argument("outputs_path", help=".npz file to write")
    main(**vars(parser.parse_args()))
