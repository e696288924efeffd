"""The axis of a number: its title with the unit, its scale, its ends, and how its numbers are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["linear", "log", "symlog", "sqrt"]

HEIGHTS: Mapping[Scale, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "linear": (float, float),
    "log": (math.log, math.exp),
    "sqrt": (lambda value: math.copysign(math.sqrt(abs(value)), value), lambda height: height * abs(height)),
    "symlog": (
        lambda value: math.copysign(math.log1p(abs(value)), value),
        lambda height: math.copysign(math.expm1(abs(height)), height),
    ),
}
"""How each scale turns values into heights, and back."""


@dataclass(frozen=True)
class Axis:
    """A quantitative axis: its title with the unit, its scale, its ends (not set: the data's) and d3's number format.

    `counts` says that there is nothing between whole numbers; `ticks` are the only places with a number.
    """

    title: str
    scale: Scale = "linear"
    domain: tuple[float, float] | None = None
    format: str | None = None
    counts: bool = False
    ticks: tuple[float, ...] = ()

    def number(self) -> dict[str, Any]:
        """The number format and ticks, as keywords for a Vega-Lite axis or legend."""
        return (
            ({} if self.format is None else {"format": self.format})
            | ({"tickMinStep": 1} if self.counts else {})
            | ({"values": list(self.ticks)} if self.ticks else {})
        )

    def height(self, value: float) -> float:
        """Where a value lies, in the scale's own unit: equal steps of it are equally far apart on paper."""
        return HEIGHTS[self.scale][0](value)

    def value_at(self, height: float) -> float:
        """The value that lies at a height."""
        return HEIGHTS[self.scale][1](height)

    def said(self) -> str:
        """The title; a scale that nobody could tell from its numbers is named in it."""
        return f"{self.title}, square-root scale" if self.scale == "sqrt" else self.title

    def channel(self, kind: type[Any], column: str) -> Any:
        import altair as alt

        ends: dict[str, Any] = (
            {"nice": True} | ({} if self.scale == "log" else {"zero": False})
            if self.domain is None
            else {"domain": list(self.domain), "nice": False}
        )
        axis = alt.Axis(title=self.said(), **self.number())
        room = 8  # pixels beyond the ends, so that a mark at an end is whole
        return kind(f"{column}:Q", axis=axis, scale=alt.Scale(type=self.scale, padding=room, **ends))


SHARE = Axis("share", domain=(0.0, 1.0), format=".0%")
"""An axis from 0 % to 100 %."""
