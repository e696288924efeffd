"""Deciders that follow shape with a planted chance along the dial of salience: their indifference point and shape share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from priorscope.data import open as open_source
from priorscope.data.split import Ints, Split
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import Decide, Decider
from priorscope.probes.cue_conflict import measure_cue_conflict

WORLD = {"name": "shapetex", "train": 100, "val": 20, "test": 400}
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEEPNESS = 12.0


def _torn_at(point: float) -> Decide:
    """Follows shape with a chance that falls through one half at `point`; the same draws at every setting."""

    def decide(split: Split) -> Ints:
        level = float(split.name.rpartition("@")[2])
        drawn = np.random.default_rng(0).random(len(split))
        shape = drawn < 1 / (1 + np.exp(STEEPNESS * (level - point)))
        return np.where(shape, split.columns["shape"], split.columns["texture"])

    return decide


def known_answers() -> Iterator[Answer]:
    """Two planted points, and a decider that never looks at texture."""
    world = open_source(WORLD)
    for point in (0.3, 0.6):
        result = measure_cue_conflict(Decider(_torn_at(point)), world, salience=LEVELS)
        yield Answer(
            probe="cue_conflict", question=f"a point planted at {point}", expected=point, got=result.point or 0.0, within=0.04
        )
    shape_alone = measure_cue_conflict(Decider(lambda split: split.columns["shape"]), world, salience=LEVELS)
    yield Answer(
        probe="cue_conflict", question="shape alone decides: all of the share", expected=1, got=shape_alone.value, within=0
    )
