"""What happens to each of some pictures, as numbers: drawn on the CPU, carried out there or on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from priorscope.core.rng import seed_of, stream
from priorscope.data.augment import Augment
from priorscope.data.augment import ops as o
from priorscope.data.augment.plan import AugmentPlan, Mix, plan
from priorscope.data.kernels.codes import AREA, BILINEAR, EDGE, FILL, NEAREST, REFLECT, WARP
from priorscope.data.kernels.draw import draw
from priorscope.data.kernels.hashing import uniforms

Ints = NDArray[np.int64]
Numbers = NDArray[np.float64]

INTERPOLATIONS = {"bilinear": BILINEAR, "area": AREA, "nearest": NEAREST}
OUTSIDE = {"edge": EDGE, "reflect": REFLECT}


@dataclass(frozen=True)
class BatchPart:
    """Pictures of one batch. `partners` are what they may be mixed with; None where the augmentation mixes nothing."""

    epoch: int
    step: int
    index: Ints
    partners: Ints | None

    def cut(self, low: int, high: int) -> BatchPart:
        """Some of the pictures."""
        return replace(self, index=self.index[low:high], partners=None if self.partners is None else self.partners[low:high])


@dataclass(frozen=True)
class Program:
    """What happens to each of n pictures before they are mixed. The arrays are described in `kernels/draw.py`."""

    key: int
    warps: Numbers
    colours: Numbers
    boxes: Numbers


class Drawing:
    """An augmentation ready to be drawn: a pure function of seed, epoch and index."""

    def __init__(self, augment: Augment, seed: int, side: int) -> None:
        self.plan: AugmentPlan = plan(augment)
        self.side = side
        self.interpolation = INTERPOLATIONS[augment.interpolation]
        fill = augment.fill
        self.outside = OUTSIDE[fill] if isinstance(fill, str) else FILL
        self.fill = np.zeros(3, np.float32) if isinstance(fill, str) else np.asarray(fill, np.float32)
        self._seed = seed
        permuted = self.plan.permute
        pixels = side * side
        self.order: Ints = np.empty(0, np.int64) if permuted is None else stream(permuted, "permute").permutation(pixels)

    def program(self, epoch: int, index: Ints, sizes: Ints) -> Program:
        """What happens to the pictures at `index`, whose heights and widths are `sizes`, in an epoch."""
        count = len(index)
        warps = np.empty((count, WARP))
        colours = np.empty((count, self.plan.colours, 2))
        boxes = np.empty((count, self.plan.boxes, 6))
        key = seed_of(self._seed, "augment", epoch)
        draw(self.plan.table, self.plan.listed, key, index, sizes, self.side, warps, colours, boxes)
        return Program(key, warps, colours, boxes)

    def mixes(self, part: BatchPart) -> Numbers:
        """(n, 5): each picture's own share, then the rectangle that its partner has, if any."""
        out = np.zeros((len(part.index), 5))
        out[:, 0] = 1.0
        free = np.ones(len(part.index), np.bool_)
        for each in self.plan.mixes:
            drawn = self._mix_numbers(each, part)
            struck = free & (drawn[:, 3] < each.op.p)
            out[struck] = _mixed(each, drawn[struck], self.side)
            free &= ~struck
        return out

    def _mix_numbers(self, mix: Mix, part: BatchPart) -> Numbers:
        """(n, 4) random numbers: for lambda, for the rectangle's centre, for whether it happens."""
        if mix.op.per == "picture":
            return uniforms(seed_of(self._seed, "augment", part.epoch), part.index, mix.place, 3)
        key = seed_of(self._seed, "mix", part.epoch)
        return np.repeat(uniforms(key, np.array([part.step], np.int64), mix.place, 3), len(part.index), 0)


def _mixed(mix: Mix, drawn: Numbers, side: int) -> Numbers:
    """The mixing of pictures from three random numbers each: for lambda and for the rectangle's centre."""
    from scipy.special import betaincinv

    out = np.zeros((len(drawn), 5))
    out[:, 0] = drawn[:, 0] if mix.op.alpha == 1 else betaincinv(mix.op.alpha, mix.op.alpha, drawn[:, 0])
    if isinstance(mix.op, o.Cutmix):
        half = 0.5 * side * np.sqrt(1 - out[:, :1])
        centre = np.floor(drawn[:, 1:3] * side)
        out[:, 1:3] = np.clip(np.floor(centre - half), 0, side)
        out[:, 3:5] = np.clip(np.floor(centre + half), 0, side)
        area = (out[:, 3] - out[:, 1]) * (out[:, 4] - out[:, 2])
        out[:, 0] = 1 - area / (side * side)
    return out
