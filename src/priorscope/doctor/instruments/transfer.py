"""Transfer between twins: a picture that fools a network fools its copy, exactly as often, and never one that nothing fools."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from priorscope.doctor.instruments import Answer
from priorscope.doctor.instruments.planted import SIDE, grey_world, linear, margins, stubborn
from priorscope.evidence import Evidence
from priorscope.probes.transfer import measure_transfer

IMAGES = 60


def known_answers() -> Iterator[Answer]:
    """Two networks of the same weights and a stubborn one, at a budget that breaks about half of a linear one's pictures."""
    split = grey_world(IMAGES)
    network, difference = linear()
    gap = margins(split, difference)
    eps = float(np.median(gap[gap > 0]) / np.abs(difference).sum())
    three = {"one": Evidence(network), "twin": Evidence(linear()[0]), "stubborn": Evidence(stubborn(SIDE))}
    result = measure_transfer(three, split, eps=eps)
    white, across, never = (result.share(0, target)[0] for target in range(3))
    broken = float((gap[gap > 0] < eps * np.abs(difference).sum() * (1 + 1e-6)).mean())
    yield Answer(probe="transfer", question="fooled share of a twin, as white-box", expected=white, got=across, within=0)
    yield Answer(probe="transfer", question="fooled share of a network that nothing fools", expected=0, got=never, within=0)
    yield Answer(
        probe="transfer", question="white-box fooled share of a linear network", expected=broken, got=white, within=2 / IMAGES
    )
