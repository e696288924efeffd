"""The pictures of `priorscope.probes.cue_conflict` on the dial: shape shares, decisions along it, how fast a cue is learnt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.core.axis import SHARE, Axis
from priorscope.core.charts import curves_with_band, interval_dots
from priorscope.core.contracts import Subject
from priorscope.core.extremes import MOST_NAMES, largest, smallest
from priorscope.core.stats import Interval, over_seeds, wilson
from priorscope.core.wording import from_to
from priorscope.probes.cue_conflict import CueConflict, shares_of
from priorscope.probes.shared.lead import arm_rows

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

Arms = Sequence[tuple[Subject, Sequence[CueConflict]]]
"""The seeds of each recipe together."""

SEVERAL = "Means over seeds with t intervals over seeds and images"


def arm_row(subject: Subject, values: Sequence[float], own: Sequence[Interval | None], most: float = 1.0) -> dict[str, Any]:
    """A mean with the ends of its interval, between 0 and the most that there can be.

    Of one checkpoint it is its own, of several over seeds, and over images where each seed has such an interval.
    """
    interval = over_seeds(values, images=own) if len(values) > 1 else own[0]
    low, high = (None, None) if interval is None else (max(interval.low, 0.0), min(interval.high, most))
    return {"subject": subject.name, "family": subject.family, "value": float(np.mean(values)), "low": low, "high": high}


def share_title(arms: Arms, rows: Sequence[dict[str, Any]]) -> str:
    """Who decides by shape how often, of those that decided for a cue at all."""
    decided = {
        row["subject"]: row["value"]
        for row, (_, seeds) in zip(rows, arms, strict=True)
        if any(result.shape.sum() + result.texture.sum() for result in seeds)
    }
    if not decided:
        return "No decision was for either cue"
    most, least = largest(decided), smallest(decided)
    if most.equal:
        return f"{most.do('decides', 'each decide')} by shape in {most.value:.0%}"
    return f"{most.do('decides', 'decide')} by shape in {most.value:.0%}, {least} in {least.value:.0%}"


def draw_shares(arms: Arms) -> Figure:
    rows = arm_rows(arms)
    seeds = [len(seeds) for _, seeds in arms]
    return interval_dots(
        "shape-share",
        share_title(arms, rows),
        rows,
        axis=Axis("of decisions for either cue, those for the shape; mean over the dial", domain=(0, 1), format=".0%"),
        n=f"{arms[0][1][0].n:,} scenes, {from_to(seeds)} seed{'s' * (max(seeds) > 1)}",
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
            row = arm_row(subject, shares, [wilson(count, n) for _, count, n in per_seed])
            row |= {"series": row.pop("subject"), "y": row.pop("value")}
            yield {**row, "panel": panel, "x": level}


def draw_learning(arms: Arms) -> Figure:
    rows: list[dict[str, Any]] = []
    never: list[str] = []
    for subject, seeds in arms:
        for cue in ("shape", "texture"):
            asked = [learning for result in seeds for learning in result.learning if learning.cue == cue]
            learnt = [learning.images for learning in asked if learning.images is not None]
            if len(learnt) < len(asked):
                in_some = f" in {len(asked) - len(learnt)} of {len(asked)} seeds" if len(asked) > 1 else ""
                never.append(f"{subject.name} did not learn {cue} alone{in_some}")
            elif learnt:
                rows.append({**arm_row(subject, learnt, [None] * len(learnt), math.inf), "cue": f"{cue} alone"})
    missing = f" Not drawn: {'; '.join(never)}." if never else ""
    return interval_dots(
        "learning-speed",
        _learning_title(arms, rows, never),
        rows,
        axis=Axis("images seen until half of the validation images are right"),
        n=f"{max((cue.n for _, seeds in arms for result in seeds for cue in result.learning), default=0):,} validation images",
        protocol=f"Runs in worlds where only one cue predicts the class; linear between epochs. Intervals over seeds.{missing}",
        alt="; ".join(f"{row['subject']} from {row['cue']}: {row['value']:,.0f} images" for row in rows),
        panel="cue",
    )


def _learning_title(arms: Arms, rows: Sequence[dict[str, Any]], never: Sequence[str]) -> str:
    """Who never learnt a cue is slower than whoever did: they come first."""
    if all(learning.images is None for _, seeds in arms for result in seeds for learning in result.learning):
        return "No network learnt either cue alone to one half right"
    if never:
        return "; ".join(
            never if len(never) <= MOST_NAMES else [*never[: MOST_NAMES - 1], f"{len(never) - MOST_NAMES + 1} more likewise"]
        )
    learnt = {f"{row['subject']} from {row['cue']}": row["value"] for row in rows}
    fastest, slowest = smallest(learnt), largest(learnt)
    if slowest.equal:
        return f"{slowest.do('is', 'are each')} half right after {slowest.value:,.0f} images"
    return f"Half right after {fastest.value:,.0f} images ({fastest}) to {slowest.value:,.0f} ({slowest})"
