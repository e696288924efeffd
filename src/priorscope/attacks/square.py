"""Square: random search in square windows, which needs logits and no gradient (Andriushchenko et al. 2019, arXiv 1912.00049).

L-inf: it begins with vertical stripes of plus and minus the budget; each query sets one window, of a random sign a channel,
to the ball's edge, and keeps it if the margin rose. L2: windows of a peaked pattern; each query moves the length spent
in one window, and what the budget has left, to another. The windows shrink on the published schedule.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from priorscope.attacks import Attack
from priorscope.attacks.ball import Found, Pictures, lengths, project, uniform, wide
from priorscope.attacks.losses import margin
from priorscope.attacks.victim import Victim

FIRST_SHARE = 0.8
"""The share of the picture that the first windows cover, as in the published ensemble."""
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After how many of 10,000 queries the share is halved; scaled to the number of queries."""


def square(victim: Victim, of: Pictures, attack: Attack, keys: Tensor, targets: Tensor | None = None) -> Found:
    """Spends `attack.steps` queries a picture, its start the first of them."""
    found, rows = Found(of), torch.arange(len(of), device=of.images.device)
    propose = _window if of.norm == "linf" else _moved_window
    x = _stripes(of, keys) if of.norm == "linf" else _peaks(of, keys)
    best = margin(victim(x), of.labels, targets)
    for query in range(1, attack.steps):
        wrong = ~(best < 0)
        found.note(rows, x, wrong, query)
        if attack.leave and bool(wrong.any()):
            stay = torch.nonzero(~wrong)[:, 0]
            rows, x, best, keys, of = rows[stay], x[stay], best[stay], keys[stay], of.take(stay)
            targets = None if targets is None else targets[stay]
            if len(rows) == 0:
                return found
        side = window_side(of.images.shape[-1], query - 1, attack.steps)
        if of.norm == "l2":
            side = min(max(side, 3) | 1, of.images.shape[-1])  # a peak needs a middle
        tried = project(propose(x, of, uniform(keys, query, 5 + of.images.shape[1]), side), of)
        value = margin(victim(tried), of.labels, targets)
        better = ~(value <= best)  # an answer that is no number counts as wrong
        x = torch.where(wide(better), tried, x)
        best = torch.where(better, value, best)
    found.note(rows, x, ~(best < 0), attack.steps)
    found.finish(rows, x)
    return found


def window_side(size: int, done: int, queries: int) -> int:
    """The side of the window after `done` of the queries."""
    at = done * 10_000 // queries
    share = FIRST_SHARE / 2 ** sum(at > after for after in HALVINGS)
    return min(max(round(math.sqrt(share) * size), 1), size - 1)


def _stripes(of: Pictures, keys: Tensor) -> Tensor:
    n, channels, _, width = of.images.shape
    signs = _signs(uniform(keys, 0, channels * width)).view(n, channels, 1, width)
    return project(of.images + wide(of.eps) * signs, of)


def _window(x: Tensor, of: Pictures, draws: Tensor, side: int) -> Tensor:
    """x with one window at the ball's edge, plus or minus in each channel."""
    inside = _inside(x, draws[:, :2], side)
    signs = _signs(draws[:, 5 : 5 + x.shape[1]])[:, :, None, None]
    tried = project(torch.where(inside, of.images + wide(of.eps) * signs, x), of)
    return torch.where(wide(_wasted(tried, x)) & inside, of.images - wide(of.eps) * signs, tried)


def _wasted(tried: Tensor, x: Tensor) -> Tensor:
    """Which pictures a query would not change: the authors' attack draws again for these, here the opposite signs are tried."""
    return (tried == x).flatten(1).all(1)


