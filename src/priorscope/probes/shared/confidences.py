"""How sure networks are where they are right and where they are wrong: one picture for every probe that counts confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.axis import SHARE, Axis
from priorscope.core.charts import curves_with_band
from priorscope.core.contracts import Subject
from priorscope.core.extremes import largest
from priorscope.core.figure import Figure

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Confidences:
    """How many right and wrong answers of a network have a confidence in each of some bins of equal width.

    `missed` are all of its wrong answers: one without a confidence stands in no bin.
    """

    subject: Subject
    right: Counts
    wrong: Counts
    missed: int

    @property
    def sure(self) -> float | None:
        """The share of the wrong answers with a confidence in the highest fifth of the bins; None where none is wrong."""
        return float(self.wrong[-(len(self.wrong) // 5) :].sum() / self.missed) if self.missed else None


def draw_confidences(name: str, networks: Sequence[Confidences], *, n: int, protocol: str) -> Figure:
    """One curve a network for its right answers, and one for its wrong ones; `protocol` says on what, in how many bins."""
    rows: list[dict[str, Any]] = []
    for each in networks:
        middles = (np.arange(len(each.right)) + 0.5) / len(each.right)
        for panel, counts in (("where it is right", each.right), ("where it is wrong", each.wrong)):
            series = {"series": each.subject.name, "family": each.subject.family, "panel": panel}
            shares = counts / max(counts.sum(), 1)
            rows += [{**series, "x": x, "y": y} for x, y in zip(middles.tolist(), shares.tolist(), strict=True)]
    sure = {each.subject.name: each.sure for each in networks if each.sure is not None}
    title = "No answer is wrong"
    if sure:
        most = largest(sure)
        whose = "" if len(networks) == 1 else f" of {most}"
        title = f"{most.value:.0%} of the wrong answers{whose} come with a confidence above 80 %"
    return curves_with_band(
        name,
        title,
        rows,
        x=Axis("largest softmax probability", domain=SHARE.domain, format=".0%"),
        y=Axis("share of these answers", format=".0%"),
        n=n,
        protocol=f"{protocol}; each curve sums to 100 % of the right answers, or of the wrong ones.",
        alt="; ".join(
            f"{each.subject.name}: no wrong answer"
            if each.sure is None
            else f"{each.subject.name}: {each.sure:.0%} of wrong answers above 80 % confidence"
            for each in networks
        ),
        points=False,
        panel="panel",
    )
