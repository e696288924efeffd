"""Budgets as geometry: pictures with a budget each, random starts, steps and projections, in L-inf and L2.

Every picture has its own budget, so a search for the smallest one keeps its batches full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from priorscope.attacks import Norm
from priorscope.core.errors import RequestError
from priorscope.core.rng import hashed, seed_of


@dataclass(frozen=True)
class Pictures:
    """What is attacked: images in [0, 1] (N, C, H, W), labels, the position of each in its split, and a budget for each."""

    images: Tensor
    labels: Tensor
    index: Tensor
    eps: Tensor
    norm: Norm = "linf"

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> Pictures:
        """The pictures of some rows."""
        return Pictures(self.images[rows], self.labels[rows], self.index[rows], self.eps[rows], self.norm)

    def at(self, eps: float | Tensor) -> Pictures:
        """The same pictures with other budgets."""
        budgets = torch.as_tensor(eps, dtype=self.images.dtype, device=self.images.device).expand(len(self))
        return Pictures(self.images, self.labels, self.index, budgets, self.norm)


def pictures(
    images: Tensor, labels: Tensor, eps: float | Tensor, *, norm: Norm = "linf", index: Tensor | None = None
) -> Pictures:
    """Pictures, refused unless they lie in [0, 1]: another range would make every budget mean something else."""
    low, high = (float(images.min()), float(images.max())) if images.numel() else (0.0, 0.0)
    if not (images.is_floating_point() and low >= 0 and high <= 1):
        raise RequestError(
            f"The images came as {images.dtype} from {low:g} to {high:g}.",
            "floats in [0, 1]; the network normalises inside",
            "images / 255, and ps.wrap(network, mean=..., std=...)",
        )
    positions = torch.arange(len(labels), device=images.device) if index is None else index.to(images.device)
    return Pictures(images, labels, positions, images.new_zeros(len(labels)), norm).at(eps)


class Found:
    """What an attack has found: whether each picture is broken, and the worst picture so far for each.

    For a broken picture `steps` is the number of steps (or queries) after which it fell, and `start` the start that broke it.
    """

    def __init__(self, of: Pictures) -> None:
        self.adversarial = of.images.clone()
        self.broken = torch.zeros(len(of), dtype=torch.bool, device=of.images.device)
        self.steps = torch.zeros(len(of), dtype=torch.int64, device=of.images.device)
        self.start = torch.zeros_like(self.steps)

    def standing(self) -> Tensor:
        """The rows that are not broken."""
        return torch.nonzero(~self.broken)[:, 0]

    def note(self, rows: Tensor, x: Tensor, wrong: Tensor, steps: int | Tensor) -> None:
        """Keeps the iterates that fool the network, as proofs; the first of each says after how many steps it fell."""
        hit, fresh = rows[wrong], wrong & ~self.broken[rows]
        self.steps[rows[fresh]] = steps[fresh] if isinstance(steps, Tensor) else steps
        self.adversarial[hit] = x[wrong]
        self.broken[hit] = True

    def finish(self, rows: Tensor, x: Tensor) -> None:
        """Keeps the last iterates of what still stands."""
        standing = ~self.broken[rows]
        self.adversarial[rows[standing]] = x[standing]

    def merge(self, rows: Tensor, other: Found, worse: Tensor, start: int | None = None) -> None:
        """Takes over what another attack, or a start of this one (by its number), found on rows that stood.

        A picture that it found is kept if it is broken, or the `worse` of the two.
        """
        taken = other.broken | worse
        self.adversarial[rows[taken]] = other.adversarial[taken]
        self.broken[rows] = other.broken
        self.steps[rows] = other.steps
        self.start[rows] = other.start if start is None else start


def wide(values: Tensor) -> Tensor:
    """One number for each picture, shaped (N, 1, 1, 1) so that it broadcasts over pixels."""
    return values.view(-1, 1, 1, 1)


def lengths(delta: Tensor, norm: Norm) -> Tensor:
    """The size of each perturbation."""
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def project(x: Tensor, onto: Pictures) -> Tensor:
    """The point of the ball that is nearest in L-inf, or on the ray to the centre in L2, then clipped to [0, 1].

    Clipping moves every coordinate towards the picture, so it never leaves the ball.
    """
    eps = wide(onto.eps)
    if onto.norm == "linf":
        return torch.clamp(torch.minimum(torch.maximum(x, onto.images - eps), onto.images + eps), 0, 1)
    delta = x - onto.images
    scale = (onto.eps / lengths(delta, "l2").clamp_min(1e-12)).clamp_max(1)
    return (onto.images + delta * wide(scale)).clamp(0, 1)


def whole(x: Tensor, onto: Pictures) -> Tensor:
    """x moved on to the edge of the ball; x itself if it has not moved from the picture."""
    delta = x - onto.images
    longer = (onto.eps / lengths(delta, onto.norm).clamp_min(1e-12)).clamp_min(1)
    return project(onto.images + delta * wide(longer), onto)


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The unit step that raises a linear function most: signs in L-inf, the gradient's own direction in L2."""
    if norm == "linf":
        return gradient.sign()
    return gradient / wide(lengths(gradient, "l2").clamp_min(1e-30))


def random_start(of: Pictures, keys: Tensor) -> Tensor:
    """A random point of the ball: uniform in L-inf; in L2 a uniform direction at a uniform distance, as the peers do."""
    count = of.images[0].numel()
    if of.norm == "linf":
        delta = (uniform(keys, 0, count) * 2 - 1).view_as(of.images)
        return project(of.images + wide(of.eps) * delta.to(of.images.dtype), of)
    delta = direction(normal(keys, 0, count).view_as(of.images), "l2")
    return project(of.images + wide(of.eps * uniform(keys, 2, 1)[:, 0]) * delta, of)


# Random numbers as a function of (picture's key, step, position): no state to keep, and no picture moves another's.


def picture_keys(seed: int, index: Tensor, *names: str | int) -> Tensor:
    """The named stream of each picture, as one 63-bit key each."""
    return torch.tensor([seed_of(seed, "attack", *names, int(i)) for i in index.tolist()], dtype=torch.int64).to(index.device)


def uniform(keys: Tensor, step: int, count: int) -> Tensor:
    """`count` float32 numbers in [0, 1) for each key: the hashes of key + counter."""
    counter = (step << 32) + torch.arange(1, count + 1, dtype=torch.int64, device=keys.device)
    return hashed(keys[:, None] + counter * -0x61C8864680B583EB)  # the golden ratio's odd 64-bit number, as signed


def normal(keys: Tensor, step: int, count: int) -> Tensor:
    """`count` standard normal numbers for each key (Box and Muller); uses steps `step` and `step + 1`."""
    radius = torch.sqrt(-2 * torch.log1p(-uniform(keys, step, count)))
    return radius * torch.cos(2 * math.pi * uniform(keys, step + 1, count))


def concatenate(parts: Sequence[Tensor]) -> Tensor:
    """The parts of a batch as one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
