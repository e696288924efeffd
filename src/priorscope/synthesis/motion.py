"""Random shifts, turns and zooms of a picture while it is followed, so that no single pixel grid is fitted.

Every picture draws from a stream of its own, all steps at once: the motions of a picture are a function of its name and
the seed, not of the pictures beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from priorscope.core.config import Config
from priorscope.core.rng import stream


class Motion(Config):
    """How far a picture is moved at each step, at most.

    `shift` is a share of the side, `zoom` a share of the size, `turn` in degrees.
    """

    shift: float = 0.0
    zoom: float = 0.0
    turn: float = 0.0

    def still(self) -> bool:
        """Whether nothing moves."""
        return not (self.shift or self.zoom or self.turn)


def drawn_motions(names: Sequence[str], seed: int, steps: int) -> Tensor:
    """(pictures, steps, 4) numbers from -1 to 1, each picture's from the stream of its name: two shifts, zoom, turn."""
    draws = [stream(seed, "motion", name).uniform(-1.0, 1.0, (steps, 4)) for name in names]
    return torch.from_numpy(np.stack(draws).astype(np.float32))


def moved(images: Tensor, draws: Tensor, motion: Motion) -> Tensor:
    """Each picture shifted, zoomed and turned by its draws (pictures, 4); what comes in at an edge is reflected."""
    draws = draws.to(images)
    turn = draws[:, 3] * (motion.turn * math.pi / 180)
    size = 1 + draws[:, 2] * motion.zoom
    cosine, sine = turn.cos() / size, turn.sin() / size
    shift = 2 * motion.shift * draws[:, :2]  # the grid reaches from -1 to 1
    rows = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
