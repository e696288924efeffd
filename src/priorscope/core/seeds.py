"""Results of one recipe's seeds as one: their interval, how they differ from another recipe's, and which are beyond chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from priorscope.core.comparison import Difference, holm, over_seeds_difference, seed_by_image_difference
from priorscope.core.contracts import Result, Subject
from priorscope.core.stats import Interval, over_seeds, seed_by_image

R = TypeVar("R", bound=Result)


def by_recipe(results: Sequence[tuple[Subject, R]]) -> list[tuple[Subject, list[R]]]:
    """Results of one recipe's seeds together, under the recipe's name; a run that is alone keeps its own."""
    arms: dict[str, tuple[Subject, list[R]]] = {}
    for subject, result in results:
        arms.setdefault(subject.recipe or subject.name, (subject, []))[1].append(result)
    return [
        (subject if len(seeds) == 1 else subject.model_copy(update={"name": name}), seeds)
        for name, (subject, seeds) in arms.items()
    ]


def interval_of_seeds(seeds: Sequence[Result]) -> Interval | None:
    """The interval of the mean value of one recipe's results on the same images: one seed's own, of several over seeds too.

    It ends where no value can be: Student's would put a small error's low end below 0. Biased values have none.
    """
    kind = type(seeds[0])
    if len(seeds) == 1 or kind.biased:
        return seeds[0].interval if len(seeds) == 1 else None
    table = None if kind.difference_unit else kind.side_by_side(seeds)  # its scores' mean is not a value of another unit
    if table is not None:
        return kind.bounded(seed_by_image(table, kind.which_count(seeds)))
    return kind.bounded(over_seeds([one.value for one in seeds], images=[one.interval for one in seeds]))


def difference_of_seeds(some: Sequence[R], others: Sequence[R]) -> Difference | None:
    """The mean of one recipe's results minus that of another's, all of which looked at the same images.

    Single seeds are compared over images, several over seeds too, and one never with several; None where there is no test.
    """
    if len(some) == len(others) == 1:
        return some[0].paired(others[0])
    return None if 1 in (len(some), len(others)) else difference_of_families(some, others)


def difference_of_families(some: Sequence[Result], others: Sequence[Result], level: float = 0.95) -> Difference | None:
    """First minus second over seeds and the images that all looked at; None where there is no test."""
    kind, every, at = type(some[0]), [*some, *others], len(some)
    table, counted = kind.side_by_side(every), kind.which_count(every)
    if table is not None:
        parts = None if counted is None else (counted[:at], counted[at:])
        return seed_by_image_difference(table[:at], table[at:], counted=parts, level=level)
    told = [one for result in every if (one := result.compared())]
    if len(told) < len(every):
        return None
    values, own = zip(*told, strict=True)
    return over_seeds_difference(values[:at], values[at:], images=(own[:at], own[at:]), level=level)


def told_from_chance(results: Sequence[R]) -> list[R]:
    """The results whose number says more than chance alone would; p-values are Holm-corrected over all that are given."""
    adjusted = holm([result.standing().chance for result in results])
    return [result for result, p in zip(results, adjusted, strict=True) if p < 0.05]
