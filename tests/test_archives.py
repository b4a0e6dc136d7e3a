"""Files fetched from a server with faults, checked, resumed, and unpacked whole."""

import tarfile

import pytest

from file_server import Server, checksum, make_tar, make_zip, names_in
from tools import archives

PAYLOAD = bytes(range(256)) * 40


@pytest.fixture
def server(monkeypatch):
    """A running Server; retries do not wait."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(archives, "RETRY_SECONDS", 0)
    with Server.running() as running:
        yield running


def fetch(server, folder, content=PAYLOAD, expected=None):
    """Fetch `content` under the name "a.bin"; answers the path."""
    server.files["a.bin"] = content
    archives.fetch(server.url("a.bin"), folder / "a.bin", expected or checksum(content))
    return folder / "a.bin"


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_comes_whole_under_its_name(server, tmp_path, algorithm):
    path = fetch(server, tmp_path / "downloads", expected=checksum(PAYLOAD, algorithm))
    assert path.read_bytes() == PAYLOAD
    assert names_in(tmp_path) == ["downloads/a.bin"]
    assert server.asked == [("a.bin", None)]


def test_a_file_of_several_megabytes_comes_whole(server, tmp_path):
    content = PAYLOAD * 300
    assert fetch(server, tmp_path, content).read_bytes() == content


def test_an_earlier_run_s_part_is_gone_on_with(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(PAYLOAD[:3000])
    assert fetch(server, tmp_path).read_bytes() == PAYLOAD
    assert server.asked == [("a.bin", 3000)]


def test_cut_connections_are_gone_on_with(server, tmp_path):
    server.faults = [{"cut": 1000}, {"cut": 500}, {"cut": 2000}]
    assert fetch(server, tmp_path).read_bytes() == PAYLOAD
    assert [offset for _, offset in server.asked] == [None, 1000, 1500, 3500]


def test_a_complete_part_needs_no_more_bytes(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(PAYLOAD)
    assert fetch(server, tmp_path).read_bytes() == PAYLOAD


def test_a_server_without_range_sends_it_all_again(server, tmp_path):
    server.ranges = False
    server.faults = [{"cut": 1000}]
    assert fetch(server, tmp_path).read_bytes() == PAYLOAD
    assert [offset for _, offset in server.asked] == [None, 1000]


def test_a_server_that_always_hangs_up_at_the_same_place_is_given_up(server, tmp_path):
    server.ranges = False
    server.faults = [{"cut": 1000}] * 50
    with pytest.raises(archives.FetchError, match="the connection was cut"):
        fetch(server, tmp_path)
    assert len(server.asked) == 1 + archives.RETRIES + 1


def test_a_server_that_stumbles_on_the_way_is_asked_again(server, tmp_path, capsys):
    server.faults = [{"cut": 1000}, {"status": 503}, {"status": 500}]
    assert fetch(server, tmp_path).read_bytes() == PAYLOAD
    assert [offset for _, offset in server.asked] == [None, 1000, 1000, 1000]
    assert "the server says 503" in capsys.readouterr().err


def test_a_file_of_unknown_length_is_refused(server, tmp_path):
    server.faults = [{"unsized": True}]
    with pytest.raises(archives.FetchError, match="does not say how long the file is"):
        fetch(server, tmp_path)


def test_a_wrong_checksum_leaves_nothing_and_the_next_run_starts_again(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(b"x" * 3000)
    with pytest.raises(ValueError, match=r"sha256 checksum is \w+, not \w+: it is deleted"):
        fetch(server, tmp_path)
    assert names_in(tmp_path) == []
    assert fetch(server, tmp_path).read_bytes() == PAYLOAD


def test_a_file_put_there_by_hand_is_checked_and_stays(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"something else")
    with pytest.raises(ValueError, match="a.bin: its sha256 .* delete it"):
        fetch(server, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"something else"
    (tmp_path / "a.bin").write_bytes(PAYLOAD)
    fetch(server, tmp_path)
    assert server.asked == []


def test_what_the_server_does_not_have_is_not_asked_twice(server, tmp_path):
    path = tmp_path / "b.bin"
    with pytest.raises(archives.FetchError, match="404") as caught:
        archives.fetch(server.url("b.bin"), path, checksum(b""))
    assert server.url("b.bin") in str(caught.value) and str(path) in str(caught.value)
    assert len(server.asked) == 1


def test_a_server_that_does_not_answer_is_given_up_at_once(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(archives.FetchError, match="refused"):
        fetch(server, tmp_path)


MEMBERS = {"top/a/1.txt": b"one", "top/a/2.txt": b"two" * 999, "top/3.txt": b""}


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: make_tar(folder / "x.tar", MEMBERS),
        lambda folder: make_tar(folder / "x.tgz", MEMBERS, "w:gz"),
        lambda folder: make_zip(folder / "x.zip", MEMBERS),
    ],
    ids=["tar", "tgz", "zip"],
)
def test_unpacking_gives_the_members_and_spares_what_was_there(tmp_path, make):
    target = tmp_path / "data"
    (target / "top/a").mkdir(parents=True)
    (target / "top/a/1.txt").write_bytes(b"stale")
    (target / "top/a/mine.txt").write_bytes(b"mine")
    (target / f".{make(tmp_path).name}.partial" / "junk").mkdir(parents=True)
    archives.unpack(make(tmp_path), target)
    assert names_in(target) == sorted([*MEMBERS, "top/a/mine.txt"])
    for name, content in {**MEMBERS, "top/a/mine.txt": b"mine"}.items():
        assert (target / name).read_bytes() == content
    assert [p.name for p in target.iterdir()] == ["top"]


def link(name, to, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: make_tar(folder / "x.tar", {"top/a": b"", "../../evil": b"evil"}),
        lambda folder: make_tar(folder / "x.tar", {"l": link("l", "../.."), "l/evil": b"evil"}),
        lambda folder: make_tar(folder / "x.tar", {"l": link("l", "/etc/passwd")}),
        lambda folder: make_tar(folder / "x.tar", {"l": link("l", "../../x", tarfile.LNKTYPE)}),
        lambda folder: make_zip(folder / "x.zip", {"top/a": b"", "../../evil": b"evil"}),
        lambda folder: make_zip(folder / "x.zip", {"top/a": b"", "/evil": b"evil"}),
    ],
)
def test_no_member_leaves_the_folder(tmp_path, make):
    path, target = make(tmp_path), tmp_path / "deep" / "data"
    with pytest.raises(ValueError, match=f"{path.name}: cannot be unpacked"):
        archives.unpack(path, target)
    assert names_in(tmp_path) == [path.name]
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("name", ["x.tar", "x.tgz", "x.zip"])
def test_what_is_no_archive_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(ValueError, match=f"{name}: cannot be unpacked"):
        archives.unpack(tmp_path / name, tmp_path / "data")


def test_stopped_unpacking_shows_no_folder(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    path = make_zip(tmp_path / "x.zip", MEMBERS)
    monkeypatch.setattr(archives.zipfile.ZipFile, "extract", interrupt)
    with pytest.raises(KeyboardInterrupt):
        archives.unpack(path, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []
