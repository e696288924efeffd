"""Which budgets are asked about, and how people write them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from priorscope.attacks import PROTOCOL_BUDGETS, Norm
from priorscope.core.errors import RequestError

EPS: dict[Norm, float] = {"linf": 8 / 255, "l2": 0.5}
"""The budgets at which the field reports one number (CIFAR-10)."""
BUDGETS: dict[Norm, tuple[float, ...]] = {
    "linf": tuple(level / 255 for level in (0.25, 0.5, 1, 2, 4, 8, 16, 32)),
    "l2": (0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0),
}
PROTOCOL_EPS = 0.0125
"""The budget at which the published protocols can be compared: both of their lists hold it."""


def budget_asked(attack: str, norm: Norm, eps: float | None) -> float:
    """The budget of the one number: as given, else the protocol's, else the norm's usual one."""
    if eps is not None:
        return eps
    return PROTOCOL_EPS if attack in PROTOCOL_BUDGETS else EPS[norm]


def levels_of(attack: str, norm: Norm, eps: float, budgets: Sequence[float] | None) -> tuple[float, ...]:
    """The budgets of the curve, 0 first, with `eps` among them."""
    asked = PROTOCOL_BUDGETS.get(attack, BUDGETS[norm]) if budgets is None else budgets
    held = any(abs(level - eps) < 1e-9 for level in asked)
    return tuple(sorted({0.0, *asked} if held else {0.0, eps, *asked}))


def check_budget(eps: float, norm: Norm, side: int | None = None) -> None:
    """Refuses a budget that no change of pixels in [0, 1] can have; in L2 that depends on the side of the pictures."""
    most = 1.0 if norm == "linf" else math.inf if side is None else math.sqrt(3 * side * side)
    if eps > most:
        where = "pixels in [0, 1]" if norm == "linf" else f"pictures of {side} pixels in [0, 1]"
        usual = '"8/255"' if norm == "linf" else "0.5"
        raise RequestError(f"A budget of {eps:g} in {norm} came with {where}.", f"at most {most:.4g}", f"eps = {usual}")


def shown(eps: float, norm: Norm) -> str:
    """A budget as people write it: in 255ths for L-inf."""
    return f"{eps * 255:.3g}/255" if norm == "linf" else f"{eps:.3g}"
