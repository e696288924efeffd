"""Pictures made of one network shown to all: a block at a time, and kept for the next time that they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.attacks.ball import direction, picture_keys, pictures, project, uniform
from priorscope.attacks.doubts import doubts
from priorscope.attacks.losses import right
from priorscope.attacks.turns import run_in_turn
from priorscope.attacks.victim import Victim, frozen
from priorscope.core.progress import kept_array
from priorscope.data.fetch import Fetch, fetcher
from priorscope.data.split import Split
from priorscope.models.classifier import Classifier, evaluating
from priorscope.probes.shared.state import state_of

if TYPE_CHECKING:
    from priorscope.probes.transfer import TransferConfig

PICTURES = 2
"""The version of the adversarial pictures that are kept. It is its own: what is said of them changes more often."""

Bools = NDArray[np.bool_]


def doubts_of(name: str, model: Classifier, chosen: Split) -> list[str]:
    """Caveats about a network's answers, before anything is attacked."""
    with evaluating(model):
        said, _ = doubts(Victim(model), fetcher(chosen, model.device), len(chosen), name)
    return [f"{name}: {each}" for each in said]


def show_adversarial(
    models: Sequence[Classifier],
    chosen: Split,
    index: NDArray[np.int64],
    asked: TransferConfig,
    folders: Sequence[Path | None],
) -> tuple[Bools, list[int]]:
    """(sources, targets, images) where a target is wrong on a source's picture, and how many of its answers are not finite."""
    fooled, not_finite = list[Bools](), np.zeros(len(models), np.int64)
    for source, folder in zip(models, folders, strict=True):
        stays, bad = show_all(models, source, chosen, adversarial(source, chosen, index, asked, folder))
        fooled.append(~stays)
        not_finite += bad
    return np.stack(fooled), not_finite.tolist()


def show_all(models: Sequence[Classifier], source: Classifier, chosen: Split, made: Fetch) -> tuple[Bools, list[int]]:
    """(networks, images) which pictures each gets right, and how many of each one's answers are not finite.

    Pictures are `made` of a source in blocks as large as its memory wants; each is shown to every network and let go.
    """
    victims, stays = [Victim(model) for model in models], np.zeros((len(models), len(chosen)), np.bool_)
    for rows in Victim(source).blocks(len(chosen)):
        shown, labels = made(rows)
        for t, (model, victim) in enumerate(zip(models, victims, strict=True)):
            with evaluating(model):
                answers = victim(shown.to(model.device))
            stays[t, rows] = right(answers, labels.to(model.device)).cpu().numpy()
    return stays, [victim.not_finite for victim in victims]


def adversarial(
    model: Classifier, chosen: Split, index: NDArray[np.int64], asked: TransferConfig, folder: Path | None
) -> Fetch:
    """What makes the worst pictures found for a block of images, read from the folder if they were computed before."""
    attacks, eps, fetch = asked.attacks(len(chosen.classes)), asked.budget(), fetcher(chosen, model.device)
    whole = state_of(
        folder,
        "adversarial",
        model,
        chosen,
        {
            "version": PICTURES,
            "index": index.tolist(),
            "attacks": [attack.plain() for attack in attacks],
            "norm": asked.norm,
            "eps": eps,
            "seed": asked.seed,
        },
        "npy",
    )

    def made(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        images, labels = fetch(rows)

        def attack() -> NDArray[np.float32]:
            of = pictures(images, labels, eps, norm=asked.norm, index=torch.from_numpy(index[rows]))
            with evaluating(model), frozen(model):
                return run_in_turn(Victim(model), of, attacks, asked.seed).adversarial.float().cpu().numpy()

        return torch.from_numpy(kept_array(_of_rows(whole, rows, len(chosen)), attack)), labels

    return made


def _of_rows(whole: Path | None, rows: NDArray[np.int64], count: int) -> Path | None:
    """The file of some consecutive rows of so many: that of all of them by its name alone."""
    if whole is None or len(rows) == count:
        return whole
    return whole.with_stem(f"{whole.stem}-{rows[0]}-{rows[-1]}")


def signs(model: Classifier, chosen: Split, index: NDArray[np.int64], asked: TransferConfig) -> Fetch:
    """What makes a block of images with a random sign in every pixel, at the whole budget."""
    fetch, eps = fetcher(chosen, model.device), asked.budget()

    def made(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        images, labels = fetch(rows)
        of = pictures(images, labels, eps, norm=asked.norm, index=torch.from_numpy(index[rows]))
        draws = uniform(picture_keys(asked.seed, of.index, "noise"), 0, images[0].numel()).view_as(images)
        drawn = direction(torch.where(draws < 0.5, -1.0, 1.0), asked.norm)
        return project(images + eps * drawn, of), labels

    return made
