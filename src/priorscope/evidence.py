"""What a model says about a split: logits and features at named taps, computed once and kept.

Probes that need logits or features of a split's own images take them from here, so that those which look at the same split
share one forward pass; probes that change the images run the model. What was computed lies under the key of weights, data and
tap; with a folder it outlives the process. Looking leaves the model as it was: the mode of every submodule, its hooks and the
random state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from priorscope.core.arrays import read_array, write_array
from priorscope.core.config import content_key
from priorscope.core.errors import RequestError
from priorscope.core.folder import keeping
from priorscope.views import BATCH, Floats, Views, answers_of_views

if TYPE_CHECKING:
    from torch import Tensor, nn

    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier


class Evidence:
    """A model's answers. `weights_key` names the weights (None: keep nothing on disk); `folder` is where answers are kept.

    Without a key, answers are kept until torch counts a change of a parameter or a buffer (one behind `.data` is not counted).
    `classes` are the names of what it learnt to tell apart, where somebody knows them.
    """

    classes: tuple[str, ...] = ()

    def __init__(
        self, model: Classifier, weights_key: str | None = None, folder: Path | None = None, classes: Sequence[str] = ()
    ) -> None:
        self.model, self.classes = model, tuple(classes)
        self._weights_key = weights_key
        self.folder = folder
        self._kept: dict[str, NDArray[Any]] = {}
        self._state: list[tuple[int, int]] = []

    def on(self, device: str) -> Evidence:
        """The same network's, which computes on a device from now on."""
        if self.model.device.type == device:
            return self
        return Evidence(self.model.to(device), self._weights_key, self.folder, self.classes)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    def knows(self, split: Split) -> bool:
        """Whether the network tells the split's classes apart, as far as its own are known by name."""
        return self.model.num_classes == len(split.classes) and self.classes in ((), tuple(split.classes))

    def check_classes(self, split: Split) -> None:
        """Refuses a split of other classes than the network has learnt, or of the same in another order."""
        count, asked = self.model.num_classes, split.classes
        moved = [name for name, here in zip(self.classes, asked, strict=False) if name != here and name in asked]
        if count != len(asked) or moved:
            raise RequestError(
                f"{self.name} was asked about {split.source}, which has {len(asked)} classes, and "
                + (f"knows {moved[0]!r} at another place among them." if count == len(asked) else f"tells {count} apart."),
                "data with the classes that the network has learnt, in their order",
                "another source; generalisation and fewshot ask what a network tells of other classes",
            )

    def logits(self, split: Split, views: Views | None = None) -> Floats:
        """The logits of every image, float32 (N, classes), in the split's order.

        With several views: logits whose softmax is the mean of the views' probabilities, or the mean of their logits.
        """
        if views is None:
            return self.kept(split, "logits", lambda: one_pass(self.model, split).logits)
        return self.kept(split, f"logits of {views.digest()}", lambda: answers_of_views(self.model, split, views))

    def features(self, split: Split, tap: str) -> Floats:
        """The activations at one tap for every image, float32, in the split's order."""
        return self.kept(split, f"tap {tap}", lambda: one_pass(self.model, split, [tap]).taps[tap])

    def kept(self, split: Split, name: str, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Something else that is a function of weights and data, computed once; `name` says what, with all its settings."""
        key = self._key(split, name)
        if not self._has(key):
            self._keep(key, compute())
        return self._kept[key]

    def _key(self, split: Split, name: str) -> str:
        """The key that an answer is kept under; answers of weights that have changed since are let go."""
        if self._weights_key is None and (now := _state_of(self.model)) != self._state:
            self._kept.clear()
            self._state = now
        return content_key([self._weights_key, split.fingerprint, name])

    def _has(self, key: str) -> bool:
        path = self._path(key)
        if key not in self._kept and path is not None and path.exists():
            self._kept[key] = read_array(path)
        return key in self._kept

    def _keep(self, key: str, values: NDArray[Any]) -> None:
        self._kept[key] = values
        path = self._path(key)
        if path is not None:
            with keeping(path):
                write_array(path, values)

    def _path(self, key: str) -> Path | None:
        return self.folder / f"{key}.npy" if self.folder is not None and self._weights_key is not None else None


def _state_of(model: nn.Module) -> list[tuple[int, int]]:
    """The address of each parameter and buffer in memory, and how often it was changed."""
    from priorscope.models.wrapping import changes_of

    return [(tensor.data_ptr(), changes_of(tensor)) for tensor in (*model.parameters(), *model.buffers())]


class Passed(NamedTuple):
    """What passed through a network: its logits (N, classes), and the activations at the taps asked for."""

    logits: Floats
    taps: dict[str, Floats]


def one_pass(model: Classifier, split: Split, taps: Sequence[str] = ()) -> Passed:
    """One pass over a split in evaluation mode: every image exactly once, in order, in float32."""
    import torch

    from priorscope.data.loader import Loader
    from priorscope.models.classifier import looking

    logits: list[Tensor] = []
    parts: dict[str, list[Tensor]] = {tap: [] for tap in taps}
    with looking(model), torch.inference_mode():
        for batch in Loader(split, batch_size=BATCH, device=str(model.device)).epoch(0):
            own, read = model.forward_with_taps(batch.images, taps)
            logits.append(own.float().cpu())
            for tap, values in read.items():
                parts[tap].append(values.float().cpu())
    return Passed(torch.cat(logits).numpy(), {tap: torch.cat(values).numpy() for tap, values in parts.items()})
