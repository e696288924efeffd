"""Encoded images in, RGB bytes out.

The codec is Pillow's: its wheels carry libjpeg-turbo on every platform, decoding runs outside the interpreter's lock, and it
reads what image folders really hold (CMYK JPEG, palettes, 16-bit grey, EXIF turns), where torchvision's decoder knows JPEG and
PNG only. Both use libjpeg-turbo's exact integer transform, so their pixels are equal.

What becomes of an image that is not plain RGB:

    grey, 1 bit, 16 bit    the level in all three channels; 16 bits are divided by 257
    palette                its colours
    transparent            laid over white, as a page shows it (dropping alpha would uncover arbitrary colours)
    CMYK, YCCK             Pillow's plain inversion, without a colour profile
    turned by EXIF         turned back
    animated               the first frame
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from priorscope.core.errors import WorkError
from priorscope.data.split import Bytes

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1
"""Rises when the same file gives other pixels than before; part of the key of every decoded copy."""

EXIF_ORIENTATION = 0x0112
BACKGROUND = (255, 255, 255)


class BrokenImageError(WorkError):
    """An image that cannot be decoded. `where` is its path, or its place in a table or archive."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"The image {where} is broken: {reason}.",
            "an image that Pillow can read",
            "replace or delete it, or leave out broken images with on_broken = 'skip'",
        )
        self.where = where
        self.reason = reason


def decode(content: bytes, where: str, res: int | None = None) -> Bytes:
    """The pixels of an encoded image as uint8 (H, W, 3); with `res`, its central square at that size."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            if res is not None and image.format == "JPEG":
                # libjpeg scales by 1/2, 1/4 or 1/8 while it decodes. Twice the wanted size is kept for the exact filter below.
                image.draft("RGB", (2 * res, 2 * res))
            turned = _turned_upright(image)
            plain = rgb(turned)
            return np.asarray(plain if res is None else central_square(plain, res))
    except (
        Exception
    ) as error:  # a decoder that is fed arbitrary bytes raises nearly anything; no image may end a conversion unnamed
        raise BrokenImageError(where, _reason(error)) from None


def central_square(image: Image.Image, res: int) -> Image.Image:
    """The largest central square, scaled to `res`: by area average when it shrinks, bilinearly when it grows."""
    from PIL import Image

    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    scaling = Image.Resampling.BOX if side >= res else Image.Resampling.BILINEAR
    return image.resize((res, res), scaling, box=(left, top, left + side, top + side))


def squared(picture: Bytes, res: int) -> Bytes:
    """A decoded picture's central square at a size."""
    from PIL import Image

    return np.asarray(central_square(Image.fromarray(picture), res))


def _turned_upright(image: Image.Image) -> Image.Image:
    """The image as its camera was held. Damaged EXIF is no reason to lose an image: it counts as upright."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:
        return image
    return image if turn is None else image.transpose(turn)


def rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB."""
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        levels = np.asarray(image)
        if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
            raise ValueError(f"its pixel mode {image.mode} has no known range")
        image = Image.fromarray(((levels.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(ground, layers)
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """Why decoding failed, without the address of the memory buffer that Pillow names."""
    text = str(error) or type(error).__name__
    if "cannot identify image file" in text:
        return "it is no image in a known format"
    return text.rstrip(".")
