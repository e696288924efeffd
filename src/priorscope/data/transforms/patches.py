"""Patches moved, and pictures made of another's patches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope.core.errors import RequestError
from priorscope.data.transforms.colour import luma, matched
from priorscope.data.transforms.draws import Scene, orders

Z_SIDE = 8
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
    """The picture laid out anew from the donor's patches: of each place, the donor's patch whose brightness fits best.

    Texture transfer as Efros and Freeman (SIGGRAPH 2001) have it, without their iterations: patches overlap by half and are
    blended with a tent, so that there are no seams to cut. The picture's brightness is first given the donor's histogram. The
    donor's patches begin at every fourth part of a patch, and at every pixel where a patch has fewer than eight.
    """
    grid = _grid("quilting", level, images)
    donors = scene.lenders()
    side = images.shape[-1] // grid
    hop, step = max(side // 2, 1), max(side // 4, 1)
    places = ((images.shape[-1] - side) // hop + 1) ** 2
    choices = ((images.shape[-1] - side) // step + 1) ** 2
    rows = max(1, AT_ONCE // (4 * max(places * choices, choices * 4 * side**2)))
    done = [_quilted(images[i : i + rows], donors[i : i + rows], side, hop, step) for i in range(0, len(images), rows)]
    return torch.cat(done)


def _quilted(images: Tensor, donors: Tensor, side: int, hop: int, step: int) -> Tensor:
    grey = luma(donors)[:, None]
    wanted = F.unfold(matched(luma(images)[:, None], grey), side, stride=hop)
    offered = F.unfold(grey, side, stride=step)
    # |w - o|^2 without |w|^2, which does not change the choice
    costs = torch.baddbmm(offered.square().sum(1)[:, None], wanted.transpose(1, 2), offered, alpha=-2)
    chosen = costs.argmin(2)
    patches = F.unfold(donors, side, stride=step).gather(2, chosen[:, None].expand(-1, 3 * side**2, -1))
    ramp = torch.minimum(torch.arange(1, side + 1), torch.arange(side, 0, -1)).to(images)
    tent = (ramp[:, None] * ramp[None, :]).flatten()
    size = (images.shape[-2], images.shape[-1])
    laid = F.fold(patches * tent.repeat(3)[None, :, None], size, side, stride=hop)
    weight = F.fold(tent[None, :, None].expand(1, -1, chosen.shape[1]).contiguous(), size, side, stride=hop)
    return (laid / weight).clamp(0, 1)


def _grid(name: str, level: float | None, images: Tensor) -> int:
    height, width = images.shape[-2:]
    grid = int(level or 0)
    if grid < 2 or grid != level or height % grid or width % grid:
        raise RequestError(
            f"{name} with {level} patches a side was asked of pictures of {height} x {width}.",
            "a whole number of patches, two or more, that tile the picture",
            "level=4, or pictures whose side 8 divides",
        )
    return grid
