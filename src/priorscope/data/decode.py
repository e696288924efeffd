"""Encoded images in, RGB bytes out.

The codec is Pillow's: its wheels carry libjpeg-turbo on every platform, decoding runs outside the interpreter's lock, and it
reads what image folders really hold (CMYK JPEG, palettes, 16-bit grey, EXIF turns), where torchvision's decoder knows JPEG and
PNG only. Both use libjpeg-turbo's exact integer transform, so their pixels are equal.

What becomes of an image that is not plain RGB:

    grey, 1 bit            the level in all three channels
    16 bit                 grey is divided by 257; of a colour Pillow keeps the upper 8 bits of each channel
    palette                its colours
    transparent            laid over white, as a page shows it (dropping alpha would uncover arbitrary colours)
    CMYK, YCCK             Pillow's plain inversion, without a colour profile
    turned by EXIF         turned back
    animated               the first frame
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.core.errors import WorkError
from priorscope.data.split import Bytes

if TYPE_CHECKING:
    from PIL import Image

VERSION = 2
"""Raised when the same file decodes to other pixels than before; part of the key of every decoded copy."""

EXIF_ORIENTATION = 0x0112
BACKGROUND = (255, 255, 255)


class BrokenImageError(WorkError):
    """An image that cannot be decoded. `where` is its path, or its place in a table or archive."""

    def __init__(self, where: str, reason: str, do: str = "replace or delete it") -> None:
        super().__init__(
            f"The image {where} is broken: {reason}.",
            "an image that Pillow can read",
            f"{do}, or leave out what is broken: priorscope data convert SRC DST.beton --on-broken skip, then use DST.beton",
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
            plain, turn = rgb(image), _turn(image)
            upright = plain if turn is None else plain.transpose(turn)
            return np.asarray(upright if res is None else central_square(upright, res))
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


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns a loaded image as its camera was held. Damaged EXIF is no reason to lose an image: it counts as upright.

    Read after the pixels: of a TIFF, Pillow turns them itself, and then takes the turn out of the EXIF.
    """
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
        return turns.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:
        return None


def rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB."""
    from PIL import Image

    _scale_transparent(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        levels = np.asarray(image)
        if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
            raise ValueError(f"its pixel mode {image.mode} has no known range")
        grey = ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        grey[levels == image.info.get("transparency", -1)] = BACKGROUND[0]
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(ground, layers)
    return image.convert("RGB")


def _scale_transparent(image: Image.Image) -> None:
    """Brings a PNG's transparent colour to the scale of the pixels that Pillow makes: it leaves it as deep as in the file."""
    tile: Any = getattr(image, "tile", None)  # what is still to be read, and how: empty once the pixels are there
    if not tile or image.format != "PNG" or "transparency" not in image.info:
        return
    if tile[0][3] == "RGB;16B":
        image.info["transparency"] = tuple(level >> 8 for level in image.info["transparency"])
    elif tile[0][3] in ("L;2", "L;4"):
        image.info["transparency"] *= {"L;2": 85, "L;4": 17}[tile[0][3]]


def _reason(error: Exception) -> str:
    """Why decoding failed, without the address of the memory buffer that Pillow names."""
    text = str(error) or type(error).__name__
    if "cannot identify image file" in text:
        return "it is no image in a known format"
    return text.rstrip(".")
