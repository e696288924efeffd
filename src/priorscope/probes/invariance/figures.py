"""The pictures of `priorscope.probes.invariance`: one for each of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.axis import Axis
from priorscope.core.charts import curves_with_band, interval_dots
from priorscope.core.comparison import Difference, paired_proportions, seed_by_image_difference
from priorscope.core.contracts import Subject
from priorscope.core.extremes import largest, smallest
from priorscope.core.figure import Figure
from priorscope.core.seeds import by_recipe
from priorscope.core.stats import Interval, bootstrap, bootstrap_of_shares, clipped, ends, over_images, over_seeds
from priorscope.probes.invariance import WHOLE, Invariance

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
            agrees = [result.agrees[i] for result in seeds]
            rows.append(_point(subject, one.size, *_over(agrees, seeds[0].seed)) | {"panel": KINDS[one.kind]})
    usual = results[0][1].usual
    shifted = [row for row in rows if row["panel"] == KINDS["shift"] and row["x"] == usual.size]
    kept = {row["series"]: row["y"] for row in shifted}
    best, worst = largest(kept), smallest(kept)
    leaves = f"{usual.said().capitalize()} leaves"
    title = (
        f"{leaves} {best.value:.0%} of the answers of {best} as they are"
        if best.equal
        else f"{leaves} from {worst.value:.0%} ({worst}) to {best.value:.0%} ({best}) of the answers as they are"
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
    alone = False
    for subject, seeds in by_recipe([(subject, result) for subject, result in results if result.permuted]):
        for kind in sorted({kind for result in seeds for kind in result.permuted}):
            pairs = [result for result in seeds if kind in result.permuted]
            alone, difference = alone or len(pairs) == 1, _lost(pairs, kind)
            row = {"subject": subject.name, "family": subject.family, "panel": kind, "value": difference.value}
            rows.append({**row, **ends(difference.interval)})
    n = max(result.permuted_right.shape[1] for _, result in results if result.permuted)
    return interval_dots(
        "locality",
        _locality_title(rows),
        rows,
        axis=Axis("accuracy lost to permuted pixels", format=".0%"),
        n=n,
        protocol="The same recipe trained on pixels in one fixed random order, against the run's own, on the same test images."
        + (" Of one training each, the noise of training is not in the interval." if alone else ""),
        alt="; ".join(f"{row['subject']}, {row['panel']}: {100 * row['value']:+.1f} points" for row in rows),
        reference=(0.0, "nothing lost"),
        panel="panel",
    )


def _lost(seeds: Sequence[Invariance], kind: str) -> Difference:
    """Accuracy with pixels as they are minus that of the runs on permuted ones: over images, or over seeds and images too."""
    sides = [(result.permuted_right[0], result.permuted_right[1 + result.permuted.index(kind)]) for result in seeds]
    if len(sides) == 1:
        return paired_proportions(*sides[0])
    plain, permuted = (np.stack(side) for side in zip(*sides, strict=True))
    return seed_by_image_difference(plain, permuted, paired=True)


def _locality_title(rows: Sequence[dict[str, Any]]) -> str:
    """What locality is worth: what is lost where pixels are out of order in the whole picture, if that was asked."""
    whole = [row for row in rows if row["panel"] == WHOLE] or rows
    lost = {row["subject"]: row["value"] for row in whole}
    if any(row["low"] > 0 for row in whole):
        return f"Without locality {_lost_said(lost)}"
    return f"No loss without locality is distinguishable from none: {_points_said(lost)}"


def _lost_said(lost: Mapping[str, float]) -> str:
    """Who loses how many points of accuracy."""
    most = largest(lost)
    if most.equal:
        return f"{most.do('loses', 'each lose')} {_points(most.value)} points of accuracy"
    return f"{_points_said(lost)} are lost"


def _points_said(lost: Mapping[str, float]) -> str:
    """From how few points of accuracy to how many: no test of the losses names one of them the largest."""
    least, most = smallest(lost), largest(lost)
    begun = "" if most.equal else f"from {_points(least.value)} ({least}) to "
    return f"{begun}{_points(most.value)} points of accuracy ({most})"


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:.1f}"  # what rounds to nothing has no sign


def draw_resolution(results: Results) -> Figure:
    """Accuracy with fewer pixels a side."""
    rows: list[dict[str, Any]] = []
    lost: dict[str, float] = {}
    for subject, seeds in by_recipe(results):
        first = seeds[0]
        for i, side in enumerate((first.image_size, *first.resolutions)):
            right = [result.sharp[i - 1] if i else result.correct for result in seeds]
            rows.append(_point(subject, float(side), *_over(right, first.seed)))
        own = rows[-1 - len(first.resolutions) :]
        lost[subject.name] = own[0]["y"] - own[1]["y"]
    said = _lost_said(lost) if max(lost.values()) > 0 else "no accuracy is lost"
    sides = (results[0][1].image_size, *results[0][1].resolutions)
    return curves_with_band(
        "resolution",
        f"At {sides[1]} pixels a side {said}",
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
            looking = [own for result in seeds if len(own := result.reach[i][np.isfinite(result.reach[i])])]
            if looking:
                rows.append(_point(subject, at, *_reach_of(looking, len(seeds), seeds[0].seed)))
    first: dict[str, float] = {}
    for row in rows:
        first.setdefault(row["series"], row["y"])
    narrow, wide = smallest(first), largest(first)
    title = (
        f"The first units of {narrow} look within {narrow.value:.0%} of an even spread"
        if narrow.equal
        else f"First units look narrowest in {narrow} ({narrow.value:.0%} of an even spread), "
        f"widest in {wide} ({wide.value:.0%})"
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
        "images; intervals over seeds; of one checkpoint, over units.",
        alt="; ".join(f"{row['series']} at depth {row['x']:.2f}: {row['y']:.0%}" for row in rows),
        reference=(1.0, "even spread"),
    )


def _reach_of(looking: Sequence[NDArray[np.float64]], seeds: int, seed: int) -> tuple[float, Interval | None]:
    """The mean reach of each network's units: over units for one network, over seeds for several."""
    means = [float(own.mean()) for own in looking]
    if seeds == 1:
        return means[0], bootstrap(looking[0], seed=seed)
    between = over_seeds(means) if len(means) > 1 else None
    return float(np.mean(means)), between and between.replace(low=max(0.0, between.low))


