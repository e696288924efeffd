"""What pictures made for other networks say of a robustness number: an attack that transfer beats has missed some.

Both probes name their images by where they stand in one split. An image that its own attack left at the budget of the
transfer matrix, and that another network's picture of it breaks there, is one that the attack should have broken; as a check
of the number it joins those of the audit, and the verdict is drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from priorscope.attacks import follows_gradients
from priorscope.attacks.budgets import shown
from priorscope.attacks.verdict import Check, check
from priorscope.core.contracts import Result
from priorscope.probes.robustness import Robustness
from priorscope.probes.transfer import Transfer, most_broken


def held_against(result: Result, who: str, others: Iterable[Result]) -> Result:
    """A network's result with its verdict drawn again from what the transfer matrices among `others` know of it."""
    if not isinstance(result, Robustness):
        return result
    found = [above_white_box(result, who, matrix) for matrix in others if isinstance(matrix, Transfer)]
    return result.checked([each for each in found if each is not None])


def above_white_box(result: Robustness, who: str, matrix: Transfer) -> Check | None:
    """Whether some other network's pictures break what the attack left; None where the two looked at no image in common."""
    if who not in matrix.names or (result.norm, result.split) != (matrix.norm, matrix.split):
        return None
    if not result.data or result.data != matrix.data:
        return None
    _, at, there = np.intersect1d(result.index, matrix.index, return_indices=True)
    target = matrix.names.index(who)
    right = result.correct[at] & matrix.clean[target, there]
    if not right.any():
        return None
    left = right & (result.stood[at] >= matrix.eps * (1 - 1e-6))
    worst, count = most_broken(matrix.names, target, matrix.fooled[:, target, there] & left)
    n = int(right.sum())
    said = f"pictures made for {worst} break {count} of {n} images that {result.attack} left"
    said += f" at {shown(matrix.eps, matrix.norm)}"
    return check("transfer", count, n, said, follows_gradients=follows_gradients(result.attack))
