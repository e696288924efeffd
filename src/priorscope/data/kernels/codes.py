"""The numbers by which tables and programs name operations."""

from __future__ import annotations

from typing import Final

# A row of the table: code, chance, place, then parameters.
CODE: Final = 0
CHANCE: Final = 1
PLACE: Final = 2
FIRST: Final = 3
COLUMNS: Final = 16

WARP: Final = 10
"""Numbers a warp: a, b, c, d, e, f, then the window's left, top, right, bottom in the source."""

FLIP_X: Final = 0
FLIP_Y: Final = 1
PAD_CROP: Final = 2
CENTRE_CROP: Final = 3
RESIZED_CROP: Final = 4
ROTATE: Final = 5
AFFINE: Final = 6
SHEAR_X: Final = 7
SHEAR_Y: Final = 8
SHIFT_X: Final = 9
SHIFT_Y: Final = 10
PIXELS_X: Final = 11
PIXELS_Y: Final = 12
CUTOUT: Final = 20
ERASE: Final = 21
CHOOSE: Final = 30
JITTER: Final = 40
COLOUR: Final = 100
"""Codes from here on are colour operations with one number."""

# Colour operations.
BRIGHTNESS: Final = 100
CONTRAST: Final = 101
SATURATION: Final = 102
HUE: Final = 103
EQUALIZE: Final = 104
AUTOCONTRAST: Final = 105
POSTERIZE: Final = 106
SOLARIZE: Final = 107
INVERT: Final = 108
SHARPNESS: Final = 109

# How a picture is sampled, and what lies outside of it.
BILINEAR: Final = 0
AREA: Final = 1
NEAREST: Final = 2

FILL: Final = 0
EDGE: Final = 1
REFLECT: Final = 2
