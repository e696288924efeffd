"""What is wrong with a network's answers before anything is attacked: NaN, probabilities in place of logits, chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from priorscope.core.errors import WorkError

if TYPE_CHECKING:
    from priorscope.attacks.victim import Victim
    from priorscope.data.fetch import Fetch

SAMPLE = 100
"""Pictures that are answered twice, to see whether the answers are the same."""

PROBABILITIES = "Its outputs are probabilities, not logits (they sum to 1)"


def are_probabilities(answers: NDArray[np.floating]) -> bool:
    """Whether a network's answers (images, classes) are probabilities: none below 0, and each row's sum 1."""
    if answers.shape[1] < 2 or not len(answers):
        return False
    return bool((answers >= 0).all() and (np.abs(answers.sum(1, dtype=np.float64) - 1) < 1e-3).all())


def doubts(victim: Victim, fetch: Fetch, count: int, who: str = "The network") -> tuple[list[str], bool]:
    """Caveats about a network's answers, and whether they alone make every number suspect. NaN is refused.

    All images are answered once, which costs little beside an attack: a single NaN among them has no margin.
    """
    answers = _answers(victim, fetch, count)
    bad = int((~np.isfinite(answers)).any(1).sum())
    if bad:
        raise WorkError(
            f"{who} answers NaN or infinity for {bad} of {count} images.",
            "finite logits: what is not a number cannot be attacked or defended",
            "look at the run's curve for where it diverged",
        )
    said: list[str] = []
    again = _answers(victim, fetch, min(count, SAMPLE))
    varies = not np.allclose(answers[: len(again)], again, rtol=1e-3, atol=1e-4)
    if varies:
        said.append("Its answers differ between two passes over the same images: attacks that assume a fixed network miss.")
    if are_probabilities(answers):
        said.append(
            f"{PROBABILITIES}: cross-entropy takes their softmax again, which flattens its gradient; wrap the network without "
            "its last softmax."
        )
        return said, True
    return said, varies


def _answers(victim: Victim, fetch: Fetch, count: int) -> NDArray[np.float32]:
    """The logits of the first images, so many, a block at a time."""
    return np.concatenate([victim(fetch(rows)[0]).cpu().numpy() for rows in victim.blocks(count)])
