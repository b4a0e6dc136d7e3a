"""SBD's .mat files as masks of VOC: where each comes from, what is left after faults."""

import sys

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from helpers import CHECKOUT
from tools import set_extra_annotations as tool
from voc_fixture import voc_palette, write_list, write_mask, write_voc

NAMES = [f"2007_{i:06d}" for i in (1, 2, 4, 5)]
OFFICIAL, FROM_SBD = NAMES[:2], NAMES[2:]


def write_mat(path, ids, struct="GTcls"):
    """A .mat file as SBD has them: a 1 x 1 struct with more in it than the class ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {"Segmentation": ids, "CategoriesPresent": np.unique(ids), "Boundaries": np.eye(3)}
    savemat(path, {struct: fields}, do_compression=True)


def sbd_ids(name):
    """Class ids [H, W] that tell the pictures apart; sizes are those of `write_voc`."""
    shape = (48, 64) if int(name[-1]) % 2 == 0 else (64, 48)
    return np.random.default_rng(int(name[-1])).integers(0, 21, shape).astype(np.uint8)


def ids_of(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with VOC 2012, two pictures of which are official, and SBD of all four names."""
    voc_dir = write_voc(tmp_path, pictures=8)
    write_list(voc_dir, "Segmentation/train", OFFICIAL)
    for name in NAMES:
        write_mat(tmp_path / f"benchmark_RELEASE/dataset/cls/{name}.mat", sbd_ids(name))
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    monkeypatch.setattr(tool, "NAMES_FILE", tmp_path / "names.txt")
    return tmp_path


def run(root, *flags):
    return tool.main(["--data_root", str(root), *flags])


def masks(root):
    return root / "VOCdevkit/VOC2012/SegmentationClassAug"


def image_list(root):
    return root / "VOCdevkit/VOC2012/ImageSets/SegmentationAug/train.txt"


def cls(root):
    return root / "benchmark_RELEASE/dataset/cls"


@pytest.mark.parametrize("workers", ["1", "3"])
def test_official_pictures_keep_vocs_mask_and_the_others_take_sbds(root, workers, capsys):
    assert run(root, "--workers", workers) == 0
    for name in OFFICIAL:
        original = root / "VOCdevkit/VOC2012/SegmentationClass" / f"{name}.png"
        assert (masks(root) / f"{name}.png").read_bytes() == original.read_bytes()
    for name in FROM_SBD:
        path = masks(root) / f"{name}.png"
        np.testing.assert_array_equal(ids_of(path), sbd_ids(name))
        assert Image.open(path).getpalette() == voc_palette()
    assert sorted(p.stem for p in masks(root).iterdir()) == NAMES
    assert image_list(root).read_text().splitlines() == NAMES
    rows = {tuple(line.rsplit(maxsplit=1)) for line in capsys.readouterr().out.splitlines()}
    assert {("VOC's own", "2"), ("from SBD", "2"), ("missing or bad", "0")} <= rows


def test_the_encoder_takes_the_masks_from_there(root):
    import tensorflow as tf

    from blitznet import keys
    from datasets import records
    from datasets.catalog import training_sets
    from tools.encode_voc import main as encode

    assert run(root) == 0
    assert encode(["--data_root", str(root), "--split=train", "--augmented", "--workers=1"]) == 0
    (record_set,) = training_sets("voc12-train", "train", True)
    info = records.open_records(root / "records", record_set)
    examples = [records.parse(r) for r in tf.data.TFRecordDataset(list(info.files))]
    assert [e[keys.FILENAME].numpy().decode() for e in examples] == [f"{n}.jpg" for n in NAMES]
    for name, example in zip(NAMES, examples):
        mask = tf.io.decode_png(example[keys.ENCODED_MASK], channels=1)[..., 0]
        np.testing.assert_array_equal(mask, ids_of(masks(root) / f"{name}.png"))


def test_a_second_run_writes_what_is_missing_and_with_overwrite_everything(root, capsys):
    assert run(root) == 0
    kept, lost = (masks(root) / f"{name}.png" for name in FROM_SBD)
    write_mask(kept, np.full((4, 4), 7, np.uint8))
    lost.unlink()
    lost.with_suffix(".tmp").write_bytes(b"of a killed run")
    assert run(root) == 0
    assert sorted(p.name for p in masks(root).iterdir()) == [f"{name}.png" for name in NAMES]
    np.testing.assert_array_equal(ids_of(kept), np.full((4, 4), 7))
    np.testing.assert_array_equal(ids_of(lost), sbd_ids(FROM_SBD[1]))
    rows = {tuple(line.rsplit(maxsplit=1)) for line in capsys.readouterr().out.splitlines()}
    assert {("there already", "3"), ("from SBD", "1"), ("VOC's own", "0")} <= rows
    assert run(root, "--overwrite") == 0
    np.testing.assert_array_equal(ids_of(kept), sbd_ids(FROM_SBD[0]))


