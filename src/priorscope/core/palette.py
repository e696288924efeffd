"""The colours of everything drawn, on light and on dark ground, and how each family looks.

Where one network stands for a family, it has the family's colour, point shape and dashes in every picture, so that pictures
compare; what else of the family is drawn beside it keeps the hue.

The light colours have a contrast of at least 3:1 on white and the dark ones on the dark page (WCAG 2.2, 1.4.11), and any two
families stay apart under protanopia, deuteranopia and tritanopia as Machado et al. (2009) simulate them; tests hold them to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from priorscope.core.config import is_table

STAR = "M0,-1.40L0.38,-0.53L1.33,-0.43L0.62,0.20L0.82,1.13L0,0.65L-0.82,1.13L-0.62,0.20L-1.33,-0.43L-0.38,-0.53Z"
"""A star, as the path of a point: Vega has no shape of that name."""


class Style(NamedTuple):
    """How a family looks: its colour on light and on dark ground, its point's shape and its line's dashes."""

    light: str
    dark: str
    shape: str
    dash: tuple[int, ...]


STYLES: Mapping[str, Style] = {
    "mlp": Style("#ee4444", "#ff5533", "circle", (1, 0)),
    "cnn": Style("#2255dd", "#5577f0", "square", (6, 3)),
    "vit": Style("#337722", "#88cc66", "triangle-up", (2, 2)),
    "swin": Style("#661166", "#cc88ff", "diamond", (10, 3)),
    "tnt": Style("#bb8800", "#eecc33", "cross", (8, 3, 2, 3)),
    "perceiver": Style("#dd33aa", "#ff88cc", "triangle-down", (4, 2)),
    "perceiver_io": Style("#660000", "#bb5544", "triangle-right", (12, 3, 2, 3, 2, 3)),
    "mixer": Style("#0099cc", "#77ddff", "triangle-left", (3, 4)),
    "dial": Style("#112222", "#eeeeee", STAR, (1, 3)),
    "other": Style("#666666", "#888888", "circle", (5, 5)),
}
"""How every family looks; what is in no family looks like `other`."""

INK, PAPER, NIGHT = "#1c2128", "#ffffff", "#15181d"
MUTED, GRID = "#5b6470", "#e6e9ed"
ACCENT = "#0b5cad"
RAMP = ("#eef3f9", "#8fb6dc", "#2f74b5", "#0a2f5c")
DIVERGING = ("#a34a00", "#e9b083", "#f4f4f2", "#8fb6dc", "#0a4a8c")

SHADES = (3.2, 5.0, 8.0, 12.5)
"""Contrasts with the ground of a family's shades, its own colour in place of the nearest: steps that a grey printer keeps."""


def style_of(family: str, kin: int = 0) -> Style:
    """How a family looks: the same in every figure; `kin` counts what else of the family is drawn beside it.

    They keep the family's hue; their shades, their points' shapes and their lines' dashes tell them apart.
    """
    own = STYLES.get(family, STYLES["other"])
    if kin == 0:
        return own
    looks = list(STYLES.values())
    other = looks[(looks.index(own) + kin) % len(looks)]
    return Style(_shade(own.light, PAPER, kin), _shade(own.dark, NIGHT, kin), other.shape, other.dash)


def _shade(colour: str, ground: str, kin: int) -> str:
    """A colour's shade of that number: its own, then the others, the furthest from its own first."""
    own, paper = _luminance(_linear(colour)), _luminance(_linear(ground))
    brighter = 1 if paper < own else -1  # than the ground
    levels = [(paper + 0.05) * contrast**brighter - 0.05 for contrast in SHADES]
    levels.sort(key=lambda level: abs(math.log((level + 0.05) / (own + 0.05))))
    return colour if kin % len(SHADES) == 0 else _lit(colour, levels[-(kin % len(SHADES))])


def _lit(colour: str, luminance: float) -> str:
    """A colour of that luminance: darker by less of its light, lighter by white."""
    light = _linear(colour)
    own = _luminance(light)
    white = max(0.0, (luminance - own) / (1 - own))
    linear = light * min(1.0, luminance / own) * (1 - white) + white
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * float(channel)):02x}" for channel in coded)


def _linear(colour: str) -> NDArray[np.float64]:
    """A colour's red, green and blue as amounts of light (sRGB, IEC 61966-2-1)."""
    coded = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def _luminance(light: NDArray[np.float64]) -> float:
    return float(light @ [0.2126, 0.7152, 0.0722])


DARK_OF: Mapping[str, str] = {
    **{style.light: style.dark for style in (style_of(family, kin) for family in STYLES for kin in range(len(SHADES)))},
    INK: "#e8eaed",
    PAPER: NIGHT,
    MUTED: "#a0a8b3",
    GRID: "#2b3038",
    ACCENT: "#7db7f0",
    **dict(zip(RAMP, ("#1f262f", "#2b5680", "#5a9bd8", "#d6e8fa"), strict=True)),
    DIVERGING[0]: "#f5a45d",
    DIVERGING[1]: "#8a5a32",
    DIVERGING[2]: "#262b32",
    DIVERGING[4]: "#86bdf5",
}
"""Light colour -> dark colour, for whatever a figure draws with the colours of this module."""


def in_dark(spec: Any) -> Any:
    """A spec or theme with every colour of the light theme replaced by that of the dark one."""
    if isinstance(spec, str):
        return DARK_OF.get(spec, spec)
    if is_table(spec):
        return {name: in_dark(value) for name, value in spec.items()}
    if isinstance(spec, list | tuple):
        return [in_dark(value) for value in spec]
    return spec
