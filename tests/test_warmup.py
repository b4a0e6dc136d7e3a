"""The warm-up file, read by its own reader, byte by byte, and as the real package writes it."""

import numpy as np
import pytest
import tensorflow as tf

from blitznet import warmup


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    return tmp_path


# What tensorflow-serving-api 2.21 makes of this request, and of one with the fields that are not
# read here: model_spec.name "n", version 3, log_metadata.
REQUEST = {"images": {"images": np.array([[[[1, 2, 3]]]], np.uint8)}}
ITS_BYTES = (
    "32310a2f0a081a06696d6167657312230a06696d61676573121908041210120208011202080112020801120208"
    "032203010203"
)
WITH_MORE_FIELDS = (
    "0a0b120909000000000000e03f32380a360a0f0a016e120208031a06696d6167657312230a06696d6167657312"
    "1908041210120208011202080112020801120208032203010203"
)


def records(folder):
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


def assert_same(found, expected):
    assert [signature for signature, _ in found] == list(expected)
    for signature, inputs in found:
        assert inputs.keys() == expected[signature].keys()
        for name, array in inputs.items():
            np.testing.assert_array_equal(array, expected[signature][name])
            assert array.dtype == expected[signature][name].dtype


def test_the_file_holds_what_tensorflow_servings_own_package_writes(folder):
    warmup.write(folder, REQUEST)
    assert [record.hex() for record in records(folder)] == [ITS_BYTES]
    assert [path.name for path in (folder / "assets.extra").iterdir()] == [
        "tf_serving_warmup_requests"
    ]


def test_a_file_with_more_fields_is_read(folder):
    path = folder / warmup.FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(bytes.fromhex(WITH_MORE_FIELDS))
        # A PredictionLog that only says when it was logged, and is no request.
        writer.write(bytes.fromhex("0a022001"))
    assert_same(warmup.read(folder), REQUEST)


def test_requests_come_back_and_suit_their_signatures(folder):
    requests = warmup.picture_requests(40)
    warmup.write(folder, requests)
    assert_same(warmup.read(folder), requests)
    (picture,) = requests["images"]["images"]
    (file,) = requests["serving_default"]["image_bytes"]
    decoded = tf.io.decode_jpeg(file, 3).numpy().astype(int)
    assert picture.shape == (40, 40, 3) and np.abs(decoded - picture).mean() < 3


def test_without_a_side_the_picture_has_a_usual_size():
    requests = warmup.picture_requests(None)
    (picture,) = requests["images"]["images"]
    assert picture.shape == (375, 500, 3)
    assert picture[0, 0].tolist() == [0, 0, 128] and picture[-1, -1].tolist() == [255, 255, 128]
    assert picture[-1, 0].tolist() == [255, 0, 128]


def test_a_folder_without_the_file_has_no_requests(folder):
    assert warmup.read(folder) == []


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no SavedModel"):
        warmup.write(tmp_path, REQUEST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"nonsense, and more of it", None])
def test_a_damaged_file_is_named(folder, content):
    warmup.write(folder, REQUEST)
    path = folder / warmup.FILE
    path.write_bytes(content or path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="tf_serving_warmup_requests is not a warm-up file"):
        warmup.read(folder)
