"""The warps of `kernels/warp.py` for whole batches of tensors: what a GPU does, and a check of the kernels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.data.kernels.codes import AREA, EDGE, FILL, NEAREST
from priorscope.data.kernels.warp import MOST_SAMPLES

Numbers = NDArray[np.float64]


def is_resize(warps: Numbers, side: int) -> NDArray[np.bool_]:
    """Which warps are upright windows, every output centre of which may be seen."""
    x = np.sort(warps[:, :1] * np.array([0.5, side - 0.5]) + warps[:, 2:3], 1)
    y = np.sort(warps[:, 4:5] * np.array([0.5, side - 0.5]) + warps[:, 5:6], 1)
    upright = (warps[:, 1] == 0) & (warps[:, 3] == 0)
    seen = (x[:, 0] >= warps[:, 6]) & (x[:, 1] <= warps[:, 8]) & (y[:, 0] >= warps[:, 7]) & (y[:, 1] <= warps[:, 9])
    return upright & seen


def warped(pictures: Tensor, warps: Numbers, side: int, interpolation: int, outside: int, fill: Tensor) -> Tensor:
    """(n, 3, side, side) float32 in [0, 1] from bytes (n, height, width, 3), each through its warp."""
    resized = is_resize(warps, side)
    if interpolation == AREA:
        return _warped_area(pictures, warps, side, outside, fill, resized)
    held = torch.from_numpy(resized & (interpolation != NEAREST)).to(pictures.device)
    return _sampled(pictures, _numbers(warps, pictures), side, 1, interpolation == NEAREST, outside, fill, held)


def _numbers(warps: Numbers, like: Tensor) -> Tensor:
    """(n, 14): the warps, then the window in whole pixels, which rounding to float32 must not move."""
    whole = np.concatenate([np.floor(warps[:, 6:8]), np.ceil(warps[:, 8:10])], 1)
    return torch.from_numpy(np.concatenate([warps, whole], 1).astype(np.float32)).to(like.device)


def _warped_area(pictures: Tensor, warps: Numbers, side: int, outside: int, fill: Tensor, resized: NDArray[np.bool_]) -> Tensor:
    """Upright windows by matrices of overlaps; turned ones as means of samples, as many as they shrink."""
    out = torch.empty(len(pictures), 3, side, side, device=pictures.device)
    stretch = np.maximum(np.hypot(warps[:, 0], warps[:, 3]), np.hypot(warps[:, 1], warps[:, 4]))
    samples = np.clip(np.ceil(stretch), 1, MOST_SAMPLES).astype(int)
    samples[resized] = 0
    for count in np.unique(samples):
        chosen = torch.from_numpy(np.flatnonzero(samples == count)).to(pictures.device)
        part, numbers = pictures[chosen], _numbers(warps[samples == count], pictures)
        if count == 0:
            out[chosen] = _means(part, numbers, side)
        else:
            free = torch.zeros(len(part), dtype=torch.bool, device=part.device)
            out[chosen] = _sampled(part, numbers, side, int(count), False, outside, fill, free)
    return out


def _means(pictures: Tensor, warps: Tensor, side: int) -> Tensor:
    across = _overlaps(warps[:, 0], warps[:, 2], warps[:, 6], warps[:, 8], side, pictures.shape[2])
    down = _overlaps(warps[:, 4], warps[:, 5], warps[:, 7], warps[:, 9], side, pictures.shape[1])
    planes = pictures.permute(0, 3, 1, 2).to(torch.float32) / 255
    return down[:, None] @ planes @ across[:, None].transpose(2, 3)


def _overlaps(scale: Tensor, shift: Tensor, low: Tensor, high: Tensor, side: int, pixels: int) -> Tensor:
    """(n, side, pixels): which share of an output pixel lies on each source pixel."""
    edges = scale[:, None] * torch.arange(side + 1, device=scale.device) + shift[:, None]
    edges = torch.minimum(torch.maximum(edges, low[:, None]), high[:, None])
    begin, end = torch.minimum(edges[:, :-1], edges[:, 1:]), torch.maximum(edges[:, :-1], edges[:, 1:])
    pixel = torch.arange(pixels, device=scale.device)
    shared = torch.minimum(end[..., None], pixel + 1) - torch.maximum(begin[..., None], pixel)
    return shared.clamp(min=0) / (end - begin)[..., None]


def _sampled(
    pictures: Tensor,
    warps: Tensor,
    side: int,
    samples: int,
    nearest: bool,
    outside: int,
    fill: Tensor,
    held: Tensor,
) -> Tensor:
    """The mean of samples x samples a pixel. Pictures that are `held` see the window's edge where they look past it."""
    out = torch.zeros(len(pictures), side * side, 3, device=pictures.device)
    flat = pictures.reshape(len(pictures), -1, 3)
    left, top, right, bottom = warps[:, 10:, None].unbind(1)
    for j in range(samples):
        for i in range(samples):
            x = (torch.arange(side, device=out.device) + (i + 0.5) / samples).repeat(side)
            y = (torch.arange(side, device=out.device) + (j + 0.5) / samples).repeat_interleave(side)
            u = warps[:, 0:1] * x + warps[:, 1:2] * y + warps[:, 2:3] - 0.5
            v = warps[:, 3:4] * x + warps[:, 4:5] * y + warps[:, 5:6] - 0.5
            if nearest:
                u, v = (u + 0.5).floor(), (v + 0.5).floor()
            u = torch.where(held[:, None], u.clamp(left, right - 1), u)
            v = torch.where(held[:, None], v.clamp(top, bottom - 1), v)
            out += _bilinear(flat, pictures.shape[2], u, v, (left, top, right, bottom), outside, fill)
    return (out / samples**2).transpose(1, 2).reshape(-1, 3, side, side)


def _bilinear(flat: Tensor, width: int, u: Tensor, v: Tensor, window: tuple[Tensor, ...], outside: int, fill: Tensor) -> Tensor:
    left, top, right, bottom = window
    x0, y0 = u.floor(), v.floor()
    wx, wy = u - x0, v - y0
    total = torch.zeros(*u.shape, 3, device=u.device)
    for dy in range(2):
        row, row_seen = _within(y0 + dy, top, bottom, outside)
        for dx in range(2):
            column, column_seen = _within(x0 + dx, left, right, outside)
            weight = (wx if dx else 1 - wx) * (wy if dy else 1 - wy)
            at = (row * width + column).long().clamp(0, flat.shape[1] - 1)
            levels = flat.gather(1, at[..., None].expand(-1, -1, 3)).to(torch.float32) / 255
            total += weight[..., None] * torch.where((row_seen & column_seen)[..., None], levels, fill)
    return total


def _within(position: Tensor, low: Tensor, high: Tensor, outside: int) -> tuple[Tensor, Tensor]:
    """(the pixel that a position shows, whether it shows one)."""
    inside = (position >= low) & (position < high)
    if outside == FILL:
        return position, inside
    some = (high > low).expand_as(position)
    held = torch.minimum(torch.maximum(position, low), high - 1)
    if outside == EDGE:
        return held, some
    period = (2 * (high - low - 1)).clamp(min=1)
    place = torch.remainder(position - low, period)
    mirrored = low + torch.minimum(place, period - place)
    return torch.where((high - low > 1) & ~inside, mirrored, held), some
