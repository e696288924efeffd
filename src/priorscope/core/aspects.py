"""What a network's fingerprint tells of it: a few aspects, each a number that one probe measures.

A probe's result names the aspect that it tells (`Result.aspect`) and the number that tells it (`Result.trait`). The list is
closed, so that a page can say of which aspects a study knows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

AspectName = Literal["accuracy", "robustness", "cue preference", "calibration", "locality", "cost", "data efficiency"]


class Aspect(NamedTuple):
    """What a low number of it means, and what a high one."""

    low: str
    high: str


ASPECTS: Mapping[AspectName, Aspect] = {
    "accuracy": Aspect("often wrong", "often right"),
    "robustness": Aspect("easy to break", "hard to break"),
    "cue preference": Aspect("texture", "shape"),
    "calibration": Aspect("honest", "misjudges"),
    "locality": Aspect("any order", "needs order"),
    "cost": Aspect("cheap", "dear"),
    "data efficiency": Aspect("needs many", "needs few"),
}
"""Every aspect, in the order in which a fingerprint shows them."""
