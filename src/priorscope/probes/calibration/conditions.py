"""What a network answers as it is, and under the conditions that its confidences are judged under beside that."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from priorscope.attacks import attacks_of
from priorscope.attacks.ball import pictures
from priorscope.attacks.turns import run_in_turn
from priorscope.attacks.victim import Victim, frozen
from priorscope.core.config import content_key
from priorscope.data.corruptions import corrupted
from priorscope.data.fetch import fetcher, some_images
from priorscope.data.split import Split
from priorscope.evidence import Evidence
from priorscope.models.classifier import evaluating
from priorscope.probes.calibration import AS_IT_IS, VERSION
from priorscope.views import Views

if TYPE_CHECKING:
    from priorscope.probes.calibration import CalibrationConfig


@dataclass(frozen=True)
class Condition:
    """What a network answers under one condition; `views` says whose temperature applies."""

    name: str
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    views: Views | None = None


def conditions(evidence: Evidence, chosen: Split, asked: CalibrationConfig) -> list[Condition]:
    """The plain condition, then those asked for beside it."""
    found = [Condition(AS_IT_IS, evidence.logits(chosen), chosen.labels)]
    if asked.views is not None:
        found.append(Condition(asked.views.label, evidence.logits(chosen, asked.views), chosen.labels, asked.views))
    for kind in asked.corruptions:
        worse = corrupted(chosen, kind, asked.severity, seed=asked.seed)
        found.append(Condition(f"{kind} {asked.severity}", evidence.logits(worse), chosen.labels))
    if asked.attack is not None:
        found.append(_attacked(evidence, chosen, asked.attack, asked))
    return found


def _attacked(evidence: Evidence, chosen: Split, name: str, asked: CalibrationConfig) -> Condition:
    """What the network says about the worst pictures found, of all images of a class-balanced part, right before or not.

    No image leaves an attack early: one that only just fools is unsure, which is not what is asked about. The answers are kept
    as evidence a block at a time: a measurement that was stopped resumes with the next.
    """
    part, index = some_images(chosen, asked.attack_images)
    attacks = [attack.replace(leave=False) for attack in attacks_of(name, len(chosen.classes))]
    model, about = evidence.model, [VERSION, [attack.plain() for attack in attacks], asked.eps, asked.seed]
    victim, fetch = Victim(model), fetcher(part, model.device)

    def answers(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        images, labels = fetch(rows)
        of = pictures(images, labels, asked.eps, index=torch.from_numpy(index[rows]))
        return victim(run_in_turn(victim, of, attacks, asked.seed).adversarial).cpu().numpy()

    def kept(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        told = f"under attack {content_key([*about, index[rows].tolist()])}"
        return evidence.kept(part.choose(rows), told, partial(answers, rows))

    with evaluating(model), frozen(model):
        logits = np.concatenate([kept(rows) for rows in victim.blocks(len(part))])
    return Condition(f"{name} {asked.eps * 255:.3g}/255", logits, part.labels)
