"""The pictures of `priorscope.probes.generalisation`: networks x data sets, by depth, and by readout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.core.charts import SHARE, Axis, curves_with_band, interval_dots
from priorscope.core.contracts import Subject, by_recipe
from priorscope.core.extremes import largest
from priorscope.core.matrices import heat_map
from priorscope.core.stats import ends, seed_by_image, wilson
from priorscope.probes.generalisation import NAMES, Generalisation, Reading, Who

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

Results = Sequence[tuple[Subject, Generalisation]]
Rows = list[dict[str, Any]]


def draw_all(results: Results) -> list[Figure]:
    """Networks x data sets, what each depth holds, and what the readouts and few labels make of it."""
    deep = any(len(result.taps) > 1 for _, result in results)
    return [draw_matrix(results), *([draw_depth(results)] if deep else []), draw_readouts(results)]


def draw_matrix(results: Results) -> Figure:
    """Networks down, data sets across; below them their untrained twins and the raw pixels."""
    rows: Rows = []
    for subject, seeds in by_recipe(results):
        rows += [_cell(one.name, subject.name, [each.of(one.name).value for each in seeds]) for one in seeds[0].sources]
    for subject, seeds in by_recipe(results):
        if all(each.untrained.size for each in seeds):
            for one in seeds[0].sources:
                values = [each.of(one.name, "untrained").value for each in seeds]
                rows.append(_cell(one.name, f"{subject.name}, untrained", values))
    first = results[0][1]
    rows += [_cell(one.name, "raw pixels", [first.of(one.name, "pixels").value]) for one in first.sources]
    cells = {f"{row['y']} on {row['x']}": row for row in rows}
    best = largest({name: row["value"] for name, row in cells.items()})
    title = f"{'As much is read out of everything' if best.equal else f'Most is read out of {best}'}: {best.value:.1%}"
    if len(best.names) == 1 and (len(first.sources) == 1 or len(by_recipe(results)) > 1):
        title += f" (raw pixels {first.of(cells[best.names[0]]['x'], 'pixels').value:.1%})"
    return heat_map(
        "generalisation",
        title,
        rows,
        x="data",
        y="features",
        value=Axis("share right", domain=(0.0, 1.0), format=".0%"),
        n=f"{min(one.n for one in first.sources):,} images or more a cell",
        protocol=f"Intervals are in the table; chance: {_chances(first)}. {first.protocol()}",
        alt="; ".join(f"{row['y']} on {row['x']} {row['value']:.1%}" for row in rows),
    )


def _cell(source: str, features: str, values: Sequence[float]) -> dict[str, Any]:
    return {"x": source, "y": features, "value": float(np.mean(values))}


def _chances(result: Generalisation) -> str:
    return ", ".join(f"{1 / one.classes:.1%} on {one.name}" for one in result.sources)


def draw_depth(results: Results) -> Figure:
    """The first readout at each depth, trained and untrained, one panel a data set; depth 0 is the embedding."""
    rows: Rows = []
    for subject, seeds in by_recipe(results):
        first = seeds[0]
        for one in first.sources:
            sides: tuple[tuple[Who, str], ...] = (("trained", subject.family), ("untrained", "other"))
            for who, look in sides:
                if who == "untrained" and not first.untrained.size:
                    continue
                for tap in first.taps:
                    each = [seed.of(one.name, who, tap) for seed in seeds if tap in seed.taps]
                    where = {
                        "series": f"{subject.name} {who} {one.name}",
                        "family": look,
                        "panel": one.name,
                        "tap": tap,
                        "who": subject.name,
                        "trained": who == "trained",
                    }
                    last = tap == first.taps[-1]
                    name = subject.name if who == "trained" else "untrained"
                    rows.append({**where, "x": each[0].depth, **_mean(each), "end": name if last else None})
    first = results[0][1]
    best = largest({f"{row['panel']} at {row['tap']} of {row['who']}": row["y"] for row in rows if row["trained"]})
    return curves_with_band(
        "generalisation-depth",
        f"As much is read out at every depth: {best.value:.1%}"
        if best.equal
        else f"Most is read out of {best}: {best.value:.1%}",
        rows,
        x=Axis("depth: 0 is the embedding, 1 what the head sees", domain=(0.0, 1.0), format=".1f"),
        y=Axis("share right", domain=(0.0, 1.0), format=".0%"),
        n=f"{min(one.n for one in first.sources):,} images or more a data set",
        protocol=f"{NAMES[first.readouts[0]]} on all labelled images; grey: untrained twins; Wilson's intervals of one "
        f"checkpoint, means over seeds without. Raw pixels: {_pixels(first)}; chance: {_chances(first)}.",
        alt="; ".join(f"{row['series']} at {row['tap']} {row['y']:.1%}" for row in rows),
        panel="panel",
    )


def _mean(each: Sequence[Reading]) -> dict[str, Any]:
    """The mean over seeds; with the interval if there is one seed."""
    low, high = (each[0].low, each[0].high) if len(each) == 1 else (None, None)
    return {"y": float(np.mean([one.value for one in each])), "low": low, "high": high}


def _pixels(result: Generalisation) -> str:
    return ", ".join(f"{result.of(one.name, 'pixels').value:.1%} of {one.name}" for one in result.sources)


def draw_readouts(results: Results) -> Figure:
    """What the head sees, by every readout and number of labels, one panel a data set."""
    rows: Rows = []
    first = results[0][1]
    several = len(by_recipe(results)) > 1
    shown = first.readouts[:1] if several else first.readouts
    counts = sorted({one.shots for one in first.readings}, key=lambda shots: (shots == 0, shots))
    for subject, seeds in by_recipe(results):
        for one in seeds[0].sources:
            for readout in shown:
                for shots in counts:
                    each = [seed.of(one.name, "trained", None, readout, shots) for seed in seeds]
                    said = f"{shots} shots" if shots else "all labels"
                    name = f"{subject.name}, {said}" if several else f"{readout}, {said}"
                    row = {"subject": name, "family": subject.family, "panel": one.name, **_mean(each)}
                    row["value"] = row.pop("y")
                    if not shots and readout == first.readouts[0]:
                        row |= _whole(seeds, one.name)
                    rows.append(row)
    best = max(rows, key=lambda row: row["value"])
    return interval_dots(
        "generalisation-readouts",
        f"{best['subject'].capitalize() if not several else best['subject']}: {best['value']:.1%} of {best['panel']} is right",
        rows,
        axis=SHARE,
        n=f"{min(one.n for one in first.sources):,} images or more a data set",
        protocol=f"Features at {first.taps[-1]}; few labels: {first.draws} draws; raw pixels: {_pixels(first)}; chance: "
        f"{_chances(first)}. Intervals over images, draws x images, or seeds x images.",
        alt="; ".join(f"{row['panel']}, {row['subject']} {row['value']:.1%}" for row in rows),
        panel="panel",
    )


def _whole(seeds: Sequence[Generalisation], source: str) -> dict[str, float | None]:
    """The interval of what is told first: over seeds x images, of one run over images."""
    spans = [seed.spans()[[one.name for one in seed.sources].index(source)] for seed in seeds]
    right = np.stack([seed.right[span] for seed, span in zip(seeds, spans, strict=True)])
    return ends(seed_by_image(right) if len(right) > 1 else wilson(int(right.sum()), right.size))
