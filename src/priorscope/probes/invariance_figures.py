"""The pictures of `priorscope.probes.invariance`: one for each of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.charts import Axis, curves_with_band, interval_dots
from priorscope.core.contracts import Subject, by_recipe
from priorscope.core.figure import Figure
from priorscope.core.stats import Interval, bootstrap, over_seeds, seed_by_image
from priorscope.probes.invariance import Invariance

Results = Sequence[tuple[Subject, Invariance]]
Arms = list[tuple[Subject, list[Invariance]]]

KEPT = Axis("answers that stay", domain=(0.0, 1.0), format=".0%")
ACCURACY = Axis("accuracy", domain=(0.0, 1.0), format=".0%")
KINDS = {"shift": "shift (px)", "turn": "turn (degrees)", "magnify": "magnify (factor)", "mirror": "mirror"}
BANDS = 8


def draw_moves(results: Results) -> Figure:
    """How often the answer stays, by kind and size of move."""
    arms = by_recipe(results)
    rows: list[dict[str, Any]] = []
    for subject, seeds in arms:
        for i, one in enumerate(seeds[0].moved):
            value, interval = _over([result.agrees[i] for result in seeds], seeds[0].seed)
            rows.append(_point(subject, one.size, value, interval) | {"panel": KINDS[one.kind]})
    usual = results[0][1].usual
    shifted = [row for row in rows if row["panel"] == KINDS["shift"] and row["x"] == usual.size]
    best, worst = (pick(shifted, key=lambda row: row["y"]) for pick in (max, min))
    title = (
        f"{usual.said().capitalize()} leaves {best['y']:.0%} of the answers of {best['series']} as they are"
        if len(arms) == 1
        else f"{usual.said().capitalize()} leaves from {worst['y']:.0%} ({worst['series']}) to {best['y']:.0%} "
        f"({best['series']}) of the answers as they are"
    )
    return curves_with_band(
        "consistency",
        title,
        rows,
        x=Axis("size of the move"),
        y=KEPT,
        n=results[0][1].n,
        protocol=results[0][1].protocol(),
        alt="; ".join(f"{row['series']} {row['y']:.1%}" for row in shifted),
        panel="panel",
        own_x=True,
    )


def draw_locality(results: Results) -> Figure:
    """What a network loses when it is trained on pixels out of order."""
    rows: list[dict[str, Any]] = []
    for subject, seeds in by_recipe([(subject, result) for subject, result in results if result.permuted]):
        for kind in sorted({kind for result in seeds for kind in result.permuted}):
            lost = [
                result.permuted_right[0].astype(float) - result.permuted_right[1 + result.permuted.index(kind)]
                for result in seeds
                if kind in result.permuted
            ]
            value, interval = _over(lost, seeds[0].seed)
            ends = {"low": interval.low, "high": interval.high} if interval else {"low": None, "high": None}
            rows.append({"subject": subject.name, "family": subject.family, "panel": kind, "value": value, **ends})
    most = max(rows, key=lambda row: row["value"])
    n = max(result.permuted_right.shape[1] for _, result in results if result.permuted)
    return interval_dots(
        "locality",
        f"Locality is worth most to {most['subject']}: without it, {100 * most['value']:.0f} points of accuracy are lost",
        rows,
        axis=Axis("accuracy lost to permuted pixels", format=".0%"),
        n=n,
        protocol="The same recipe trained on pixels in one fixed random order, against the run's own, on the same test images.",
        alt="; ".join(f"{row['subject']}, {row['panel']}: {100 * row['value']:+.1f} points" for row in rows),
        reference=(0.0, "nothing lost"),
        panel="panel",
    )


def draw_resolution(results: Results) -> Figure:
    """Accuracy with fewer pixels a side."""
    rows: list[dict[str, Any]] = []
    kept: dict[str, float] = {}
    for subject, seeds in by_recipe(results):
        first = seeds[0]
        for i, side in enumerate((first.image_size, *first.resolutions)):
            value, interval = _over([result.sharp[i - 1] if i else result.correct for result in seeds], first.seed)
            rows.append(_point(subject, float(side), value, interval))
        own = rows[-1 - len(first.resolutions) :]
        kept[subject.name] = own[1]["y"] - own[0]["y"]
    name, change = min(kept.items(), key=lambda item: item[1])
    sides = (results[0][1].image_size, *results[0][1].resolutions)
    return curves_with_band(
        "resolution",
        f"At {sides[1]} pixels a side {name} loses {'most, ' if len(kept) > 1 else ''}{-100 * change:.0f} points of accuracy",
        rows,
        x=Axis("pixels a side", "log", (0.8 * sides[-1], 1.2 * sides[0]), ticks=sides),
        y=ACCURACY,
        n=results[0][1].n,
        protocol="Each picture averaged to fewer pixels and shown at its old size; trained at full resolution.",
        alt="; ".join(f"{row['series']} at {row['x']:.0f} px {row['y']:.1%}" for row in rows),
    )


def draw_reach(results: Results) -> Figure:
    """How far units look, over depth."""
    rows: list[dict[str, Any]] = []
    for subject, seeds in by_recipe(results):
        for i, at in enumerate(seeds[0].depth):
            own = np.concatenate([result.reach[i] for result in seeds])
            own = own[np.isfinite(own)]
            if len(own):
                interval = bootstrap(own, seed=seeds[0].seed) if len(own) > 1 else None
                rows.append(_point(subject, at, float(own.mean()), interval))
    first = {row["series"]: row for row in reversed(rows)}
    narrow, wide = (pick(first.values(), key=lambda row: row["y"]) for pick in (min, max))
    title = (
        f"The first units of {narrow['series']} look within {narrow['y']:.0%} of an even spread"
        if len(first) == 1
        else f"First units look narrowest in {narrow['series']} ({narrow['y']:.0%} of an even spread), "
        f"widest in {wide['series']} ({wide['y']:.0%})"
    )
    units = results[0][1].reach.shape[1]
    highest = max(1.0, *(row["y"] if row["high"] is None else row["high"] for row in rows))
    return curves_with_band(
        "reach",
        title,
        rows,
        x=Axis("depth, from the first block to the head", domain=(0.0, 1.0)),
        y=Axis("radius of half the squared gradient, of an even spread", domain=(0.0, 1.05 * highest), format=".0%"),
        n=f"{units} units a depth and network",
        protocol="Squared input gradients of units in the middle of the map (of any unit where there is no map), averaged over "
        "images; intervals over units.",
        alt="; ".join(f"{row['series']} at depth {row['x']:.2f}: {row['y']:.0%}" for row in rows),
        reference=(1.0, "even spread"),
    )


def draw_waves(results: Results) -> Figure:
    """How often a wave changes the answer, over its frequency."""
    rows: list[dict[str, Any]] = []
    peaks: dict[str, tuple[float, float]] = {}
    for subject, seeds in by_recipe(results):
        radius = seeds[0].radius()
        edges = np.linspace(0, radius.max() + 1e-9, BANDS + 1)
        for low, high in pairwise(edges):
            inside = (radius >= low) & (radius < high)
            if inside.any():
                value, interval = _over([result.changed[inside].mean(0) for result in seeds], seeds[0].seed)
                rows.append(_point(subject, float(radius[inside].mean()), value, interval))
                if value > peaks.get(subject.name, (0.0, -1.0))[1]:
                    peaks[subject.name] = (rows[-1]["x"], value)
    low, high = (pick(peaks, key=lambda name: peaks[name][0]) for pick in (min, max))
    told = f"A wave disturbs {low} most at {peaks[low][0]:.0%} of the highest frequency" + (
        f", {high} at {peaks[high][0]:.0%}" if high != low else ""
    )
    first = results[0][1]
    return curves_with_band(
        "waves",
        told,
        rows,
        x=Axis("frequency, as a share of the highest that pixels hold"),
        y=Axis("answers changed", domain=(0.0, 1.0), format=".0%"),
        n=first.changed.shape[1],
        protocol=f"Grey plane waves of root mean square {255 * first.amplitude:.3g}/255 in {len(first.waves)} frequencies and "
        "directions, phases drawn; averaged over directions.",
        alt="; ".join(f"{row['series']} at {row['x']:.2f}: {row['y']:.1%}" for row in rows),
    )


def _over(scores: Sequence[NDArray[Any]], seed: int) -> tuple[float, Interval | None]:
    """The mean of one score an image with its interval: over images, or over seeds and images."""
    table = np.stack([np.asarray(own, dtype=np.float64) for own in scores])
    if len(table) == 1:
        return float(table.mean()), bootstrap(table[0], seed=seed) if table.shape[1] > 1 else None
    return float(table.mean()), seed_by_image(table) if table.shape[1] > 1 else over_seeds(table.mean(1))


def _point(subject: Subject, x: float, y: float, interval: Interval | None) -> dict[str, Any]:
    ends = {"low": interval.low, "high": interval.high} if interval else {"low": None, "high": None}
    return {"series": subject.name, "family": subject.family, "x": x, "y": y, **ends}
