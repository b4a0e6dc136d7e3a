"""What the tables of tools.benchmark say alike."""


def network_text(shape):
    """A network in a few words; `shape`: the arguments of `build_model` that make it."""
    tasks = [name for name in ("detect", "segment") if shape[name]]
    side = f"{shape['image_size']}{' x4' if shape['x4'] else ''}"
    return f"{shape['trunk']} {side}, {' and '.join(tasks)}, {shape['num_classes']} classes"
