"""The pictures of `priorscope.probes.similarity`: pairs, heat maps, matches and what layers hold by depth, convergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.core.axis import Axis
from priorscope.core.charts import curves_with_band, interval_dots
from priorscope.core.extremes import largest, smallest
from priorscope.core.matrices import heat_blocks, heat_map
from priorscope.core.stats import wilson
from priorscope.probes.similarity import Pair, Similarity

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

MOST_APART = 3
"""Networks of which each pair gets a heat map of its own, with numbers in it, beside the one of all."""
CKA = Axis("CKA", domain=(0.0, 1.0), format=".2f")
DEPTH = Axis("depth: 0 is the input, 1 the last layer read", domain=(0.0, 1.0), format=".1f")


def draw_all(result: Similarity) -> list[Figure]:
    """Pairs beside their untrained twins, who matches whom where, heat maps, what layers hold, and whether n suffices."""
    count = len(result.names)
    figures = [_pairs(result), _all_layers(result)]
    if np.isfinite(result.match).any():
        figures.append(_matches(result))
    if count <= MOST_APART:
        figures += [_map(result, a, b) for a, b in (*combinations(range(count), 2), *((a, a) for a in range(count)))]
    if result.logistic.size:
        figures += [_held(result), _dimensions(result)]
    return [*figures, _convergence(result)]


def _pairs(result: Similarity) -> Figure:
    family = dict(zip(result.names, result.families, strict=True))
    rows: list[dict[str, Any]] = []
    for pair in sorted(result.pairs, key=lambda pair: -pair.value):
        alike = family[pair.first] == family[pair.second]
        name = f"{pair.first} ~ {pair.second}"
        look = {"family": family[pair.first] if alike else "other"}
        kin = " (two seeds)" if pair.kin else ""
        rows.append({"subject": name + kin, **look, "value": pair.value, "low": pair.low, "high": pair.high})
        if pair.untrained is not None:
            rows.append({"subject": f"{name}, untrained", **look, "value": pair.untrained, "low": None, "high": None})
    return interval_dots(
        "similarity",
        _pairs_title(result.pairs),
        rows,
        axis=Axis("mean CKA of a layer with its best match in the other network", domain=(0.0, 1.0), format=".1f"),
        n=result.n,
        protocol=result.protocol(),
        alt="; ".join(f"{row['subject']} {row['value']:.2f}" for row in rows),
    )


def _pairs_title(pairs: Sequence[Pair]) -> str:
    """From the pair that is least alike to the one that is most: no test of the pairs names one of them."""
    by_pair = {f"{pair.first} ~ {pair.second}": pair for pair in pairs}
    values = {name: pair.value for name, pair in by_pair.items()}
    least, most = smallest(values), largest(values)
    match = "a layer's best match has a CKA"
    if len(pairs) == 1:
        return f"Between {pairs[0].first} and {pairs[0].second} {match} of {most.value:.2f}{_untrained(pairs[0])}"
    if most.equal:
        return f"All pairs are equally alike: {match} of {most.value:.2f}"
    low, high = (
        f"{end.value:.2f} ({end}{_untrained(by_pair[end.names[0]]) if len(end.names) == 1 else ''})" for end in (least, most)
    )
    return f"{match[:1].upper()}{match[1:]} from {low} to {high}"


def _untrained(pair: Pair) -> str:
    """What the same two networks have before training, where they were asked."""
    return f", untrained {pair.untrained:.2f}" if pair.untrained is not None else ""


def _depths(result: Similarity, network: int) -> list[float]:
    """The depth of each layer of a network, between the input (0) and the last layer (1)."""
    count = len(result.taps[network])
    return [(at + 1) / count for at in range(count)]


def _matches(result: Similarity) -> Figure:
    rows: list[dict[str, Any]] = []
    for row, network, tap in result.layers():
        depth = _depths(result, network)[result.taps[network].index(tap)]
        for other, name in enumerate(result.names):
            value, half = float(result.match[row, other]), float(result.match_half[row, other])
            if np.isfinite(value):
                ends = (value - half, min(value + half, 1.0)) if np.isfinite(half) else (None, None)
                who = {"series": f"{result.names[network]} in {name}", "family": result.families[network], "tap": tap}
                rows.append({**who, "x": depth, "y": value, "low": ends[0], "high": ends[1], "panel": f"best match in {name}"})
    lost = smallest({f"{row['tap']} of {row['series']}": row["y"] for row in rows})
    return curves_with_band(
        "similarity-match",
        f"Every layer finds a match of {lost.value:.2f}"
        if lost.equal
        else f"Least matched {'is' if len(lost.names) == 1 else 'are'} {lost}: {lost.value:.2f} at best",
        rows,
        x=DEPTH,
        y=CKA,
        n=result.n,
        protocol="The largest CKA of each layer with any layer of the other network; the largest of many reads a little high.",
        alt="CKA of each layer with its best match in another network, over depth.",
        panel="panel",
    )


def _all_layers(result: Similarity) -> Figure:
    layers = list(result.layers())
    rows = [
        {
            "down": result.names[down],
            "y": down_tap,
            "across": result.names[beside],
            "x": beside_tap,
            "value": value if np.isfinite(value := float(result.cka[i, j])) else None,
        }
        for i, down, down_tap in layers
        for j, beside, beside_tap in layers
    ]
    across = len(set(result.families)) > 1
    kind = result.families if across else result.names
    between = {
        f"{tap} of {result.names[one]} and {other_tap} of {result.names[other]}": float(result.cka[i, j])
        for (i, one, tap), (j, other, other_tap) in combinations(layers, 2)
        if kind[one] != kind[other]
    }
    title = _most_alike(between, "Across families" if across else "Of two networks")
    finite = result.half[np.isfinite(result.half)]
    sure = f"intervals up to {finite.max():.2f} either way" if finite.size else "too few batches for intervals"
    return heat_blocks(
        "cka",
        title,
        rows,
        value=CKA,
        n=result.n,
        protocol=f"Layers of each network from the input (top, left) to the logits; {sure}; empty where a layer is dead.",
        alt=f"CKA of every layer with every layer of {', '.join(result.names)}.",
    )


def _most_alike(cells: Mapping[str, float], where: str) -> str:
    """Which two layers are most alike, and how many other pairs are as much so; cells of dead layers are NaN."""
    alive = {name: value for name, value in cells.items() if np.isfinite(value)}
    if not alive:
        return f"{where}, there are no two layers to compare that are not dead"
    most = largest(alive)
    first, *others = most.names
    if most.equal:
        return f"{where}, {'all layers' if others else first} have a CKA of {most.value:.2f}"
    also = f" and {len(others)} other pair{'s' * (len(others) > 1)}" if others else ""
    return f"{where}, {first}{also} are most alike: {most.value:.2f}"


def _map(result: Similarity, a: int, b: int) -> Figure:
    block = result.cka[result.rows_of(a), result.rows_of(b)]
    rows = [
        {"x": across, "y": down, "value": float(block[i, j])}
        for i, down in enumerate(result.taps[a])
        for j, across in enumerate(result.taps[b])
    ]
    half = result.half[result.rows_of(a), result.rows_of(b)]
    first, second = result.names[a], result.names[b]
    sure = f"intervals up to {np.nanmax(half):.2f} either way" if np.isfinite(half).any() else "too few batches for intervals"
    if a != b:
        cells = {
            f"{down} and {across}": float(block[i, j])
            for i, down in enumerate(result.taps[a])
            for j, across in enumerate(result.taps[b])
        }
        title = _most_alike(cells, f"Of {first} and {second}")
    elif np.isfinite(block[0, -1]):
        title = f"Inside {first}: first and last layer have a CKA of {block[0, -1]:.2f}"
    else:
        title = f"Inside {first}: the first or the last layer is dead, and has no CKA"
    return heat_map(
        f"cka-{a}-{b}",
        title,
        rows,
        x=second,
        y=first,
        value=CKA,
        n=result.n,
        protocol=f"{sure}; empty where a layer is dead.",
        alt=f"CKA of every layer of {first} with every layer of {second}.",
    )


def _held(result: Similarity) -> Figure:
    rows: list[dict[str, Any]] = []
    best: dict[str, float] = {}
    for panel, counts in (("linear readout", result.logistic), (f"nearest neighbours (of {result.n:,})", result.neighbours)):
        for network, name in enumerate(result.names):
            span = result.rows_of(network)
            right = [int(counts[0]), *(int(count) for count in counts[1:][span])]
            for x, count in zip([0.0, *_depths(result, network)], right, strict=True):
                between = wilson(count, result.n)
                who = {"series": name, "family": result.families[network], "panel": panel}
                rows.append({**who, "x": x, "y": count / result.n, "low": between.low, "high": between.high})
            if panel == "linear readout":
                at = int(np.argmax(right))
                best[f"{name} at {result.taps[network][at - 1]}" if at else "the pixels"] = right[at] / result.n
    most = largest(best)
    return curves_with_band(
        "held-by-depth",
        f"Most is read out of {most}: {most.value:.0%} right",
        rows,
        x=DEPTH,
        y=Axis("share right", domain=(0.0, 1.0), format=".0%"),
        n=result.n,
        protocol=(
            "Features averaged over positions; two-fold logistic regression, and neighbours among all other images. "
            f"Chance is {1 / result.classes:.0%}; depth 0 is the raw pixels; Wilson's intervals."
        ),
        alt="Accuracy of a linear readout and of nearest neighbours over depth, one curve a network.",
        panel="panel",
    )


def _dimensions(result: Similarity) -> Figure:
    rows: list[dict[str, Any]] = []
    for network, name in enumerate(result.names):
        values = np.concatenate([result.dimension[:1], result.dimension[1:][result.rows_of(network)]])
        for x, (value, low, high) in zip([0.0, *_depths(result, network)], values.tolist(), strict=True):
            if np.isfinite(value):
                rows.append({"series": name, "family": result.families[network], "x": x, "y": value, "low": low, "high": high})
    ends = {row["series"]: row["y"] for row in rows if row["x"] == 1.0}
    title, pixels = "No last layer has an intrinsic dimension", float(result.dimension[0, 0])
    if ends:
        least = smallest(ends)
        beside = f", the pixels in {pixels:.0f}" if np.isfinite(pixels) else ""
        title = f"At the last layer {least.do('varies', 'vary')} in {least.value:.1f} directions{beside}"
    return curves_with_band(
        "dimension-by-depth",
        title,
        rows,
        x=DEPTH,
        y=Axis("intrinsic dimension (TwoNN)"),
        n=result.n,
        protocol="Of features averaged over positions; reads low beyond about 20 directions. Bootstrap over images.",
        alt="Intrinsic dimension over depth, one curve a network.",
    )


def _convergence(result: Similarity) -> Figure:
    rows: list[dict[str, Any]] = [
        {
            "series": "mean match",
            "family": "other",
            "x": images,
            "y": value,
            "low": value - half if np.isfinite(half) else None,
            "high": value + half if np.isfinite(half) else None,
        }
        for images, value, half in result.convergence.tolist()
    ]
    title = "A single batch: no convergence to show"
    if len(rows) > 1:
        before, after = rows[-2:]
        moved = abs(after["y"] - before["y"])
        title = f"From {before['x']:,.0f} to {after['x']:,.0f} images the mean match moved by {moved:.3f}"
    return curves_with_band(
        "similarity-convergence",
        title,
        rows,
        x=Axis("images", scale="log"),
        y=Axis("mean match (CKA)", format=".3f"),
        n=result.n,
        protocol="From the first batches alone; jackknife from four groups of batches on.",
        alt="; ".join(f"{row['x']:,.0f} images {row['y']:.3f}" for row in rows),
    )