def _inside(x: Tensor, corner: Tensor, side: int) -> Tensor:
    """Whether each pixel lies in its picture's window, (N, 1, H, W)."""
    height, width = x.shape[-2:]
    top = (corner[:, 0] * (height - side + 1)).floor()
    left = (corner[:, 1] * (width - side + 1)).floor()
    row = torch.arange(height, device=x.device)[None, :] - top[:, None]
    column = torch.arange(width, device=x.device)[None, :] - left[:, None]
    return ((row >= 0) & (row < side))[:, None, :, None] & ((column >= 0) & (column < side))[:, None, None, :]


def _peaks(of: Pictures, keys: Tensor) -> Tensor:
    """A grid of peaked windows with random signs, of the budget's length."""
    n, channels, height, width = of.images.shape
    side = max(height // 5, 1)
    pattern = peak(side, of.images)
    tiles = math.ceil(height / side), math.ceil(width / side)
    signs = _signs(uniform(keys, 0, channels * tiles[0] * tiles[1])).view(n, channels, *tiles)
    delta = torch.kron(signs, pattern)[:, :, :height, :width]
    return project(of.images + delta * wide(of.eps / lengths(delta, "l2")), of)


def peak(side: int, like: Tensor) -> Tensor:
    """The published pattern, of length 1: two halves, one positive and one negative, each with its peak in its middle."""
    upper = _half(side // 2, side, like)
    lower = _half(side - side // 2, side, like)
    pattern = torch.cat([upper, -lower])
    return pattern / pattern.norm()


def _half(height: int, width: int, like: Tensor) -> Tensor:
    """Half of the published pattern, of length 1: at d rings from its middle, the sum of 1 / r^2 over all r > d."""
    if height == 0:
        return like.new_zeros(0, width)
    down = (torch.arange(height, device=like.device) - height // 2).abs()
    across = (torch.arange(width, device=like.device) - width // 2).abs()
    rings = max(height, width) // 2 + 1
    beyond = (1 / torch.arange(1, rings + 1, device=like.device, dtype=like.dtype) ** 2).flip(0).cumsum(0).flip(0)
    half = beyond[torch.maximum(down[:, None], across[None, :])]
    return half / half.norm()


def _moved_window(x: Tensor, of: Pictures, draws: Tensor, side: int) -> Tensor:
    """x with the length of one window, and what is left of the budget, put into another as a new peak."""
    delta = x - of.images
    to, away = _inside(x, draws[:, :2], side), _inside(x, draws[:, 2:4], side)
    both = to | away
    channels = x.shape[1]
    spent = lengths(delta, "l2")
    room = (of.eps**2 - spent**2).clamp_min(0)[:, None] / channels + ((delta * both) ** 2).flatten(2).sum(2)
    pattern = peak(side, x)
    turned = torch.where(draws[:, 4, None, None] < 0.5, pattern, pattern.T)
    signs = _signs(draws[:, 5 : 5 + channels])
    fresh = turned[:, None] * signs[:, :, None, None] + _cut(delta, to, side) / (
        _cut(delta, to, side).flatten(2).norm(dim=2)[:, :, None, None] + 1e-10
    )
    fresh = fresh / (fresh.flatten(2).norm(dim=2)[:, :, None, None] + 1e-10) * room.sqrt()[:, :, None, None]
    moved = torch.where(away, 0.0, delta)
    whole = _pasted(moved, to, fresh)
    return of.images + whole * wide(of.eps / lengths(whole, "l2").clamp_min(1e-12))  # what clipping took is spent again


def _cut(delta: Tensor, inside: Tensor, side: int) -> Tensor:
    """The pixels of each picture's window, (N, C, side, side)."""
    n, channels = delta.shape[:2]
    return delta.masked_select(inside.expand_as(delta)).view(n, channels, side, side)


def _pasted(delta: Tensor, inside: Tensor, window: Tensor) -> Tensor:
    """delta with each picture's window replaced."""
    return delta.masked_scatter(inside.expand_as(delta), window)


def _signs(draws: Tensor) -> Tensor:
    return torch.where(draws < 0.5, -1.0, 1.0)