def test_missing_files_are_named_and_the_rest_is_made(root, capsys):
    (cls(root) / f"{FROM_SBD[0]}.mat").unlink()
    official = root / "VOCdevkit/VOC2012/SegmentationClass" / f"{OFFICIAL[0]}.png"
    official.unlink()
    assert run(root) == 1
    out, err = capsys.readouterr()
    assert ("missing or bad", "2") in {tuple(line.rsplit(maxsplit=1)) for line in out.splitlines()}
    assert f"{official}: missing" in err and "python -m tools.download voc12" in err
    assert f"{FROM_SBD[0]}.mat: missing" in err and "python -m tools.download sbd" in err
    assert "2 bad examples" in err and "list is written once all masks are there" in err
    assert sorted(p.stem for p in masks(root).iterdir()) == [OFFICIAL[1], FROM_SBD[1]]
    assert not image_list(root).exists()


def test_sbd_may_lie_elsewhere(root):
    (root / "benchmark_RELEASE").rename(root / "elsewhere")
    assert run(root) == 1
    assert run(root, "--sbd", str(root / "elsewhere")) == 0


def _truncated(path):
    write_mat(path, sbd_ids(NAMES[0]))
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b"no mat file" * 100), "truncated or not a .mat file"),
        (lambda path: path.write_bytes(b""), "truncated or not a .mat file"),
        (_truncated, "truncated or not a .mat file"),
        (lambda path: write_mat(path, np.ones((2, 2)), "GTinst"), "the struct GTcls with Segm"),
        (lambda path: savemat(path, {"GTcls": np.ones((2, 2))}), "the struct GTcls with Segm"),
        (lambda path: write_mat(path, np.array([[0, 21]], np.uint8)), "has the id 21, .* 0 to 20"),
        (lambda path: write_mat(path, np.zeros((2, 2, 2))), r"float64 \[2, 2, 2\], not class ids"),
    ],
)
def test_bad_mat_files_say_what_is_wrong(tmp_path, write, reason):
    path = tmp_path / "2008_000002.mat"
    write(path)
    with pytest.raises(tool.BadExample, match=f"2008_000002.mat: .*{reason}"):
        tool.read_sbd(path)


def test_a_full_disk_leaves_no_half_mask(root, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tool.os, "replace", full)
    assert run(root) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(masks(root).iterdir()) == []


def test_an_interrupted_run_goes_on(root, monkeypatch, capsys):
    def interrupt(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tool, "read_sbd", interrupt)
        assert run(root, "--workers", "1") == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert sorted(p.stem for p in masks(root).iterdir()) == OFFICIAL
    assert run(root) == 0
    assert sorted(p.stem for p in masks(root).iterdir()) == NAMES


@pytest.mark.parametrize(("folder", "name"), [("VOCdevkit", "voc12"), ("benchmark_RELEASE", "sbd")])
def test_a_missing_data_set_says_how_to_get_it(root, folder, name, capsys):
    (root / folder).rename(root / "away")
    assert run(root) == 1
    assert f"`python -m tools.download {name}` fetches it" in capsys.readouterr().err


def test_without_scipy_the_extra_is_named(root, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert run(root) == 1
    assert "pip install -e .[sbd]" in capsys.readouterr().err
    assert not masks(root).exists()


def test_the_names_are_the_10582_of_the_field():
    names = tool.NAMES_FILE.read_text().split()
    assert tool.NAMES_FILE.is_relative_to(CHECKOUT)
    assert (len(names), len(set(names))) == (10582, 10582)
    assert (names[0], names[-1]) == ("2007_000032", "2011_003276")


def test_the_names_hold_official_train_and_nothing_of_official_val(shared_data):
    names = tool.NAMES_FILE.read_text().split()
    assert names == (shared_data / "train_aug.txt").read_text().split()
    lists = shared_data / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    train, val = (set((lists / f"{s}.txt").read_text().split()) for s in ("train", "val"))
    assert train <= set(names)
    assert not val & set(names)
