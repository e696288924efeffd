"""How fast attacks run: ours and torchattacks side by side, in one run, at equal settings, on the same float32 network.

PGD-20 at budgets that leave almost nothing, some and most of the images standing: broken images leave our batch, so the gain
is largest where robust accuracy is low, and the other cases say what is left of it elsewhere. The FGSM curve of 21 budgets
is one backward pass and 20 forward ones, against 21 separate attacks. Scoring is part of every time.

The network is the published ResNet-20 with CIFAR-10's test images where `PRIORSCOPE_DATA` names a folder that holds both;
elsewhere it is trained for a few seconds on the built-in world.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from priorscope.core.config import Config

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier

STEPS = 20
BATCH = 250
CURVE = tuple(k * 0.0125 for k in range(21))


class AttackCase(Config):
    """One attack on one network. Seconds are medians over the rounds; the ratio is taken round by round, and is their median.

    What torchattacks would say is absent where it is not installed.
    """

    model: str
    attack: str
    images: int
    ours_s: float
    torchattacks_s: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    robust_ours: float
    robust_torchattacks: float | None = None


class AttackBench(Config):
    """All cases."""

    cases: tuple[AttackCase, ...]
    threads: int
    device: str

    def table(self) -> str:
        """The cases as text."""
        lines = [f"{'case':>34} {'images':>6} {'ours s':>8} {'theirs s':>8} {'ratio':>6} {'robust':>7} {'theirs':>7}"]
        for case in self.cases:
            theirs = "-" if case.torchattacks_s is None else f"{case.torchattacks_s:.2f}"
            ratio = "-" if case.ratio is None else f"{case.ratio:.1f}"
            robust = "-" if case.robust_torchattacks is None else f"{case.robust_torchattacks:.1%}"
            name = f"{case.model} {case.attack}"
            lines.append(
                f"{name:>34} {case.images:>6} {case.ours_s:>8.2f} {theirs:>8} {ratio:>6} {case.robust_ours:>7.1%} {robust:>7}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Subject:
    """A network and the pictures it is attacked on."""

    name: str
    model: Classifier
    images: Tensor
    labels: Tensor


def run(
    budgets: Sequence[float] = (8 / 255, 1 / 255, 0.25 / 255),
    *,
    images: int = 1000,
    curve_images: int = 10_000,
    rounds: int = 3,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> AttackBench:
    """Measures PGD-20 at every budget, then the FGSM curve (`curve_images` = 0 leaves it out), once: it is minutes long."""
    import torch

    cases: list[AttackCase] = []
    subject = _subject("test_lossless_1017", images, device)
    for eps in budgets:
        say(f"{subject.name}, PGD-{STEPS} at {eps * 255:g}/255")
        cases.append(_case(subject, f"pgd-{STEPS} {eps * 255:g}/255", _our_pgd(subject, eps), _their_pgd(subject, eps), rounds))
    if curve_images:
        subject = _subject("test", curve_images, device)
        say(f"{subject.name}, the FGSM curve of {len(CURVE)} budgets")
        cases.append(_case(subject, f"fgsm x {len(CURVE)}", _our_curve(subject), _their_curve(subject), rounds=1))
    return AttackBench(cases=tuple(cases), threads=torch.get_num_threads(), device=device)


Measured = Callable[[], float]
"""Runs an attack and its scoring; returns the robust accuracy."""


def _case(subject: Subject, attack: str, ours: Measured, theirs: Measured | None, rounds: int) -> AttackCase:
    """Rounds in which each has its turn, so that both meet the same load."""
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    robust: dict[str, float] = {}
    for _ in range(rounds):
        for name, measured in (("ours", ours), ("theirs", theirs)):
            if measured is not None:
                begun = time.perf_counter()
                robust[name] = measured()
                seconds[name].append(time.perf_counter() - begun)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)] if theirs is not None else []
    return AttackCase(
        model=subject.name,
        attack=attack,
        images=len(subject.labels),
        ours_s=median(seconds["ours"]),
        torchattacks_s=median(seconds["theirs"]) if ratios else None,
        ratio=median(ratios) if ratios else None,
        ratio_low=min(ratios) if ratios else None,
        ratio_high=max(ratios) if ratios else None,
        robust_ours=robust["ours"],
        robust_torchattacks=robust.get("theirs"),
    )


def _our_pgd(subject: Subject, eps: float) -> Measured:
    from priorscope.attacks import attack_of
    from priorscope.attacks.ball import pictures
    from priorscope.attacks.turns import run_attack
    from priorscope.attacks.victim import Victim, frozen

    attack = attack_of("pgd", steps=STEPS, step=2.5 / STEPS)

    def measured() -> float:
        with frozen(subject.model):
            found = run_attack(Victim(subject.model, BATCH), pictures(subject.images, subject.labels, eps), attack)
        return 1 - float(found.broken.float().mean())

    return measured


def _their_pgd(subject: Subject, eps: float) -> Measured | None:
    peer = _torchattacks()
    if peer is None:
        return None
    attack = peer.PGD(subject.model, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS, random_start=True)
    return lambda: _scored(subject, attack)


def _our_curve(subject: Subject) -> Measured:
    from priorscope.attacks.ball import pictures
    from priorscope.attacks.losses import right
    from priorscope.attacks.pgd import fgsm_curve
    from priorscope.attacks.victim import Victim, frozen

    def measured() -> float:
        counts = np.zeros(len(CURVE))
        with frozen(subject.model):
            for x, y in zip(subject.images.split(BATCH), subject.labels.split(BATCH), strict=True):
                curve = fgsm_curve(Victim(subject.model, BATCH), pictures(x, y, 0.0), CURVE)
                counts += [int(right(logits, y).sum()) for logits in curve]
        return float(counts.mean()) / len(subject.labels)

    return measured


def _their_curve(subject: Subject) -> Measured | None:
    peer = _torchattacks()
    if peer is None:
        return None
    attacks = [peer.FGSM(subject.model, eps=eps) for eps in CURVE]
    return lambda: sum(_scored(subject, attack) for attack in attacks) / len(CURVE)


def _scored(subject: Subject, attack: Any) -> float:
    """A peer's attack in batches, and how many images stay right."""
    import torch

    stands = 0
    for x, y in zip(subject.images.split(BATCH), subject.labels.split(BATCH), strict=True):
        made = attack(x, y)
        with torch.no_grad():
            stands += int((subject.model(made).argmax(1) == y).sum())
    return stands / len(subject.labels)


