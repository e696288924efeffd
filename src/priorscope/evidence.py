"""What a model says about a split: logits and features at named taps, computed once and kept.

Every probe takes evidence rather than running the model itself, so that probes which look at the same split share one
forward pass. What was computed lies under the key of weights, data and tap; with a folder it outlives the process. Looking
leaves the model as it was: the mode of every submodule, its hooks and the random state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from priorscope.core.config import content_key
from priorscope.core.folder import replacing

if TYPE_CHECKING:
    from torch import nn

    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier

Floats = NDArray[np.float32]

LOGITS = "logits"
BATCH = 500


class Answering(Protocol):
    """Something that can be asked about a split: evidence of a run, or of a model in memory."""

    @property
    def name(self) -> str: ...

    def logits(self, split: Split) -> Floats: ...

    def features(self, split: Split, tap: str) -> Floats: ...


class Evidence:
    """A model's answers. `weights_key` names the weights (None: keep nothing on disk); `folder` is where answers are kept."""

    def __init__(self, model: Classifier, weights_key: str | None = None, folder: Path | None = None) -> None:
        self.model = model
        self._weights_key = weights_key
        self._folder = folder
        self._kept: dict[str, Floats] = {}

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    def logits(self, split: Split) -> Floats:
        """The logits of every image, float32 (N, classes), in the split's order."""
        return self.gather(split, [LOGITS])[LOGITS]

    def features(self, split: Split, tap: str) -> Floats:
        """The activations at one tap for every image, float32, in the split's order."""
        return self.gather(split, [tap])[tap]

    def gather(self, split: Split, what: Sequence[str]) -> dict[str, Floats]:
        """Logits and taps together: what is missing is computed in one pass."""
        keys = {name: content_key([self._weights_key, split.fingerprint, name]) for name in what}
        missing = [name for name, key in keys.items() if not self._has(key)]
        if missing:
            for name, values in answers(self.model, split, missing).items():
                self._keep(keys[name], values)
        return {name: self._kept[key] for name, key in keys.items()}

    def _has(self, key: str) -> bool:
        path = self._path(key)
        if key not in self._kept and path is not None and path.exists():
            self._kept[key] = np.load(path, allow_pickle=False)
        return key in self._kept

    def _keep(self, key: str, values: Floats) -> None:
        self._kept[key] = values
        path = self._path(key)
        if path is not None:
            with replacing(path) as file:
                np.save(file, values)

    def _path(self, key: str) -> Path | None:
        return self._folder / f"{key}.npy" if self._folder is not None and self._weights_key is not None else None


def evidence_of(subject: Classifier | Evidence) -> Evidence:
    """Evidence of a model, or evidence itself."""
    return subject if isinstance(subject, Evidence) else Evidence(subject)


def answers(model: Classifier, split: Split, what: Sequence[str]) -> dict[str, Floats]:
    """One pass over a split in evaluation mode: every image exactly once, in order, in float32."""
    import torch

    from priorscope.data.loader import Loader

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    taps = [name for name in what if name != LOGITS]
    parts: dict[str, list[Any]] = {name: [] for name in what}
    with evaluating(model), torch.inference_mode():
        for batch in Loader(split, batch_size=BATCH, device=str(device)).epoch(0):
            logits, read = model.forward_with_taps(batch.images, taps)
            for name in what:
                parts[name].append((logits if name == LOGITS else read[name]).float().cpu())
    return {name: torch.cat(values).numpy() for name, values in parts.items()}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block.

    Afterwards every submodule has the mode that it had, and the random state is the same.
    """
    import torch

    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, training in modes:
            module.training = training
