"""Pictures as a person sees them, against plain readings in numpy."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from millrace.schemas.steps import ImageOptions
from millrace.udfs.runtime.pictures import read_picture
from tests.helpers import image_cnn, loaded

Pixels = NDArray[np.uint8]
STORED = ImageOptions(orientation="stored")
WIDE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 13  # [height, width, colour]

# By the value of the EXIF tag, the picture that a person sees, by the standard's own words: which
# side of the scene the stored row 0 and column 0 are.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
LOSSLESS = ("PNG", "TIFF", "WEBP")


def encoded(pixels: NDArray[Any], form: str = "PNG", mode: str | None = None, **more: Any) -> bytes:
    file = io.BytesIO()
    lossless = {"lossless": True, "exact": True} if form == "WEBP" else {}
    picture = Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(file, form, **lossless, **more)
    return file.getvalue()


def oriented(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = value
    return exif


def read(content: bytes, options: ImageOptions | None = None, channels: int = 3) -> Pixels:
    """The picture in its own size: ``[height, width, channels]``."""
    options = options or ImageOptions()
    with Image.open(io.BytesIO(content)) as file:
        width, height = file.size
        if file.format == "TIFF":
            turned = file.getexif().get(274, 1) >= 5  # Pillow tells the size as it will be then
            if turned and options.orientation == "stored":
                width, height = height, width
        elif options.orientation == "exif" and file.getexif().get(274, 1) in (5, 6, 7, 8):
            width, height = height, width
    found = read_picture(content, (channels, height, width), options)
    return found.transpose(1, 2, 0)


@given(
    st.integers(1, 8), st.sampled_from(LOSSLESS), st.integers(1, 5), st.integers(1, 5), st.data()
)
@settings(max_examples=100)
def test_pictures_are_turned_as_exif_says_or_left_as_stored(
    orientation: int, form: str, height: int, width: int, data: st.DataObject
) -> None:
    size = height * width * 3
    stored = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    stored = stored.reshape(height, width, 3)
    content = encoded(stored, form, exif=oriented(orientation))

    assert np.array_equal(read(content), UPRIGHT[orientation](stored))
    assert np.array_equal(read(content, STORED), stored)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_of_a_phone_is_turned(orientation: int) -> None:
    halves = np.zeros((16, 32, 3), np.uint8)
    halves[:8, :16] = 255  # one bright corner, so that all eight differ
    content = encoded(halves, "JPEG", quality=100, exif=oriented(orientation))

    bright = read(content)[..., 0] > 127

    assert np.array_equal(bright, UPRIGHT[orientation](halves)[..., 0] > 127)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_means_nothing_turns_nothing(value: int) -> None:
    for form in LOSSLESS:
        assert np.array_equal(read(encoded(WIDE, form, exif=oriented(value))), WIDE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Metadata Warning")
@given(
    st.sampled_from(["PNG", "WEBP"]),
    st.dictionaries(st.integers(0, 25), st.integers(0, 255), max_size=4),
    st.integers(0, 26),
)
@example("PNG", {}, 4)
def test_exif_that_is_broken_turns_a_picture_or_says_nothing_but_fails_no_row(
    form: str, changed: dict[int, int], length: int
) -> None:
    exif = bytearray(oriented(6).tobytes())
    for place, value in changed.items():
        exif[place] = value

    found = read_picture(encoded(WIDE, form, exif=bytes(exif[:length])), (3, 2, 3))

    assert found.shape == (3, 2, 3)


def over(pixels: NDArray[Any], background: tuple[int, int, int]) -> Pixels:
    """What is seen of [..., 4] pixels: each channel blended, rounded to the nearest."""
    alpha = pixels[..., 3:].astype(float) / 255
    blended = pixels[..., :3] * alpha + np.array(background) * (1 - alpha)
    return np.rint(blended).astype(np.uint8)


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(LOSSLESS),
    st.tuples(*[st.integers(0, 255)] * 3),
    st.data(),
)
@settings(max_examples=100)
def test_alpha_is_blended_with_the_background(
    height: int, width: int, form: str, background: tuple[int, int, int], data: st.DataObject
) -> None:
    size = height * width * 4
    pixels = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    pixels = pixels.reshape(height, width, 4)

    found = read(encoded(pixels, form), ImageOptions(background=background))

    assert np.array_equal(found, over(pixels, background))


def test_two_files_that_look_alike_have_the_same_pixels() -> None:
    hidden = np.zeros((2, 3, 4), np.uint8)
    hidden[..., 0] = 200  # red that nobody sees
    white = np.full((2, 3, 3), 255, np.uint8)

    assert np.array_equal(read(encoded(hidden)), read(encoded(white)))


@given(st.integers(0, 255), st.integers(0, 255))
def test_grey_with_alpha_is_blended(grey: int, alpha: int) -> None:
    pixels = np.array([[[grey, alpha]]], np.uint8)
    wanted = over(np.array([[[grey, grey, grey, alpha]]], np.uint8), (255, 255, 255))

    assert np.array_equal(read(encoded(pixels)), wanted)
    assert np.array_equal(read(encoded(pixels), channels=1), wanted[..., :1])


def png(depth: int, color: int, row: bytes, *chunks: tuple[bytes, bytes], width: int = 2) -> bytes:
    """A PNG of one row, written by hand: what Pillow's own writer cannot make."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, 1, depth, color, 0, 0, 0)
    every = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in every)


