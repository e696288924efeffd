"""Pieces of sentences: large numbers as people say them, counts, and the chance of a difference."""

from __future__ import annotations


def amount_said(value: float) -> str:
    """A large number as people say it: 2.1 M, with a space at which no line is broken."""
    rounded = float(f"{value:.3g}")
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= limit:
            return f"{rounded / limit:.3g}\u00a0{letter}"
    return f"{rounded:.3g}"
