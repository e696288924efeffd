"""Patches moved, and pictures made of another's patches."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope.core.errors import RequestError
from priorscope.data.transforms import Z_SIDE
from priorscope.data.transforms.colour import luma, matched
from priorscope.data.transforms.draws import Scene, orders

AT_ONCE = 1 << 27
"""Bytes that matching patches may take at a time."""


def shuffle(images: Tensor, level: float | None, scene: Scene) -> Tensor:
    """Patches in a random order that is not their own: every pixel stays, whatever is larger than a patch goes.

    Of two patches a side, one order in 24 is the picture itself; it is passed over for the order that moves all by one place.
    """
    grid = _grid("shuffle", level, images)
    order = orders(scene.keys, grid**2)
    still = (order == np.arange(grid**2)).all(1)
    order[still] = np.roll(np.arange(grid**2), 1)
    return _moved(images, grid, torch.from_numpy(order).to(images.device))


def z_shuffle(images: Tensor, _level: float | None, scene: Scene) -> Tensor:
    """Patches of 8 x 8 pixels in a random order."""
    grid = _grid("z-shuffle", images.shape[-1] / Z_SIDE, images)
    return _moved(images, grid, torch.from_numpy(orders(scene.keys, grid**2)).to(images.device))


def _moved(images: Tensor, grid: int, order: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    cut = images.view(n, channels, grid, height // grid, grid, width // grid).permute(0, 2, 4, 1, 3, 5)
    cut = cut.reshape(n, grid**2, channels, height // grid, width // grid)
    moved = cut[torch.arange(n, device=images.device)[:, None], order].view(
        n, grid, grid, channels, height // grid, width // grid
    )
    return moved.permute(0, 3, 1, 4, 2, 5).reshape(n, channels, height, width)


def quilting(images: Tensor, level: float | None, scene: Scene) -> Tensor:
    """The picture rebuilt from the donor's patches: of each place, the donor's patch whose brightness fits best.

    Texture transfer as Efros and Freeman (SIGGRAPH 2001) have it, without their iterations: patches overlap by half and are
    blended with a tent, so that there are no seams to cut. The picture's brightness is first given the donor's histogram. The
    donor's patches begin at every fourth part of a patch, and at every pixel where a patch has fewer than eight. Where half
    patches do not fill the side, a last one lies flush with the far edge.
    """
    grid = _grid("quilting", level, images)
    donors = scene.lenders()
    side = images.shape[-1] // grid
    hop, step = max(side // 2, 1), max(side // 4, 1)
    beyond = len(_bands(images.shape[-1], side, hop)) - 1
    places = ((images.shape[-1] - side) // hop + 1 + beyond) ** 2
    choices = ((images.shape[-1] - side) // step + 1 + beyond) ** 2
    rows = max(1, AT_ONCE // (4 * max(places * choices, choices * 4 * side**2)))
    done = [_quilted(images[i : i + rows], donors[i : i + rows], side, hop, step) for i in range(0, len(images), rows)]
    return torch.cat(done)


def _bands(length: int, side: int, hop: int) -> tuple[slice, ...]:
    """The stretches of a side on which patches are laid: all of it, and its end again where the hops do not reach that."""
    return (slice(None),) if (length - side) % hop == 0 else (slice(None), slice(-side, None))


def _quilted(images: Tensor, donors: Tensor, side: int, hop: int, step: int) -> Tensor:
    windows = list(product(_bands(images.shape[-2], side, hop), _bands(images.shape[-1], side, hop)))

    def cut(pictures: Tensor, stride: int) -> list[Tensor]:
        return [F.unfold(pictures[..., high, wide], side, stride=stride) for high, wide in windows]

    grey = luma(donors)[:, None]
    wanted = cut(matched(luma(images)[:, None], grey), hop)
    offered = torch.cat(cut(grey, step), 2)
    # |w - o|^2 without |w|^2, which does not change the choice
    costs = torch.baddbmm(offered.square().sum(1)[:, None], torch.cat(wanted, 2).transpose(1, 2), offered, alpha=-2)
    chosen = costs.argmin(2)
    patches = torch.cat(cut(donors, step), 2).gather(2, chosen[:, None].expand(-1, 3 * side**2, -1))
    ramp = torch.minimum(torch.arange(1, side + 1), torch.arange(side, 0, -1)).to(images)
    tent = (ramp[:, None] * ramp[None, :]).flatten()[None, :, None]
    laid, weight = torch.zeros_like(images), torch.zeros_like(images[:1, :1])
    for (high, wide), part in zip(windows, patches.split([places.shape[2] for places in wanted], 2), strict=True):
        inside = weight[..., high, wide]
        size = (inside.shape[-2], inside.shape[-1])
        laid[..., high, wide] += F.fold(part * tent.repeat(1, 3, 1), size, side, stride=hop)
        inside += F.fold(tent.expand(1, -1, part.shape[2]).contiguous(), size, side, stride=hop)
    return (laid / weight).clamp(0, 1)


def _grid(name: str, level: float | None, images: Tensor) -> int:
    height, width = images.shape[-2:]
    grid = int(level or 0)
    if grid < 2 or grid != level or height % grid or width % grid:
        raise RequestError(
            f"{name} with {level} patches a side was asked for, and the pictures are {height} x {width}.",
            "a whole number of patches, two or more, that tile the picture",
            "level=4, or pictures whose side 8 divides",
        )
    return grid
