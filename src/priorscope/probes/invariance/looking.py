"""How `priorscope.probes.invariance` shows a network its pictures, and what it notes; apart from it because it needs torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.attacks.victim import frozen
from priorscope.core.blocks import at_once, blocks
from priorscope.core.config import Plain
from priorscope.core.machine import plain_attention
from priorscope.core.metrics import answers_alone
from priorscope.core.progress import PartialTables
from priorscope.data.fetch import evenly, fetcher
from priorscope.data.split import Split
from priorscope.models.classifier import Classifier, looking
from priorscope.models.depth import spread_over_depth
from priorscope.probes.invariance import VERSION, InvarianceConfig
from priorscope.probes.invariance import moves as made
from priorscope.probes.shared.state import state_of

LOOKS = 32
"""Images over which a unit's squared gradients are averaged."""
BLOCK = 250
"""Images of side 32 that are moved and shown at a time; of larger ones as many pixels."""

Rows = NDArray[np.int64]


def look(model: Classifier, chosen: Split, index: Rows, asked: InvarianceConfig, folder: Path | None) -> Plain:
    """The fields of the result that are computed with the network."""
    with looking(model), plain_attention(model.device):
        return _Look(model, chosen, index, asked, folder).everything()


class _Look:
    """A network that looks at pictures, and its answers so far; `index` says where the pictures stand in their split."""

    def __init__(self, model: Classifier, chosen: Split, index: Rows, asked: InvarianceConfig, folder: Path | None) -> None:
        side, count = chosen.image_size, len(chosen)
        few = min(asked.wave_images, count)
        self.model, self.labels, self.index, self.asked = model, chosen.labels, index, asked
        self.moves = made.moves(side)
        self.resolutions = tuple(side // part for part in (2, 4, 8) if side // part >= 2)
        self.disturbed = evenly(count, few)
        self.waves = made.frequencies(side) if few else np.zeros((0, 2), np.int64)
        self.taps = spread_over_depth(model.taps(), asked.depths) if asked.depths else []
        self.block = at_once(side, BLOCK)
        self.fetch = fetcher(chosen, model.device)
        own = {name: getattr(asked, name) for name in ("amplitude", "depths", "units", "seed")}
        self.known = PartialTables(
            state_of(folder, "invariance", model, chosen, {"version": VERSION, "index": index.tolist(), "few": few, **own}),
            {
                "answer": ((count,), np.int64),
                "agrees": ((len(self.moves), count), np.float64),
                "sharp": ((len(self.resolutions), count), np.int8),
                "changed": ((len(self.waves), few), np.int8),
                "reach": ((len(self.taps), asked.units), np.float64),
            },
        )

    def everything(self) -> Plain:
        """What is not known yet is looked at."""
        with torch.inference_mode():
            for rows in blocks(len(self.labels), self.block):
                self._move(rows)
            for places in blocks(len(self.disturbed), self.block):
                self._disturb(places)
        self._reach()
        self.known.keep()
        return {
            "moved": tuple(move.about for move in self.moves),
            "agrees": self.known["agrees"],
            "correct": self.known["answer"] == self.labels,
            "resolutions": self.resolutions,
            "sharp": self.known["sharp"] == 1,
            "waves": self.waves,
            "changed": self.known["changed"] == 1,
            "taps": tuple(tap for tap, _ in self.taps),
            "depth": tuple(at for _, at in self.taps),
            "reach": self.known["reach"],
        }

    def _move(self, rows: Rows) -> None:
        """A block of pictures as it is, under every move and with fewer pixels."""
        known = self.known
        if not any(known.lacks(name, (..., rows)) for name in ("answer", "agrees", "sharp")):
            return
        x = self.fetch(rows)[0]
        if known.lacks("answer", rows):
            known.learn("answer", rows, self._answer(x))
        plain = known["answer"][rows]
        for i, move in enumerate(self.moves):
            if known.lacks("agrees", (i, rows)):
                stays = [(self._answer(way(x)) == plain) & (plain >= 0) for way in move.ways]
                known.learn("agrees", (i, rows), np.mean(stays, axis=0))
        for i, resolution in enumerate(self.resolutions):
            if known.lacks("sharp", (i, rows)):
                known.learn("sharp", (i, rows), self._answer(made.coarser(x, resolution)) == self.labels[rows])

    def _disturb(self, places: Rows) -> None:
        """A block of the pictures that are shown the waves, under each of them."""
        if not self.known.lacks("changed", (..., places)):
            return
        rows = self.disturbed[places]
        x, plain = self.fetch(rows)[0], self.known["answer"][rows]
        for i, wave in enumerate(self.waves):
            if self.known.lacks("changed", (i, places)):
                under = made.with_wave(x, wave, self.asked.amplitude, self.index[rows], self.asked.seed)
                self.known.learn("changed", (i, places), (self._answer(under) != plain) | (plain < 0))

    def _reach(self) -> None:
        """How far units look, tap by tap."""
        with frozen(self.model):
            for row, (tap, _) in enumerate(self.taps):
                if self.known.lacks("reach", row):
                    images = self.fetch(evenly(len(self.labels), LOOKS))[0]
                    spread = made.spread_of_units(self.model, images, [tap], self.asked.units, self.asked.seed)
                    self.known.learn("reach", row, spread[0])

    def _answer(self, x: Tensor) -> Rows:
        return answers_alone(self.model(x).float().cpu())
