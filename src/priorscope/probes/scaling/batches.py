"""What a larger batch does, read from runs that differ in their batch size: at equal samples and at equal steps.

With a larger batch a pass over the data has fewer steps. "Larger is better" therefore means two things: as good after the same
images, which costs the same arithmetic, or as good after the same steps, for which more images were seen. Both are shown, never
mixed. Each batch size has the setting that is best for it on val, of those that were tried: learning rate and warm-up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from priorscope.core.config import Config, Plain, content_key
from priorscope.core.stats import over_images
from priorscope.probes.scaling.points import Spent

if TYPE_CHECKING:
    from priorscope.recipe import Recipe

Held = Literal["samples", "steps"]
ALIKE = 0.1
"""Runs whose images (steps) differ by no more than this share have equal ones: the last partial batch is dropped."""


class Batch(Config):
    """The error at one batch size, with the setting that val likes best, at equal samples or equal steps."""

    model: str
    family: str
    held: Held
    amount: int
    """Images shown, or steps taken, by the run of the smallest batch."""
    batch: int
    lr: float
    rates: int
    """How many learning rates were tried at this batch size."""
    at_edge: bool
    """Whether the best's learning rate is the largest or smallest of several tried, or the only one."""
    seeds: int
    error: float
    low: float
    high: float


def batches(runs: Sequence[Spent]) -> tuple[Batch, ...]:
    """Every comparison that the runs allow: the same in all but batch size, rate, length and seed."""
    alike: dict[str, list[Spent]] = defaultdict(list)
    for run in runs:
        alike[_rest_of(run.recipe)].append(run)
    found: list[Batch] = []
    for own in alike.values():
        for held in ("samples", "steps"):
            for amount, members in _of_equal(own, held):
                if len({_batch(run) for run in members}) > 1:
                    found += [_best(amount, held, size, members) for size in sorted({_batch(run) for run in members})]
    return tuple(found)


def _rest_of(recipe: Recipe) -> str:
    """A key of everything but what is compared or tuned."""
    left_out = {"train": ("batch_size", "epochs", "steps", "flops", "keep"), "optim": ("lr", "warmup")}
    rest: Plain = {}
    for name, part in recipe.plain().items():
        if name != "seed":
            rest[name] = {k: v for k, v in part.items() if k not in left_out.get(name, ())} if isinstance(part, dict) else part
    return content_key(rest)


def _batch(run: Spent) -> int:
    return run.recipe.train.batch_size


def _rate(run: Spent) -> float:
    return run.recipe.optim.lr


def _error_on_val(seeds: Sequence[Spent]) -> float:
    return float(np.mean([run.val_error for run in seeds]))


def _of_equal(runs: Sequence[Spent], held: Held) -> list[tuple[int, list[Spent]]]:
    """Runs in groups of equal length, counted in images or steps."""

    def length(run: Spent) -> int:
        return run.seen[-1] if held == "samples" else run.step[-1]

    groups: list[tuple[int, list[Spent]]] = []
    for run in sorted(runs, key=lambda run: (length(run), _batch(run))):
        if groups and length(run) <= groups[-1][0] * (1 + ALIKE):
            groups[-1][1].append(run)
        else:
            groups.append((length(run), [run]))
    return groups


def _best(amount: int, held: Held, size: int, members: Sequence[Spent]) -> Batch:
    """The seeds of one batch size's setting with the least mean error on val, of equals at the least rate, scored on the split.

    A setting is all of the recipe but its seed: two runs that differ in their warm-up are not two seeds.
    """
    settings: dict[str, list[Spent]] = defaultdict(list)
    for run in sorted(members, key=_rate):
        if _batch(run) == size:
            settings[run.config].append(run)
    chosen = min(settings.values(), key=_error_on_val)
    rates = sorted({_rate(own[0]) for own in settings.values()})
    wrong = ~np.stack([run.right for run in chosen])
    between = over_images(wrong)
    return Batch(
        model=chosen[0].model,
        family=chosen[0].family,
        held=held,
        amount=amount,
        batch=size,
        lr=_rate(chosen[0]),
        rates=len(rates),
        at_edge=_rate(chosen[0]) in (rates[0], rates[-1]),
        seeds=len(chosen),
        error=float(wrong.mean()),
        low=between.low,
        high=between.high,
    )
