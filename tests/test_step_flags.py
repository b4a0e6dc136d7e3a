"""training.py with the flags of a step's computation: resumed runs, precision, evaluation."""

import json
import shutil

import numpy as np
import pytest

from tiny_run import evaluate, read_events, tensors, train

RHYTHM = ["--max_iterations", 4, "--save_every", 2, "--summary_every", 1, "--learning_rate", 1e-3]
FLAGS = {
    "bfloat16": ["--mixed_precision", "bfloat16", "--accumulate", 2, "--clip_norm", 1, "--ema"],
    "float16": ["--mixed_precision", "float16", "--detect"],
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", FLAGS)
def test_a_resumed_run_ends_as_an_uninterrupted_one_and_is_evaluated(
    tiny_data, tmp_path, precision
):
    flags = [*RHYTHM, *FLAGS[precision]]
    assert train(tiny_data, *flags, archive=tmp_path / "whole") == 0
    rest = tmp_path / "rest" / "r"
    rest.mkdir(parents=True)
    shutil.copy(tmp_path / "whole" / "r" / "flags.json", rest)
    for file in (tmp_path / "whole" / "r").glob("model.ckpt-2.*"):
        shutil.copy(file, rest)
    assert train(tiny_data, *flags, archive=tmp_path / "rest") == 0

    one, other = (tensors(tmp_path / name / "r" / "model.ckpt-4") for name in ("whole", "rest"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)
        assert np.asarray(value).dtype != np.float16
    steps = {name: [s for s, _ in v] for name, v in read_events(rest)[0].items()}
    assert steps["loss/total"] == steps["train/gradient_norm"] == [3, 4]
    assert ("train/loss_scale" in steps) == (precision == "float16")

    content = json.loads((rest / "flags.json").read_text())
    assert content["flags"]["mixed_precision"] == precision
    assert "precision" not in content["model"]
    assert evaluate(tiny_data, archive=tmp_path / "rest") == 0


def test_what_goes_on_in_another_precision_says_so(tiny_data, run_at, eagerly, capsys):
    folder = run_at(10)
    flags = ["--mixed_precision", "float16", "--max_iterations", 11, "--learning_rate", 1e-3]
    assert train(tiny_data, *flags, archive=folder.parent) == 0
    assert "changed: --mixed_precision was none, is float16" in capsys.readouterr().out
    (scale,) = [
        v for n, v in tensors(folder / "model.ckpt-11").items() if n.endswith("scale/value")
    ]
    assert scale in (2.0**15, 2.0**14)
