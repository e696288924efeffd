"""The pictures of `priorscope.probes.cue_conflict` on the dial: shape shares, decisions along it, how fast a cue is learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.core.charts import SHARE, Axis, curves_with_band, interval_dots
from priorscope.core.contracts import Subject
from priorscope.core.stats import Interval, over_seeds, wilson
from priorscope.probes.cue_conflict import CueConflict, shares_of

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

Arms = Sequence[tuple[Subject, Sequence[CueConflict]]]
"""The seeds of each recipe together."""

SEVERAL = "Means over seeds with t intervals over seeds"


def _ends(values: Sequence[float], alone: Interval | None) -> dict[str, float | None]:
    """The ends of a mean's interval over seeds, or of one checkpoint's own."""
    interval = over_seeds(values) if len(values) > 1 else alone
    return {"low": None, "high": None} if interval is None else {"low": max(interval.low, 0), "high": interval.high}


def draw_shares(arms: Arms) -> Figure:
    rows: list[dict[str, Any]] = []
    for subject, seeds in arms:
        values = [result.value for result in seeds]
        ends = _ends(values, seeds[0].interval)
        rows.append({"subject": subject.name, "family": subject.family, "value": float(np.mean(values)), **ends})
    least, most = min(rows, key=lambda row: row["value"]), max(rows, key=lambda row: row["value"])
    title = (
        f"{most['subject']} decides by shape in {most['value']:.0%}, {least['subject']} in {least['value']:.0%}"
        if len(rows) > 1
        else f"{most['subject']} decides by shape in {most['value']:.0%}"
    )
    return interval_dots(
        "shape-share",
        title,
        rows,
        axis=Axis("of decisions for either cue, those for the shape; mean over the dial", domain=(0, 1), format=".0%"),
        n=f"{arms[0][1][0].n:,} scenes, {len(arms[0][1])} seeds",
        protocol=f"{SEVERAL}; of one checkpoint, percentile bootstrap over images.",
        alt="; ".join(f"{row['subject']} {row['value']:.2f}" for row in rows),
        reference=(0.5, "both alike"),
    )


def draw_dial(arms: Arms) -> Figure:
    rows = [row for subject, seeds in arms for row in _dial_rows(subject, seeds)]
    falls = []
    for subject, seeds in arms:
        first, last = (float(np.mean([result.shape[at] / result.n for result in seeds])) for at in (0, -1))
        falls.append(
            (first - last, f"{subject.name} gives the shape's class {first:.0%} of the time where the shape is loud", last)
        )
    _, who, last = max(falls)
    return curves_with_band(
        "cue-conflict-dial",
        f"{who}, {last:.0%} where the texture is",
        rows,
        x=Axis("salience: 0 loud shape, 1 loud texture", domain=(0, 1)),
        y=SHARE,
        n=f"{arms[0][1][0].n:,} images at each setting",
        protocol=f"The same scenes at every setting. {SEVERAL}; of one checkpoint, Wilson's over images.",
        alt="Share of decisions for the shape's class, the texture's class and either, along the dial, one curve a network.",
        panel="panel",
    )


def _dial_rows(subject: Subject, seeds: Sequence[CueConflict]) -> Iterator[dict[str, Any]]:
    """One row a setting and panel: the mean share over seeds, with its interval."""
    for at, level in enumerate(seeds[0].salience):
        counted = [shares_of(int(result.shape[at]), int(result.texture[at]), result.n)[:3] for result in seeds]
        for panel, per_seed in zip(("shape accuracy", "texture accuracy", "coverage"), zip(*counted, strict=True), strict=True):
            shares = [count / n for _, count, n in per_seed]
            ends = _ends(shares, wilson(per_seed[0][1], per_seed[0][2]))
            series = {"series": subject.name, "family": subject.family, "panel": panel}
            yield {**series, "x": level, "y": float(np.mean(shares)), "low": ends["low"], "high": min(ends["high"] or 0, 1.0)}


def draw_learning(arms: Arms) -> Figure:
    rows: list[dict[str, Any]] = []
    never: list[str] = []
    for subject, seeds in arms:
        for cue in ("shape", "texture"):
            asked = [learning for result in seeds for learning in result.learning if learning.cue == cue]
            learnt = [learning.images for learning in asked if learning.images is not None]
            if len(learnt) < len(asked):
                never.append(f"{subject.name} from {cue} alone ({len(asked) - len(learnt)} of {len(asked)} seeds)")
            elif learnt:
                row = {
                    "subject": subject.name,
                    "family": subject.family,
                    "value": float(np.mean(learnt)),
                    **_ends(learnt, None),
                }
                rows.append({**row, "cue": f"{cue} alone"})
    title = "No network learnt either cue alone to one half right"
    if rows:
        slow = max(rows, key=lambda row: row["value"])
        title = f"The slowest to learn is {slow['subject']} from {slow['cue']}: half right after {slow['value']:,.0f} images"
    missing = f" Not learnt, and so not drawn: {', '.join(never)}." if never else ""
    return interval_dots(
        "learning-speed",
        title,
        rows,
        axis=Axis("images seen until half of the validation images are right"),
        n=f"{max((cue.n for _, seeds in arms for result in seeds for cue in result.learning), default=0):,} validation images",
        protocol=f"Runs in worlds where only one cue predicts the class; linear between epochs. {SEVERAL}.{missing}",
        alt="; ".join(f"{row['subject']} from {row['cue']}: {row['value']:,.0f} images" for row in rows),
        panel="cue",
    )
