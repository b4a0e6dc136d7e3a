"""Weights trained on ImageNet, which a trunk can start from: find or fetch, read, take over.

A file is what keras.applications publishes (HDF5), a checkpoint of TensorFlow 1 with the
original's variable names, such as its resnet50_full.ckpt, or a classifier that Caffe trained,
`.caffemodel`.
"""

from pathlib import Path

import h5py
import tensorflow as tf
from tensorflow import keras

from blitznet import caffemodel
from blitznet.convert import caffe, keras_applications
from blitznet.convert.tf1_blitznet import tf1_name
from blitznet.variables import variables_by_path

_FULLY_CONNECTED = ("fc6", "fc7")
_CAFFE_SUFFIX = ".caffemodel"
# Slim's own checkpoints hold the mean that they take from RGB; the original's read BGR.
_SLIM_MEANS = ("resnet_v1_50/mean_rgb", "vgg_16/mean_rgb")


def find(trunk, folder):
    """Path of a trunk's published weights: in `folder`, or else in Keras' cache, downloaded.

    Raises:
      OSError: they are in neither and cannot be downloaded; says what to do.
      ValueError: none are published for this trunk.
    """
    published = _published(trunk)
    for file in published:
        if (Path(folder) / file.name).is_file():
            return Path(folder) / file.name
    file = published[0]
    try:
        return Path(
            keras.utils.get_file(file.name, file.url, cache_subdir="models", file_hash=file.md5)
        )
    # Keras raises Exception itself where there is no network.
    except Exception as error:
        raise OSError(
            f"no ImageNet weights for the trunk {trunk}: {error}\n"
            f"Download {file.url} and put {file.name} into {folder} (--data_root, "
            "$BLITZNET_WEIGHTS), or name it: --imagenet_weights FILE. Or start from a checkpoint, "
            "--init_from PREFIX, or from random weights, --random_trunk_init"
        ) from None


def load(file, trunk, model):
    """Take a trunk's weights over from a file.

    Returns:
      `(loaded, skipped)`: sorted paths of the trunk's variables that were taken over and that
      kept their own values: fc6 and fc7, where the file has no fully connected layers.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: there are no such files for this trunk, the file does not read, or it holds
        another network; the model is then unchanged.
    """
    read = _reader(file, trunk)
    in_trunk = _trunk_variables(trunk, model)
    try:
        values = read(file, trunk, model)
        if _has_small_fully_connected(in_trunk):
            values = keras_applications.subsample_fully_connected(values)
        _check_shapes(in_trunk, values)
    except ValueError as error:
        raise ValueError(f"{file} does not fit the trunk {trunk}: {error}") from None
    for path, value in values.items():
        in_trunk[path].assign(value)
    return sorted(values), sorted(in_trunk.keys() - values.keys())


def _reader(file, trunk):
    """The function that reads a file; ValueError where there are no such files for the trunk."""
    if Path(file).suffix == _CAFFE_SUFFIX:
        if trunk not in caffe.CLASSIFIER_MEANS:
            trunks = ", ".join(caffe.CLASSIFIER_MEANS)
            raise ValueError(f"{file}: Caffe's classifiers start the trunks {trunks}, not {trunk}")
        return _read_caffe
    _published(trunk)
    return _read_keras if Path(file).is_file() and h5py.is_hdf5(file) else _read_tf1


def _published(trunk):
    if trunk not in keras_applications.PUBLISHED:
        of_caffe = f"--imagenet_weights FILE{_CAFFE_SUFFIX} of Caffe's classifier, "
        raise ValueError(
            f"there are no published ImageNet weights for the trunk {trunk}: give "
            f"{of_caffe * (trunk in caffe.CLASSIFIER_MEANS)}--init_from PREFIX of a checkpoint, "
            "or --random_trunk_init to start from random weights"
        )
    return keras_applications.PUBLISHED[trunk]


def _trunk_variables(trunk, model):
    """Dict path -> variable of a model, of the trunk alone."""
    layers = caffe.ALEXNET_LAYERS
    if trunk != "alexnet":
        layers = keras_applications.layer_names(trunk)
    variables = variables_by_path(model).items()
    return {p: v for p, v in variables if p.split("/")[0].replace("_bn", "") in layers}


def _has_small_fully_connected(variables):
    """Whether a trunk's fc6 is SSD's, 3 x 3 cells wide, and not VGG-16's whole one of 7 x 7."""
    return "fc6/kernel" in variables and tuple(variables["fc6/kernel"].shape[:2]) == (3, 3)


def _read_keras(file, trunk, model):
    try:
        layers = _keras_layers(file)
    # A file that ends too early answers some reads with KeyError or RuntimeError.
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"it is damaged: {error}") from None
    return keras_applications.trunk_values(trunk, layers)


def _keras_layers(file):
    """Dict layer name -> arrays of those layers that have any, of Keras' HDF5 format.

    Arrays come in the layer's order: the oldest files name them in ways of their own.
    """
    with h5py.File(file, "r") as root:
        groups = root.get("model_weights", root)
        layers = {
            name: [group[array][()] for array in group.attrs.get("weight_names", ())]
            for name, group in groups.items()
        }
    return {name: arrays for name, arrays in layers.items() if arrays}


def _read_tf1(file, trunk, model):
    if not Path(file).is_file() and not Path(f"{file}.index").is_file():
        raise FileNotFoundError(f"there are no ImageNet weights {file}")
    names = {path: tf1_name(path, model) for path in _trunk_variables(trunk, model)}
    try:
        reader = tf.train.load_checkpoint(str(file))
        present = reader.get_variable_to_shape_map()
        values = {p: reader.get_tensor(name) for p, name in names.items() if name in present}
        means = [reader.get_tensor(name) for name in _SLIM_MEANS if name in present]
    # TensorFlow's reader answers a file that ends too early with IndexError.
    except (tf.errors.OpError, IndexError) as error:
        raise ValueError(
            f"it is neither Keras' HDF5 nor a TensorFlow 1 checkpoint, or damaged: {error}"
        ) from None
    if not any(path.startswith(_FULLY_CONNECTED) for path in values):
        names = {p: name for p, name in names.items() if not p.startswith(_FULLY_CONNECTED)}
    missing = [name for path, name in names.items() if path not in values]
    if missing:
        raise ValueError(f"{len(missing)} variables are missing: {', '.join(missing[:8])}")
    if means:
        values = keras_applications.of_rgb(values, means[0])
    return values


def _read_caffe(file, trunk, model):
    shapes = {path: tuple(v.shape) for path, v in _trunk_variables(trunk, model).items()}
    return caffe.classifier_values(trunk, shapes, caffemodel.read(file))


def _check_shapes(variables, values):
    wrong = [
        f"shape of {path}: expected {tuple(variables[path].shape)}, found {value.shape}"
        for path, value in values.items()
        if value.shape != tuple(variables[path].shape)
    ]
    if wrong:
        shown = "\n  ".join(wrong[:8])
        raise ValueError(f"{len(wrong)} differences:\n  {shown}")
