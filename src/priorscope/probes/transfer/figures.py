"""The pictures of `priorscope.probes.transfer`: the matrix, and what its sources and targets bring to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from priorscope.core.axis import SHARE, Axis
from priorscope.core.charts import interval_dots
from priorscope.core.comparison import Difference, beside_the_best
from priorscope.core.extremes import largest, named, smallest
from priorscope.core.matrices import heat_map
from priorscope.core.stats import symmetric_interval
from priorscope.core.variance import VariancePart, p_value
from priorscope.probes.transfer import Transfer
from priorscope.probes.transfer.parts import spread_of_parts

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

PAIRS = 12
"""The most pairs that one picture of affinities shows: those furthest from 0."""
EQUAL = 1e-9
"""Logits by which equal parts may differ, being rounded."""


def draw_matrix(result: Transfer) -> Figure:
    """Sources down, targets across, the control below."""
    names, count = result.names, range(len(result.names))
    cells = [(names[s], names[t], *result.share(s, t)) for s in count for t in count]
    control = [("random signs", names[t], *result.noise_share(t)) for t in count]
    rows = [{"x": target, "y": source, "value": share if n else None} for source, target, share, n in [*cells, *control]]
    return heat_map(
        f"transfer-{result.attack}",
        _matrix_title(cells),
        rows,
        x="target",
        y="source",
        value=Axis("share fooled", domain=(0.0, 1.0), format=SHARE.format),
        n=f"{min(n for *_, n in cells):,} images or more a cell",
        protocol=result.protocol(),
        alt=f"How often each network is fooled by pictures made for each other. {result.headline()}",
    )


def _matrix_title(cells: Sequence[tuple[str, str, float, int]]) -> str:
    """From how few pictures to how many travel: each cell has images of its own, and no test names the largest."""
    fooled = {f"{target} by what fools {source}": share for source, target, share, n in cells if n and source != target}
    if not fooled:
        return "No image is right for two networks"
    most = largest(fooled)
    if most.value == 0:
        return "What fools one network fools no other"
    if most.equal:
        return f"What fools one network fools the other{'s' * (len(cells) > 4)}: {most.value:.0%}"
    least = smallest(fooled)
    return f"What fools one network fools another in {least.value:.0%} ({least}) to {most.value:.0%} ({most})"


def draw_parts(result: Transfer) -> Figure:
    """Strength as a source and weakness as a target, in logits around the mean."""
    rows = [
        {"subject": name, "family": "other", "value": value, "low": low, "high": high, "part": part}
        for part, values, lows, highs in (
            ("strength as a source", result.strength, result.strength_low, result.strength_high),
            ("weakness as a target", result.weakness, result.weakness_low, result.weakness_high),
        )
        for name, value, low, high in zip(result.names, values.tolist(), lows.tolist(), highs.tolist(), strict=True)
    ]
    return interval_dots(
        f"transfer-parts-{result.attack}",
        _parts_title(result),
        rows,
        axis=Axis("logits above the mean"),
        n=f"{int(result.clean.all(0).sum()):,} images that all networks get right",
        protocol="Logit of the fooled share = mean + strength + weakness + affinity; bootstrap over images.",
        alt="; ".join(f"{row['subject']} {row['part']} {row['value']:+.2f}" for row in rows),
        reference=(0.0, "mean"),
        panel="part",
    )


def draw_affinity(result: Transfer) -> Figure:
    """What is left to each pair, in logits: the pairs furthest from 0, the largest first."""
    pairs: list[dict[str, Any]] = [
        {"subject": f"{result.names[s]} -> {result.names[t]}", **result.affinity_of(s, t)} for s, t in result.pairs()
    ]
    furthest = sorted(pairs, key=lambda row: -abs(row["value"]))[:PAIRS]
    rows = [{**row, "family": "other"} for row in sorted(furthest, key=lambda row: -row["value"])]
    some = f"the {PAIRS} of {len(pairs)} pairs that are furthest from 0; " if len(pairs) > PAIRS else ""
    return interval_dots(
        f"transfer-affinity-{result.attack}",
        _affinity_title(rows),
        rows,
        axis=Axis("logits beyond strength + weakness"),
        n=f"{int(result.clean.all(0).sum()):,} images that all networks get right",
        protocol=f"Source -> target: {some}logit of the fooled share = mean + strength + weakness + affinity; bootstrap over "
        "images, each pair's interval its own, not corrected for their number.",
        alt="; ".join(f"{row['subject']} {row['value']:+.2f}" for row in rows),
        reference=(0.0, "strength and weakness alone"),
    )


def _affinity_title(rows: Sequence[dict[str, Any]]) -> str:
    """From where to where pairs stray: no test names the furthest."""
    most, least = rows[0], rows[-1]
    if max(abs(most["value"]), abs(least["value"])) < EQUAL:
        return "Strength and weakness say all of who fools whom"
    return (
        f"Pairs stray from strength and weakness by {least['value']:+.2f} ({least['subject']}) to "
        f"{most['value']:+.2f} logits ({most['subject']})"
    )


def _parts_title(result: Transfer) -> str:
    """Whose pictures travel furthest and who is fooled most easily, as far as resamples of the images tell them apart."""
    strengths, weaknesses = spread_of_parts(result.clean, result.fooled, result.seed)
    source, near = _first(result, result.strength, strengths)
    target, soft = _first(result, result.weakness, weaknesses)
    others = len(result.names) - 1
    if np.ptp(result.strength) < EQUAL:
        travel = "Pictures travel equally far"
    elif len(near) == others:
        travel = "Nobody's pictures surely travel furthest"
    else:
        but = f", but not distinguishably from those for {named(near)}" if near else ""
        travel = f"Pictures made for {source} travel furthest{but}"
    if np.ptp(result.weakness) < EQUAL:
        return f"{travel}; all are fooled as easily"
    if len(soft) == others:
        return f"{travel}; nobody is surely fooled most easily"
    but = f", but not distinguishably from {named(soft)}" if soft else ""
    return f"{travel}; {target} is fooled most easily{but}"


def _first(result: Transfer, values: NDArray[np.float64], resampled: NDArray[np.float64]) -> tuple[str, list[str]]:
    """Who has the most of a part, and whom nothing tells from it; `resampled` are `spread_of_parts`'.

    Student's t of the resamples' variance, with p-values corrected for the number of pairs.
    """
    freedom = max(int(result.clean.all(0).sum()) - 1, 1)

    def more(one: int, other: int) -> Difference:
        value, *drawn = (resampled[:, one] - resampled[:, other]).tolist()
        parts = [VariancePart(float(np.var(drawn, ddof=1)), freedom)]
        wide, inner = (symmetric_interval(value, parts, level, "bootstrap t", "images") for level in (0.95, 0.9))
        return Difference(value=value, interval=wide, inner=inner, p_value=p_value(value, parts))

    best, *others = np.argsort(-values, kind="stable").tolist()
    verdicts = beside_the_best(best, others, more)
    alike = [result.names[other] for other, verdict in zip(others, verdicts, strict=True) if verdict != "higher"]
    return result.names[best], alike
