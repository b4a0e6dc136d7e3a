"""People's picture files: every kind becomes the RGB that NumPy says, or is one clear error."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from blitznet.opencv import cv2
from blitznet.picture_files import (
    MAX_PIXELS,
    PictureError,
    is_picture,
    picture_paths,
    read_picture,
)
from voc_fixture import ORIENTATION

COLOURS = np.random.default_rng(0).integers(0, 256, (12, 17, 3)).astype(np.uint8)
GREYS = COLOURS[..., 0]


def encoded(array, format, mode=None, **options):
    """A picture file of an array, as bytes."""
    file = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, format, **options)
    return file.getvalue()


def three(grey):
    return np.repeat(grey[..., None], 3, axis=-1)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_files_keep_every_pixel(format):
    np.testing.assert_array_equal(read_picture(encoded(COLOURS, format)), COLOURS)


def test_lossless_webp_keeps_every_pixel():
    np.testing.assert_array_equal(read_picture(encoded(COLOURS, "WEBP", lossless=True)), COLOURS)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_grey_becomes_three_equal_channels(format):
    np.testing.assert_array_equal(read_picture(encoded(GREYS, format)), three(GREYS))


def test_black_and_white_becomes_0_and_255():
    found = read_picture(encoded(np.where(GREYS > 99, 255, 0).astype(np.uint8), "PNG", "1"))
    np.testing.assert_array_equal(found, three(np.where(GREYS > 99, 255, 0)))


def test_palette_becomes_its_colours():
    ids = (GREYS % 4).astype(np.uint8)
    picture = Image.fromarray(ids)
    palette = np.array([[0, 0, 0], [200, 10, 20], [30, 40, 250], [255, 255, 255]], np.uint8)
    picture.putpalette(palette.tobytes())
    for format in ("PNG", "GIF"):
        file = io.BytesIO()
        picture.save(file, format)
        np.testing.assert_array_equal(read_picture(file.getvalue()), palette[ids])


def test_transparent_pixels_lie_over_white():
    alpha = np.random.default_rng(1).integers(0, 256, GREYS.shape).astype(np.uint8)
    share = alpha[..., None] / 255
    for channels in (COLOURS, GREYS[..., None]):
        found = read_picture(encoded(np.concatenate([channels, alpha[..., None]], -1), "PNG"))
        expected = share * channels + (1 - share) * 255
        assert np.abs(found - expected).max() <= 1


def test_a_transparent_colour_of_a_palette_is_white():
    ids = (GREYS % 2).astype(np.uint8)
    picture = Image.fromarray(ids)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=1)
    expected = np.array([[10, 20, 30], [255, 255, 255]])[ids]
    np.testing.assert_array_equal(read_picture(file.getvalue()), expected)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_its_high_byte(format):
    values = np.random.default_rng(2).integers(0, 65536, (12, 17)).astype(np.uint16)
    np.testing.assert_array_equal(read_picture(encoded(values, format)), three(values // 256))


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_sixteen_bit_colours_keep_their_high_bytes(ending):
    values = np.random.default_rng(2).integers(0, 65536, (12, 17, 3)).astype(np.uint16)
    _, file = cv2.imencode(ending, values[..., ::-1])
    np.testing.assert_array_equal(read_picture(file.tobytes()), values // 256)


def test_cmyk_jpeg_becomes_the_colours_that_its_inks_mix():
    flat = np.broadcast_to(np.array([200, 90, 30], np.uint8), (16, 16, 3))
    file = encoded(flat, "JPEG", "CMYK", quality=95)
    inks = np.asarray(Image.open(io.BytesIO(file))).astype(int)
    found = read_picture(file).astype(int)
    mixed = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    assert np.abs(found - mixed).max() <= 1
    assert np.abs(found - flat).max() <= 6, "the colours that were encoded"


TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_turns_the_picture_upright(orientation, format):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    stored = read_picture(encoded(COLOURS, format, **options))
    found = read_picture(encoded(COLOURS, format, exif=exif, **options))
    np.testing.assert_array_equal(found, TURNS[orientation](stored))


@pytest.mark.parametrize("orientation", TURNS)
def test_upright_is_what_opencv_calls_upright(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    smooth = cv2.resize(COLOURS, (170, 120))
    file = encoded(smooth, "JPEG", exif=exif, quality=95)
    expected = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(read_picture(file).astype(int) - expected).mean() < 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_broken_exif_leaves_the_picture_as_it_is_stored(exif):
    np.testing.assert_array_equal(read_picture(encoded(COLOURS, "PNG", exif=exif)), COLOURS)


def test_of_several_pictures_the_first_is_taken():
    first, second = Image.fromarray(GREYS), Image.fromarray(255 - GREYS)
    for format in ("GIF", "TIFF", "PNG"):
        file = io.BytesIO()
        first.save(file, format, save_all=True, append_images=[second])
        np.testing.assert_array_equal(read_picture(file.getvalue()), three(GREYS))


def test_a_path_and_all_kinds_of_bytes_read_alike(tmp_path):
    file = encoded(COLOURS, "PNG")
    (tmp_path / "a.png").write_bytes(file)
    sources = (tmp_path / "a.png", str(tmp_path / "a.png"), bytearray(file), memoryview(file))
    for source in sources:
        np.testing.assert_array_equal(read_picture(source), COLOURS)


@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 20)])
def test_any_shape_of_few_pixels_is_read(size):
    pixels = np.random.default_rng(3).integers(0, 256, (*size, 3)).astype(np.uint8)
    np.testing.assert_array_equal(read_picture(encoded(pixels, "PNG")), pixels)


def png_of_sides(width, height):
    """A small PNG whose header says that it has these sides."""

    def chunk(name, content):
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


def jpeg_of_sides(width, height):
    """A small JPEG whose header is made to say that it has these sides."""
    file = encoded(COLOURS, "JPEG")
    frame = file.index(b"\xff\xc0") + 5
    return file[:frame] + struct.pack(">HH", height, width) + file[frame + 4 :]


@pytest.mark.parametrize("make", [png_of_sides, jpeg_of_sides])
@pytest.mark.parametrize("sides", [(20000, 20000), (20000, 5000), (8001, 8001)])
@pytest.mark.filterwarnings("error")
def test_too_many_pixels_are_refused_before_they_are_decoded(make, sides):
    with pytest.raises(PictureError, match="^holiday is too large: ") as info:
        read_picture(make(*sides), name="holiday")
    if sides[0] * sides[1] < 2 * Image.MAX_IMAGE_PIXELS:
        assert f"{sides[0]} x {sides[1]} pixels, where at most 64 million" in str(info.value)


def test_the_most_pixels_can_be_chosen():
    file = encoded(COLOURS, "PNG")
    assert read_picture(file, max_pixels=12 * 17).shape == (12, 17, 3)
    with pytest.raises(PictureError, match="17 x 12 pixels"):
        read_picture(file, max_pixels=12 * 17 - 1)
    assert MAX_PIXELS >= 8192 * 6144, "what telephones make"


@pytest.mark.parametrize(
    "content", [b"hello, I am a text\n" * 99, b"\0" * 999, b"\xff\xd8", b"GIF"]
)
def test_other_files_are_no_pictures(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=r"a\.jpg is not a picture: expected one of JPEG, PNG"):
        read_picture(tmp_path / "a.jpg")


def test_an_empty_file_is_called_so(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(PictureError, match=r"a\.jpg is empty"):
        read_picture(tmp_path / "a.jpg")
    with pytest.raises(PictureError, match="^picture 3 is empty"):
        read_picture(b"", name="picture 3")


def test_missing_files_and_folders_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.jpg is not there"):
        read_picture(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_picture(tmp_path)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_file_that_is_cut_short_is_refused(format):
    file = encoded(COLOURS, format)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(PictureError, match="^the picture is "):
            read_picture(file[: int(share * len(file))])


@pytest.mark.parametrize("values", [GREYS.astype(np.float32), GREYS.astype(np.int32) * 9999])
def test_values_that_no_picture_has_are_refused(values):
    with pytest.raises(PictureError, match="a TIFF that is .*(floating-point|exceed 16 bits)"):
        read_picture(encoded(values, "TIFF"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damage_of_any_kind_gives_a_picture_or_the_one_error(format):
    chance = random.Random(0)
    file = encoded(COLOURS, format)
    refused = 0
    for _ in range(150):
        damaged = bytearray(file)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            found = read_picture(damaged)
        except PictureError:
            refused += 1
        else:
            assert found.dtype == np.uint8 and found.shape[2:] == (3,)
    assert refused > 0


def test_pictures_of_a_folder_are_those_with_an_ending_in_order(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.jpeg", "notes.txt", "ride.mp4", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    assert [path.name for path in picture_paths(tmp_path)] == ["a.jpg", "b.PNG", "c.jpeg"]


def test_a_picture_is_known_by_its_ending_or_by_its_beginning(tmp_path):
    files = {"a.jpg": b"", "photo": encoded(COLOURS, "PNG"), "ride.mp4": b"ftyp", "text": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert [name for name in files if is_picture(tmp_path / name)] == ["a.jpg", "photo"]
    assert not is_picture(tmp_path / "missing")


def test_real_photographs_read_as_training_reads_them(shared_data):
    from datasets.records import decode_image

    paths = picture_paths(shared_data / "VOCdevkit" / "VOC2012" / "JPEGImages")[::10]
    assert paths
    for path in paths:
        expected = decode_image(path.read_bytes()).numpy()
        np.testing.assert_array_equal(read_picture(path), expected)
