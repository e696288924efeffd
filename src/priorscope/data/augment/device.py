"""Carries an augmentation out on a device, on bytes that live there: the same numbers are drawn, the same operations done.

Pictures equal those of `cpu.py` within one grey level: sums are taken in another order, and levels are rounded in between.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.rng import hashed
from priorscope.data.augment.device_colour import coloured
from priorscope.data.augment.device_warp import warped
from priorscope.data.augment.plan import AugmentPlan
from priorscope.data.augment.program import Drawing, Program
from priorscope.data.kernels.hashing import noise_keys

Ints = NDArray[np.int64]


def carried_out(pictures: Tensor, program: Program, drawing: Drawing, index: Ints) -> Tensor:
    """(n, 3, side, side) float32 from bytes (n, height, width, 3) on a device: warped, coloured and erased."""
    fill = torch.from_numpy(drawing.fill).to(pictures.device)
    images = warped(pictures, program.warps, drawing.side, drawing.interpolation, drawing.outside, fill).clamp(0, 1)
    if drawing.plan.colours:
        images = coloured(images, program.colours)
    if drawing.plan.boxes:
        images = _erased(images, program, drawing.plan, index)
    return images


def mixed(images: Tensor, at: Ints, mixes: NDArray[np.float64] | None, order: Ints) -> Tensor:
    """The first pictures, as many as `at`, mixed with those at `at`; then all pixels in the fixed order, where there is one."""
    count, side = len(at), images.shape[2]
    out = images[:count]
    if mixes is not None:
        numbers = torch.from_numpy(mixes.astype(np.float32)).to(images.device)[:, :, None, None, None]
        partners = images[torch.from_numpy(at).to(images.device)]
        inside = _inside(numbers[:, 1:], side)
        pasted = inside.flatten(1).any(1)[:, None, None, None]
        share = torch.where(pasted, (~inside).to(torch.float32), numbers[:, 0])
        out = share * out + (1 - share) * partners
    if len(order):
        out = out.flatten(2)[:, :, torch.from_numpy(order).to(images.device)].view(out.shape)
    return out


def _inside(box: Tensor, side: int) -> Tensor:
    """(n, 1, side, side): which pixels lie in each rectangle; `box` is (n, 4, 1, 1, 1): left, top, right, bottom."""
    x = torch.arange(side, device=box.device)
    y = x[:, None]
    return (x >= box[:, 0]) & (x < box[:, 2]) & (y >= box[:, 1]) & (y < box[:, 3])


def _erased(images: Tensor, program: Program, plan: AugmentPlan, index: Ints) -> Tensor:
    boxes = torch.from_numpy(program.boxes.astype(np.float32)).to(images.device)
    for number in range(plan.boxes):
        inside = _inside(boxes[:, number, :4, None, None, None], images.shape[2])
        rows = program.boxes[:, number, 4].astype(int)
        fills = torch.from_numpy(plan.table[rows, -3:].astype(np.float32)).to(images.device)[:, :, None, None]
        if bool(torch.isnan(fills).any()):
            places = np.ascontiguousarray(program.boxes[:, number, 5].astype(np.int64))
            keys = torch.from_numpy(noise_keys(program.key, index, places).view(np.int64)).to(images.device)
            fills = torch.where(torch.isnan(fills), _noise(keys, images.shape[2]), fills)
        images = torch.where(inside, fills, images)
    return images


def _noise(keys: Tensor, side: int) -> Tensor:
    """(n, 3, side, side) numbers in [0, 1): the hashes of `kernels/erase.py`."""
    return hashed(keys[:, None] + torch.arange(3 * side * side, device=keys.device)).view(-1, 3, side, side)