GREY, COLOR, PALETTE = 0, 2, 3


@pytest.mark.parametrize(
    ("depth", "row", "key", "seen"),
    [
        (1, b"\x40", 1, [0, 255]),  # samples 0 and 1
        (1, b"\x40", 0, [255, 255]),
        (2, b"\x60", 1, [255, 170]),  # 1 and 2, of 3
        (4, b"\x5a", 5, [255, 170]),  # 5 and 10, of 15
        (8, b"\x10\x20", 0x10, [255, 0x20]),
        (16, b"\x80\x00\x80\x01", 0x8001, [0x80, 255]),  # equal in their upper 8 bits
    ],
)
def test_the_transparent_grey_of_a_png_is_background(
    depth: int, row: bytes, key: int, seen: list[int]
) -> None:
    content = png(depth, GREY, row, (b"tRNS", struct.pack(">H", key)))

    assert read(content, channels=1)[0, :, 0].tolist() == seen


def test_the_transparent_colour_of_a_png_is_background() -> None:
    row, key = bytes([1, 2, 3, 4, 5, 6]), struct.pack(">3H", 4, 5, 6)
    assert read(png(8, COLOR, row, (b"tRNS", key)))[0].tolist() == [[1, 2, 3], [255, 255, 255]]
    deep = png(16, COLOR, struct.pack(">6H", *[0x8001] * 3, *[0x8000] * 3), (b"tRNS", bytes(6)))
    with pytest.raises(ValueError, match="16 bits of which one is transparent"):
        read(deep)


def test_transparency_of_a_palette_is_blended() -> None:
    palette, alpha = bytes([200, 0, 0, 4, 5, 6]), b"\x80"
    content = png(8, PALETTE, b"\0\1", (b"PLTE", palette), (b"tRNS", alpha))
    wanted = over(np.array([[200, 0, 0, 128], [4, 5, 6, 255]], np.uint8), (255, 255, 255))

    assert np.array_equal(read(content)[0], wanted)


def test_a_gif_is_its_first_frame_over_the_background() -> None:
    frames = [Image.new("RGBA", (2, 1), color) for color in ((9, 8, 7, 255), (1, 1, 1, 255))]
    frames[0].putpixel((1, 0), (0, 0, 0, 0))
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])

    assert read(file.getvalue())[0].tolist() == [[9, 8, 7], [255, 255, 255]]


def test_the_first_page_of_a_tiff_is_read() -> None:
    pages = [Image.new("RGB", (2, 1), (value, 0, 0)) for value in (5, 6)]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])

    assert read(file.getvalue())[0].tolist() == [[5, 0, 0], [5, 0, 0]]


