"""Every kind of image that folders really hold, against pixels known beforehand."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from priorscope.data.decode import BrokenImageError, decode, rgb, squared

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_kinds_come_back_exactly(kind: str) -> None:
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB), kind), "a"), RGB)


def test_grey_fills_all_channels() -> None:
    grey = decode(encoded(Image.fromarray(RGB[:, :, 0])), "a")
    np.testing.assert_array_equal(grey, np.repeat(RGB[:, :, :1], 3, axis=2))


def test_one_bit_is_black_and_white() -> None:
    bits = RGB[:, :, 0] > 127
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(bits)), "a")[:, :, 1], bits * np.uint8(255))


def test_sixteen_bits_are_divided_not_clipped() -> None:
    levels = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    assert decode(encoded(Image.fromarray(levels)), "a")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_palette_becomes_its_colours() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    assert decode(encoded(image), "a").tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]


def test_what_is_transparent_shows_white() -> None:
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    opaque, clear, half = decode(encoded(Image.fromarray(pixels)), "a")[0].tolist()
    assert (opaque, clear) == ([255, 0, 0], [255, 255, 255])
    assert half == [127, 127, 127]


def test_a_transparent_palette_entry_shows_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    assert decode(encoded(image, transparency=1), "a").tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_a_colour_named_transparent_shows_white() -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert decode(encoded(image, transparency=(4, 5, 6)), "a").tolist() == [[[1, 2, 3], [255, 255, 255]]]


def png(*header: int, **chunks: bytes) -> bytes:
    """A PNG byte by byte, from width, height, bits and kind of colour: Pillow writes no 16-bit colours."""
    parts = {"IHDR": struct.pack(">IIBBBBB", *header, 0, 0, 0), **chunks, "IEND": b""}
    named = [(len(content), name.encode() + content) for name, content in parts.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", size) + part + struct.pack(">I", zlib.crc32(part)) for size, part in named
    )


GREY, COLOUR = 0, 2
DEPTHS = {
    "1 bit": (1, GREY, bytes([0b01000000]), struct.pack(">H", 1), [[0] * 3, [255] * 3]),
    "2 bits": (2, GREY, bytes([0b10010000]), struct.pack(">H", 1), [[170] * 3, [255] * 3]),
    "4 bits": (4, GREY, bytes([0x12]), struct.pack(">H", 2), [[17] * 3, [255] * 3]),
    "8 bits": (8, GREY, bytes([1, 2]), struct.pack(">H", 2), [[1] * 3, [255] * 3]),
    "16 bits": (16, GREY, struct.pack(">2H", 1000, 117 * 257), struct.pack(">H", 117 * 257), [[4] * 3, [255] * 3]),
    "a near level": (16, GREY, struct.pack(">2H", 117 * 257, 9), struct.pack(">H", 117 * 257 + 1), [[117] * 3, [0] * 3]),
    "8 bits of colour": (8, COLOUR, bytes([9, 8, 7, 3, 7, 11]), struct.pack(">3H", 3, 7, 11), [[9, 8, 7], [255] * 3]),
    "16 bits of colour": (
        16, COLOUR, struct.pack(">6H", 2304, 2048, 1792, 800, 1900, 2900), struct.pack(">3H", 800, 1900, 2900),
        [[9, 8, 7], [255] * 3],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEPTHS)
def test_a_transparent_colour_of_any_depth_shows_white(name: str) -> None:
    """It stands in the file in the file's own depth, and not in that of the array."""
    depth, colour, row, transparent, expected = DEPTHS[name]
    content = png(2, 1, depth, colour, tRNS=transparent, IDAT=zlib.compress(b"\0" + row))
    assert decode(content, "a")[0].tolist() == expected
    image = Image.open(io.BytesIO(content))
    for _ in range(2):  # a dataset may give the same image at every epoch
        assert np.asarray(rgb(image))[0].tolist() == expected


def test_cmyk_is_inverted() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    red = decode(encoded(image, "JPEG", quality=100), "a")
    assert np.abs(red.astype(int) - [255, 0, 0]).max() <= 3


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}
"""How a camera stored an upright picture, by EXIF's orientation (1 to 8), written down as numpy."""


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_turns_are_undone(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](RGB)))
    np.testing.assert_array_equal(decode(encoded(stored, kind, exif=exif), "a"), RGB)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's own, said once to whoever runs this
def test_damaged_exif_loses_no_image() -> None:
    content = encoded(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\xff broken")
    assert decode(content, "a").shape == RGB.shape


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(content, "a")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
def test_jpeg_pixels_are_those_of_libjpeg() -> None:
    """torchvision brings its own libjpeg-turbo: an independent decoder."""
    torch = pytest.importorskip("torch")
    io_ = pytest.importorskip("torchvision.io")
    smooth = np.asarray(Image.fromarray(RGB).resize((64, 48), Image.Resampling.BICUBIC))
    content = encoded(Image.fromarray(smooth), "JPEG", quality=80)
    theirs = io_.decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8)).permute(1, 2, 0).numpy()
    assert np.abs(decode(content, "a").astype(int) - theirs.astype(int)).max() <= 1


BROKEN = {
    "empty": (b"", "it is no image in a known format"),
    "text": (b"<html>404 not found</html>", "it is no image in a known format"),
    "cut JPEG": (encoded(Image.fromarray(np.tile(RGB, (40, 40, 1))), "JPEG")[:-2000], "truncated"),
    "cut PNG": (encoded(Image.fromarray(np.tile(RGB, (40, 40, 1))))[:-200], "truncated"),
    "float": (encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "its pixel mode F has no known range"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_named_with_its_path_and_reason(name: str) -> None:
    content, reason = BROKEN[name]
    with pytest.raises(BrokenImageError, match=r"The image cats/7\.jpg is broken") as refused:
        decode(content, "cats/7.jpg")
    assert reason in refused.value.reason
    assert refused.value.where == "cats/7.jpg"
    assert "--on-broken skip" in refused.value.do


def test_a_bomb_is_refused_before_its_pixels_are_made() -> None:
    content = png(60_000, 60_000, 8, COLOUR, IDAT=zlib.compress(bytes(1000)))
    with pytest.raises(BrokenImageError, match="exceeds limit"):
        decode(content, "bomb.png")


def test_a_size_takes_the_central_square() -> None:
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 200
    assert (decode(encoded(Image.fromarray(wide)), "a", res=4) == 200).all()


def test_shrinking_is_the_area_average() -> None:
    halved = decode(encoded(Image.fromarray(RGB[:4, :4])), "a", res=2).astype(float)
    exact = RGB[:4, :4].reshape(2, 2, 2, 2, 3).mean((1, 3))
    assert np.abs(halved - exact).max() <= 1  # rows and columns are rounded one after the other


def test_growing_repeats_no_more_than_it_must() -> None:
    grown = decode(encoded(Image.fromarray(np.full((3, 3, 3), 77, np.uint8))), "a", res=8)
    assert grown.shape == (8, 8, 3)
    assert (grown == 77).all()


def test_a_scaled_jpeg_is_near_the_whole_one_scaled() -> None:
    smooth = np.asarray(Image.fromarray(RGB).resize((640, 480), Image.Resampling.BICUBIC))
    content = encoded(Image.fromarray(smooth), "JPEG", quality=95)
    apart = decode(content, "a", res=32).astype(int) - squared(decode(content, "a"), 32).astype(int)
    assert np.abs(apart).mean() < 1
