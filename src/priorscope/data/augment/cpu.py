"""Carries an augmentation out on a CPU: bytes of chosen pictures in, float planes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from priorscope.data.augment.program import BatchPart, Drawing
from priorscope.data.kernels.warp import render

if TYPE_CHECKING:
    from priorscope.data.memory import InPlace
    from priorscope.data.split import Pixels

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class CpuRenderer:
    """Renders chosen pictures of a split, in place where `store` says where they lie. It holds no state that a call changes."""

    def __init__(self, pixels: Pixels, store: InPlace | None, drawing: Drawing) -> None:
        self.drawing = drawing
        self._pixels = pixels
        self._store = store

    def render(self, part: BatchPart, out: Floats) -> None:
        """Fills `out` (n, 3, side, side) with the pictures of a part, mixed with their partners, permuted."""
        order = self.drawing.order
        if part.partners is None and not len(order):
            self.unmixed(part.epoch, part.index, out)
            return
        from priorscope.data.kernels.erase import mix

        mixes = self.drawing.mixes(part)
        needed, at = with_partners(part, mixes)
        unmixed = np.empty((len(needed), *out.shape[1:]), np.float32)
        self.unmixed(part.epoch, needed, unmixed)
        mix(unmixed, at, mixes, order, out.reshape(len(at), 3, -1))

    def unmixed(self, epoch: int, index: Ints, out: Floats) -> None:
        """Fills `out` with the pictures at `index`, warped, coloured and erased but not yet mixed."""
        drawing = self.drawing
        flat, offsets, sizes = self._source(index)
        program = drawing.program(epoch, index, sizes)
        render(flat, offsets, sizes, program.warps, drawing.interpolation, drawing.outside, drawing.fill, out)
        # Kernels are loaded when they are first needed: each costs some hundredths of a second.
        if drawing.plan.colours:
            from priorscope.data.kernels.colour import colour

            colour(out, program.colours)
        if drawing.plan.boxes:
            from priorscope.data.kernels.erase import erase

            erase(out, program.boxes, drawing.plan.table, program.key, index)

    def _source(self, index: Ints) -> tuple[Bytes, Ints, Ints]:
        """(bytes, where each picture starts, its height and width)."""
        sizes = np.empty((len(index), 2), np.int64)
        if self._store is not None:
            sizes[:] = self._store.height, self._store.width
            return self._store.flat, self._store.starts[index], sizes
        pictures = [self._pixels.read(int(i)) for i in index]
        offsets = np.zeros(len(index), np.int64)
        for i, picture in enumerate(pictures):
            sizes[i] = picture.shape[:2]
        offsets[1:] = np.cumsum(sizes.prod(1) * 3)[:-1]
        return np.concatenate([picture.ravel() for picture in pictures]), offsets, sizes


def with_partners(part: BatchPart, mixes: NDArray[np.float64]) -> tuple[Ints, Ints]:
    """(pictures to render: the part's, then partners that are not among them; where each picture's partner is)."""
    at = np.arange(len(part.index))
    if part.partners is None:
        return part.index, at
    place = {int(picture): i for i, picture in enumerate(part.index)}
    more: list[int] = []
    for i in np.flatnonzero(mixes[:, 0] < 1):
        partner = int(part.partners[i])
        if partner not in place:
            place[partner] = len(at) + len(more)
            more.append(partner)
        at[i] = place[partner]
    return np.concatenate([part.index, np.array(more, np.int64)]), at
