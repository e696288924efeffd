"""How a network does on a split while it trains: loss and accuracy, in evaluation mode, every picture once, not augmented."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from priorscope.core.epoch import Score
from priorscope.train.distributed import ALONE, Ranks

if TYPE_CHECKING:
    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier


def score(model: Classifier, split: Split, ranks: Ranks = ALONE) -> Score:
    """Loss and accuracy over the whole split, the same on every rank; each looks at a share of the pictures."""
    from priorscope.core.metrics import log_loss, top_k_correct
    from priorscope.evidence import one_pass

    own = split if ranks.size == 1 else share(split, ranks)
    logits = one_pass(model, own).logits
    loss, correct = log_loss(logits, own.labels), top_k_correct(logits, own.labels)
    if ranks.size == 1:
        return Score(float(loss.mean()), float(correct.mean()), len(split))
    import torch

    mine = len(range(ranks.rank, len(split), ranks.size))
    sums = torch.tensor([float(loss[:mine].sum(dtype=np.float64)), float(correct[:mine].sum())], dtype=torch.float64)
    of_loss, of_correct = ranks.sum(sums).tolist()
    return Score(of_loss / len(split), of_correct / len(split), len(split))


def share(split: Split, ranks: Ranks) -> Split:
    """This rank's pictures, filled up with its last one to the same number on all ranks.

    A sharded network must be run equally often by each.
    """
    places = np.arange(ranks.rank, len(split), ranks.size)
    most = -(-len(split) // ranks.size)
    return split.choose(
        np.concatenate([places, np.full(most - len(places), places[-1] if len(places) else 0)]).astype(np.int64)
    )
