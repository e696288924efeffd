"""How `priorscope.probes.inversion` seeks its pictures; apart from it because it needs torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.attacks.victim import frozen
from priorscope.core.config import Plain
from priorscope.core.errors import RequestError
from priorscope.core.machine import plain_attention
from priorscope.core.progress import kept_array
from priorscope.core.rng import stream
from priorscope.data.fetch import some_images
from priorscope.data.split import Split
from priorscope.models.classifier import Classifier, looking
from priorscope.models.depth import taps_along
from priorscope.probes.inversion import VERSION, ZOOMING_FAULTS, Inversion, InversionConfig, Seeking, interval_over
from priorscope.probes.shared.state import state_of
from priorscope.synthesis.descent import Steps, descend
from priorscope.synthesis.forms import as_bytes, as_images, form_of, noisy_starts
from priorscope.synthesis.penalties import total_variation, z_penalty

REFERENCE = 64
"""Real pictures that say how far two of them are apart at a tap, and what the mean picture and the colours are."""

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """What is to be sought, and the real pictures."""

    asked: InversionConfig
    chosen: Split
    folder: Path | None

    @cached_property
    def seeking(self) -> Seeking:
        """How it is sought."""
        return self.asked.seeking()

    @cached_property
    def reference(self) -> tuple[Bytes, NDArray[np.int64]]:
        """Class-balanced real pictures and their positions in the split, at least as many as are sought."""
        some, index = some_images(self.chosen, max(self.asked.images, REFERENCE))
        return np.stack([some[row][0] for row in range(len(some))]), index

    @cached_property
    def sought(self) -> tuple[Bytes, NDArray[np.int64]]:
        """The pictures that are sought, and their positions in the split."""
        some, index = some_images(self.chosen, self.asked.images)
        return np.stack([some[row][0] for row in range(len(some))]), index


def measure(model: Classifier, task: Task) -> Inversion:
    """Seeks from one tap after another; taps at which all real pictures look alike are left out and named."""
    if len(task.chosen) < 2:
        raise RequestError(
            f"{task.chosen.source}/{task.chosen.name} has one picture.",
            "two or more: they say how far apart pictures are",
            "name another split",
        )
    places = taps_along(model, task.asked.taps, task.asked.depths)
    caveats = [ZOOMING_FAULTS] if task.asked.preset == "zooming" else []
    found: list[Bytes] = []
    residual: list[Floats] = []
    kept: list[tuple[str, float]] = []
    with looking(model), plain_attention(model.device), frozen(model):
        spreads = {tap: _spread(model, task, tap) for tap, _ in places}
        if lost := [tap for tap, spread in spreads.items() if not math.isfinite(spread)]:
            came = f"Some activations at {lost[0]} are NaN or infinite."
            raise RequestError(came, "finite numbers", "look for a diverged run")
        for tap, depth in places:
            if spreads[tap] <= 0:
                caveats.append(f"At {tap} all pictures give the same activations: there is nothing to seek from.")
                continue
            kept.append((tap, depth))
            found.append(_found(model, task, tap, spreads[tap]))
            residual.append(_residual(model, task, tap, spreads[tap], found[-1]))
    if not kept:
        raise RequestError(
            "At no tap do two pictures differ.", "a network whose activations depend on the picture", "train it first"
        )
    return _result(task, kept, np.stack(found), np.stack(residual), caveats)


def _result(
    task: Task, places: Sequence[tuple[str, float]], found: Bytes, residual: Floats, caveats: Sequence[str]
) -> Inversion:
    real, index = task.sought
    error = _error(found, real[None])
    mean = task.reference[0].astype(np.float64).mean(0)
    said = list(caveats)
    failed = {tap: int(n) for (tap, _), n in zip(places, (residual > task.asked.converged).sum(1), strict=True) if n}
    if failed:
        where = ", ".join(f"{n} of {len(real)} from {tap}" for tap, n in failed.items())
        said.append(f"The search did not converge for {where}: their image errors speak of the search, not of the network.")
    return Inversion(
        value=float(error[-1].mean()),
        interval=interval_over(error[-1]),
        n=len(real),
        unit="pixel range",
        caveats=tuple(said),
        taps=tuple(tap for tap, _ in places),
        depths=tuple(depth for _, depth in places),
        preset=task.asked.preset,
        seeking=task.seeking,
        converged=task.asked.converged,
        split=task.chosen.name,
        seed=task.asked.seed,
        index=index,
        real=real,
        found=found,
        residual=residual,
        error=error,
        blind=_error(mean[None], real),
    )


def _error(pictures: NDArray[np.uint8] | Floats, real: Bytes) -> Floats:
    """The root mean square difference of pixels in [0, 1]."""
    return np.sqrt((((pictures.astype(np.float64) - real) / 255) ** 2).mean((-3, -2, -1)))


def _spread(model: Classifier, task: Task, tap: str) -> float:
    """The mean squared distance between the activations of two real pictures: twice the variance, summed over channels."""
    pixels = task.reference[0]
    with torch.no_grad():
        parts = [
            model.activations(as_images(pixels[start : start + REFERENCE], model.device), [tap])[tap].flatten(1).cpu()
            for start in range(0, len(pixels), REFERENCE)
        ]
        return 2 * float(torch.cat(parts).double().var(dim=0).sum())


def _residual(model: Classifier, task: Task, tap: str, spread: float, found: Bytes) -> Floats:
    """The squared distance of each found picture's activations from the real one's, in spreads."""
    device = model.device
    with torch.no_grad():
        sought, got = (
            model.activations(as_images(pixels, device), [tap])[tap].flatten(1).cpu().double()
            for pixels in (task.sought[0], found)
        )
    return ((sought - got).square().sum(1) / spread).numpy()


def _found(model: Classifier, task: Task, tap: str, spread: float) -> Bytes:
    """What was found from one tap, computed once a folder."""
    settings: Plain = {
        "version": VERSION,
        "index": task.sought[1].tolist(),
        "seeking": task.seeking.plain(),
        "tap": tap,
        "seed": task.asked.seed,
    }
    path = state_of(task.folder, "inversion", model, task.chosen, settings, "npy")
    return kept_array(path, lambda: as_bytes(_followed(model, task, tap, spread)))


def _followed(model: Classifier, task: Task, tap: str, spread: float) -> Tensor:
    how, device = task.seeking, model.device
    real, index = task.sought
    reference = as_images(task.reference[0], device)
    form = form_of(how.form, reference, model.mean, model.std, held=False)
    with torch.no_grad():
        wanted = model.activations(as_images(real, device), [tap])[tap].flatten(1).float()
    own = wanted.square().sum(1) if how.relative_to == "norm" else torch.full((len(wanted),), spread, device=device)

    def loss(images: Tensor, rows: slice) -> Tensor:
        got = model.activations(images, [tap])[tap].flatten(1).float()
        return how.weight * (got - wanted[rows]).square().sum(1) / own[rows]

    def penalty(numbers: Tensor, images: Tensor) -> Tensor:
        weighed = how.prior * numbers.square().flatten(1).mean(1) + how.total_variation * total_variation(images)
        return weighed + z_penalty(numbers) if how.z_penalty else weighed

    begun = noisy_starts(form, reference, (stream(task.asked.seed, "inversion", row) for row in index.tolist()))
    steps = Steps(steps=how.steps, lr=how.lr, optimiser=how.optimiser, momentum=how.momentum, schedule=how.schedule)
    return descend(loss, begun, form, steps, penalty=penalty if how.z_penalty or how.prior or how.total_variation else None)
