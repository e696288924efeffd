"""Lion: the sign of an interpolation between momentum and gradient (Chen et al. 2023, arXiv 2302.06675, algorithm 2).

For each parameter p with gradient g and momentum m, which begins at 0:

    p <- p (1 - lr * weight_decay)
    p <- p - lr * sign(b1 * m + (1 - b1) * g)
    m <- b2 * m + (1 - b2) * g
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class Lion(Optimizer):
    """Every weight moves by the learning rate, up or down; one momentum a weight, where Adam keeps two averages."""

    def __init__(
        self, params: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update. There is no closure: the loss is never asked for again."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                self._move(moved, group["lr"], group["betas"], group["weight_decay"])

    def _move(self, moved: list[torch.Tensor], lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        """All weights of a group at once: a few kernels instead of a few for each."""
        for p in moved:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        gradients = [p.grad for p in moved if p.grad is not None]
        momenta = [self.state[p]["momentum"] for p in moved]
        torch._foreach_mul_(moved, 1 - lr * weight_decay)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        update = torch._foreach_lerp(momenta, gradients, 1 - betas[0])  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        torch._foreach_sign_(update)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        torch._foreach_add_(moved, update, alpha=-lr)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        torch._foreach_lerp_(momenta, gradients, 1 - betas[1])  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
