"""A network whose weights, gradients and optimiser state are sharded over the ranks: for what one device cannot hold.

It is PyTorch's FSDP2, block by block. Checkpoints hold whole tensors, in the form that a run on one rank writes, so that a run
of n ranks can be resumed on m.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from priorscope.core.errors import RequestError
from priorscope.train.finetune import blocks

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.models.classifier import Classifier
    from priorscope.train.config import TrainConfig
    from priorscope.train.optim import OptimConfig, Optimiser

ELEMENTWISE = ("adamw", "adam", "sgd", "lion")
"""Optimisers that move each weight by itself: a share of a matrix is as good as the whole."""


def check_shardable(config: TrainConfig, optim: OptimConfig) -> None:
    """Refuses what needs whole tensors: each rank has only a share of them."""
    came = None
    if optim.name not in ELEMENTWISE:
        came, wanted, do = f"optim.name = {optim.name!r}", f"one of: {', '.join(ELEMENTWISE)}", 'optim.name = "adamw"'
    elif optim.sam is not None:
        came, wanted, do = "optim.sam", "plain steps", "remove optim.sam"
    elif config.ema is not None:
        came, wanted, do = "train.ema", "the weights themselves", "remove train.ema"
    elif config.precision == "fp16":
        came, wanted, do = "train.precision = 'fp16'", "gradients that need no scaling", 'train.precision = "bf16"'
    elif config.compile is not None:
        came, wanted, do = f"train.compile = {config.compile!r}", "eager steps", "remove train.compile"
    else:
        return
    raise RequestError(f"train.shard came with {came}, which is not made for weights in shares.", wanted, do)


def shard(model: Classifier, ranks: int, device: str) -> Classifier:
    """Moves the weights from the processor to the ranks' devices, in shares and a block at a time.

    Only one block is whole on a device at any moment, or what is outside of blocks: FSDP2 moves what it is about to share out.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.partition(":")[0], (ranks,))
    for block in blocks(model):
        modules = [model.get_submodule(path) for path in block]
        fully_shard([module for module in modules if any(True for _ in module.parameters())], mesh=mesh)
    return fully_shard(model, mesh=mesh)  # pyright: ignore[reportReturnType]  the same object, of a class made at once


class ShardedModel:
    """A sharded model as a checkpoint sees it: whole tensors. Every rank must ask at once; those that `keep` have them."""

    def __init__(self, model: Classifier, keep: bool) -> None:
        self._model, self._keep = model, keep

    def state_dict(self) -> dict[str, Any]:
        """The whole tensors by name, on the processor."""
        return whole(self._model.state_dict(), self._keep)

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Puts each rank's share of whole tensors in place."""
        import torch

        with torch.no_grad():
            for name, value in self._model.state_dict().items():
                value.copy_(_share(state_dict[name], value))


class ShardedOptimiser:
    """The optimiser of a sharded model as a checkpoint sees it."""

    def __init__(self, optimiser: Optimiser, keep: bool) -> None:
        self._optimiser, self._keep = optimiser, keep

    def state_dict(self) -> dict[str, Any]:
        """The state in whole tensors, on the processor."""
        return whole(self._optimiser.state_dict(), self._keep)

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Puts each rank's share in place: a state of its parameter's shape is sharded like it."""
        members = [p for group in self._optimiser.param_groups for p in group["params"]]
        state = {
            index: {name: _share(value, members[index]) for name, value in kept.items()}
            for index, kept in state_dict["state"].items()
        }
        self._optimiser.load_state_dict({**state_dict, "state": state})


def whole(state: Any, keep: bool) -> Any:
    """Nested tables with every share put together.

    Ranks that do not `keep` it take part and have None in its place, so that the memory of a machine holds one copy.
    """
    from torch.distributed.tensor import DTensor

    if isinstance(state, dict):
        return {name: whole(value, keep) for name, value in state.items()}
    if isinstance(state, list):
        return [whole(value, keep) for value in state]
    if not isinstance(state, DTensor):
        return state
    together = state.full_tensor()
    return together.cpu() if keep else None


def _share(value: Any, like: Tensor) -> Any:
    """This rank's share of a whole tensor, laid out like another; what has another shape, or no shares, stays as it is."""
    import torch
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor) or not isinstance(value, torch.Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
