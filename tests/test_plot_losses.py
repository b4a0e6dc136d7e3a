"""Loss curves drawn from a run's TensorBoard summaries."""

import pytest
import tensorflow as tf
from PIL import Image

from blitznet.engine import StepReport
from blitznet.summaries import SummaryWriter
from tools import plot_losses


def write_summaries(run_dir, losses):
    writer = SummaryWriter(run_dir)
    for step, loss in losses.items():
        writer.scalars(StepReport(step, 1e-3, {"class": loss, "total": 2 * loss}, {}, {}), {})


def test_scalars_come_back_by_tag_and_step(tmp_path):
    write_summaries(tmp_path, {5: 0.5, 10: 0.25})
    scalars = plot_losses.read_scalars(tmp_path)
    assert scalars["loss/class"] == {5: 0.5, 10: 0.25}
    assert scalars["loss/total"] == {5: 1.0, 10: 0.5}
    assert scalars["learning_rate"][5] == pytest.approx(1e-3)


def test_a_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    write_summaries(tmp_path / "run", {5: 0.5, 10: 0.25})
    target = tmp_path / "losses.png"
    flags = ["--run_name", "run", "--archive", str(tmp_path), "--output", str(target)]
    assert plot_losses.main(flags) == 0
    assert Image.open(target).size == (960, 720)


def test_without_summaries_the_folder_is_named(tmp_path, capsys):
    flags = ["--run_name", "run", "--archive", str(tmp_path), "--output", str(tmp_path / "a.png")]
    assert plot_losses.main(flags) == 1
    assert f"no TensorBoard summaries in {tmp_path / 'run'}" in capsys.readouterr().err


def test_summaries_without_losses_say_why(tmp_path, capsys):
    with tf.summary.create_file_writer(str(tmp_path / "run")).as_default(step=1):
        tf.summary.text("note", "nothing else")
    flags = ["--run_name", "run", "--archive", str(tmp_path), "--output", str(tmp_path / "a.png")]
    assert plot_losses.main(flags) == 1
    assert "--summary_every" in capsys.readouterr().err
