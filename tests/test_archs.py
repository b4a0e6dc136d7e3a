"""The registry of network families: what each is built of, answers and counts as a class."""

import pytest

import toy_fcn
from blitznet import archs, choices, keys

SHAPES = {
    "blitznet": {"trunk": "resnet18_half", "image_size": 64, "top_fm": 16, "n_base_channels": 8},
    **{name: {"trunk": "vgg16", "image_size": 64} for name in choices.FCNS},
    "classifier": {"trunk": "resnet18_half", "image_size": 64},
}
OUTPUTS = {
    "blitznet": {keys.CONFIDENCE, keys.LOCATION, keys.SEGMENTATION},
    **dict.fromkeys(choices.FCNS, {keys.SEGMENTATION}),
    "classifier": {keys.CLASS_LOGITS},
}
TASK_OF = {keys.LOCATION: "detect", keys.SEGMENTATION: "segment", keys.CLASS_LOGITS: "classify"}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    toy_fcn.install(monkeypatch)


@pytest.mark.parametrize("arch", choices.ARCHS)
def test_a_shape_is_built_and_answers_the_tasks_it_says(arch):
    shape = {"arch": arch, "num_classes": 3, **SHAPES[arch]}
    model = archs.build(shape, weight_decay=0.0)
    assert model.output.keys() == OUTPUTS[arch]
    assert not model.losses
    tasks = archs.tasks(archs.full_shape(shape))
    assert {task for task, chosen in tasks.items() if chosen} == {
        TASK_OF[name] for name in model.output if name in TASK_OF
    }


@pytest.mark.parametrize("arch", choices.ARCHS)
def test_layers_of_classes_are_those_whose_weights_hang_on_their_number(arch):
    few, many = (archs.build({"arch": arch, "num_classes": n, **SHAPES[arch]}) for n in (3, 5))
    changed = {
        layer.name
        for layer in few.layers
        if [w.shape for w in layer.weights] != [w.shape for w in many.get_layer(layer.name).weights]
    }
    names = archs.get({"arch": arch}).class_layers.values()
    beginnings = tuple(name.rstrip("/") for of_task in names for name in of_task)
    assert changed and all(name.startswith(beginnings) for name in changed)
    others = {layer.name for layer in few.layers if layer.weights} - changed
    assert not [name for name in others if name.startswith(beginnings)]


def test_blitznet_is_what_a_shape_without_a_name_means():
    assert archs.get({}) is archs.get({"arch": "blitznet"})
    full = archs.full_shape({"num_classes": 3})
    assert (full["arch"], full["image_size"], full["trunk"]) == ("blitznet", 300, "resnet50")
    assert not {"weight_decay", "conv", "precision"} & full.keys()


def test_an_fcn_keeps_its_name_and_its_defaults():
    full = archs.full_shape({"arch": "fcn8s", "num_classes": 3})
    assert (full["arch"], full["image_size"], full["geometry"]) == ("fcn8s", None, "same")


def test_only_a_classifier_has_no_background():
    counts = {arch: archs.num_classes({"arch": arch}, ("a", "b")) for arch in choices.ARCHS}
    assert counts.pop("classifier") == 2
    assert set(counts.values()) == {3}


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown architecture 'unet': choose one of blitznet"):
        archs.build({"arch": "unet"})


def test_the_side_of_class_maps():
    sides = {
        arch: archs.segmentation_side(archs.build({"arch": arch, "num_classes": 3, **shape}))
        for arch, shape in SHAPES.items()
    }
    assert sides == {"blitznet": 8, **dict.fromkeys(choices.FCNS, 64), "classifier": None}
    any_size = archs.build({"arch": "fcn32s", "num_classes": 3, "image_size": None})
    assert archs.segmentation_side(any_size) is None
