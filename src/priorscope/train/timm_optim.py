"""Optimisers of timm's own list, under their names there: `timm/adopt`, `timm/adan`, `timm/lars`.

What a recipe does not set stays as timm has it; what it sets and the optimiser cannot take is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from priorscope.core.errors import RequestError, unknown_name

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from priorscope.train.optim import OptimConfig

PREFIX = "timm/"

LEFT_OUT = ("bnb*", "fused*", "kron*", "adahessian")
"""timm's optimisers that need packages we do not have (bitsandbytes, apex, opt_einsum), or a second backward pass."""


def make_timm(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    """The optimiser that a config names."""
    from timm.optim import (
        create_optimizer_v2,  # pyright: ignore[reportPrivateImportUsage]
        get_optimizer_info,  # pyright: ignore[reportPrivateImportUsage]
        list_optimizers,  # pyright: ignore[reportPrivateImportUsage]
    )
    from timm.optim.muon import Muon

    from priorscope.train.muon import in_fast_precision

    name = config.name.removeprefix(PREFIX)
    known = [str(each) for each in list_optimizers(exclude_filters=list(LEFT_OUT))]
    if name not in known:
        raise unknown_name("timm optimiser", name, known, 'python -c "import timm.optim; print(timm.optim.list_optimizers())"')
    betas, settings = _own_betas(name), dict[str, Any]()
    first, second = config.momentum, config.beta2
    if first is not None and get_optimizer_info(name).has_momentum:
        settings["momentum"], first = first, None
    if first is not None and betas is None:
        raise _refused("momentum", name)
    if second is not None and betas is None:
        raise _refused("beta2", name)
    if betas is not None:
        settings["betas"] = (betas[0] if first is None else first, betas[1] if second is None else second)
    made = create_optimizer_v2(groups, opt=name, lr=config.lr, weight_decay=config.weight_decay, **settings)
    return in_fast_precision(made) if isinstance(made, Muon) else made


def _own_betas(name: str) -> tuple[float, float] | None:
    """The two betas that an optimiser has by default; None if it has none, or not two."""
    import inspect

    from timm.optim import get_optimizer_class  # pyright: ignore[reportPrivateImportUsage]

    taken = inspect.signature(get_optimizer_class(name, bind_defaults=False)).parameters.get("betas")
    default: Any = None if taken is None else taken.default
    return default if isinstance(default, tuple) and len(cast("tuple[Any, ...]", default)) == 2 else None


def _refused(setting: str, name: str) -> RequestError:
    return RequestError(
        f"optim.{setting} came with timm/{name}.", "an optimiser that has one", f"remove optim.{setting}: timm's own is taken"
    )
