"""Tuning: trials whose accuracies on val are 10, 20, ... 90 %, so that the best of a few is known on average."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from priorscope.core.environment import Environment
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.probes.tuning import Tuning, measure_tuning
from priorscope.recipe import Recipe

TENTHS = tuple(range(1, 10))


def known_answers() -> Iterator[Answer]:
    """The largest of k among the numbers 1 to n is k (n + 1) / (k + 1) on average; and whether the best lay at an end."""
    grown = _asked(TENTHS)
    n = len(TENTHS)
    for k in (1, 3, n):
        got = grown.arms[0].curve[k - 1].value
        expected = k * (n + 1) / (k + 1) / 10
        yield Answer(probe="tuning", question=f"the best of {k} of {n}", expected=expected, got=got, within=1e-12)
    humped = _asked((1, 2, 3, 4, 9, 8, 7, 6, 5))
    for question, expected, result in (
        ("whether a best rate at the end is named", 1.0, grown),
        ("whether one in the middle is", 0.0, humped),
    ):
        yield Answer(probe="tuning", question=question, expected=expected, got=float(len(result.arms[0].edges)), within=0)


def _asked(tenths: Sequence[int]) -> Tuning:
    """Trials of one recipe at growing rates, right on these tenths of val."""
    return measure_tuning({f"made-t{number}": _trial(number, right / 10) for number, right in enumerate(tenths, 1)})


def _trial(number: int, right: float) -> Any:
    recipe = {"data": {"source": "shapetex"}, "model": "mlp/tiny", "optim": {"lr": 10.0**-number}}
    return SimpleNamespace(
        name=f"made-t{number}",
        recipe=Recipe.of(recipe),
        history=[planted_epoch(right)],
        environment=Environment(key="made", chosen_epoch=1),
    )
