"""Known answers: each probe asked, on this machine, about a thing whose truth is known beforehand.

An instrument is one file here and one line in `INSTRUMENTS`, named as its probe. `known_answers()` yields what was expected
(a closed form, or a truth that was planted), what the probe said, and how far apart the two may be and why.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BeforeValidator

from priorscope.core.config import Config
from priorscope.core.listing import Listing

INSTRUMENTS = Listing(
    "instrument",
    "priorscope doctor --instruments",
    {
        "accuracy": "priorscope.doctor.instruments.accuracy",
        "activation": "priorscope.doctor.instruments.activation",
        "calibration": "priorscope.doctor.instruments.calibration",
        "corruptions": "priorscope.doctor.instruments.corruptions",
        "cost": "priorscope.doctor.instruments.cost",
        "cue_conflict": "priorscope.doctor.instruments.cue_conflict",
        "fewshot": "priorscope.doctor.instruments.fewshot",
        "generalisation": "priorscope.doctor.instruments.generalisation",
        "invariance": "priorscope.doctor.instruments.invariance",
        "inversion": "priorscope.doctor.instruments.inversion",
        "robustness": "priorscope.doctor.instruments.robustness",
        "scaling": "priorscope.doctor.instruments.scaling",
        "similarity": "priorscope.doctor.instruments.similarity",
        "texture_shape": "priorscope.doctor.instruments.texture_shape",
        "transfer": "priorscope.doctor.instruments.transfer",
        "tuning": "priorscope.doctor.instruments.tuning",
    },
)


def _number(got: float) -> float | None:
    return got if math.isfinite(got) else None


class Answer(Config):
    """One question with a known answer."""

    probe: str
    question: str
    expected: float
    got: Annotated[float | None, BeforeValidator(_number)]
    """None where the instrument gave no number."""
    within: float
    """How far from the expected a working instrument may be: 0 where the answer is exact."""

    @property
    def ok(self) -> bool:
        """Whether the instrument gave the known answer."""
        return self.got is not None and abs(self.got - self.expected) <= self.within


def certify(name: str) -> list[Answer]:
    """What one probe says about what is known."""
    return list(INSTRUMENTS.load(name).known_answers())
