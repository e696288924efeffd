"""The smallest breaking budget of a linear network: its margin over the dual norm of its weights; and a mask that shows.

Of two classes, a budget eps in the largest pixel change moves the margin by eps times the L1 norm of the difference of
weights, and eps in the L2 norm by eps times its L2 norm; no attack can do better, and a working one does as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from priorscope.attacks import Norm
from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import grey_world, linear, margins
from priorscope.probes.robustness import measure_robustness

IMAGES = 60


def known_answers() -> Iterator[Answer]:
    """The median smallest budget in both norms, as a ratio to the closed form, and the verdicts."""
    split = grey_world(IMAGES)
    network, difference = linear()
    gap = margins(split, difference)
    norms: tuple[tuple[Norm, int], ...] = (("linf", 1), ("l2", 2))
    for norm, dual in norms:
        truth = gap[gap > 0] / np.linalg.norm(difference, ord=dual)
        budgets = (*(float(np.quantile(truth, q)) for q in (0.1, 0.3, 0.5, 0.7, 0.9)), 2 * float(truth.max()))
        result = measure_robustness(network, split, norm=norm, attack="pgd", budgets=budgets, audit_images=0)
        found = np.sort(result.smallest[result.correct])
        yield Answer(
            probe="robustness",
            question=f"smallest {norm} budget of a linear network over its closed form, at the median",
            expected=1,
            got=float(np.median(found) / np.median(truth)),
            within=0.05,
        )
        yield Answer(
            probe="robustness",
            question=f"images broken below their closed form in {norm} (a share; impossible)",
            expected=0,
            got=float((result.smallest[result.correct] < truth * 0.999).mean()),
            within=0,
        )
    blind = measure_robustness(linear(1000.0)[0], split, attack="pgd", eps=8 / 255, audit_images=IMAGES)
    yield Answer(
        probe="robustness",
        question="a network whose logits are a thousand times larger is called masked (1: yes)",
        expected=1,
        got=float(blind.verdict == "masked"),
        within=0,
    )
