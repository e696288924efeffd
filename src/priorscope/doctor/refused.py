"""A recipe that `train` refuses at once: for an optimiser that cannot be made, or a precision that its device does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from priorscope.core.errors import RequestError
from priorscope.core.machine import pick_device
from priorscope.doctor import Finding

if TYPE_CHECKING:
    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier
    from priorscope.recipe import Recipe


def look_at_training(recipe: Recipe, split: Split, network: Classifier) -> Iterator[Finding]:
    """Makes the optimiser, takes the part of train and asks the device for the precision, as `train` does."""
    import torch

    from priorscope.train.optim import make_optimiser
    from priorscope.train.precision import check_precision

    yield from _refusal(lambda: make_optimiser(network, recipe.optim, recipe.train.finetune))
    if (subset := recipe.data.subset) is not None:
        yield from _refusal(lambda: split.subset(subset))
    if recipe.train.precision == "tf32":
        device = torch.device(pick_device(recipe.train.device))
        yield from _refusal(lambda: check_precision("tf32", device))


def _refusal(ask: Callable[[], object]) -> Iterator[Finding]:
    try:
        ask()
    except RequestError as error:
        yield refused(error)


def refused(error: RequestError) -> Finding:
    """What `train` would say."""
    means = f"`train` refuses it at once; it wants {error.wanted}"
    return Finding(check="refused", severity="fault", saw=error.came, means=means, do=error.do)
