"""label_map.pbtxt: both ways, and what is wrong in a bad one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blitznet.label_map import read_label_map, write_label_map

_NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True
)


def _read(tmp_path, text):
    path = tmp_path / "label_map.pbtxt"
    path.write_text(text, encoding="utf-8")
    return read_label_map(path)


def test_reads_a_map_as_the_object_detection_api_writes_it(tmp_path):
    text = """
    # Ids decide the order, other fields are passed over.
    item { id: 2 name: 'dog' display_name: "Dog" }
    item {
      name: "cat"  id: 1
      keypoints { id: 3 label: "nose" }
    }
    """
    assert _read(tmp_path, text) == ("cat", "dog")


@given(names=_NAMES)
def test_what_is_written_reads_back(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("map") / "label_map.pbtxt"
    write_label_map(path, names)
    assert read_label_map(path) == tuple(names)
    assert [p.name for p in path.parent.iterdir()] == ["label_map.pbtxt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no entry"),
        ("item { id: 1 name: 'cat' ", "not a label map: .*1:"),
        ("cat\ndog\n", "not a label map"),
        ("item { id: 1 } ", r"entry 1 \(id 1, name ''\) has no name"),
        ("item { name: 'cat' }", r"entry 1 \(id 0, name 'cat'\) needs an id of 1 or more"),
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", r"entry 2 .* repeats the id of 'a'"),
        ("item { id: 1 name: 'a' } item { id: 2 name: 'a' }", r"entry 2 .* repeats the name"),
        ("item { id: 1 name: 'a' } item { id: 3 name: 'c' }", r"id 3, name 'c'.* id 2 is missing"),
    ],
)
def test_errors_name_the_file_and_the_entry(tmp_path, text, message):
    with pytest.raises(ValueError, match=f"label_map.pbtxt.*{message}"):
        _read(tmp_path, text)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no label map .*absent.pbtxt"):
        read_label_map(tmp_path / "absent.pbtxt")
