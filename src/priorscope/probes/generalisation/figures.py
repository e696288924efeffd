"""The pictures of `priorscope.probes.generalisation`: networks x data sets, by depth, and by readout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from priorscope.core.axis import SHARE, Axis
from priorscope.core.charts import curves_with_band, interval_dots
from priorscope.core.comparison import Difference, paired_proportions, seed_by_image_difference
from priorscope.core.contracts import Subject
from priorscope.core.matrices import heat_map
from priorscope.core.seeds import by_recipe
from priorscope.core.stats import ends, over_images
from priorscope.core.wording import counted, from_to
from priorscope.probes.generalisation import NAMES, Generalisation, Reading, Who
from priorscope.probes.shared.lead import lead_of

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
    return heat_map(
        "generalisation",
        _title(results),
        rows,
        x="data",
        y="features",
        value=Axis("share right", domain=(0.0, 1.0), format=".0%"),
        n=f"{min(one.n for one in first.sources):,} images or more a cell",
        protocol=f"Intervals are in the table; chance: {_chances(first)}. {first.protocol()}",
        alt="; ".join(f"{row['y']} on {row['x']} {row['value']:.1%}" for row in rows),
    )


def _title(results: Results) -> str:
    """Out of whose features most is read, untrained ones and pixels among them, if tests of all pairs say so."""
    first = results[0][1]
    told: dict[str, Read] = {}
    for subject, seeds in by_recipe(results):
        told[subject.name] = Read(seeds, np.stack([each.right for each in seeds]))
        if all(each.untrained.size for each in seeds):
            told[f"{subject.name}, untrained"] = Read(seeds, np.stack([each.untrained for each in seeds]))
    told["raw pixels"] = Read([first], first.pixels[None], fixed=True)
    values = {name: float(read.right.mean()) for name, read in told.items()}
    lead = lead_of(values, told, _more_read, "higher")
    best, pixels = f"{values[lead.best]:.1%}", f"{values['raw pixels']:.1%}"
    images = "" if len(first.sources) == 1 else f" of the images of {counted(len(first.sources), 'data set')}"
    return lead.title(
        claim=f"Most is read out of {lead.best}",
        number=f"{best}{images}" + ("" if lead.best == "raw pixels" else f" (raw pixels {pixels})"),
        fact=f"out of {lead.best} {best}{images} is read",
        last=f"out of {lead.last} {values[lead.last]:.1%}",
    )


class Read(NamedTuple):
    """Whether each image is read right, (seeds, images), in which results, and whether it is the same for every seed."""

    results: Sequence[Generalisation]
    right: NDArray[np.bool_]
    fixed: bool = False


def _more_read(some: Read, others: Read) -> Difference | None:
    """How much more is read out of the one than of the other.

    None if they were asked about other images, or if one seed stands against several.
    """
    asked = {(each.split, each.readouts[0], each.seed, each.sources) for each in (*some.results, *others.results)}
    if len(asked) > 1:
        return None
    one, other = some.right, others.right
    if len(one) == len(other) == 1:
        return paired_proportions(one[0], other[0])
    if some.fixed or others.fixed:
        return seed_by_image_difference(*np.broadcast_arrays(one, other), paired=True)
    return None if 1 in (len(one), len(other)) else seed_by_image_difference(one, other)


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
                        "trained": who == "trained",
                    }
                    last = tap == first.taps[-1]
                    name = subject.name if who == "trained" else "untrained"
                    rows.append({**where, "x": each[0].depth, **_mean(each), "end": name if last else None})
    first = results[0][1]
    shares = [row["y"] for row in rows if row["trained"]]
    return curves_with_band(
        "generalisation-depth",
        f"By depth {from_to(shares, '.1%')} is read out",
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
    by = "network" if several else "readout"
    return interval_dots(
        "generalisation-readouts",
        f"By {by} and number of labels {from_to([row['value'] for row in rows], '.1%')} are right",
        rows,
        axis=SHARE,
        n=f"{min(one.n for one in first.sources):,} images or more a data set",
        protocol=f"Features at {first.taps[-1]}; few labels: {first.draws} draws; raw pixels: {_pixels(first)}; chance: "
        f"{_chances(first)}. Intervals over images, draws x images, or seeds x images.",
        alt="; ".join(f"{row['panel']}, {row['subject']} {row['value']:.1%}" for row in rows),
        panel="panel",
    )


def _whole(seeds: Sequence[Generalisation], source: str) -> dict[str, float | None]:
    """The interval of the result's first number on a source: over seeds x images, for one run over images."""
    spans = [seed.spans()[[one.name for one in seed.sources].index(source)] for seed in seeds]
    right = np.stack([seed.right[span] for seed, span in zip(seeds, spans, strict=True)])
    return ends(over_images(right))
