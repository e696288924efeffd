"""What frozen features tell of classes: a readout is fitted to some labelled images and asked about others.

Nothing is tuned on the images that are asked: the ridge chooses its penalty by leaving out each labelled image in turn, the
logistic regression has a fixed one on standardised features, and neighbours vote.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.errors import RequestError
from priorscope.data.loader import Loader
from priorscope.data.split import Split
from priorscope.evidence import BATCH, Evidence
from priorscope.models.classifier import Classifier, looking
from priorscope.probes.generalisation import Readout
from priorscope.probes.shared.depth import NEIGHBOURS, by_logistic
from priorscope.probes.shared.networks import pooled, small_pixels
from priorscope.probes.shared.ridge import fit_ridge

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

AT_ONCE = 1000
"""Images whose distances to all labelled ones are held at a time."""


def answered(kind: Readout, known: Floats, labels: Ints, asked: Floats, truths: Ints, classes: int) -> NDArray[np.bool_]:
    """Whether each asked image's class is read out right, from the features and labels of the known ones.

    Every readout names one class, the first of equals, so that features that tell nothing are right at chance, not below it.
    """
    if kind == "ridge":
        return fit_ridge(known, labels, classes).scores(asked).argmax(1) == truths
    if kind == "logistic":
        return by_logistic(torch.from_numpy(known), labels, torch.from_numpy(asked), classes) == truths
    return _by_neighbours(torch.from_numpy(known), labels, torch.from_numpy(asked), classes) == truths


def _by_neighbours(known: Tensor, labels: Ints, asked: Tensor, classes: int) -> Ints:
    """The class that most of the nearest 10 have, or of as many as the smallest class has; of equals the nearest's."""
    fewest = int(np.bincount(labels)[np.unique(labels)].min())
    count = max(1, min(NEIGHBOURS, fewest))
    mean, given = known.mean(0), torch.from_numpy(labels)
    weight = 1 + 1e-3 / torch.arange(1, count + 1)
    found: list[Tensor] = []
    for some in asked.split(AT_ONCE):
        squared = torch.cdist(some - mean, known - mean, compute_mode="use_mm_for_euclid_dist")
        near = squared.topk(count, dim=1, largest=False).indices
        votes = torch.zeros(len(some), classes).scatter_add_(1, given[near], weight.expand(len(some), -1))
        found.append(votes.argmax(1))
    return torch.cat(found).numpy()


def seeing(model: Classifier, side: int) -> Classifier:
    """The network as it takes images of another side, which it resizes to what its backbone was trained on."""
    if model.image_size == side:
        return model
    if model.resize == "none":
        raise RequestError(
            f"{model.name} takes images of side {model.image_size} and has resize = 'none'; these have {side}.",
            "images of its own size, or a model that resizes inside",
            f"priorscope data convert SRC DST.beton --res {model.image_size}",
        )
    seen = copy.copy(model)  # the modules are shared, and the side is the copy's own
    seen.image_size = side
    return seen


def features(evidence: Evidence, model: Classifier, split: Split, taps: Sequence[str]) -> Floats:
    """(images, features of all taps side by side), averaged over positions; kept with the evidence if that is kept."""
    return evidence.kept(split, f"pooled {' '.join(taps)} at {model.image_size}", lambda: _read(model, split, taps))


def _read(model: Classifier, split: Split, taps: Sequence[str]) -> Floats:
    parts: list[Floats] = []
    with looking(model), torch.inference_mode():
        for batch in Loader(split, batch_size=BATCH, device=str(model.device)).epoch(0):
            read = model.activations(batch.images, taps)
            flat = [pooled(read[tap], model.tap(tap).layout, len(batch.images)).float().cpu() for tap in taps]
            parts.append(torch.cat(flat, 1).numpy())
    return np.concatenate(parts)


def pixels(split: Split) -> Floats:
    """(images, pixels in [0, 1]), averaged to fewer where the images are large."""
    return np.concatenate([small_pixels(batch.images).numpy() for batch in Loader(split, batch_size=BATCH).epoch(0)])
