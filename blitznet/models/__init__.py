"""Models: plain values in, a Keras functional graph out."""
