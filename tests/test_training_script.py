"""training.py from its command line: runs, resumes, stops and refusals."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import training
from blitznet import checkpoints, engine
from blitznet.engine import NonFiniteLoss
from helpers import CHECKOUT
from tiny_run import read_events, tensors, train, training_flags, write_data

TEN_STEPS = ["--max_iterations", 10, "--summary_every", 1, "--learning_rate", 1e-3]


@pytest.fixture
def run_at(tiny_archive, tmp_path):
    """Function: a copy of the ten-step run with the checkpoints of some steps; its folder."""

    def copy(*steps):
        folder = tmp_path / "archive" / "r"
        folder.mkdir(parents=True)
        shutil.copy(tiny_archive / "r" / "flags.json", folder)
        for step in steps:
            for file in (tiny_archive / "r").glob(f"model.ckpt-{step}.*"):
                shutil.copy(file, folder)
        return folder

    return copy


def damage(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 10])


def losses_of(report_steps):
    """Each loss's values by step, from `read_events`' scalars."""
    return {n: dict(v) for n, v in report_steps.items() if n.startswith(("loss/", "train/"))}


def test_a_resumed_run_equals_an_uninterrupted_one(tiny_data, tiny_archive, run_at):
    """The same losses, scores and rates to the last bit; the same weights and slots."""
    folder = run_at(5)
    assert train(tiny_data, *TEN_STEPS, archive=folder.parent) == 0
    whole, _ = read_events(tiny_archive / "r")
    rest, _ = read_events(folder)
    for name in set(whole) - {"images_per_second", "input_wait_share"}:
        assert [step for step, _ in whole[name]] == list(range(1, 11))
        assert rest[name] == whole[name][5:], name
    one = tensors(tiny_archive / "r" / "model.ckpt-10")
    other = tensors(folder / "model.ckpt-10")
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)


def test_summaries_tell_losses_scores_rates_and_pictures(tiny_archive):
    scalars, images = read_events(tiny_archive / "r")
    assert set(scalars) == {
        *("loss/class", "loss/box", "loss/segmentation", "loss/weight_decay", "loss/total"),
        *("train/accuracy", "train/precision", "train/recall", "train/positives"),
        *("train/pixel_accuracy", "train/gradient_norm", "learning_rate"),
        *("images_per_second", "input_wait_share"),
    }
    parts = [dict(v) for n, v in scalars.items() if n.startswith("loss/") and n != "loss/total"]
    for step, total in scalars["loss/total"]:
        assert total == pytest.approx(sum(part[step] for part in parts), rel=1e-5)
    # Rate of the update after 0, 1, ... earlier ones: the warm-up's for the first alone.
    rates = [rate for _, rate in scalars["learning_rate"]]
    np.testing.assert_allclose(rates, [1e-5] + [1e-3] * 9, rtol=1e-6)
    assert all(0 <= share < 1 for _, share in scalars["input_wait_share"])
    assert [step for step, _ in images["predictions"]] == [5, 5, 10, 10]


def test_flags_json_tells_how_the_run_came_about(tiny_archive):
    content = json.loads((tiny_archive / "r" / "flags.json").read_text())
    assert content["flags"]["learning_rate"] == 1e-3
    assert content["flags"]["dataset"] == "voc12"
    assert content["model"]["top_fm"] == 16 and content["model"]["num_classes"] == 21
    assert content["model"]["detect"] and content["model"]["segment"]
    assert len(content["class_names"]) == 20
    assert set(content["versions"]) == {"tensorflow", "keras"}


def wait_for_summaries(folder, process):
    """Until the process has written those of its first step, or has ended."""
    deadline = time.monotonic() + 200
    while process.poll() is None:
        # An event file without events has a header of less than 200 bytes.
        if any(path.stat().st_size > 200 for path in folder.glob("events.out.tfevents.*")):
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_signals_save_and_the_same_command_goes_on(tiny_data, tmp_path, eagerly, capsys):
    flags = ["--max_iterations", 100000, "--summary_every", 1, "--detect"]
    numbers = (signal.SIGTERM, signal.SIGINT)
    processes = {}
    for number in numbers:
        command = training_flags(tiny_data, *flags, run_name=number.name, archive=tmp_path)
        command = [sys.executable, CHECKOUT / "training.py", *command]
        processes[number] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    for number, process in processes.items():
        try:
            wait_for_summaries(tmp_path / number.name, process)
            process.send_signal(number)
            printed, _ = process.communicate(timeout=100)
        finally:
            process.kill()
        (last,) = checkpoints.steps(tmp_path / number.name)
        assert process.returncode == 128 + number, printed
        assert f"stopped by {number.name} at step {last}, saved" in printed
        assert f"step {last}/100000 loss " in printed and "images/s" in printed

    capsys.readouterr()
    where = {"run_name": "SIGTERM", "archive": tmp_path}
    (last,) = checkpoints.steps(tmp_path / "SIGTERM")
    assert train(tiny_data, "--detect", "--max_iterations", last + 1, **where) == 0
    assert f"model.ckpt-{last}\n" in capsys.readouterr().out
    assert checkpoints.steps(tmp_path / "SIGTERM")[-1] == last + 1
    assert train(tiny_data, "--detect", "--max_iterations", last + 1, **where) == 0
    assert f"nothing to do: {last + 1} steps are done" in capsys.readouterr().out


def test_going_back_to_an_earlier_checkpoint_says_that_later_ones_stay(
    tiny_data, run_at, eagerly, capsys
):
    folder = run_at(5, 10)
    flags = ["--ckpt", 0.005, "--max_iterations", 6]
    assert train(tiny_data, *flags, archive=folder.parent) == 0
    printed = capsys.readouterr()
    assert "going on from" in printed.out and "model.ckpt-5" in printed.out
    assert "later checkpoints stay" in printed.err
    assert checkpoints.steps(folder) == [5, 6, 10]


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (["--top_fm", 32], "top_fm: was 16, is 32"),
        (["--detect"], "segment: was True, is False"),
    ],
)
def test_other_model_flags_are_refused_with_both_values(tiny_data, run_at, capsys, flags, shown):
    folder = run_at(5)
    before = (folder / "flags.json").read_bytes()
    assert train(tiny_data, *flags, archive=folder.parent) == 1
    assert shown in capsys.readouterr().err
    assert (folder / "flags.json").read_bytes() == before


def test_another_optimizer_is_refused(tiny_data, run_at, capsys):
    folder = run_at(5)
    assert train(tiny_data, "--optimizer", "nesterov", archive=folder.parent) == 1
    error = capsys.readouterr().err
    assert "trained with --optimizer adam, this run asks for --optimizer nesterov" in error
    assert f"--init_from {folder / 'model.ckpt-5'}" in error


def test_a_checkpoint_that_does_not_exist_is_answered_with_those_that_do(tiny_data, run_at, capsys):
    assert train(tiny_data, "--ckpt", 3, archive=run_at(5, 10).parent) == 1
    assert "no checkpoint of step 3000" in (error := capsys.readouterr().err)
    assert "there: 5, 10" in error


def test_other_classes_are_refused_but_can_start_from_the_weights(
    tmp_path, run_at, eagerly, capsys
):
    data = write_data(tmp_path / "two", pictures=4, class_names=("cat", "dog"))
    folder = run_at(5)
    assert train(data, archive=folder.parent) == 1
    assert "num_classes: was 21, is 3" in capsys.readouterr().err

    source = folder / "model.ckpt-5"
    flags = ["--init_from", source, "--max_iterations", 1, "--warmup_lr", 1e-30]
    assert train(data, *flags, archive=tmp_path / "fresh") == 0
    printed = capsys.readouterr().out
    old, new = tensors(source), tensors(tmp_path / "fresh" / "r" / "model.ckpt-1")
    assert set(names_that_stay(printed)) == {
        name[4:] for name in old if name.startswith(("net/confidence_", "net/segmentation/"))
    }
    np.testing.assert_array_equal(new["net/conv1/kernel"], old["net/conv1/kernel"])
    assert new["net/segmentation/kernel"].shape[-1] == 3
    assert new["step"] == 1


def names_that_stay(printed):
    """The variables that `--init_from` did not take over, as it tells them."""
    (line,) = [
        line for line in printed.splitlines() if line.startswith("values of their own stay in ")
    ]
    return line[len("values of their own stay in ") :].split(", ")


def test_class_logits_of_another_loss_keep_their_start(
    tiny_data, tmp_path, run_at, eagerly, capsys
):
    source = run_at(5) / "model.ckpt-5"
    flags = ["--init_from", source, "--class_loss", "focal", "--detect", "--max_iterations", 1]
    assert train(tiny_data, *flags, "--warmup_lr", 1e-30, archive=tmp_path / "fresh") == 0
    printed = capsys.readouterr().out
    assert f"{source} is of other classes, another --class_loss or other scales" in printed
    old, new = tensors(source), tensors(tmp_path / "fresh" / "r" / "model.ckpt-1")
    classes = [name for name in new if name.startswith("net/confidence_")]
    assert sorted(names_that_stay(printed)) == sorted(name[4:] for name in classes)
    for name in classes:
        if name.endswith("/bias"):
            np.testing.assert_allclose(new[name], -np.log(99), rtol=1e-6)
    taken = "net/location_pool6/kernel"
    np.testing.assert_array_equal(new[taken], old[taken])


def test_changed_flags_are_told_also_those_that_the_run_began_without(
    tiny_data, run_at, eagerly, capsys
):
    folder = run_at(5)
    content = json.loads((folder / "flags.json").read_text())
    for name in ("zoomout_prob", "box_loss", "seed"):
        del content["flags"][name]
    (folder / "flags.json").write_text(json.dumps(content))
    flags = ["--zoomout_prob", 0.25, "--max_iterations", 6, "--learning_rate", 1e-3]
    assert train(tiny_data, *flags, archive=folder.parent) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("changed: ")]
    names = [line.split()[1] for line in told]
    assert "changed: --zoomout_prob was 0.5, is 0.25" in told
    assert "changed: --max_iterations was 10, is 6" in told
    assert not {"--box_loss", "--seed", "--learning_rate", "--average_decay"} & set(names)


def test_no_start_is_an_error_that_names_both_ways(tiny_data, tmp_path, capsys):
    flags = training_flags(tiny_data, archive=tmp_path)
    flags.remove("--random_trunk_init")
    assert training.main(flags) == 1
    error = capsys.readouterr().err
    assert "--init_from" in error and "--random_trunk_init" in error
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--dataset", "voc13"], ["'voc13'", "voc07+12-segfull"]),
        (["--split", "dev"], ["voc12-dev-seg", "there: voc12-train, voc12-train-seg, voc12-val"]),
        (["--dataset", "voc12-val", "--split", "trainval"], ["--split trainval has no say"]),
        (["--dataset", "VOC07"], ["python -m tools.encode_voc --year 07 --split trainval"]),
        (["--init_from", "/none/model.ckpt-1"], ["/none/model.ckpt-1.index"]),
        (["--top_fm", "10"], ["--top_fm must be a multiple of 4"]),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    tiny_data, tmp_path, capsys, flags, expected
):
    assert train(tiny_data, *flags, archive=tmp_path) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and all(text in error for text in expected)
    assert not (tmp_path / "r").exists()


def test_an_archive_that_is_no_folder_is_named(tiny_data, tmp_path, capsys):
    archive = tmp_path / "file"
    archive.write_text("")
    assert train(tiny_data, archive=archive) == 1
    assert str(archive) in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_without_a_checkpoint(tiny_data, tmp_path, eagerly, capsys):
    flags = ["--warmup_lr", 1e30, "--learning_rate", 1e30, "--max_iterations", 9]
    assert train(tiny_data, *flags, archive=tmp_path) == 1
    error = capsys.readouterr().err
    assert "not finite" in error and "class" in error
    assert "2007_0000" in error and "--learning_rate" in error
    assert checkpoints.steps(tmp_path / "r") == []


def test_what_was_saved_before_a_bad_loss_stays(tiny_data, run_at, eagerly, monkeypatch, capsys):
    folder = run_at(5)

    def bad(step, losses, scores, batch):
        raise NonFiniteLoss(f"step {step}: class not finite")

    monkeypatch.setattr(engine, "_check_finite", bad)
    assert train(tiny_data, "--save_every", 1, archive=folder.parent) == 1
    assert "error: step 6: class" in capsys.readouterr().err
    assert checkpoints.steps(folder) == [5]


@pytest.mark.parametrize(
    ("flags", "terms"),
    [
        (["--detect", "--weight_decay", 0], {"class", "box", "total"}),
        (["--segment"], {"segmentation", "weight_decay", "total"}),
    ],
)
def test_one_task_alone_trains(tiny_data, tmp_path, eagerly, flags, terms):
    rhythm = ["--max_iterations", 1, "--summary_every", 1]
    assert train(tiny_data, *flags, *rhythm, archive=tmp_path) == 0
    scalars, images = read_events(tmp_path / "r")
    assert {name[5:] for name in scalars if name.startswith("loss/")} == terms
    assert ("train/positives" in scalars) == ("class" in terms)
    assert len(images["predictions"]) == 2


def test_without_masks_segmentation_says_that_it_learns_nothing(
    tiny_data, tmp_path, eagerly, capsys
):
    flags = ["--no_seg_gt", "--max_iterations", 1, "--summary_every", 1]
    assert train(tiny_data, *flags, archive=tmp_path) == 0
    assert "no picture has a mask" in capsys.readouterr().err
    scalars, _ = read_events(tmp_path / "r")
    assert scalars["loss/segmentation"] == [(1, 0.0)]
    assert scalars["loss/class"][0][1] > 0


def test_a_damaged_record_file_is_named_and_costs_nothing(
    tiny_data, run_at, eagerly, tmp_path, capsys
):
    folder = run_at(5)
    copied = tmp_path / "records"
    shutil.copytree(tiny_data / "records", copied)
    (shard,) = copied.glob("voc12-train-seg-*.tfrecord")
    damage(shard)
    before = {path.name: path.read_bytes() for path in folder.glob("model.ckpt-*")}
    assert train(tiny_data, "--records", copied, archive=folder.parent) == 1
    error = capsys.readouterr().err
    assert f"damaged records: {shard}" in error and "--overwrite" in error
    assert before == {path.name: path.read_bytes() for path in folder.glob("model.ckpt-*")}


def test_a_damaged_checkpoint_is_named(tiny_data, run_at, capsys):
    folder = run_at(5)
    damage(folder / "model.ckpt-5.data-00000-of-00001")
    assert train(tiny_data, archive=folder.parent) == 1
    assert f"{folder / 'model.ckpt-5'} is damaged" in capsys.readouterr().err
