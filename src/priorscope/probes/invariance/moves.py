"""What is done to pictures to see what a network does not mind: moves, waves, fewer pixels; and where its units look.

Everything happens in pixel space at the data set's own size, on whole batches, and is a pure function of the picture (and of
its position in the split, where a phase is drawn). What lies beyond a picture's edge is its mirror image: a black border
would be a cue of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from priorscope.core.rng import stream
from priorscope.models.places import by_place, middle
from priorscope.probes.invariance import Moved

if TYPE_CHECKING:
    from priorscope.models.classifier import Classifier

Floats = NDArray[np.float64]

COMPASS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""The eight directions of a shift."""
ANGLES = (5.0, 10.0, 20.0, 40.0)
FACTORS = (0.8, 0.9, 1.1, 1.25)
"""By how much the scene is magnified: below 1 more than the scene is seen, and its surroundings are mirrored."""


@dataclass(frozen=True)
class Move:
    """One kind of move at one size: its directions, each a function from pictures to pictures."""

    about: Moved
    ways: tuple[Callable[[Tensor], Tensor], ...]


def moves(side: int) -> list[Move]:
    """Every move for pictures of a side: shifts by 1/32, 1/16 and 1/8 of it, turns, magnifications, the mirror."""
    found = [Move(Moved(kind="shift", size=float(by)), tuple(_shift(by, way) for way in COMPASS)) for by in shift_sizes(side)]
    found += [Move(Moved(kind="turn", size=a), tuple(_warp(angle=sign * a) for sign in (1, -1))) for a in ANGLES]
    found += [Move(Moved(kind="magnify", size=factor), (_warp(factor=factor),)) for factor in FACTORS]
    return [*found, Move(Moved(kind="mirror", size=1.0), (lambda x: x.flip(-1),))]


def shift_sizes(side: int) -> list[int]:
    """Pixels of the shifts; the last is the one whose consistency is the headline."""
    return sorted({max(1, round(side / part)) for part in (32, 16, 8)})


def _shift(by: int, way: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    def shifted(x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        wide = F.pad(x, (by, by, by, by), mode="reflect")
        top, left = by + way[0] * by, by + way[1] * by
        return wide[..., top : top + height, left : left + width]

    return shifted


def _warp(angle: float = 0.0, factor: float = 1.0) -> Callable[[Tensor], Tensor]:
    turn = np.deg2rad(angle)
    rows = [[np.cos(turn) / factor, -np.sin(turn) / factor, 0.0], [np.sin(turn) / factor, np.cos(turn) / factor, 0.0]]

    def warped(x: Tensor) -> Tensor:
        theta = torch.tensor(rows, dtype=x.dtype, device=x.device).expand(len(x), 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False).clamp(0, 1)

    return warped


def coarser(x: Tensor, resolution: int) -> Tensor:
    """The picture with only `resolution` pixels a side, shown at its old size."""
    small = F.interpolate(x, size=(resolution, resolution), mode="area")
    return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)


def frequencies(side: int) -> NDArray[np.int64]:
    """Waves (down, across) in cycles a picture, each once: 129 where 16 divides the side; none without a wave.

    A wave of the opposite frequencies is the same one, and at the highest frequency that pixels hold, half the side, so is one
    whose sign there is turned: (-v, -u) = (v, u) and (-side / 2, u) = (side / 2, u), up to phase.
    """
    step = max(1, side // 16)
    half = side // 2 // step * step
    found: dict[frozenset[tuple[int, int]], tuple[int, int]] = {}
    for u in range(half + 1):
        for v in range(half, -half - 1, -1):
            if u % step == v % step == 0 and (u > 0 or v > 0):
                found.setdefault(frozenset(((v % side, u % side), (-v % side, -u % side))), (v, u))
    return np.array(list(found.values()), np.int64)


def with_wave(x: Tensor, wave: NDArray[np.int64], amplitude: float, index: NDArray[np.int64], seed: int) -> Tensor:
    """Pictures with a grey plane wave of a root mean square amplitude, the phase drawn for each picture and wave."""
    side = x.shape[-1]
    place = torch.arange(side, dtype=x.dtype, device=x.device) / side
    turns = (int(wave[0]) * place[:, None] + int(wave[1]) * place[None, :])[None]
    drawn = [stream(seed, "wave", int(i), int(wave[0]), int(wave[1])).random() for i in index]
    phase = torch.tensor(drawn, dtype=x.dtype, device=x.device)[:, None, None]
    plane = torch.cos(2 * torch.pi * (turns + phase))
    size = plane.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-6)
    return (x + amplitude * (plane / size)[:, None]).clamp(0, 1)


# Where units look ------------------------------------------------------------------------------------------------------------


def spread_of_units(model: Classifier, images: Tensor, taps: Sequence[str], units: int, seed: int) -> Floats:
    """For each tap and unit how far its input gradients lie from their own centre: half of their square lies within a radius.

    It is a share of the radius that would hold half of an even spread about the same centre: 1 is a unit that looks everywhere
    alike; nan is a unit without a gradient. Units with a place are those in the middle of the map or of the tokens.
    """
    spread = np.full((len(taps), units), np.nan)
    for row, address in enumerate(taps):
        x = images.detach().requires_grad_(True)
        with torch.enable_grad():
            read = model.activations(x, [address])[address]
            if read.ndim > 4 or len(read) != len(images):
                continue  # nobody knows what its axes mean
            places = by_place(read, model.tap(address).layout)
            values = places[:, middle(places.shape[1])]
            if not values.requires_grad:
                continue  # tokens before a pixel has reached them
            draw = stream(seed, "units", address).permutation(values.shape[1])[:units]
            for column, unit in enumerate(draw.tolist()):
                (gradient,) = torch.autograd.grad(values[:, unit].sum(), x, retain_graph=True, allow_unused=True)
                if gradient is not None:  # pyright: ignore[reportUnnecessaryComparison]  torch returns None for what is unused
                    spread[row, column] = _half_radius(gradient.cpu().double().square().sum(1).mean(0).numpy())
    return spread


def _half_radius(mass: Floats) -> float:
    """The radius about the centre of mass that holds half of it, over the one that would hold half of an even spread."""
    total = mass.sum()
    if not np.isfinite(total) or total <= 0:
        return float("nan")
    down, across = np.indices(mass.shape)
    centre = (mass * down).sum() / total, (mass * across).sum() / total
    distance = np.hypot(down - centre[0], across - centre[1])
    even = _holding_half(distance, np.ones_like(mass))
    return _holding_half(distance, mass) / even if even > 0 else float("nan")


def _holding_half(distance: Floats, mass: Floats) -> float:
    order = np.argsort(distance, axis=None, kind="stable")
    held = np.cumsum(mass.ravel()[order])
    return float(distance.ravel()[order][np.searchsorted(held, held[-1] / 2)])
