"""The reader of Caffe's files of weights, against bytes written by hand and by the messages."""

import struct

import numpy as np
import pytest

from blitznet import caffemodel
from caffe_fixture import write_caffemodel, write_v1_caffemodel


def field(number, content):
    """A length-delimited protobuf field; numbers below 16 have a tag of one byte."""
    tag = number << 3 | 2
    head = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    assert len(content) < 128
    return head + bytes([len(content)]) + content


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def test_a_file_of_the_current_format_byte_by_byte(tmp_path):
    """caffe.proto: layer 100 of NetParameter; name 1, type 2 and blobs 7 of LayerParameter;
    data 5 and shape 7 of BlobProto; a packed dim 1 of BlobShape."""
    kernel = field(5, floats(1, 2, 3, 4, 5, 6)) + field(7, field(1, bytes([2, 3, 1, 1])))
    bias = field(5, floats(-0.5, 8)) + field(7, field(1, bytes([2])))
    convolution = field(1, b"c") + field(2, b"Convolution") + field(7, kernel) + field(7, bias)
    relu = field(1, b"r") + field(2, b"ReLU")
    (tmp_path / "net").write_bytes(field(1, b"n") + field(100, convolution) + field(100, relu))
    found = caffemodel.read(tmp_path / "net")
    assert list(found) == ["c/0", "c/1"]
    np.testing.assert_array_equal(found["c/0"][:, :, 0, 0], [[1, 2, 3], [4, 5, 6]])
    assert found["c/0"].shape == (2, 3, 1, 1) and found["c/0"].dtype == np.float32
    np.testing.assert_array_equal(found["c/1"], [-0.5, 8])


def test_a_file_of_the_older_format_byte_by_byte(tmp_path):
    """layers 2 of NetParameter; name 4 and blobs 6 of V1LayerParameter; num, channels, height
    and width are 1 to 4 of BlobProto. Doubles are double_data, 8."""
    sides = bytes([1 << 3, 1, 2 << 3, 1, 3 << 3, 2, 4 << 3, 1])
    single = sides + field(5, floats(1, 2))
    double = sides + field(8, struct.pack("<2d", 3, 4))
    layer = field(4, b"ip") + field(6, single) + field(6, double)
    (tmp_path / "net").write_bytes(field(2, layer))
    found = caffemodel.read(tmp_path / "net")
    assert list(found) == ["ip/0", "ip/1"]
    for name, values in {"ip/0": [1, 2], "ip/1": [3, 4]}.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], np.reshape(values, (1, 1, 2, 1)))


def test_what_the_messages_write_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    blobs = {
        name: rng.standard_normal(shape, np.float32)
        for name, shape in {"conv/0": (4, 3, 5, 5), "conv/1": (4,), "fc/0": (6, 300)}.items()
    }
    found = caffemodel.read(write_caffemodel(tmp_path / "new", blobs))
    older = caffemodel.read(write_v1_caffemodel(tmp_path / "old", blobs))
    assert list(found) == list(older) == list(blobs)
    for name, array in blobs.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(older[name].reshape(array.shape), array)
    assert older["conv/1"].shape == (1, 1, 1, 4) and older["fc/0"].shape == (1, 1, 6, 300)


class TestDamage:
    """Files that are none, or no longer."""

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no Caffe model {tmp_path / 'none'}"):
            caffemodel.read(tmp_path / "none")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    def test_a_truncated_file_is_damaged(self, tmp_path, share):
        file = write_caffemodel(tmp_path / "net", {"a/0": np.ones((20, 3, 3, 3), np.float32)})
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=f"{file} is damaged, or not a Caffe model"):
            caffemodel.read(file)

    def test_a_shape_of_another_size_is_damaged(self, tmp_path):
        blob = field(5, floats(1, 2, 3)) + field(7, field(1, bytes([2, 2])))
        file = tmp_path / "net"
        file.write_bytes(field(100, field(1, b"a") + field(7, blob)))
        told = r"damaged: a/0 of shape \(2, 2\) has 12 bytes, expected 16"
        with pytest.raises(ValueError, match=f"{file} is {told}"):
            caffemodel.read(file)

    def test_two_layers_of_one_name_are_damage(self, tmp_path):
        layer = field(1, b"a") + field(7, field(5, floats(1)) + field(7, field(1, bytes([1]))))
        file = tmp_path / "net"
        file.write_bytes(2 * field(100, layer))
        with pytest.raises(ValueError, match=f"{file} is damaged: two layers are called a"):
            caffemodel.read(file)

    @pytest.mark.parametrize("content", [b"", b"no weights at all\n" * 100])
    def test_other_files_are_none(self, tmp_path, content):
        file = tmp_path / "net"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"{file} (holds no weights|is damaged, or not a)"):
            caffemodel.read(file)
