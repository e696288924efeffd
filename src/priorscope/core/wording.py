"""Pieces of sentences: large numbers as people say them, counts, ranges, and how likely a difference is by chance."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def amount_said(value: float) -> str:
    """A large number as people say it: 2.1 M, with a space at which no line is broken."""
    rounded = float(f"{value:.3g}")
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= limit:
            return f"{rounded / limit:.3g}\u00a0{letter}"
    return f"{rounded:.3g}"


def counted(n: int, what: str) -> str:
    """A number of things: 1 seed, 3 seeds."""
    return f"{n} {what}" if n == 1 else f"{n:,} {what}s"


def from_to(values: Collection[float], form: str = "g") -> str:
    """From the least of some numbers to the largest, 3 to 5; the number alone where they are all the same."""
    low, high = (format(end, form) for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def capitalised(text: str) -> str:
    """A text with a capital as its first letter, as a sentence begins; the others as they are."""
    return text[:1].upper() + text[1:]


def chance_said(p: float) -> str:
    """A p-value as a sentence says it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