def _torchattacks() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a peer's dependencies warn about is not ours to show
        try:
            import torchattacks  # pyright: ignore[reportMissingImports]
        except ImportError:
            return None
    return torchattacks


def _subject(table: str, count: int, device: str) -> Subject:
    """The published network and real images, or a network trained here on the built-in world."""
    from priorscope.data import open as open_source
    from priorscope.models.published import read_published

    root = Path(os.environ.get("PRIORSCOPE_DATA", ""))
    file, weights = root / "cifar10" / f"{table}.parquet", sorted((root / "weights").glob("resnet20-*.th"))
    if file.exists() and weights:
        split = open_source(file).split("test")
        name, model = "resnet20", read_published(weights[0])
    else:
        source = open_source({"name": "shapetex", "train": 2000, "val": 100, "test": max(count, 1000)})
        split, model, name = source.split("test"), _trained(source.split("train")), "resnet20 (shapetex)"
    model = model.eval().to(device)
    images, labels = _pictures(model, split, min(count, len(split)))
    return Subject(name, model, images, labels)


def _pictures(model: Classifier, split: Split, count: int) -> tuple[Tensor, Tensor]:
    from priorscope.data.fetch import fetcher

    return fetcher(split, model.device)(np.arange(count))


def _trained(split: Split) -> Classifier:
    """Two epochs, so that the network is right more often than not and attacks have something to break."""
    import torch
    from torch.nn import functional as F

    from priorscope import models

    model = models.create("cnn/resnet20", image_size=32, num_classes=len(split.classes), statistics=split.statistics)
    images, labels = _pictures(model, split, len(split))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(2):
        for rows in torch.arange(len(labels)).split(50):
            optimiser.zero_grad()
            F.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimiser.step()
    return model
