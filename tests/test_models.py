"""Structure of the network: counts, names, sides, options, and what invalid arguments say."""

import numpy as np
import pytest
import tensorflow as tf

import golden
from blitznet import build_model, keys, runs
from blitznet.archs import segmentation_side
from blitznet.convert.tf1_blitznet import assign, network_names, tf1_name
from blitznet.models.blitznet import source_sides
from blitznet.priors import PRIORS_PER_CELL
from blitznet.trunks import NAMES, get_trunk
from blitznet.variables import variables_by_path

TOY = {"image_size": 64, "trunk": "resnet18_half", "top_fm": 16, "n_base_channels": 8}

# Spec section 5: variables, parameters, prior boxes, side of the segmentation map.
TABLE = {
    "b300x4": (494, 59_480_175, 45_390, 75),
    "b300": (473, 58.43e6, 11_640, 38),
    "b512x4": (545, 69.70e6, 131_070, 128),
    "b512": (524, 68.65e6, 32_766, 64),
    "vgg300": (71, 26.29e6, 8_096, None),
}


@pytest.mark.slow
@pytest.mark.parametrize("configuration", golden.CONFIGURATIONS)
def test_counts_and_checkpoint_names_of_the_original(configuration):
    arguments = golden.CONFIGURATIONS[configuration]
    model = build_model(**arguments)
    named = {tf1_name(path, model): v for path, v in variables_by_path(model).items()}
    shapes = {name: variable.shape.as_list() for name, variable in named.items()}
    assert shapes == golden.variable_shapes(configuration)
    if configuration in TABLE:
        variables, parameters, priors, side = TABLE[configuration]
        assert len(model.variables) == variables
        assert model.count_params() == pytest.approx(parameters, abs=0.005e6)
        assert len(runs.make_coder(model, arguments).priors) == priors
        assert model.output[keys.LOCATION].shape[1] == priors
        assert segmentation_side(model) == side


def test_parameter_count_is_exact():
    assert build_model(x4=True).count_params() == 59_480_175


@pytest.mark.parametrize("trunk", NAMES)
def test_trunks_answer_by_stride(trunk):
    from tensorflow import keras

    from blitznet.layers import Conv

    features = get_trunk(trunk).features(keras.Input((96, 96, 3)), Conv())
    sides = {name: maps.shape[1] for name, maps in features.items()}
    coarser = {} if trunk in ("vgg16", "detnet59") else {"C5": 3}
    assert sides == {"C2": 24, "C3": 12, "C4": 6, **coarser}


@pytest.mark.parametrize(
    ("image_size", "x4", "sides"),
    [
        (32, True, (8, 4, 2, 1)),
        (64, False, (8, 4, 2, 1)),
        (64, True, (16, 8, 4, 2, 1)),
        (100, True, (25, 13, 7, 4, 2, 1)),
        (128, True, (32, 16, 8, 4, 2, 1)),
    ],
)
def test_sides_of_small_images(image_size, x4, sides):
    """The downscale stream ends at side 1, so that no source repeats a map of one cell."""
    model = build_model(**{**TOY, "image_size": image_size, "x4": x4})
    assert source_sides(model) == sides
    outputs = model(np.zeros((2, image_size, image_size, 3), np.float32))
    cells = sum(side * side for side in sides)
    assert outputs[keys.CONFIDENCE].shape == (2, PRIORS_PER_CELL * cells, 21)
    assert outputs[keys.LOCATION].shape == (2, PRIORS_PER_CELL * cells, 4)
    assert outputs[keys.SEGMENTATION].shape == (2, sides[0], sides[0], 21)
    assert segmentation_side(model) == sides[0]


def test_tasks_choose_the_outputs():
    detection = build_model(**TOY, segment=False)
    segmentation = build_model(**TOY, detect=False)
    assert set(detection.output) == {keys.CONFIDENCE, keys.LOCATION}
    assert set(segmentation.output) == {keys.SEGMENTATION}
    assert segmentation_side(detection) is None


def test_shared_head_is_one_convolution_of_the_same_answer():
    """Non-shared heads that all hold the shared head's kernel answer what the shared one does."""
    shared = build_model(**TOY, head="shared")
    apart = build_model(**TOY)
    values = variables_by_path(shared)
    for path, variable in variables_by_path(apart).items():
        layer, kind = path.split("/")
        if layer.split("_")[0] in (keys.CONFIDENCE, keys.LOCATION):
            layer = f"{layer.split('_')[0]}_shared"
        variable.assign(values[f"{layer}/{kind}"])
    images = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    for key in (keys.CONFIDENCE, keys.LOCATION):
        np.testing.assert_allclose(shared(images)[key], apart(images)[key], atol=1e-5)


