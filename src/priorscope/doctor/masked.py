"""Robustness that is not: gradients that show an attack nothing, so that it breaks few images.

A study's curve of FGSM rose with the budget, from 21 to 27 %; at the same budget five steps of PGD left 1 %. The verdict of a
weak attack's number is that it is a bound, whatever its checks find, so the checks are read as well.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from priorscope.doctor import Finding

if TYPE_CHECKING:
    from priorscope.probes.robustness import Robustness
    from priorscope.run import Run


MEANS = {
    "masked": "the attack was blind to what it attacked: the network may be far less robust than the number",
    "suspect": "the attack was weak, or the answers vary, or nothing was audited: how much too high the number is, is open",
}
"""What to think of a number by the worst of its verdict and of what its checks found, the worst first."""


def look_at_run(run: Run) -> Iterator[Finding]:
    """What the robustness probe found against its own numbers."""
    for result in cast("list[Robustness]", run.results.get("robustness", [])):
        found = {result.verdict, *(check.finding for check in result.checks)}
        worst = next((each for each in MEANS if each in found), None)
        if worst is not None:
            said = next((f" {check.sentence}" for check in result.checks if check.finding == worst), "")
            yield Finding(
                check="masked",
                severity="fault" if worst == "masked" else "warning",
                saw=f"{run.name}: {result.headline()}{said}",
                means=MEANS[worst],
                do=f"a stronger attack: priorscope probe robustness {shlex.quote(str(run.path))} --set attack=standard",
            )
