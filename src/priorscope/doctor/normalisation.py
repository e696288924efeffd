"""Normalisation that does not fit: a network sees other numbers than its weights were trained with.

A ResNet-18 trained with standard deviations of 0.2023 was compared while fed with 0.2470, a ViT trained with means of 0.5 with
CIFAR-10's. Three studies used (0.2023, 0.1994, 0.2010) for CIFAR-10, which is the mean of its pictures' own deviations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from priorscope.core.config import is_table
from priorscope.core.contracts import Statistics
from priorscope.doctor import Finding

if TYPE_CHECKING:
    from priorscope.models.classifier import Classifier
    from priorscope.run import Run

MOST = 0.1
"""How far means (in standard deviations) and deviations (as a share) may be apart: subsets of a data set differ by less."""


def largest_difference(one: Statistics, other: Statistics) -> float:
    """The largest difference: of means in standard deviations, of deviations as a share."""
    known = [deviation or 1.0 for deviation in other.std]  # as a channel of one value is divided by
    means = [abs(a - b) / s for a, b, s in zip(one.mean, other.mean, known, strict=True)]
    deviations = [abs(a / b - 1) for a, b in zip(one.std, known, strict=True)]
    return max(*means, *deviations)


def shown(statistics: Statistics) -> str:
    """Means and deviations, short."""
    return f"mean {_row(statistics.mean)}, deviation {_row(statistics.std)}"


def _row(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in values) + ")"


def look_at_network(network: Classifier) -> Iterator[Finding]:
    """Holds a network's normalisation against the one that its published weights were trained with, where timm says it."""
    known = getattr(network.network, "pretrained_cfg", None)
    published = network.config is None or bool(getattr(network.config, "pretrained", False))
    if not is_table(known) or not published or not known.get("mean"):
        return
    wanted = Statistics(mean=tuple(known["mean"]), std=tuple(known["std"]))
    given = network.statistics or Statistics(mean=(0.0,) * 3, std=(1.0,) * 3)
    if largest_difference(given, wanted) > MOST:
        yield Finding(
            check="normalisation",
            severity="fault",
            saw=f"{network.name} normalises with {shown(given)}; its weights were trained with {shown(wanted)}.",
            means="every score of these weights is that of a network on shifted pictures",
            do=f"wrap(network, ..., mean={tuple(known['mean'])}, std={tuple(known['std'])})",
        )


def look_at_run(run: Run) -> Iterator[Finding]:
    """Holds the normalisation of weights that began fresh against the statistics of their own training data."""
    if run.recipe.init.kind != "scratch" or getattr(run.recipe.model, "pretrained", False):
        return  # then the statistics are those of the earlier weights, as they should be
    train = run.source.split("train")
    data = (train.subset(run.recipe.data.subset) if run.recipe.data.subset else train).statistics
    given = run.environment.network.statistics or Statistics(mean=(0.0,) * 3, std=(1.0,) * 3)
    if largest_difference(given, data) > MOST:
        yield Finding(
            check="normalisation",
            severity="fault",
            saw=f"{run.name} normalises with {shown(given)}; its training pictures have {shown(data)}.",
            means="the data are not those that the run was trained on, or they were changed since",
            do="priorscope data verify PATH, or train the run again",
        )
