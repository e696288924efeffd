"""The pictures of `priorscope.probes.activation`: what networks want to see, who recognises it, and how natural it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.core.axis import Axis
from priorscope.core.charts import curves_with_band
from priorscope.core.extremes import largest, smallest
from priorscope.core.matrices import gallery, heat_map
from priorscope.core.stats import ends
from priorscope.probes.activation import Activation

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

SIDE = 72
"""Pixels of a picture in a gallery: eight fit in a column of the page."""

REAL = "a real one"


def figures_of(result: Activation) -> list[Figure]:
    """The gallery, who recognises whose pictures, what another start gives, and the spectra."""
    is_class = ~np.isnan(result.probability[0, 0, :, 0])
    figures = [_gallery(result)]
    if is_class.any() and len(result.names) > 1:
        figures.append(_judges(result, is_class))
    if result.pictures.shape[2] > 1:
        figures.append(_starts(result))
    return [*figures, _spectra(result)]


def _gallery(result: Activation) -> Figure:
    """The first start of every target, network under network, below a real picture."""
    columns = [target.removeprefix("class:") for target in result.targets]
    shown = [(REAL, column, result.real[t]) for t, column in enumerate(columns)]
    shown += [
        (name, column, result.pictures[m, t, 0]) for m, name in enumerate(result.names) for t, column in enumerate(columns)
    ]
    return gallery(
        "activation",
        _answer(result),
        shown,
        n=f"{len(result.targets)} targets, the first of {result.pictures.shape[2]} starts",
        protocol=result.protocol(),
        alt=f"Pictures that drive each target of each network, below a real picture. {result.headline()}",
        side=SIDE,
    )


def _answer(result: Activation) -> str:
    """Whose pictures are recognised best and worst by the other networks."""
    if result.unit != "probability":
        return result.headline().rstrip(".")
    means = dict(zip(result.names, np.nanmean(result.others(), axis=(1, 2)).tolist(), strict=True))
    best, worst = largest(means), smallest(means)
    if len(means) == 1:
        return f"{best} gives the pictures made for it a probability of {best.value:.2f}"
    said = f"What {best.do('wants', 'want')} to see, others recognise with probability {best.value:.2f}"
    return said if best.equal else f"{said}; of {worst} {worst.value:.2f}"


def _judges(result: Activation, is_class: Any) -> Figure:
    """Makers down, judges across."""
    given = result.probability[:, :, is_class].mean((2, 3))
    rows = [
        {"x": judge, "y": maker, "value": float(given[j, m])}
        for m, maker in enumerate(result.names)
        for j, judge in enumerate(result.names)
    ]
    others = {
        f"{maker}'s by {judge}": float(given[j, m])
        for m, maker in enumerate(result.names)
        for j, judge in enumerate(result.names)
        if j != m
    }
    least, best = smallest(others), largest(others)
    return heat_map(
        "activation-judges",
        f"Pictures made for others are given a probability of {best.value:.2f}"
        if best.equal
        else f"Pictures made for others are given a probability of {least.value:.2f} ({least}) to {best.value:.2f} ({best})",
        rows,
        x="judge",
        y="made for",
        value=Axis("probability of the class", domain=(0.0, 1.0), format=".2f"),
        n=f"{int(is_class.sum()) * result.pictures.shape[2]} pictures a network",
        protocol=f"Mean probability of the class that a picture was made for; chance {1 / result.classes:.2f}. "
        f"{result.protocol()}",
        alt="; ".join(f"made for {row['y']}, judged by {row['x']}: {row['value']:.2f}" for row in rows),
    )


def _starts(result: Activation) -> Figure:
    """Every start of the first targets."""
    starts, targets = result.pictures.shape[2], result.targets[: max(1, 8 // result.pictures.shape[2])]
    shown = [
        (name, f"{target.removeprefix('class:')} {start + 1}", result.pictures[m, t, start])
        for m, name in enumerate(result.names)
        for t, target in enumerate(targets)
        for start in range(starts)
    ]
    ratio = np.nanmean(result.between_starts, axis=1) / result.between_targets
    title = "Starts of each target"
    if np.isfinite(ratio).all():
        ratios = dict(zip(result.names, ratio.tolist(), strict=True))
        most, least = largest(ratios), smallest(ratios)
        title = f"Two starts differ as much as {most.value:.0%} of two targets in {most}"
        if not most.equal:
            title += f", {least.value:.0%} in {least}"
    return gallery(
        "activation-starts",
        title,
        shown,
        n=f"{starts} starts of {len(targets)} targets",
        protocol=f"Root mean square differences of pixels. {result.protocol()}",
        alt=f"Pictures of the same target from different starts. {title}.",
        side=SIDE,
    )


def _spectra(result: Activation) -> Figure:
    """Power over frequencies, beside real pictures' with the ends between which 95 % of them lie."""
    rows: list[dict[str, Any]] = []
    for at in range(result.real_power.shape[1]):
        mean, low, high = (float(value) for value in 10 * result.real_power[:, at])
        row = {"series": "real pictures", "family": "real pictures", "x": at + 1, "y": mean}
        rows.append({**row, "low": min(low, mean), "high": max(high, mean), "end": None})
    for name, family, power in zip(result.names, result.families, result.power, strict=True):
        for at, value in enumerate(power.tolist()):
            rows.append({"series": name, "family": family, "x": at + 1, "y": 10 * value, **ends(None)})
    far = dict(zip(result.names, result.distance.mean((1, 2)).tolist(), strict=True))
    nearest, furthest = smallest(far), largest(far)
    title = f"The spectrum of pictures made for {furthest} is {furthest.value:.1f} dB away from real ones"
    if not furthest.equal:
        title += f", for {nearest} {nearest.value:.1f} dB"
    return curves_with_band(
        "activation-spectrum",
        f"{title}; a real picture is {result.real_distance:.1f} dB away from their mean",
        rows,
        x=Axis("periods a picture", scale="log", domain=(1, result.real_power.shape[1])),
        y=Axis("power in decibels (0: white noise of variance 1)"),
        n=f"{result.pictures.shape[1] * result.pictures.shape[2]} pictures a network, {result.images:,} real ones",
        protocol=f"Power averaged over directions and colours; band: 95 % of the real pictures. {result.protocol()}",
        alt=f"Power of made and real pictures over frequencies. {title}.",
        points=False,
    )
