"""Flags and the settings that they resolve to."""

import dataclasses
import importlib

import pytest

import config
from helpers import run_python
from tools.flags import network
from tools.flags.fields import pick
from tools.flags.network import NetworkConfig, model_config, tasks_of
from tools.flags.settings import OptimConfig

# Spec section 13: the original's flags and defaults, by the scripts that use them.
MODEL = {
    "trunk": "resnet50",
    "x4": False,
    "image_size": 300,
    "head": "nonshared",
    "resize": "bilinear",
    "top_fm": 512,
    "det_kernel": 3,
    "n_base_channels": 64,
    "seg_filter_size": 1,
    "class_loss": "softmax",
    "arch": "blitznet",
    "dilated_projection": "conv",
    "geometry": "same",
    "detect": False,
    "segment": False,
}
SHARED = {
    "ckpt": 0,
    "dataset": "voc07",
    "split": "train",
    "label_map": None,
    "no_seg_gt": False,
    "top_k_nms": 400,
    "top_k_after_nms": 50,
    "top_k_post_nms": 200,
    "conf_thresh": 0.01,
    "nms_thresh": 0.45,
    "eval_min_conf": 0.0,
    "data_root": None,
    "archive": None,
    "records": None,
}
TRAINING = {
    "strategy": "none",
    "batch_norm": "replica",
    "train_records": [],
    "max_iterations": 1000000,
    "batch_size": 32,
    "weight_decay": 5e-5,
    "bn_decay": 0.9,
    "learning_rate": 1e-4,
    "warmup_step": 0,
    "warmup_lr": 1e-5,
    "optimizer": "adam",
    "box_loss": "smooth_l1",
    "pixel_loss": "mean",
    "momentum": 0.9,
    "bias_rate": 1.0,
    "preset": None,
    "lookahead": False,
    "mixed_precision": "none",
    "xla": False,
    "accumulate": 1,
    "clip_norm": None,
    "average_weights": "none",
    "average_decay": None,
    "average_start": None,
    "average_period": None,
    "zoomout_prob": 0.5,
    "lr_decay": [],
    "imagenet_weights": None,
    "random_trunk_init": False,
    "seed": 0,
    "data_service": None,
    "init_from": None,
    "save_every": 1000,
    "summary_every": 100,
    "augmentation": "full",
}
EVALUATION = {
    "precision": "float32",
    "strategy": "none",
    "eval_records": [],
    "batch_eval": False,
    "follow": False,
    "timeout": 3600,
    "no_average": False,
    "min_ckpt": 0,
    "step": 1,
    "voc_iou_thresh": 0.5,
    "border": 0,
    "shift_and_stitch": False,
    "save_first_n": 0,
    "batch_size": 8,
}


def training_args(*flags):
    return config.training_parser().parse_args(["--run_name", "r", *flags])


def evaluation_args(*flags):
    return config.evaluation_parser().parse_args(["--run_name", "r", *flags])


def test_training_has_every_flag_of_the_original_with_its_default():
    assert vars(training_args()) == {"run_name": "r", **SHARED, **MODEL, **TRAINING}


def test_evaluation_takes_the_model_from_the_run_so_those_flags_have_no_default():
    assert vars(evaluation_args()) == {"run_name": "r", **SHARED, **EVALUATION}


def test_evaluation_knows_every_model_flag():
    given = evaluation_args(
        *("--trunk", "resnet18", "--x4", "--image_size", "64", "--head", "shared"),
        *("--resize", "nearest", "--top_fm", "8", "--det_kernel", "1", "--n_base_channels", "4"),
        *("--seg_filter_size", "3", "--detect", "--segment", "--class_loss", "focal"),
        *("--arch", "fcn8s", "--geometry", "reference", "--dilated_projection", "none"),
    )
    assert {name for name in vars(given)} >= set(MODEL)


@pytest.mark.parametrize("parse", [training_args, evaluation_args])
def test_a_run_needs_a_name(parse, capsys):
    for flags in ([], ["--run_name", " "]):
        with pytest.raises(SystemExit):
            parse.__globals__["config"].training_parser().parse_args(flags)
        assert "--run_name" in capsys.readouterr().err