def draw_waves(results: Results) -> Figure:
    """How often a wave changes the answer, over its frequency."""
    rows: list[dict[str, Any]] = []
    peaks: dict[str, float] = {}
    for subject, seeds in by_recipe(results):
        radius, own = seeds[0].radius(), list[dict[str, Any]]()
        edges = np.linspace(0, radius.max() + 1e-9, BANDS + 1)
        for low, high in pairwise(edges):
            inside = (radius >= low) & (radius < high)
            if inside.any():
                changed = [result.changed[inside].mean(0) for result in seeds]
                own.append(_point(subject, float(radius[inside].mean()), *_over(changed, seeds[0].seed)))
        most = max(own, key=lambda row: row["y"])
        if most["y"] > min(row["y"] for row in own):
            peaks[subject.name] = most["x"]
        rows += own
    first = results[0][1]
    return curves_with_band(
        "waves",
        _waves_title(rows, peaks),
        rows,
        x=Axis("frequency, as a share of the highest that pixels hold"),
        y=Axis("answers changed", domain=(0.0, 1.0), format=".0%"),
        n=first.changed.shape[1],
        protocol=f"Grey plane waves of root mean square {255 * first.amplitude:.3g}/255 in {len(first.waves)} frequencies and "
        "directions, phases drawn; averaged over directions.",
        alt="; ".join(f"{row['series']} at {row['x']:.2f}: {row['y']:.1%}" for row in rows),
    )


def _waves_title(rows: Sequence[dict[str, Any]], peaks: Mapping[str, float]) -> str:
    """The title: the lowest and the highest frequency at which waves disturb a network most.

    A network that all waves disturb alike has no such frequency.
    """
    if not peaks:
        return "Waves of every frequency disturb alike" if any(row["y"] for row in rows) else "No wave changes an answer"
    low, high = smallest(peaks), largest(peaks)
    other = "" if low.equal else f", {high} at {high.value:.0%}"
    return f"A wave disturbs {low} most at {low.value:.0%} of the highest frequency{other}"


def _over(scores: Sequence[NDArray[Any]], seed: int) -> tuple[float, Interval | None]:
    """The mean of one share an image with its interval, which no share is outside of: over images, or seeds and images."""
    table = np.stack(scores)
    if len(table) > 1 == table.shape[1]:
        found = over_seeds(table.mean(1))
    elif len(table) == 1 and table.dtype != np.bool_:
        found = bootstrap_of_shares(table[0], seed=seed)
    else:
        found = over_images(table)
    return float(table.mean()), found and clipped(found, 0.0, 1.0)


def _point(subject: Subject, x: float, y: float, interval: Interval | None) -> dict[str, Any]:
    return {"series": subject.name, "family": subject.family, "x": x, "y": y, **ends(interval)}
