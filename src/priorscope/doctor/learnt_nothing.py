"""A network that answers like chance: whatever a probe then measures, it measures of an untrained network.

A study's Swins at a learning rate of 5e-3 stayed at a loss of 2.305 = ln 10 for five epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from priorscope.core.stats import wilson
from priorscope.doctor import Finding

if TYPE_CHECKING:
    from priorscope.run import Run


def look_at_run(run: Run) -> Iterator[Finding]:
    """Holds the kept epoch's accuracy on val against that of guessing one of the classes."""
    kept = run.environment.kept_epoch(run.history)
    if kept is None:
        return
    val, classes = kept.val, run.environment.network.num_classes
    interval = wilson(round(val.accuracy * val.n), val.n)
    if interval.low <= 1 / classes:
        yield Finding(
            check="learnt_nothing",
            severity="warning",
            saw=f"{run.name} is right on {val.accuracy:.1%} of {val.n:,} images of val ({interval.low:.1%} to "
            f"{interval.high:.1%}); one guess in {classes} is {1 / classes:.1%}.",
            means="nothing shows that it learnt anything: what probes say of it is said of a random network",
            do="a smaller learning rate, a warm-up, or more steps: --set optim.lr=... --set optim.warmup=1",
        )
