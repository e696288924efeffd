"""Auto-PGD: projected gradient steps whose size no one has to choose (Croce and Hein 2020, arXiv 2003.01690).

It begins with steps of twice the budget and momentum; at checkpoints that come ever closer, a picture whose loss rose in no
more than three quarters of the steps, or whose best value and step size have not changed since the last checkpoint, has its
step halved and goes back to its best point. Where the paper and its authors' code differ this is the code, from which the
field's numbers come: "no more" where the paper has "fewer", the first step of all is compared with a loss of 0, and the one
after a return to the best point with the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from priorscope.attacks import Attack
from priorscope.attacks.ball import Found, Pictures, direction, lengths, project, random_start, wide
from priorscope.attacks.losses import LOSSES, right
from priorscope.attacks.victim import Victim

INERTIA = 0.75
"""The weight of the new step; the rest continues the one before."""
MOST_RISES = 0.75
"""A loss that rises in this share of the steps or fewer has stalled."""


@dataclass(frozen=True)
class _State:
    """What is known of each picture that still stands."""

    rows: Tensor
    x: Tensor
    before: Tensor
    gradient: Tensor
    value: Tensor
    step: Tensor
    rises: Tensor
    best: Tensor
    best_value: Tensor
    best_gradient: Tensor
    step_then: Tensor
    best_value_then: Tensor

    def take(self, stay: Tensor) -> _State:
        return _State(**{field.name: getattr(self, field.name)[stay] for field in fields(self)})


def apgd(victim: Victim, of: Pictures, attack: Attack, keys: Tensor, targets: Tensor | None = None) -> Found:
    """Runs one start of `attack.steps` steps; every iterate is looked at."""
    found, loss = Found(of), LOSSES[attack.loss]
    x = _far_start(of, keys) if attack.start == "random" else of.images
    logits, value, gradient = victim.gradient(x, of.labels, loss, targets)
    seen, rows, step = x, torch.arange(len(of), device=x.device), 2 * of.eps
    none = torch.zeros_like(value)
    state = _State(rows, x, x, gradient, none, step, none, x, value, gradient, step, torch.full_like(value, -torch.inf))
    checkpoints = checkpoints_of(attack.steps)
    for k in range(attack.steps + 1):
        wrong = ~right(logits, of.labels)
        found.note(state.rows, seen, wrong, k)  # not state.x: a checkpoint may have taken that back to the best so far
        if attack.leave and bool(wrong.any()):
            stay = torch.nonzero(~wrong)[:, 0]
            state, of, targets = state.take(stay), of.take(stay), None if targets is None else targets[stay]
        if k == attack.steps or len(of) == 0:
            break
        seen = _moved(state, of, first=k == 0)
        logits, value, gradient = victim.gradient(seen, of.labels, loss, targets)
        state = _noted(state, seen, value, gradient)
        if k + 1 in checkpoints:
            state = _checked(state, interval=checkpoints[k + 1])
    found.finish(state.rows, state.best)
    return found


def checkpoints_of(steps: int) -> dict[int, int]:
    """The steps after which progress is judged, each with how many steps it judges.

    The gaps are 22 % of the steps, then 3 points less each time, down to 6 %.
    """
    found: dict[int, int] = {}
    gap, at = max(int(0.22 * steps), 1), 0
    while at + gap <= steps:
        at += gap
        found[at] = gap
        gap = max(gap - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    return found


def _far_start(of: Pictures, keys: Tensor) -> Tensor:
    """A random point on the ball's surface, then clipped to [0, 1]."""
    inside = random_start(of, keys)
    delta = inside - of.images
    return project(of.images + delta * wide(of.eps / lengths(delta, of.norm).clamp_min(1e-12)), of)


def _moved(state: _State, of: Pictures, *, first: bool) -> Tensor:
    ahead = project(state.x + wide(state.step) * direction(state.gradient, of.norm), of)
    if first:
        return ahead
    return project(state.x + INERTIA * (ahead - state.x) + (1 - INERTIA) * (state.x - state.before), of)


def _noted(state: _State, moved: Tensor, value: Tensor, gradient: Tensor) -> _State:
    better = value > state.best_value
    return replace(
        state,
        x=moved,
        before=state.x,
        gradient=gradient,
        value=value,
        rises=state.rises + (value > state.value),
        best=torch.where(wide(better), moved, state.best),
        best_value=torch.where(better, value, state.best_value),
        best_gradient=torch.where(wide(better), gradient, state.best_gradient),
    )


def _checked(state: _State, interval: int) -> _State:
    """Halves the step of pictures whose progress stalled, and takes them back to their best point."""
    stuck = (state.step == state.step_then) & (state.best_value <= state.best_value_then)
    stalled = (state.rises <= MOST_RISES * interval) | stuck
    return replace(
        state,
        x=torch.where(wide(stalled), state.best, state.x),
        gradient=torch.where(wide(stalled), state.best_gradient, state.gradient),
        step=torch.where(stalled, state.step / 2, state.step),
        rises=torch.zeros_like(state.rises),
        step_then=state.step,
        best_value_then=state.best_value,
    )