def test_detections_of_a_cell_stay_together():
    """Rows are row-major over the map, prior boxes fastest: seen by a head that marks its cell."""
    model = build_model(**TOY, segment=False, det_kernel=1)
    side = source_sides(model)[0]
    head, source = model.get_layer("location_rev2"), model.get_layer("rev2_relu")
    kernel = np.zeros(head.kernel.shape, np.float32)
    bias = np.arange(4 * PRIORS_PER_CELL, dtype=np.float32)
    kernel[0, 0, 0] = 1000
    head.set_weights([kernel, bias])
    images = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    from tensorflow import keras

    both = keras.Model(model.input, [source.output, model.output[keys.LOCATION]])
    maps, location = both(images)
    first = location[0, : side * side * PRIORS_PER_CELL].numpy()
    cells = 1000 * maps[0, :, :, 0].numpy().reshape(-1, 1, 1)
    expected = cells + bias.reshape(1, PRIORS_PER_CELL, 4)
    np.testing.assert_allclose(first, expected.reshape(-1, 4), rtol=1e-5)


def test_weight_decay_is_half_the_sum_of_squared_kernels():
    model = build_model(**TOY, weight_decay=0.5)
    kernels = [v for path, v in variables_by_path(model).items() if path.endswith("/kernel")]
    expected = 0.5 * sum(float(tf.reduce_sum(kernel**2)) / 2 for kernel in kernels)
    assert float(tf.add_n(model.losses)) == pytest.approx(expected, rel=1e-5)
    assert build_model(**TOY, weight_decay=0.0).losses == []


def test_bn_decay_is_the_momentum_of_the_statistics():
    model = build_model(**TOY, bn_decay=0.25)
    layer = model.get_layer("rev2_conv1_bn")
    before = layer.moving_mean.numpy()
    inputs = tf.random.stateless_normal([4, 8, 8, before.shape[0]], [1, 2]) + 3.0
    layer(inputs, training=True)
    mean = tf.reduce_mean(inputs, axis=[0, 1, 2]).numpy()
    np.testing.assert_allclose(layer.moving_mean, 0.25 * before + 0.75 * mean, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detect": False, "segment": False}, "detect, segment"),
        ({"num_classes": 1}, "at least 2"),
        ({"image_size": 31}, "at least 32"),
        ({"head": "both"}, "nonshared, shared"),
        ({"resize": "cubic"}, "bilinear, nearest"),
        ({"top_fm": 6}, "multiple of 4"),
        ({"trunk": "resnet51"}, "resnet50, resnet18"),
    ],
)
def test_invalid_arguments_say_what_is_valid(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_model(**{**TOY, **arguments})


@pytest.fixture(scope="module")
def model():
    """The smallest model that has the original's variable names."""
    return build_model(image_size=64, top_fm=16, n_base_channels=8, num_classes=3)


@pytest.fixture
def variables(model):
    """Values for all its variables, each of its own, under their checkpoint names."""
    return {
        tf1_name(path, model): np.full(v.shape, i, np.float32)
        for i, (path, v) in enumerate(variables_by_path(model).items())
    }


class TestAssign:
    """Converting from the original's names."""

    def test_every_variable_gets_its_own_value_and_is_popped(self, model, variables):
        assign(model, variables)
        assert variables == {}
        for i, variable in enumerate(variables_by_path(model).values()):
            assert np.all(variable.numpy() == i)

    @pytest.mark.parametrize("damage", ["left over", "missing", "shape of"])
    def test_differences_are_named_and_nothing_is_changed(self, model, variables, damage):
        name = "resnet_v1_50/block2/unit_1/bottleneck_v1/conv2/weights"
        before = [v.numpy().copy() for v in variables_by_path(model).values()]
        if damage == "left over":
            name = "ssd/surprise/weights"
            variables[name] = np.zeros(3, np.float32)
        elif damage == "missing":
            del variables[name]
        else:
            variables[name] = np.zeros((1, 2, 3, 4), np.float32)
        with pytest.raises(ValueError, match=f"{damage}.*{name}"):
            assign(model, variables)
        for old, variable in zip(before, variables_by_path(model).values()):
            np.testing.assert_array_equal(old, variable.numpy())

    def test_training_state_is_told_from_the_network(self):
        names = [
            "ssd/Conv/weights",
            "ssd/Conv/weights/Adam",
            "ssd/Conv/weights/Adam_1",
            "ssd/Conv/weights/Momentum",
            "global_step",
            "beta1_power",
            "optimizer/beta2_power",
        ]
        assert network_names(names) == ["ssd/Conv/weights"]
