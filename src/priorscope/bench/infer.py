"""How fast networks answer: the classifier as probes and users call it, beside the reference implementation at equal sizes.

What is timed is one call of the whole classifier, pixels in and logits out, normalisation and resizing included, in float32, in
evaluation mode, without gradients; the pictures were made before. Ours and the reference, wrapped as a user wraps it, take
turns within each round, so that both meet the same load. A batch of one is a latency, a larger one a rate.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from priorscope.bench.loader import Spread
from priorscope.bench.train import ALL, CLASSES, OTHERS
from priorscope.core.config import Config
from priorscope.core.machine import cores, pick_device

if TYPE_CHECKING:
    import torch

    from priorscope.models import FamilyConfig
    from priorscope.models.classifier import Classifier

WARM_UP = 1
"""Calls of a turn before the clock counts; at least one is timed, however long it takes."""


class InferCase(Config):
    """One model at one batch size. Each figure is the median of the rounds; a ratio above 1 says that ours is the faster."""

    model: str
    image_size: int
    batch: int
    img_per_s: float
    latency_ms: float
    """The median call of a round."""
    slowest_ms: float
    """The slowest call of a round."""
    reference: str | None = None
    ratio_reference: float | None = None
    spread: dict[str, Spread]
    """Low, median and high of each figure over the rounds."""


class InferBench(Config):
    """All cases, and how busy the machine was with other work when they began."""

    cases: tuple[InferCase, ...]
    threads: int
    device: str
    load: float

    def table(self) -> str:
        """The cases as text."""
        lines = [f"{'model':>20} {'size':>4} {'batch':>5} {'img/s':>9} {'ms':>9} {'slowest':>9} {'/ref':>6}  reference"]
        for case in self.cases:
            ratio = "-" if case.ratio_reference is None else f"{case.ratio_reference:.2f}"
            lines.append(
                f"{case.model:>20} {case.image_size:>4} {case.batch:>5} {case.img_per_s:>9,.1f} {case.latency_ms:>9,.2f} "
                f"{case.slowest_ms:>9,.2f} {ratio:>6}  {case.reference or '-'}"
            )
        lines.append(f"{self.threads} threads on {self.device}, float32; load before: {self.load:.1f}")
        return "\n".join(lines)


def run(
    models: Sequence[str] | str = "all",
    *,
    image_size: int | None = None,
    batch_sizes: Sequence[int] = (1, 32),
    threads: int | None = None,
    device: str = "cpu",
    rounds: int = 3,
    seconds: float = 0.5,
    say: Callable[[str], None] = lambda _: None,
) -> InferBench:
    """Measures models by name ("all": one of each family), `rounds` turns of about `seconds` for each contender.

    Sides that are not given are those at which `bench train` measures them.
    """
    import torch

    from priorscope.models import family_config

    names = list(ALL) if models == "all" else [models] if isinstance(models, str) else list(models)
    configs = [family_config(name) for name in names]
    count, where = threads or cores(), torch.device(pick_device(device))
    before, load = torch.get_num_threads(), os.getloadavg()[0]
    cases: list[InferCase] = []
    torch.set_num_threads(count)
    try:
        with torch.random.fork_rng():
            for config in configs:
                side = image_size or ALL.get(config.name, OTHERS)[0]
                contenders, library = _contenders(config, side, where)
                for batch in batch_sizes:
                    say(f"{config.name}, {side} pixels, batches of {batch}")
                    cases.append(_case(config.name, contenders, library, batch, rounds, seconds))
    finally:
        torch.set_num_threads(before)
    return InferBench(cases=tuple(cases), threads=count, device=str(where), load=load)


def _contenders(config: FamilyConfig, side: int, device: torch.device) -> tuple[dict[str, Classifier], str | None]:
    """Ours and, where there is one, the reference; whose library that is of."""
    from priorscope.bench.train_peers import reference
    from priorscope.core.contracts import Statistics
    from priorscope.models import create, wrap

    mean, std = (0.5,) * 3, (0.25,) * 3
    ours = create(config, image_size=side, num_classes=CLASSES, statistics=Statistics(mean=mean, std=std))
    found = reference(config, config.input_size or side, CLASSES)
    contenders = {"ours": ours}
    if found is not None:
        contenders["reference"] = wrap(
            found.network, image_size=side, classes=CLASSES, mean=mean, std=std, input_size=config.input_size or side
        )
    return {name: model.to(device).eval() for name, model in contenders.items()}, found.library if found else None


def _case(
    model: str, contenders: dict[str, Classifier], library: str | None, batch: int, rounds: int, seconds: float
) -> InferCase:
    turns: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            turns[name].append(_turn(contender, batch, seconds))
    ours = turns["ours"]
    figures = {
        "img_per_s": Spread.of([batch / median(calls) for calls in ours]),
        "latency_ms": Spread.of([1e3 * median(calls) for calls in ours]),
        "slowest_ms": Spread.of([1e3 * max(calls) for calls in ours]),
    }
    if "reference" in turns:
        pairs = zip(turns["reference"], ours, strict=True)
        figures["ratio_reference"] = Spread.of([median(theirs) / median(own) for theirs, own in pairs])
    side = contenders["ours"].image_size
    medians = {name: figure.median for name, figure in figures.items()}
    return InferCase(model=model, image_size=side, batch=batch, reference=library, spread=figures, **medians)


def _turn(model: Classifier, batch: int, seconds: float) -> list[float]:
    """Seconds of each call, for as long as a turn lasts."""
    import torch

    from priorscope.core.machine import settle

    device = model.device
    images = torch.full((batch, 3, model.image_size, model.image_size), 0.5, device=device)
    taken: list[float] = []
    with torch.inference_mode():
        for _ in range(WARM_UP):
            model(images)
        until = time.perf_counter() + seconds
        while not taken or time.perf_counter() < until:
            settle(device)
            begun = time.perf_counter()
            model(images)
            settle(device)
            taken.append(time.perf_counter() - begun)
    return taken
