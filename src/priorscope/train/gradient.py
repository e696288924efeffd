"""The gradient of a batch: whole, in parts, or in more parts than asked if memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from priorscope.core.errors import RequestError, WorkError, first_line
from priorscope.core.machine import plain_attention, ran_out
from priorscope.core.rng import seed_of
from priorscope.train.adversarial import adversarial_loss
from priorscope.train.distributed import ALONE, Ranks
from priorscope.train.finetune import trains_body
from priorscope.train.precision import compute_dtype

if TYPE_CHECKING:
    from torch import Tensor
    from torch.amp.grad_scaler import GradScaler

    from priorscope.data.loader import Batch
    from priorscope.models.classifier import Classifier
    from priorscope.train.config import TrainConfig

Forward = Callable[["Tensor"], "Tensor"]


class Gradient:
    """Leaves the gradient of a batch's mean loss in the parameters, and returns the loss.

    `parts` says in how many parts a batch goes through the network. If memory runs out it is doubled, and the same step is made
    again with the same numbers. `forward` is the network as it is called, compiled or spread over `ranks`, each of which has a
    share of the `batch_size` pictures of a batch (not set: all).
    """

    def __init__(
        self,
        model: Classifier,
        config: TrainConfig,
        scaler: GradScaler,
        *,
        forward: Forward | None = None,
        ranks: Ranks = ALONE,
        batch_size: int | None = None,
    ) -> None:
        self.parts = config.accumulate or 1
        if batch_size is not None:
            self.parts = min(self.parts, -(-batch_size // ranks.size))
        self.model = model
        self._forward: Forward = model if forward is None else forward  # a compiled network has no truth value
        self.config = config
        self.scaler = scaler
        self._ranks = ranks
        self._batch_size = batch_size

    def __call__(self, batch: Batch, draws: int, done: float = 1.0) -> Tensor:
        """The batch's mean loss over all ranks, after a share `done` of the run.

        The same `draws` give the same dropout for the same numbers of parts and ranks.
        """
        while True:
            try:
                return self._in_parts(batch, draws, done)
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                failure = first_line(error)
            self._make_room(len(batch.images), failure)  # after the block, when the error no longer holds the step's tensors

    def _in_parts(self, batch: Batch, draws: int, done: float) -> Tensor:
        import torch

        torch.manual_seed(draws if self._ranks.rank == 0 else seed_of(draws, "rank", self._ranks.rank))
        device = batch.images.device
        dtype = compute_dtype(self.config.precision, device)
        mean = torch.zeros((), device=device)
        parts = list(_parts(batch, self.parts))
        whole = self._batch_size or len(batch.images)
        for number, (images, wanted, index) in enumerate(parts, start=1):
            with self._ranks.syncing(self._forward, number == len(parts)):
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32), plain_attention(device):
                    loss = self._loss(images, wanted, index, draws, done)
                loss = loss * (len(images) * self._ranks.size / whole)
                self.scaler.scale(loss).backward()
            mean = mean + loss.detach()
        return self._ranks.mean(mean)

    def _loss(self, images: Tensor, wanted: Tensor, index: Tensor, draws: int, done: float) -> Tensor:
        """The mean loss of some pictures, moved against the network if the recipe says so."""
        config = self.config

        def plain(logits: Tensor, wanted: Tensor) -> Tensor:
            return batch_loss(logits, wanted, config.label_smoothing)

        if config.adversarial is None:
            return plain(self._forward(images), wanted)
        from priorscope.attacks.ball import picture_keys

        keys = picture_keys(draws, index, "training")
        return adversarial_loss(self._forward, self.model, images, wanted, keys, config.adversarial, done, plain)

    def _make_room(self, images: int, failure: str) -> None:
        """Doubles the parts, or says why that is impossible."""
        import torch

        reason = None
        if has_batch_statistics(self.model, self.config):
            reason = "this network normalises by batch statistics, which a smaller part would change"
        elif self._ranks.size > 1:
            reason = "the other ranks cannot be asked to make the step again"
        elif self.parts >= images:
            reason = "even one picture at a time does not fit"
        if reason is not None:
            raise WorkError(
                f"Memory ran out in a step of {images} pictures in {self.parts} parts: {failure}.",
                f"room for a part; it is not made smaller by itself, because {reason}",
                "a smaller train.batch_size, or train.accumulate = 2 or more",
            )
        self.parts = min(2 * self.parts, images)
        for p in self.model.parameters():
            p.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def has_batch_statistics(model: Classifier, config: TrainConfig) -> bool:
    """Whether a picture's answer in training depends on the others of its batch; with a frozen body it does not."""
    from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

    return trains_body(config.finetune) and any(isinstance(module, _BatchNorm) for module in model.modules())


def _parts(batch: Batch, parts: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pictures, their labels (or soft targets if the batch was mixed) and their index, part by part.

    Parts differ by one picture at most, and none is empty.
    """
    wanted, parts = batch.labels if batch.targets is None else batch.targets, min(parts, len(batch.images))
    return zip(batch.images.tensor_split(parts), wanted.tensor_split(parts), batch.index.tensor_split(parts), strict=True)


def check_parts(batch_size: int, parts: int, ranks: int, *, statistics: bool) -> None:
    """Refuses a batch that ranks would send through in different numbers of parts: they wait for each other at each part.

    With `statistics`, which are taken over all ranks' pictures of a part, also refuses a part of one picture.
    """
    shares = [len(range(rank, batch_size, ranks)) for rank in range(ranks)]
    counts = sorted({min(parts, share) for share in shares})
    if len(counts) > 1:
        raise RequestError(
            f"A batch of {batch_size} pictures came with {ranks} ranks that would send it through in "
            f"{' and '.join(map(str, counts))} parts.",
            "as many parts on every rank, which wait for each other at each",
            f"train.accumulate = {counts[0]}",
        )
    if statistics and sum(share // counts[0] for share in shares) < 2:
        raise RequestError(
            f"A batch of {batch_size} pictures in {parts} parts came with a network that normalises by batch statistics.",
            "two pictures or more in each part",
            f"train.accumulate = {batch_size // 2}" if batch_size > 3 else "a larger train.batch_size",
        )


def batch_loss(logits: Tensor, wanted: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy in float32, against labels or soft targets."""
    from torch.nn import functional as F

    return F.cross_entropy(logits.float(), wanted, label_smoothing=label_smoothing)