def test_names_are_not_case_sensitive():
    given = training_args(
        *("--dataset=VOC07", "--split=Val", "--trunk=ResNet50", "--optimizer=Adam"),
        *("--head=Shared", "--resize=Nearest", "--augmentation=None"),
    )
    names = [getattr(given, name) for name in ("dataset", "split", "trunk", "optimizer", "head")]
    assert names == ["voc07", "val", "resnet50", "adam", "shared"]
    assert (given.resize, given.augmentation) == ("nearest", "none")


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--trunk", "vgg19", ["resnet50", "resnet18_half"]),
        ("--optimizer", "sgd", ["adam", "nesterov"]),
        ("--head", "both", ["shared", "nonshared"]),
        ("--resize", "cubic", ["bilinear", "nearest"]),
        ("--seg_filter_size", "2", ["1", "3"]),
        ("--batch_size", "0", ["at least 1"]),
        ("--batch_size", "2.5", ["whole number"]),
        ("--image_size", "16", ["at least 32"]),
        ("--mixed_precision", "float64", ["none", "bfloat16", "float16"]),
        ("--clip_norm", "0", ["above 0"]),
        ("--zoomout_prob", "1.5", ["at most 1"]),
        ("--learning_rate", "0", ["above 0"]),
        ("--learning_rate", "nan", ["above 0"]),
        ("--learning_rate", "fast", ["not a number"]),
        ("--learning_rate", "inf", ["not finite"]),
        ("--lr_decay", "-1", ["at least 0"]),
    ],
)
def test_an_impossible_value_is_refused_with_what_is_possible(flag, value, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        training_args(f"{flag}={value}")
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert flag in message
    assert all(text in message for text in expected)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], (True, True)),
        (["--detect"], (True, False)),
        (["--segment"], (False, True)),
        (["--detect", "--segment"], (True, True)),
    ],
)
def test_neither_task_given_means_both(flags, expected):
    model = model_config(training_args(*flags))
    assert (model.detect, model.segment) == expected


def test_settings_are_frozen_and_picked_by_name():
    optimisation = pick(OptimConfig, training_args("--lr_decay", "10", "20"))
    assert optimisation == OptimConfig(lr_decay=(10, 20))
    with pytest.raises(dataclasses.FrozenInstanceError):
        optimisation.learning_rate = 1.0


EMA = ["--average_weights", "ema"]
CLASSIFIER = ["--arch", "classifier", "--dataset", "custom", "--train_records", "x.json"]
SWA = ["--average_weights", "swa", "--average_start"]


def test_ema_is_short_for_the_moving_average():
    short, long = training_args("--ema"), training_args("--average_weights", "ema")
    assert vars(short) == vars(long)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ("none", None, None, None)),
        (EMA, ("ema", 0.999, None, None)),
        ([*EMA, "--average_decay", "0"], ("ema", 0, None, None)),
        ([*SWA, "9"], ("swa", None, 9, 100)),
        ([*SWA, "9", "--average_period", "5", "--max_iterations", "9"], ("swa", None, 9, 5)),
    ],
)
def test_an_average_has_the_settings_of_its_kind(flags, expected):
    average = config.training_config(training_args(*flags)).average
    assert dataclasses.astuple(average) == expected


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--top_fm", "10"], ["--top_fm", "10"]),
        (["--lr_decay", "20", "10"], ["--lr_decay", "(20, 10)"]),
        (["--lr_decay", "10", "10"], ["--lr_decay"]),
        (["--segment", "--no_seg_gt"], ["--no_seg_gt", "--detect"]),
        (["--init_from", "x", "--random_trunk_init"], ["--init_from", "--random_trunk_init"]),
        (["--average_weights", "swa"], ["--average_start N", "--average_weights swa"]),
        (["--average_decay", "0"], ["--average_decay", "--average_weights ema"]),
        (["--average_start", "5"], ["--average_start", "--average_weights swa"]),
        (["--average_period", "5"], ["--average_period", "--average_weights swa"]),
        ([*EMA, "--average_start", "5"], ["--average_start", "--average_weights swa"]),
        ([*EMA, "--average_period", "5"], ["--average_period", "--average_weights swa"]),
        ([*EMA, "--average_decay", "1"], ["--average_decay 1"]),
        ([*SWA, "9", "--average_decay", "0.9"], ["--average_decay", "--average_weights ema"]),
        (
            [*SWA, "100", "--max_iterations", "99"],
            ["--average_start 100", "--max_iterations 99"],
        ),
        (["--accumulate", "5"], ["--accumulate 5", "--batch_size 32"]),
        (["--segment", "--class_loss", "focal"], ["--class_loss", "--segment"]),
        (["--segment", "--box_loss", "giou"], ["--box_loss", "--segment"]),
        (["--detect", "--pixel_loss", "sum"], ["--pixel_loss", "segmentation"]),
        (["--bias_rate", "2"], ["--bias_rate", "momentum and nesterov", "adam"]),
        (["--momentum", "0.99"], ["--momentum", "momentum, nesterov and sgdw"]),
        (["--geometry", "reference"], ["--geometry", "--arch blitznet"]),
        (["--trunk", "alexnet"], ["--trunk alexnet", "--arch blitznet", "resnet50"]),
        (["--arch", "fcn8s", "--x4"], ["--x4", "--arch fcn8s"]),
        (["--arch", "fcn8s", "--detect"], ["--detect", "--arch fcn8s"]),
        (["--arch", "fcn8s", "--trunk", "resnet50"], ["--trunk resnet50", "vgg16"]),
        (["--arch", "fcn8s", "--no_seg_gt"], ["--no_seg_gt", "--detect"]),
        (["--arch", "fcn8s", "--zoomout_prob", "0.2"], ["--zoomout_prob", "own sizes"]),
        ([*CLASSIFIER, "--no_seg_gt"], ["--no_seg_gt", "segmentation"]),
        (["--arch", "classifier"], ["--dataset custom", "tools.encode_folder"]),
        (["--optimizer", "momentum", "--momentum", "1"], ["--momentum 1"]),
        (
            ["--arch", "fcn8s", "--strategy", "mirrored", "--batch_norm", "sync"],
            ["--batch_norm sync", "FCNs"],
        ),
        (["--arch", "fcn8s", "--xla"], ["--xla", "--image_size"]),
        (["--arch", "classifier", "--trunk", "vgg16"], ["--trunk vgg16", "detnet59"]),
    ],
)
def test_flags_that_do_not_go_together_are_named(flags, named):
    with pytest.raises(ValueError) as error:
        config.training_config(training_args(*flags))
    assert all(text in str(error.value) for text in named)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--ckpt", "1", "--batch_eval"], "--ckpt.*--batch_eval"),
        (["--min_ckpt", "5"], "--min_ckpt has no effect without --batch_eval or --follow"),
        (["--step", "5"], "--step has no effect without --batch_eval or --follow"),
        (["--batch_eval", "--timeout", "5"], "--timeout has no effect without --follow"),
        (["--ckpt", "1", "--follow"], "--follow.*--ckpt"),
        (["--batch_eval", "--follow"], "--follow.*--batch_eval"),
    ],
)
def test_evaluation_flags_that_do_not_go_together_are_named(flags, named):
    with pytest.raises(ValueError, match=named):
        config.evaluation_config(evaluation_args(*flags))