def tagged(content: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with a tag of its first directory changed."""
    data = bytearray(content)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        found, kind = struct.unpack_from("<HH", data, place)
        if found == tag:
            struct.pack_into("<H" if kind == 3 else "<I", data, place + 8, value)
            return bytes(data)
    raise KeyError(tag)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_grey_of_a_tiff_is_as_light_as_its_photometric_tag_says(kind: Any) -> None:
    top = np.iinfo(kind).max
    content = encoded(np.array([[0, top // 4, top]], kind), "TIFF")

    assert read(tagged(content, 262, 1), channels=1).ravel().tolist() == [0, 63, 255]
    assert read(tagged(content, 262, 0), channels=1).ravel().tolist() == [255, 192, 0]


def test_grey_of_twelve_bits_is_scaled_by_its_own_white() -> None:
    packed = bytes([0xFF, 0xF8, 0x00])  # 4095 and 2048
    entries = [
        (256, 2),
        (257, 1),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 1),
        (279, 3),
    ]
    body = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    content = b"II*\0" + struct.pack("<I", 12) + packed + b"\0"
    content += struct.pack("<H", len(entries)) + body + bytes(4)

    assert read(content, channels=1).ravel().tolist() == [255, 128]


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_grey_without_a_stated_white_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="nothing says which of its values is white"):
        read(encoded(np.array([[0, 70_000]], kind), "TIFF"))


def test_cmyk_goes_on_as_before() -> None:
    content = encoded(WIDE, "JPEG", "CMYK", quality=100)
    with Image.open(io.BytesIO(content)) as file:
        assert file.mode == "CMYK"
        assert np.array_equal(read(content), np.asarray(file.convert("RGB")))


def test_a_tiny_tiff_of_a_huge_tile_is_refused_before_it_is_decoded() -> None:
    entries = [
        (256, 1), (257, 1), (258, 8), (259, 8), (262, 1), (277, 1), (322, 30_000), (323, 30_000),
        (324, 8), (325, 8),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    content = b"II*\0" + struct.pack("<I", 16) + zlib.compress(b"")[:8].ljust(8, b"\0")
    content += struct.pack("<H", len(entries)) + body + bytes(4)

    with pytest.raises(ValueError, match="tiles of 30000x30000: more than 50000000 pixels"):
        read_picture(content, (3, 1, 1))


def test_a_larger_canvas_than_allowed_is_refused_in_each_format() -> None:
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"):
        content = encoded(np.zeros((5, 6), np.uint8), form, "L" if form == "GIF" else "RGB")
        with pytest.raises(ValueError, match="6x5: more than 29 pixels"):
            read_picture(content, (3, 4, 4), ImageOptions(max_pixels=29))


def test_what_is_no_picture_is_told_the_same_each_time() -> None:
    with pytest.raises(OSError, match=r"^no picture in PNG, JPEG, WEBP, TIFF, BMP, GIF$"):
        read_picture(b"no picture", (3, 4, 4))


def test_a_card_says_how_its_model_sees_a_picture(tmp_path: Path) -> None:
    lying = encoded(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), exif=oriented(6))
    hidden = encoded(np.zeros((4, 4, 4), np.uint8))
    rows = pa.RecordBatch.from_pydict({"content": pa.array([lying, hidden], pa.binary())})

    def values(name: str, **step: Any) -> Any:
        return loaded(image_cnn(tmp_path / name, step=step)).decode(rows).values

    seen, stored = values("seen"), values("stored", orientation="stored", background=[1, 2, 3])

    assert np.array_equal(seen[0], stored[0].swapaxes(1, 2)[:, :, ::-1])
    assert [int(channel[0, 0]) for channel in seen[1]] == [255, 255, 255]
    assert [int(channel[0, 0]) for channel in stored[1]] == [1, 2, 3]


@pytest.mark.parametrize(
    "options", [{"orientation": "upright"}, {"background": [0, 0]}, {"background": [0, 0, 256]}]
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ImageOptions.model_validate(options)
