"""The best value of a grid lies on its edge: the best one may lie beyond.

A study of Mixers tried learning rates of 1e-4, 1e-3 and 1e-2, and chose 1e-2 on one data set and 1e-4 on another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from priorscope.core.config import Plain, content_key, flat, is_number
from priorscope.doctor import Finding
from priorscope.recipe import HELD

if TYPE_CHECKING:
    from priorscope.run import Run

NO_TUNING = (*HELD, "data.", "train.adversarial.")
"""The first words of settings that say what is learnt, for how long and against whom: choosing them is not tuning."""


def look_at_study(found: Sequence[Run]) -> Iterator[Finding]:
    """Every setting in which three or more runs differ and in nothing else but the seed; how much is learnt is not tuning."""
    ends = [(run.environment.kept_epoch(run.history), flat(run.recipe.plain())) for run in found]
    tried = [(values, kept.val.accuracy) for kept, values in ends if kept is not None]
    keys = {key for values, _ in tried for key, value in values.items() if is_number(value) and not key.startswith(NO_TUNING)}
    for key in sorted(keys):
        for accuracies in _alike(tried, key).values():
            yield from _judged(key, accuracies)


def _judged(key: str, accuracies: Mapping[float, Sequence[float]]) -> Iterator[Finding]:
    by_value = {value: fmean(accuracies[value]) for value in sorted(accuracies)}
    values = list(by_value)
    best = max(by_value, key=lambda value: by_value[value])
    inner = [by_value[value] for value in values[1:-1]]
    if len(values) < 3 or best not in (values[0], values[-1]) or best == 0:  # below "not at all" there is nothing to try
        return
    if max(inner) >= by_value[best]:
        return
    tried = ", ".join(f"{value:g}: {accuracy:.1%}" for value, accuracy in by_value.items())
    beside = values[1] if best == values[0] else values[-2]
    beyond = best * best / beside if best * beside > 0 else 2 * best - beside
    yield Finding(
        check="grid_edge",
        severity="warning",
        saw=f"Of the values of {key} that were tried ({tried} of val), the best, {best:g}, is the "
        f"{'smallest' if best == values[0] else 'largest'} ({len(accuracies[best])} runs of it).",
        means="a better one may lie beyond: the comparison is not one of tuned networks yet",
        do=f"try {beyond:.3g} as well",
    )


def _alike(tried: Sequence[tuple[Plain, float]], key: str) -> dict[str, dict[float, list[float]]]:
    """Accuracies of runs that differ in one setting alone, by its value."""
    groups: dict[str, dict[float, list[float]]] = {}
    for values, accuracy in tried:
        if is_number(values.get(key)):
            rest = content_key({name: value for name, value in values.items() if name not in (key, "seed")})
            groups.setdefault(rest, {}).setdefault(float(values[key]), []).append(accuracy)
    return groups
