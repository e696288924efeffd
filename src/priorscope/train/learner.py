"""What learns in a run: a network, its optimiser, and what belongs to them, on one rank or spread over several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from priorscope.core.errors import RequestError
from priorscope.core.machine import keep_freed_memory
from priorscope.train import finetune
from priorscope.train.compilation import check_compiles, compiled
from priorscope.train.distributed import Ranks, replicated
from priorscope.train.ema import Average
from priorscope.train.gradient import Forward, Gradient, has_batch_statistics
from priorscope.train.optim import OptimConfig, make_optimiser
from priorscope.train.precision import check_precision, make_scaler

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.models.classifier import Classifier
    from priorscope.train.checkpoint import Stateful
    from priorscope.train.config import TrainConfig


class Learner:
    """A classifier on its device with all that changes as it learns. `judged` is what is evaluated and kept."""

    def __init__(self, model: Classifier, config: TrainConfig, optim: OptimConfig, ranks: Ranks, device: str) -> None:
        import torch

        keep_freed_memory()
        check_precision(config.precision, torch.device(device))
        check_compiles(config, ranks.size)
        self.ranks, self.device = ranks, device
        self.sharded = config.shard is not None and ranks.size > 1
        model = _with_shared_statistics(model, config, ranks, device)
        finetune.freeze(model, config.finetune)
        self.model = model = self._placed(model, config, optim)
        self.optimiser = make_optimiser(model, optim, config.finetune)
        self.scaler = make_scaler(config.precision, torch.device(device))
        if self.scaler.is_enabled():
            # Else torch calls fused optimisers at a step that overflowed too, and its SGD keeps a momentum that nothing wrote.
            vars(self.optimiser)["_step_supports_amp_scaling"] = False
        self.average = None if config.ema is None else Average(model, config.ema)
        self.judged = self.average.model if self.average else model
        self.parts: dict[str, Stateful] = {
            **self._stateful(),
            "scaler": self.scaler,
            **({"average": self.average} if self.average else {}),
        }

    def _placed(self, model: Classifier, config: TrainConfig, optim: OptimConfig) -> Classifier:
        """The network on its device: in shares, which are all that ever lies there, or whole."""
        if config.shard:
            from priorscope.train import sharding

            sharding.check_shardable(config, optim)
            if self.sharded:
                return sharding.shard(model, self.ranks.size, self.device)
        return model.to(self.device)

    def _stateful(self) -> dict[str, Stateful]:
        if not self.sharded:
            return {"model": self.model, "optimiser": self.optimiser}
        from priorscope.train.sharding import ShardedModel, ShardedOptimiser

        keep = self.ranks.first
        return {"model": ShardedModel(self.model, keep), "optimiser": ShardedOptimiser(self.optimiser, keep)}

    def gradient(self, config: TrainConfig, batch_size: int, compile: bool) -> Gradient:
        """The gradient function for batches of `batch_size` pictures over all ranks."""
        forward: Forward = self.model
        if compile:
            forward = compiled(self.model)
        elif self.ranks.size > 1 and not self.sharded:
            forward = replicated(self.model, self.device)
        return Gradient(self.model, config, self.scaler, forward=forward, ranks=self.ranks, batch_size=batch_size)

    def states(self) -> dict[str, dict[str, Any]]:
        """What a checkpoint keeps. With sharded weights every rank must ask at once, and rank 0 alone has them whole."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def is_finite(self) -> bool:
        """Whether all weights that learn are numbers; the same answer on every rank, each of which must ask at once.

        The optimiser has them as they are now; a sharded network may still show the copies of its last pass.
        """
        import torch

        learning = [p for group in self.optimiser.param_groups for p in group["params"]]
        own = [p.to_local() if self.sharded else p for p in learning]
        ruined = not bool(torch.stack([p.detach().isfinite().all() for p in own]).all())
        return not any(self.ranks.any(ruined))

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights as they are judged now, whole and on the processor; empty on ranks that do not write."""
        state = self.parts["model"].state_dict() if self.sharded else self.judged.state_dict()
        if not self.ranks.first:
            return {}
        return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}


def _with_shared_statistics(model: Classifier, config: TrainConfig, ranks: Ranks, device: str) -> Classifier:
    """Batch statistics over all ranks' pictures if PyTorch has that; otherwise a network that needs them is refused."""
    if ranks.size == 1 or not has_batch_statistics(model, config):
        return model
    if not device.startswith("cuda"):
        raise RequestError(
            f"{model.name} normalises by batch statistics, and came with {ranks.size} ranks on the device {device}: each would"
            " see a share of the batch, and the network would be another than on one rank.",
            "one rank, a CUDA device (where statistics are taken over all ranks), or a network without batch statistics",
            "the same command without torchrun",
        )
    from timm.layers.norm_act import convert_sync_batchnorm

    return cast("Classifier", convert_sync_batchnorm(model))
