"""FCNs that start from coarser ones, learn, are rebuilt for inference; narrow numbers."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

import toy_fcn
from blitznet import checkpoints, choices, inference, keys
from blitznet.models.fcn import build_fcn
from blitznet.upsampling import Upscore
from blitznet.variables import tf_variable, variables_by_path
from toy_fcn import (
    CROPS,
    EVERY,
    SKIPS,
    TRUNKS,
    bilinear,
    logits,
    pictures,
    planar,
    plane_over,
    trained,
)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    toy_fcn.install(monkeypatch)


def staged(coarse_arch, arch, trunk, folder, geometry="same"):
    """A coarse network with random weights, and a finer one that starts from its checkpoint."""
    coarse = trained(coarse_arch, trunk, geometry)
    checkpoint = checkpoints.save(folder, 1, coarse)
    finer = build_fcn(4, trunk=trunk, geometry=geometry, arch=arch)
    loaded, skipped = checkpoints.init_from(checkpoint, finer)
    assert loaded == sorted(variables_by_path(coarse))
    return coarse, finer, skipped


STAGES = [("fcn32s", "fcn16s"), ("fcn16s", "fcn8s")]


@pytest.mark.parametrize("geometry", choices.GEOMETRIES)
@pytest.mark.parametrize(("coarse_arch", "arch"), STAGES)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_finer_network_starts_with_the_sums_of_the_coarser(
    trunk, coarse_arch, arch, geometry, tmp_path
):
    """What it adds is zero: its last sum is the coarser one's, enlarged and cropped, bit by bit."""
    coarse, finer, skipped = staged(coarse_arch, arch, trunk, tmp_path, geometry)
    skip = SKIPS[trunk][STAGES.index((coarse_arch, arch))]
    enlarged = "upscore2" if arch == "fcn16s" else f"upscore_{SKIPS[trunk][0]}"
    kernel, score = f"{enlarged}/kernel", f"score_{skip}"
    assert skipped == sorted([kernel, f"{score}/kernel", f"{score}/bias"])

    images = pictures(67, 95)
    before = "score_fr" if coarse_arch == "fcn32s" else f"fuse_{SKIPS[trunk][0]}"
    *_, last = CROPS[trunk, geometry, arch]
    crop = CROPS[trunk, geometry, arch][-2]
    maps = part(coarse, before)(images)
    maps = Upscore(2, 3 if trunk == "alexnet" else 4, learned=True)(maps).numpy()
    found = part(finer, f"fuse_{skip}")(images).numpy()
    first = max(-crop, 0)
    expected = maps[:, first:, first:][:, : found.shape[1], : found.shape[2]]
    np.testing.assert_array_equal(found, expected)


def part(model, layer):
    """The network up to a layer."""
    return keras.Model(model.input, model.get_layer(layer).output)


@pytest.mark.parametrize(("trunk", "geometry", "arch"), EVERY)
def test_where_scores_are_linear_finer_networks_start_as_the_coarsest(trunk, geometry, arch):
    model = planar(trunk, geometry, arch, skips=0.0)
    found = logits(model, np.zeros((1, 255, 201, 3), np.float32))[0, 40:-60, 40:-60, 0]
    np.testing.assert_allclose(found, plane_over(255, 201)[40:-60, 40:-60], rtol=1e-5)


def second_differences(maps):
    """The largest along rows plus the largest along columns of `[B, H, W, C]`."""
    return sum(np.abs(np.diff(maps, 2, axis=axis)).max() for axis in (1, 2))


@pytest.mark.parametrize(("coarse_arch", "arch"), STAGES)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_elsewhere_two_bilinear_steps_cut_corners_by_an_eighth_at_most(
    trunk, coarse_arch, arch, tmp_path
):
    """Of second differences; kernels of 2f - 1 put a cell on each coarse one, and cut nothing."""
    coarse, finer, _ = staged(coarse_arch, arch, trunk, tmp_path)
    images = pictures(161, 226)
    maps = part(coarse, "score_fr" if arch == "fcn16s" else f"fuse_{SKIPS[trunk][0]}")(images)
    bound = second_differences(maps.numpy()) / 8 if trunk == "vgg16" else 0
    inside = np.s_[:, 32:-48, 32:-48]
    expected, found = logits(coarse, images)[inside], logits(finer, images)[inside]
    difference = np.abs(found - expected).max()
    assert difference <= bound + 1e-5 * expected.std()
    if bound:
        assert difference > bound / 20


