"""The download tool as a user runs it, with a local server in the place of the real ones."""

import hashlib

import pytest

from file_server import Server, checksum, make_tar, make_zip, names_in
from tools import archives, download
from tools.download import Archive


@pytest.fixture
def server(monkeypatch):
    """A running Server; retries do not wait."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(archives, "RETRY_SECONDS", 0)
    with Server.running() as running:
        yield running


@pytest.fixture
def table(server, tmp_path, monkeypatch):
    """Small stand-ins on the server in the place of the table: VOC 2007 in two tars, and COCO."""
    lists = {"VOCdevkit/VOC2007/ImageSets/Main/test.txt": b"000001\n"}
    make_tar(tmp_path / "test.tar", lists)
    make_tar(tmp_path / "trainval.tar", {"VOCdevkit/VOC2007/JPEGImages/000005.jpg": b"jpeg"})
    make_zip(tmp_path / "val2017.zip", {"val2017/000000000139.jpg": b"picture"})
    rows = [
        ("voc07", "trainval.tar", ".", "VOCdevkit/VOC2007/JPEGImages"),
        ("voc07", "test.tar", ".", "VOCdevkit/VOC2007/ImageSets/Main/test.txt"),
        ("coco17", "val2017.zip", "coco/images", "coco/images/val2017"),
    ]
    stand_ins = []
    for name, file, into, gives in rows:
        content = server.files[file] = (tmp_path / file).read_bytes()
        row = ((name,), server.url(file), len(content), checksum(content), into, gives)
        stand_ins.append(Archive(*row))
    monkeypatch.setattr(download, "ARCHIVES", tuple(stand_ins))
    return tmp_path / "root"


def run(root, *flags):
    return download.main([*flags, "--data_root", str(root)])


def test_the_tool_brings_sets_and_single_files_into_the_layout(server, table):
    assert run(table, "voc07") == 0
    assert run(table, "val2017.zip", "--keep") == 0
    assert names_in(table) == [
        "VOCdevkit/VOC2007/ImageSets/Main/test.txt",
        "VOCdevkit/VOC2007/JPEGImages/000005.jpg",
        "coco/images/val2017/000000000139.jpg",
        "downloads/test.tar.done",
        "downloads/trainval.tar.done",
        "downloads/val2017.zip",
        "downloads/val2017.zip.done",
    ]
    asked = len(server.asked)
    assert run(table, "voc07", "coco17") == 0
    assert len(server.asked) == asked


def test_a_set_that_was_deleted_is_fetched_again(server, table):
    assert run(table, "val2017.zip") == 0
    (table / "coco/images/val2017/000000000139.jpg").unlink()
    (table / "coco/images/val2017").rmdir()
    assert run(table, "val2017.zip") == 0
    assert (table / "coco/images/val2017/000000000139.jpg").read_bytes() == b"picture"
    assert [name for name, _ in server.asked] == ["val2017.zip"] * 2


def test_a_run_stopped_while_unpacking_unpacks_again(server, table, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archives, "_move_all", interrupt)
        assert run(table, "coco17") == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert names_in(table) == ["downloads/val2017.zip"]
    assert run(table, "coco17") == 0
    assert (table / "coco/images/val2017/000000000139.jpg").read_bytes() == b"picture"
    assert len(server.asked) == 1


def test_without_network_one_message_says_what_to_do_by_hand(server, table, capsys):
    content = server.files["val2017.zip"]
    server.shutdown()
    server.server_close()
    assert run(table, "coco17") == 1
    message = capsys.readouterr().err
    place = table / "downloads" / "val2017.zip"
    assert server.url("val2017.zip") in message and str(place) in message
    assert "put it here" in message and "Traceback" not in message
    place.write_bytes(content)
    assert run(table, "coco17") == 0
    assert (table / "coco/images/val2017/000000000139.jpg").read_bytes() == b"picture"


def test_a_file_that_cannot_be_fetched_is_told_and_the_others_come(server, table, capsys):
    del server.files["trainval.tar"]
    assert run(table, "voc07") == 1
    assert server.url("trainval.tar") in capsys.readouterr().err
    assert (table / "VOCdevkit/VOC2007/ImageSets/Main/test.txt").is_file()


def test_a_file_without_what_it_should_bring_is_not_done(server, table, monkeypatch, capsys):
    (row,) = (a for a in download.ARCHIVES if a.file == "test.tar")
    other = Archive(row.sets, row.url, row.size, row.checksum, row.into, "VOCdevkit/VOC2012")
    monkeypatch.setattr(download, "ARCHIVES", (other,))
    assert run(table, "voc07") == 1
    assert "brought no" in capsys.readouterr().err
    assert not (table / "downloads/test.tar.done").exists()


def test_list_shows_names_sizes_and_targets_and_fetches_nothing(tmp_path, capsys):
    assert run(tmp_path, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "http" in line]) == len(download.ARCHIVES)
    (voc12,) = (line for line in lines if line.startswith("voc12"))
    assert "VOCtrainval_11-May-2012.tar" in voc12 and "2,000 MB" in voc12
    assert "VOCdevkit/VOC2012" in voc12
    assert list(tmp_path.iterdir()) == []
    assert run(tmp_path, "--list", "sbd") == 0
    assert "together 1.4 GB" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["voc13"]])
def test_wrong_flags_end_with_the_names(flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        download.main(flags)
    assert "--list" in capsys.readouterr().err


def test_the_table_is_consistent():
    files = [archive.file for archive in download.ARCHIVES]
    assert len(set(files)) == len(files)
    for archive in download.ARCHIVES:
        algorithm, digest = archive.checksum.split(":")
        assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
        assert archive.url.startswith("http") and archive.file.endswith((".tar", ".tgz", ".zip"))


def test_the_table_serves_the_layout_of_the_encoders():
    gives = {archive.gives for archive in download.ARCHIVES}
    for split in ("train2014", "val2014", "train2017", "val2017", "test2015", "test2017"):
        assert f"coco/images/{split}" in gives
    by_set = {name: {a.file for a in download._chosen([name])} for name in download._set_names()}
    assert "benchmark.tgz" in by_set["sbd"]
    assert {"VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"} == by_set["voc07"]
    # val2017 tells minival2014 from valminusminival2014.
    assert "annotations_trainval2017.zip" in by_set["coco14"] & by_set["coco17"]
