"""The weights that a run begins with, where it does not begin at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from priorscope.models.classifier import Classifier


@dataclass(frozen=True)
class Start:
    """A file of weights, and how many classes they tell apart."""

    weights: Path
    classes: int


def begin_with(model: Classifier, start: Start, seed: int) -> None:
    """Puts earlier weights in, with their own normalisation; where they told other classes apart, the head is made anew."""
    from priorscope.models.classifier import load_weights

    classes = model.num_classes
    if start.classes == classes:
        load_weights(model, start.weights)
        return
    model.replace_head(start.classes, seed)
    load_weights(model, start.weights)
    model.replace_head(classes, seed)
