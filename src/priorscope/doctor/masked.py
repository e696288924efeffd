"""Robustness that is not: gradients that show an attack nothing, so that it breaks few images.

A study's curve of FGSM rose with the budget, from 21 to 27 %; at the same budget five steps of PGD left 1 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from priorscope.doctor import Finding

if TYPE_CHECKING:
    from priorscope.run import Run


MEANS = {
    "masked": "the attack was blind to what it attacked: the network may be far less robust than the number",
    "suspect": "the attack was weak, or the answers vary, or nothing was audited: how much too high the number is, is open",
}


def look_at_run(run: Run) -> Iterator[Finding]:
    """The verdicts that the robustness probe gave its own numbers."""
    for result in run.results.get("robustness", ()):
        verdict = str(cast("Any", result).verdict)
        if verdict in MEANS:
            yield Finding(
                check="masked",
                severity="fault" if verdict == "masked" else "warning",
                saw=f"{run.name}: {result.headline()}",
                means=MEANS[verdict],
                do=f"a stronger attack: priorscope probe robustness {run.path} --set attack=standard",
            )
