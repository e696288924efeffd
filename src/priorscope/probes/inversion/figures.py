"""The pictures of `priorscope.probes.inversion`: error and residual against depth, and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.axis import Axis
from priorscope.core.charts import curves_with_band
from priorscope.core.contracts import Subject
from priorscope.core.extremes import largest, smallest
from priorscope.core.matrices import gallery
from priorscope.core.seeds import by_recipe
from priorscope.core.stats import ends, over_seeds
from priorscope.core.wording import counted
from priorscope.probes.inversion import Floats, Inversion, interval_over

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

SIDE = 72
QUARTERS = ("embedded", "1/4 deep", "1/2 deep", "3/4 deep", "at the head")
"""Columns of the gallery of several networks: their depths differ, and each picture stands in the nearest."""

PICTURES = 4
"""Pictures of one network that a gallery shows, every depth of each."""

Arms = Sequence[tuple[Subject, Sequence[Inversion]]]


def figures_of(results: Sequence[tuple[Subject, Inversion]]) -> list[Figure]:
    """Networks side by side: curves, then what was found; of one network more pictures."""
    arms: Arms = by_recipe(results)
    shown = _beside(arms) if len(arms) > 1 else _alone(arms[0][0], arms[0][1][0])
    return [_curve(arms, "image error"), shown, _curve(arms, "feature residual")]


def _values(result: Inversion, what: str) -> Floats:
    """(K, N): image errors, or the decimal logarithm of residuals."""
    return result.error if what == "image error" else np.log10(np.maximum(result.residual, 1e-9))


def _curve(arms: Arms, what: str) -> Figure:
    """One quantity against depth, one curve a network; of the residual the geometric mean."""
    rows = [row for subject, seeds in arms for row in _rows(subject, seeds, what)]
    first = arms[0][1][0]
    of_error = what == "image error"
    reference = (float(first.blind.mean()), "the mean picture") if of_error else (first.converged, "converged below")
    return curves_with_band(
        "inversion" if of_error else "inversion-residual",
        _error_title(arms) if of_error else _residual_title(arms),
        rows,
        x=Axis("depth (0: the embedding, 1: what the head sees)", domain=(0.0, 1.0)),
        y=Axis("image error (root mean square of pixels in [0, 1])")
        if of_error
        else Axis("feature residual (1: two real pictures)", scale="log", format=".0e"),
        n=f"{first.n} pictures, {counted(max(len(seeds) for _, seeds in arms), 'seed')} at most",
        protocol=("Beside a point: for how many pictures the search did not converge. " if of_error else "Geometric means. ")
        + first.protocol(),
        alt="; ".join(f"{row['series']} at depth {row['x']:.2f}: {row['y']:.3g}" for row in rows),
        reference=reference,
    )


def _rows(subject: Subject, seeds: Sequence[Inversion], what: str) -> Iterator[dict[str, Any]]:
    """One row for each tap at which every seed was read: a seed leaves out taps that are dead in it."""
    first = seeds[0]
    for tap, depth in zip(first.taps, first.depths, strict=True):
        if not all(tap in result.taps for result in seeds):
            continue
        per_seed = [float(_values(result, what)[result.taps.index(tap)].mean()) for result in seeds]
        own = [interval_over(_values(result, what)[result.taps.index(tap)]) for result in seeds]
        interval = over_seeds(per_seed, images=own) if len(per_seed) > 1 else own[0]
        place = {"y": float(np.mean(per_seed)), **ends(interval)}
        if what != "image error":
            place = {name: None if value is None else 10**value for name, value in place.items()}
        failed = sum(int((~result.good()[result.taps.index(tap)]).sum()) for result in seeds)
        asked = sum(result.n for result in seeds)
        said = f"{failed}/{asked} failed" if failed and what == "image error" else None
        yield {"series": subject.name, "family": subject.family, "x": depth, **place, "end": said}


def _error_title(arms: Arms) -> str:
    """Where the errors run at the deepest tap, of networks from which at least half of the pictures were found."""
    found = {
        subject.name: float(np.mean([result.value for result in seeds]))
        for subject, seeds in arms
        if np.mean([result.good()[-1].mean() for result in seeds]) >= 0.5
    }
    deepest = {float(result.depths[-1]) for _, seeds in arms for result in seeds}
    there = "the head" if deepest == {1.0} else "the deepest tap asked"
    if not found:
        return f"From what {there} sees the search finds few pictures: what is lost there was not measured"
    most, least = largest(found), smallest(found)
    if most.equal:
        off, blind = f"{most.value:.3f} off", float(arms[0][1][0].blind.mean())
        return f"From what {there} of {most} sees, pictures come back {off}; the mean picture {blind:.3f}"
    return f"From what {there} sees, pictures come back {least.value:.3f} ({least}) to {most.value:.3f} ({most}) off"


def _residual_title(arms: Arms) -> str:
    """For what share of the pictures a search converged."""
    good = [result.good().mean() for _, seeds in arms for result in seeds]
    return f"The search gives the activations back for {np.mean(good):.0%} of the pictures and depths"


def _alone(subject: Subject, result: Inversion) -> Figure:
    """Some pictures of one network, depths across."""
    good = result.good().sum(1)
    columns = [f"{depth:.2f} ({n}/{result.n})" for depth, n in zip(result.depths, good, strict=True)]
    shown: list[tuple[str, str, NDArray[np.uint8]]] = []
    for i in range(min(PICTURES, result.n)):
        shown.append((f"picture {i + 1}", "real", result.real[i]))
        shown += [(f"picture {i + 1}", column, result.found[k, i]) for k, column in enumerate(columns)]
    taps = ", ".join(f"{depth:.2f} {tap}" for depth, tap in zip(result.depths, result.taps, strict=True))
    return gallery(
        "inversion-gallery",
        f"What can be told from each depth of {subject.name}",
        shown,
        n=f"{min(PICTURES, result.n)} of {result.n} pictures",
        protocol=f"Above: the depth, and for how many pictures the search converged. Depths: {taps}. {result.protocol()}",
        alt=f"Real pictures and those found from each depth. {result.headline()}",
        side=SIDE,
    )


def _beside(arms: Arms) -> Figure:
    """The first picture, networks down and depths across."""
    first = arms[0][1][0]
    shown = [("real", column, first.real[0]) for column in QUARTERS]
    for subject, seeds in arms:
        result = seeds[0]
        depths = np.array(result.depths)
        for at, column in enumerate(QUARTERS):
            k = int(np.abs(depths - at / 4).argmin())
            shown.append((subject.name, column, result.found[k, 0]))
    failed = [
        f"{subject.name} {QUARTERS[at]}"
        for subject, seeds in arms
        for at in range(len(QUARTERS))
        if not seeds[0].good()[int(np.abs(np.array(seeds[0].depths) - at / 4).argmin()), 0]
    ]
    marked = f"Not converged: {', '.join(failed)}." if failed else "All converged."
    return gallery(
        "inversion-gallery",
        "What can be told from each depth, network beside network",
        shown,
        n="the first picture, the first seed of each network",
        protocol=f"Each column shows the nearest depth that was measured. {marked} {first.protocol()}",
        alt=f"The same picture found from five depths of each network. {marked}",
        side=SIDE,
    )
