"""Claims: what a study sets out to decide, written before its numbers are known.

    "mlp > cnn in minimal_linf, margin 0.5 doublings"    the first is higher, by more than the margin
    "vit < cnn in invariance"                            the first is lower
    "swin = vit in accuracy, margin 0.01"                they differ by less than the margin

The names are recipes; the measure is a probe, whose headline number is compared, or one of the names in `ALSO`. A margin is in
the unit of that number unless a word beside it names the one in which networks are compared: doublings of smallest budgets.
"""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field

from priorscope.core.comparison import Difference
from priorscope.core.config import Config, Plain
from priorscope.core.contracts import Result
from priorscope.core.errors import RequestError

ClaimVerdict = Literal["supported", "contradicted", "undecided"]

ALSO: dict[str, tuple[str, Plain]] = {
    "minimal_linf": ("robustness", {"norm": "linf"}),
    "minimal_l2": ("robustness", {"norm": "l2"}),
    "shape_preference": ("cue_conflict", {}),
    "ece": ("calibration", {}),
}
"""What the headline numbers of some probes are called elsewhere: the probe, and the settings that it was asked with."""

_GRAMMAR = re.compile(
    r"\s*(?P<first>\S+)\s*(?P<relation>[<>=])\s*(?P<second>\S+)\s+in\s+(?P<measure>\w+)\s*"
    r"(?:,\s*margin\s+(?P<margin>[\d./e+-]+)\s*(?P<unit>[a-z]+)?\s*)?"
)


class Claim(Config):
    """One sentence that a study is to support or to contradict."""

    first: str
    relation: Literal["<", ">", "="]
    second: str
    measure: str
    margin: float = Field(default=0.0, ge=0)
    unit: str | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """A claim from its sentence."""
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            raise RequestError(
                f"{text!r} is no claim.",
                "A > B in PROBE, or A < B, or A = B, and a margin",
                "mlp > cnn in accuracy, margin 0.01",
            )
        parts = match.groupdict()
        try:
            margin = _fraction(parts["margin"] or "0")
        except (ValueError, ZeroDivisionError):
            raise RequestError(
                f"The margin of {text!r} is no number.", "a number, or a fraction such as 0.2/255", "margin 0.01"
            ) from None
        if parts["relation"] == "=" and margin == 0:
            raise RequestError(
                f"{text!r} can never be shown: no two networks are equal to the last digit.",
                "a margin: the largest difference that does not matter",
                f"{text.strip()}, margin 0.01",
            )
        return cls.parse({**parts, "margin": margin}, repr(text))

    @property
    def probe(self) -> str:
        """The probe whose headline number decides it."""
        return ALSO.get(self.measure, (self.measure, {}))[0]

    @property
    def settings(self) -> Plain:
        """What that probe must have been asked with."""
        return ALSO.get(self.measure, (self.measure, {}))[1]

    def of_values(self, kind: type[Result]) -> bool:
        """Whether its margin is in the unit of the number itself, where networks are otherwise compared in another."""
        return self.margin > 0 and self.unit is None and kind.difference_unit is not None and not kind.biased

    def unit_refused(self, kind: type[Result]) -> str | None:
        """The spelling of a margin that can be decided, where this one is in a unit in which no two numbers are compared."""
        word = kind.difference_unit and kind.difference_unit.partition(" ")[0]
        if not self.margin or self.unit == word or (self.unit is None and not kind.biased):
            return None
        return f"margin M {word}" if word else "margin M"

    def verdict(self, difference: Difference) -> ClaimVerdict:
        """What the interval of first minus second says: on one side of the claim's edge, on the other, or across it.

        A few images say nothing: where their test cannot, or without a margin does not, tell the two apart at the interval's
        level, the claim is left open.
        """
        between = difference.interval
        p = difference.least_p if self.margin else difference.p_value
        if between.width == 0 or p >= 1 - between.level:
            return "undecided"
        if self.relation == "=":
            inside = -self.margin < between.low and between.high < self.margin
            outside = between.low > self.margin or between.high < -self.margin
            return "supported" if inside else "contradicted" if outside else "undecided"
        low, high = (between.low, between.high) if self.relation == ">" else (-between.high, -between.low)
        return "supported" if low > self.margin else "contradicted" if high < self.margin else "undecided"

    def distance(self, value: float) -> float:
        """How far a difference lies from the nearest edge of the claim."""
        if self.relation == "=":
            return abs(abs(value) - self.margin)
        return abs((value if self.relation == ">" else -value) - self.margin)


def _fraction(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / (float(below) if below else 1.0)
