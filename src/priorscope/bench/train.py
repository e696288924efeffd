"""How fast training steps are: the loop's own, with its loader, beside what the machine and other implementations reach.

What is timed is `train.loop.train` itself over a `Loader`: render, forward, loss, backward, AdamW, nothing left out. Beside
it, in turns within each round so that all meet the same load,

- the matrix products of the same step alone (`products.py`): `gemm_share` is their time over the step's, the products lying in
  memory as torch's own layers have them (x W^T, dy W, dy^T x); `gemm_share_best` takes each in its fastest order, which a CPU
  may multiply at more than twice the rate;
- the same model in float32: `ratio_fp32_eager`;
- the reference implementation at equal sizes, in the same loop with the same loader and optimiser, at equal precision
  (`ratio_reference`), and as its users run it: in float32, in a process of its own, in which freed memory is handed back to
  the system as by default (`ratio_reference_fp32`; `keep_freed_memory` says what that costs). Beside a reference that has no
  dropout stands our network without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from priorscope.bench.loader import Spread
from priorscope.core.config import Config
from priorscope.core.machine import cores, pick_device
from priorscope.core.rng import stream

if TYPE_CHECKING:
    import torch

    from priorscope.bench.products import Alone
    from priorscope.bench.train_turns import Contender, TakesTurns, Turn
    from priorscope.data.split import Split
    from priorscope.models import FamilyConfig
    from priorscope.train.precision import Precision

CLASSES = 10
ALL: Mapping[str, tuple[int, int]] = {
    "mlp/b6-w512": (64, 512),
    "cnn/resnet18": (32, 64),
    "vit/d6-w192-p4": (32, 128),
    "swin/shifted-s": (32, 64),
    "mixer/d8-w256-p4": (32, 128),
    "tnt/s-patch16-224": (32, 8),
    "perceiver/v-cifar10": (32, 512),
    "perceiver_io/s": (32, 64),
    "dial/attention": (32, 128),
}
"""One model a family, with the side of its images and a batch that two cores train in about a second."""

OTHERS = (64, 256)
"""The side of the images and the batch for models that `ALL` does not name."""


class TrainCase(Config):
    """One model. Each figure is the median of the rounds, and a ratio is taken round by round; above 1 ours is the faster."""

    model: str
    image_size: int
    batch: int
    precision: str
    img_per_s: float
    gemm_share: float
    """The time of the step's matrix products alone, as torch's own layers multiply them, over the step's."""
    gemm_share_best: float
    """The time of the step's products alone, every operand in its fastest order of memory, over the step's."""
    gemm_gflops: float
    """The rate of the products alone, as torch's own layers multiply them, in 10^9 floating-point operations a second."""
    ratio_fp32_eager: float | None = None
    """Absent where the step is in float32 itself."""
    reference: str | None = None
    ratio_reference: float | None = None
    ratio_reference_fp32: float | None = None
    data_wait_share: float
    """The share of the step that the loop waits for its batch."""
    spread: dict[str, Spread]
    """Low, median and high of each figure over the rounds."""