def test_a_ridge_is_cut_as_computed_by_hand():
    """Of 0 1 0 two steps leave out a quarter, less what half a pixel beside the ridge lacks."""
    ridge = np.broadcast_to(np.float32([0, 0, 1, 0, 0]).reshape(1, 5, 1, 1), (1, 5, 5, 1))
    once = Upscore(32, 64)(ridge).numpy()[0, 31:160, 95, 0]
    twice = Upscore(16, 32)(Upscore(2, 4, learned=True)(ridge)).numpy()[0, 39:168, 103, 0]
    # The coarse cells are at 0.5, 32.5, 64.5, ...: the two pixels nearest to the ridge.
    assert sorted(np.argsort(once - twice)[-2:]) == [64, 65]
    assert (once - twice).max() == pytest.approx(2 / 8 * (1 - 0.5 / 8), rel=1e-5)
    assert (once - twice)[[32, 96, 97]] == pytest.approx([-1 / 8 * (1 - 0.5 / 8)] * 3, rel=1e-5)


def folded(model, factory, **shape):
    """The network for inference of a trained one, as `inference.build` makes it."""
    network = build_fcn(**shape, conv=factory(model, False, "float32"))
    for layer in network.layers:
        if layer.weights and not isinstance(layer, inference.InferenceConv2D):
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return network


@pytest.mark.parametrize("factory", [inference.FoldedConv, inference.OneToOne])
@pytest.mark.parametrize(
    ("trunk", "geometry", "arch"),
    [("vgg16", "same", "fcn8s"), ("alexnet", "reference", "fcn16s")],
)
def test_rebuilt_for_inference_it_answers_the_same(trunk, geometry, arch, factory):
    model = trained(arch, trunk, geometry)
    shape = {"num_classes": 4, "trunk": trunk, "arch": arch, "geometry": geometry}
    network = folded(model, factory, **shape)
    expected = logits(model, pictures(47, 66))
    found = logits(network, pictures(47, 66))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.std())
    assert not [path for path in variables_by_path(network) if "drop" in path]


@pytest.mark.parametrize("trunk", TRUNKS)
def test_narrow_numbers_answer_float32_nearly_the_same(trunk):
    exact, narrow = (trained("fcn8s", trunk, precision=p) for p in ("float32", "bfloat16"))
    assert narrow.get_layer("fc6").compute_dtype == "bfloat16"
    assert all(v.dtype == tf.float32 for v in variables_by_path(narrow).values())
    expected, found = (logits(model, pictures(64, 65)) for model in (exact, narrow))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.2 * expected.std()


@pytest.mark.parametrize("arch", ["fcn8s", "fcn8s-atonce"])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_training_reaches_every_weight(trunk, arch):
    """In a compiled function, pictures of any size, as the engine runs it."""
    model = trained(arch, trunk)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
    def gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(images, training=True)[keys.SEGMENTATION] ** 2)
        return tape.gradient(loss, [tf_variable(v) for v in model.trainable_variables])

    slopes = gradients(pictures(50, 81))
    assert len(slopes) == len(model.trainable_variables)
    for variable, slope in zip(model.trainable_variables, slopes):
        assert np.all(np.isfinite(slope)) and np.any(slope), variable.name
    assert float(model.get_layer("drop6").calls) == 1


def test_first_scores_are_zero_and_the_trunk_as_he_says():
    model = build_fcn(4, trunk="vgg16", arch="fcn8s")
    for name in ("score_fr", "score_pool4", "score_pool3"):
        assert not any(np.any(weight) for weight in model.get_layer(name).get_weights())
    kernel, bias = model.get_layer("fc6").get_weights()
    assert kernel.std() == pytest.approx((2 / (49 * 16)) ** 0.5, rel=0.02)
    assert not bias.any()
    assert not logits(model, pictures(40, 50)).any()
    for name in ("upscore2", "upscore_pool4"):
        kernel = model.get_layer(name).get_weights()[0]
        for channel in range(4):
            np.testing.assert_allclose(kernel[..., channel], bilinear(4)[..., 0], rtol=1e-6)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_convolution_kernels_alone_are_penalised(trunk):
    model = trained("fcn8s", trunk, weight_decay=0.5)
    kernels = [layer.kernel for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    expected = sum(0.25 * np.sum(np.square(kernel, dtype=np.float64)) for kernel in kernels)
    assert sum(map(float, model.losses)) == pytest.approx(expected, rel=1e-5)
    assert not trained("fcn8s", trunk, weight_decay=0.0).losses
