"""A loss that cannot be the mean over images that it is called: divided once too often, or not at all.

Where the first guess is wrong, the right class has a probability below one half, and the cross-entropy is above ln 2. A mean
over images is therefore at least ln 2 times the share of wrong answers, whatever the network and with any label smoothing. A
study divided means of batches by the size of the data set again; two of its logs hold sums over batches of 109 and 127.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from priorscope.core.logs import Log
from priorscope.doctor import Finding

if TYPE_CHECKING:
    from priorscope.run import Run

MOST = 20.0
"""Above this a mean says that wrong answers are given with odds of e^20: a sum is likelier."""


def look_at_log(log: Log) -> Iterator[Finding]:
    """Holds every held-out loss of a log against the accuracy of the same epoch."""
    for split in ("val", "test"):
        accuracies = dict(log.along(split, "acc"))
        both = [(epoch, loss, accuracies[epoch]) for epoch, loss in log.along(split, "loss") if epoch in accuracies]
        yield from _judged(f"{log.name}, {split}", both)


def look_at_run(run: Run) -> Iterator[Finding]:
    """Holds every val loss of a run, which is a mean over images, against the accuracy of the same epoch."""
    rows = [(float(epoch.epoch), epoch.val.loss, epoch.val.accuracy) for epoch in run.history]
    yield from _judged(f"{run.name}, val", rows, mean=True)


def _judged(where: str, rows: Sequence[tuple[float, float, float]], mean: bool = False) -> Iterator[Finding]:
    for epoch, loss, accuracy in rows:
        if not math.isfinite(loss) or (mean and loss > MOST):
            yield Finding(
                check="loss_scale",
                severity="fault",
                saw=f"{where}: the loss of epoch {epoch:g} is {loss:.4g}.",
                means="the network diverged: what follows says nothing of its recipe",
                do="a lower learning rate, a warm-up, or clipping: --set optim.clip=1",
            )
            return
        least = (1 - accuracy) * math.log(2)
        if least * (1 - 1e-6) <= loss <= MOST:
            continue
        small = loss < least
        bound = (
            f"a mean over images is at least {least:.3g}" if small else "a mean over images that large means a diverged network"
        )
        yield Finding(
            check="loss_scale",
            severity="fault",
            saw=f"{where}: in epoch {epoch:g} a loss of {loss:.4g} stands beside an accuracy of {accuracy:.1%}; {bound}.",
            means="it was divided once too often" if small else "it is a sum over batches",
            do="sum the loss of every image and divide once, by the number of images",
        )
        return