class TrainBench(Config):
    """All cases, and how busy the machine was with other work when they began."""

    cases: tuple[TrainCase, ...]
    threads: int
    device: str
    load: float

    def table(self) -> str:
        """The cases as text."""
        lines = [
            f"{'model':>20} {'size':>4} {'batch':>5} {'type':>4} {'img/s':>9} {'GEMM GF/s':>9} {'/GEMM':>6} {'/best':>6} "
            f"{'/fp32':>6} {'/ref':>6} {'/ref fp32':>9} {'waits':>6}  reference"
        ]
        for case in self.cases:
            ratios = (case.ratio_fp32_eager, case.ratio_reference, case.ratio_reference_fp32)
            eager, equal, default = ("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
            lines.append(
                f"{case.model:>20} {case.image_size:>4} {case.batch:>5} {case.precision:>4} {case.img_per_s:>9,.1f} "
                f"{case.gemm_gflops:>9,.0f} {case.gemm_share:>6.1%} {case.gemm_share_best:>6.1%} "
                f"{eager:>6} {equal:>6} {default:>9} {case.data_wait_share:>6.1%}  {case.reference or '-'}"
            )
        lines.append(f"{self.threads} threads on {self.device}; load before: {self.load:.1f}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Setting:
    """What all cases of a run share."""

    precision: Precision
    augment: str
    threads: int
    device: torch.device
    steps: int
    rounds: int

    @property
    def batches(self) -> int:
        """How many batches the loader gives: as many as all turns of a contender take, so that it renders ahead to the end."""
        from priorscope.bench.train_turns import UNTIMED
        from priorscope.data.loader import AHEAD

        return 1 + self.rounds * (UNTIMED + self.steps) + AHEAD


def run(
    models: Sequence[str] | str = ("mlp/b12-w1024", "perceiver/v-cifar10"),
    *,
    image_size: int | None = None,
    batch_size: int | None = None,
    precision: Precision = "auto",
    augment: str = "flip-crop",
    threads: int | None = None,
    device: str = "cpu",
    steps: int = 2,
    rounds: int = 3,
    say: Callable[[str], None] = lambda _: None,
) -> TrainBench:
    """Measures models by name ("all": one of each family), `rounds` times `steps` steps of each contender.

    Sides and batches that are not given are those of `ALL`. The bar's own setting is ("mlp/b12-w1024",) at `image_size` 64 and
    `batch_size` 2048.
    """
    import torch

    from priorscope.models import family_config

    names = list(ALL) if models == "all" else [models] if isinstance(models, str) else list(models)
    configs = [family_config(name) for name in names]
    setting = Setting(precision, augment, threads or cores(), torch.device(pick_device(device)), steps, rounds)
    before, load = torch.get_num_threads(), os.getloadavg()[0]
    cases: list[TrainCase] = []
    torch.set_num_threads(setting.threads)
    try:
        with torch.random.fork_rng():
            for config in configs:
                side, batch = ALL.get(config.name, OTHERS)
                say(f"{config.name}, {image_size or side} pixels, batches of {batch_size or batch}")
                cases.append(_case(config, image_size or side, batch_size or batch, setting))
    finally:
        torch.set_num_threads(before)
    return TrainBench(cases=tuple(cases), threads=setting.threads, device=str(setting.device), load=load)


def _case(config: FamilyConfig, side: int, batch: int, setting: Setting) -> TrainCase:
    """The products of a step, then rounds in which each contender has its turn and the products theirs."""
    from priorscope.bench.products import Replay, flops
    from priorscope.train.precision import chosen_precision, compute_dtype

    precision = chosen_precision(setting.precision, setting.device)
    dtype = compute_dtype(precision, setting.device)
    contenders, recorded, library = _contenders(config, side, batch, setting, precision)
    products = recorded.recorded()
    replay = Replay(products, dtype, setting.device)
    turns: dict[str, list[Turn]] = {name: [] for name in contenders}
    alone: list[Alone] = []
    for _ in range(setting.rounds):
        for name, contender in contenders.items():
            turns[name].append(contender.turn(setting.steps))
        alone.append(replay.seconds())
    ours = turns.pop("ours")
    beside = turns.pop("beside", ours)
    figures = {
        "img_per_s": Spread.of([batch / turn.seconds for turn in ours]),
        "gemm_share": Spread.of([taken.lying / turn.seconds for taken, turn in zip(alone, ours, strict=True)]),
        "gemm_share_best": Spread.of([taken.best / turn.seconds for taken, turn in zip(alone, ours, strict=True)]),
        "gemm_gflops": Spread.of([flops(products) / taken.lying / 1e9 for taken in alone]),
        "data_wait_share": Spread.of([turn.waited / turn.seconds for turn in ours]),
        **{
            name: Spread.of([b.seconds / a.seconds for a, b in zip(beside if "reference" in name else ours, each, strict=True)])
            for name, each in turns.items()
        },
    }
    return TrainCase(
        model=config.name,
        image_size=side,
        batch=batch,
        precision=precision,
        reference=library,
        spread=figures,
        **{name: figure.median for name, figure in figures.items()},
    )


def _contenders(
    config: FamilyConfig, side: int, batch: int, setting: Setting, equal: Precision
) -> tuple[dict[str, TakesTurns], Contender, str | None]:
    """Ours, and what it is measured beside, under the names of the ratios; the one whose products are counted; whose library.

    "beside" is ours as references are measured beside it, where it differs.
    """
    from priorscope.bench.train_peers import reference
    from priorscope.bench.train_turns import Apart

    counted = ours = _ours(config, side, batch, setting, equal)
    contenders: dict[str, TakesTurns] = {"ours": ours}
    if equal != "fp32":
        contenders["ratio_fp32_eager"] = counted = _ours(config, side, batch, setting, "fp32")
    found = reference(config, config.input_size or side, CLASSES)
    if found is None:
        return contenders, counted, None
    contenders["ratio_reference"] = _peer(config, side, batch, setting, equal)
    contenders["ratio_reference_fp32"] = Apart(partial(_peer, config, side, batch, setting, "fp32", keeps_memory=False))
    if any(getattr(config, name) != value for name, value in found.ours.items()):
        contenders["beside"] = _ours(config.replace(**found.ours), side, batch, setting, equal)
    return contenders, counted, found.library


def _ours(config: FamilyConfig, side: int, batch: int, setting: Setting, precision: Precision) -> Contender:
    from priorscope.bench.train_turns import Contender
    from priorscope.models.building import build

    split = _pictures(side, batch * setting.batches)
    model = build(config, image_size=side, num_classes=CLASSES, statistics=split.statistics)
    return Contender(model, split, batch, precision, setting.augment, setting.threads, setting.device)


def _peer(
    config: FamilyConfig, side: int, batch: int, setting: Setting, precision: Precision, *, keeps_memory: bool = True
) -> Contender:
    """The reference of a config, which there must be."""
    import torch

    from priorscope.bench.train_peers import reference
    from priorscope.bench.train_turns import Contender
    from priorscope.models import wrap

    torch.set_num_threads(setting.threads)
    split, input_size = _pictures(side, batch * setting.batches), config.input_size or side
    found = reference(config, input_size, CLASSES)
    if found is None:
        raise LookupError(config.name)
    mean, std = split.statistics.mean, split.statistics.std
    model = wrap(found.network, image_size=side, classes=CLASSES, mean=mean, std=std, input_size=input_size)
    return Contender(
        model, split, batch, precision, setting.augment, setting.threads, setting.device, keeps_memory=keeps_memory
    )


def _pictures(side: int, count: int) -> Split:
    """Noise in memory: a step takes as long on any picture."""
    from priorscope.data.split import ArrayPixels, Split

    pixels = stream(0, "bench", "train", side).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % CLASSES
    return Split("noise", "train", ArrayPixels(pixels), labels, tuple(str(k) for k in range(CLASSES)))
