"""The pictures of `priorscope.probes.transfer`: the matrix, and what its sources and targets bring to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from priorscope.core.charts import SHARE, Axis, interval_dots
from priorscope.core.extremes import largest
from priorscope.core.matrices import heat_map
from priorscope.probes.transfer import Transfer

if TYPE_CHECKING:
    from priorscope.core.figure import Figure


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
    fooled = {f"{target} by what fools {source}": share for source, target, share, n in cells if n and source != target}
    if not fooled:
        return "No image is right for two networks"
    most = largest(fooled)
    if most.value == 0:
        return "What fools one network fools no other"
    if most.equal:
        return f"What fools one network fools the other{'s' * (len(cells) > 4)}: {most.value:.0%}"
    return f"Most fooled {'is' if len(most.names) == 1 else 'are'} {most}: {most.value:.0%}"


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
    strongest, weakest = (
        largest(dict(zip(result.names, values.tolist(), strict=True))) for values in (result.strength, result.weakness)
    )
    travel = "Pictures travel equally far" if strongest.equal else f"Pictures made for {strongest} travel furthest"
    fooled = "all are fooled as easily" if weakest.equal else f"{weakest.do('is', 'are')} fooled most easily"
    return interval_dots(
        f"transfer-parts-{result.attack}",
        f"{travel}; {fooled}",
        rows,
        axis=Axis("logits above the mean"),
        n=f"{int(result.clean.all(0).sum()):,} images that all networks get right",
        protocol="Logit of the fooled share = mean + strength + weakness + affinity; bootstrap over images.",
        alt="; ".join(f"{row['subject']} {row['part']} {row['value']:+.2f}" for row in rows),
        reference=(0.0, "mean"),
        panel="part",
    )
