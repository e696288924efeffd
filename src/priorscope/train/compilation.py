"""Whether `torch.compile` makes the training step, and what that means for the numbers.

A compiled step fuses operations, and so rounds differently from an eager one: the same recipe ends with other last bits.
`always` and `never` are part of a recipe's key and give the same bits each time. Under `auto` the machine chooses by measuring.
Its choice is kept in the cache folder, so that it chooses the same next time, in the checkpoint, so that a resumed run stays as
it began, and in `environment.json`, for whoever wants the same bits elsewhere.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import suppress
from statistics import median
from typing import TYPE_CHECKING

from priorscope.core import folder
from priorscope.core.config import Plain, content_key
from priorscope.core.errors import PriorscopeError, RequestError, first_line
from priorscope.core.folder import cache_folder
from priorscope.core.machine import processor, ran_out, versions
from priorscope.models import FAMILIES
from priorscope.train.finetune import trains_body
from priorscope.train.gradient import Forward, Gradient
from priorscope.train.precision import make_scaler

if TYPE_CHECKING:
    from priorscope.data.loader import Batch
    from priorscope.models.classifier import Classifier
    from priorscope.train.config import TrainConfig

TURNS = 3
LEAST_GAIN = 1.1
"""Below this the gain is within what a busy machine makes of equal steps."""


def compiled(model: Classifier) -> Forward:
    """The network as a compiled function of a batch of one size."""
    import torch

    return torch.compile(model, dynamic=False)  # pyright: ignore[reportReturnType]


def pays(model: Classifier, batch: Batch, config: TrainConfig, steps: int, compile: Callable[..., Forward] = compiled) -> bool:
    """Whether compiling saves more time over `steps` than it takes; measured once per machine.

    It is tried on a copy, so that batch statistics and gradients of the network itself stay as they are.
    """
    path = cache_folder() / "compile" / f"{_key(model, batch, config, steps)}.json"
    if path.exists():
        try:
            return bool(folder.read_json(path)["compile"])
        except (PriorscopeError, KeyError):
            path.unlink(missing_ok=True)
    found = _measured(model, batch, config, steps, compile)
    with suppress(PriorscopeError):  # a cache that cannot be written is not a reason to stop
        folder.write_json(path, found)
    return bool(found["compile"])


def check_compiles(config: TrainConfig, ranks: int) -> None:
    """Refuses `train.compile` with several ranks, where steps are always eager."""
    if config.compile is not None and ranks > 1:
        raise RequestError(
            f"train.compile = {config.compile!r} came with {ranks} ranks.", "eager steps, or one rank", "remove train.compile"
        )


def _key(model: Classifier, batch: Batch, config: TrainConfig, steps: int) -> str:
    of_the_step = (config.batch_size, config.accumulate, config.precision, config.threads, batch.images.device.type)
    network: list[object] = [model.config.plain() if model.config else model.name]
    if model.config is not None:
        network.append(FAMILIES.version(model.config.family))  # its eager speed may be another since
    ways = [way.plain() if way else None for way in (config.adversarial, config.finetune)]
    return content_key([*network, list(batch.images.shape), *of_the_step, *ways, steps, processor(), versions()])


def _measured(model: Classifier, batch: Batch, config: TrainConfig, steps: int, compile: Callable[..., Forward]) -> Plain:
    """Times eager and compiled steps in turns, so that other work on the machine slows both, and says whether it pays."""
    tried = copy.deepcopy(model).train(trains_body(config.finetune))
    scaler = make_scaler(config.precision, batch.images.device)
    kinds = {"eager": Gradient(tried, config, scaler), "compiled": Gradient(tried, config, scaler, forward=compile(tried))}
    try:
        took = {name: _seconds(kind, tried, batch) for name, kind in kinds.items()}
    except Exception as error:
        if ran_out(error):
            raise
        return {"compile": False, "failed": first_line(error)}  # no compiler on this machine, say
    turns: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(TURNS):
        for name, kind in kinds.items():
            turns[name].append(_seconds(kind, tried, batch))
    eager, fused = median(turns["eager"]), median(turns["compiled"])
    gains = eager > LEAST_GAIN * fused and (eager - fused) * steps > took["compiled"]
    return {"compile": gains, "eager": eager, "compiled": fused, "compiling": took["compiled"]}


def _seconds(gradient: Gradient, model: Classifier, batch: Batch) -> float:
    began = time.perf_counter()
    float(gradient(batch, 0))
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - began