RUN = {**MODEL, "detect": True, "segment": True, "num_classes": 21}


@pytest.mark.parametrize(
    ("flags", "run", "expected"),
    [
        ([], {}, {"detect": True, "segment": True}),
        ([], {"segment": False}, {"detect": True, "segment": False}),
        (["--detect"], {}, {"detect": True, "segment": False}),
        (["--segment"], {}, {"detect": False, "segment": True}),
        (["--image_size", "300", "--segment"], {}, {"detect": False, "segment": True}),
    ],
)
def test_tasks_are_the_runs_or_those_of_them_that_are_named(flags, run, expected):
    found = tasks_of(evaluation_args(*flags), {**RUN, **run})
    assert found == {**expected, "classify": False}


@pytest.mark.parametrize(
    ("flags", "run", "shown"),
    [
        (["--image_size", "512"], {}, "--image_size 512, but the run has 300"),
        (["--x4"], {}, "--x4 True, but the run has False"),
        (["--detect"], {"detect": False}, "--detect True, but the run has False"),
    ],
)
def test_a_flag_that_contradicts_the_run_is_shown_with_both_values(flags, run, shown):
    with pytest.raises(ValueError, match=shown):
        tasks_of(evaluation_args(*flags), {**RUN, **run})


@pytest.mark.parametrize("module", ["convert_checkpoint", "benchmark.__main__"])
def test_tools_whose_classes_are_of_softmax_do_not_ask(module):
    """The original's checkpoints are; the benchmark's network computes the same under both."""
    tool = importlib.import_module(f"tools.{module}")
    parser = tool.build_parser()
    flags = {
        "convert_checkpoint": ["--checkpoint", "c", "--run_name", "r"],
        "benchmark.__main__": ["network"],
    }[module]
    given = model_config(parser.parse_args([*flags, "--x4"]))
    assert given == NetworkConfig(x4=True)
    with pytest.raises(SystemExit):
        parser.parse_args([*flags, "--class_loss", "focal"])


def test_the_help_says_what_decays_and_what_needs_the_addons():
    text = " ".join(config.training_parser().format_help().split())
    assert "adamw, sgdw and lamb want 0.005 to 0.05" in text
    assert "radam needs tensorflow-addons and with it TensorFlow 2.15" in text
    assert "(default: 0.999)" in text and "(default: 100)" in text


@pytest.mark.parametrize("script", ["training", "test"])
def test_help_comes_without_tensorflow_and_names_flags_and_defaults(script):
    code = (
        f"import sys, {script}\n"
        f"try:\n    {script}.main(['--help'])\n"
        "except SystemExit as stop:\n    print('exit', stop.code)\n"
        "print('tensorflow' in sys.modules)"
    )
    printed = run_python("-c", code).splitlines()
    assert printed[-2:] == ["exit 0", "False"]
    text = " ".join(" ".join(printed).split())
    assert "--conf_thresh N scores must exceed this to enter NMS (default: 0.01)" in text
    assert f"example: python {script}.py --run_name first" in text
    assert max(map(len, printed)) <= 100


def test_several_devices_take_what_one_does_not_and_one_what_they_do_not():
    several = ["--strategy", "multi_worker"]
    for flags in (["--xla"], ["--accumulate", "2"], ["--mixed_precision", "float16"]):
        with pytest.raises(ValueError, match=f"{flags[0]}.*--strategy multi_worker"):
            config.training_config(training_args(*several, *flags))
        config.training_config(training_args(*flags))
    several += ["--batch_norm", "sync", "--mixed_precision", "bfloat16", "--clip_norm", "1"]
    config.training_config(training_args(*several))
    with pytest.raises(ValueError, match="--batch_norm sync has no effect"):
        config.training_config(training_args("--batch_norm", "sync"))


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        (["--arch", "fcn32s"], {"image_size": None, "trunk": "vgg16", "geometry": "same"}),
        (
            ["--arch", "fcn32s", "--trunk", "alexnet", "--image_size", "64"],
            {"image_size": 64, "trunk": "alexnet", "geometry": "same"},
        ),
        (
            ["--arch", *CLASSIFIER[1:]],
            {"image_size": 224, "trunk": "resnet50", "dilated_projection": "conv"},
        ),
    ],
)
def test_an_architecture_has_the_shape_and_the_defaults_of_its_builder(flags, shape):
    settings = config.training_config(training_args(*flags))
    assert settings.shape == {"arch": flags[1], **shape}
    # A parser that has been used for one architecture is that of the others still.
    assert config.training_config(training_args()).shape["image_size"] == 300


PAPER = {"optimizer": "momentum", "momentum": 0.9, "batch_size": 20, "pixel_loss": "mean"}
RELEASE = {"optimizer": "momentum", "momentum": 0.99, "batch_size": 1, "pixel_loss": "sum"}


@pytest.mark.parametrize(
    ("preset", "arch", "trunk", "expected", "rate"),
    [
        ("fcn-paper", "fcn32s", "vgg16", PAPER, 1e-4),
        ("fcn-paper", "fcn16s", "vgg16", PAPER, 1e-6),
        ("fcn-paper", "fcn8s", "vgg16", PAPER, 1e-8),
        ("fcn-paper", "fcn8s-atonce", "vgg16", PAPER, 1e-4),
        ("fcn-paper", "fcn32s", "alexnet", PAPER, 1e-3),
        ("fcn-release", "fcn32s", "vgg16", RELEASE, 1e-10),
        ("fcn-release", "fcn16s", "vgg16", RELEASE, 1e-12),
        ("fcn-release", "fcn8s", "alexnet", RELEASE, 1e-14),
    ],
)
def test_presets_are_the_papers_and_the_releases_settings(preset, arch, trunk, expected, rate):
    args = training_args("--preset", preset, "--arch", arch, "--trunk", trunk)
    assert {name: getattr(args, name) for name in expected} == expected
    assert args.learning_rate == args.warmup_lr == rate
    assert (args.weight_decay, args.bias_rate) == (5e-4, 2)


def test_flags_that_are_given_win_over_a_preset():
    args = training_args("--batch_size", "4", "--arch", "fcn8s", "--preset", "fcn-release")
    assert (args.batch_size, args.momentum) == (4, 0.99)
    for rate in ("1e-9", "1e-4"):
        given = training_args("--arch", "fcn8s", "--preset", "fcn-release", "--learning_rate", rate)
        assert given.learning_rate == given.warmup_lr == float(rate)
    args = training_args("--arch", "fcn8s", "--preset", "fcn-release", "--learning_rate", "1e-9")
    assert args.learning_rate == args.warmup_lr == 1e-9, "the first step's rate too"


def test_a_parser_without_a_flag_gets_no_default_for_it():
    parser = network.NetworkParser()
    network.add_arch_flag(parser)
    assert vars(parser.parse_args(["--arch", "classifier"])) == {"arch": "classifier"}


def test_a_preset_is_refused_for_another_architecture(capsys):
    with pytest.raises(SystemExit):
        training_args("--preset", "fcn-paper")
    assert "--preset fcn-paper goes with --arch fcn32s" in capsys.readouterr().err
