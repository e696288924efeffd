"""Do pictures made to fool one network fool another?

Every network of a set is attacked at one budget; every network then answers every other's adversarial pictures. A cell says
how often the target is fooled: of the images that both get right (the headline), of those among them on which the source
itself was fooled, and, as older studies count, how often the target is right on all images. An image leaves no attack
early: a picture that only just fools its source transfers least. The diagonal is the white-box attack itself.

Random signs of the same budget are the control: what a network loses to them it loses to any noise, not to transfer. From
three networks on, the logit of the fooled share is split into how strong a source is, how weak a target is, and what is
left, the affinity of the pair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from priorscope.attacks import NORMS, Attack, Norm, follows_gradients
from priorscope.attacks.budgets import EPS, check_budget, shown
from priorscope.attacks.verdict import Check, check
from priorscope.core.contracts import Array, Matrix, Metric, Result, Subject
from priorscope.core.errors import RequestError
from priorscope.core.rng import stream
from priorscope.core.stats import bracketed, share_from_resamples, wilson
from priorscope.core.wording import counted
from priorscope.probes import TrainedRun, asks, evidence_of, labelled_split
from priorscope.probes.shared.attacking import AttackingConfig
from priorscope.probes.transfer.parts import PARTS, RESAMPLES, both_right, parts_with_intervals

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 7

FEW = 30
"""Fewer images that all networks get right than this, and the parts of the matrix are called uncertain."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class TransferConfig(AttackingConfig):
    """Which images, which attack, and at which budget."""

    per = "set"

    name: str = "transfer"
    attack: str = Field(default="mi-fgsm", description="the name of an attack or of an ensemble")
    seed: int = Field(default=0, ge=0, description="the seed of random starts and directions, of the control, and of intervals")

    @model_validator(mode="after")
    def _within_what_pixels_can_have(self) -> Self:
        check_budget(self.budget(), self.norm)
        if self.steps is not None or self.step is not None:
            for short in (each for each in self.attacks(4) if each.kind == "pgd" and each.reach < 1):
                raise RequestError(
                    f"{counted(short.steps, 'step')} of {short.name}, of {short.step:g} of the budget each, came for transfer.",
                    "steps that together reach the budget, at which pictures of all networks are compared",
                    f"steps = {math.ceil(1 / short.step)}",
                )
        return self

    def attacks(self, classes: int) -> tuple[Attack, ...]:
        """The attacks to run on a network of that many classes: no image leaves them early."""
        return tuple(each.replace(leave=False) for each in super().attacks(classes))

    def budget(self) -> float:
        """The budget as set, or else the norm's usual one."""
        return EPS[self.norm] if self.eps is None else self.eps


class Transfer(Result):
    """The matrix of sources and targets, and what it is made of."""

    probe: ClassVar[str] = "transfer"
    question: ClassVar[str] = "Do pictures made to fool one network fool another?"
    measure: ClassVar[str] = "mean share fooled by another network's pictures"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"

    names: tuple[str, ...]
    split: str
    data: str = ""
    """The fingerprint of the whole split, which the positions in `index` are of; empty in results from before it was kept."""
    attack: str
    attacks: tuple[str, ...]
    norm: Norm
    eps: float
    seed: int
    checks: tuple[Check, ...] = ()
    """For each target whether another network's pictures break it where its own attack did not."""
    index: Array = Field(default_factory=lambda: np.zeros(0, np.int64))
    """The position of each image in the split."""
    clean: Array
    """(networks, images): right without an attack."""
    fooled: Array
    """(sources, targets, images): whether the target is wrong on the source's picture."""
    noise: Array
    """(targets, images): whether the target is wrong under random signs of the same budget."""
    strength: Array
    """For each network, how much more than the mean it fools as a source, in logits (empty below three networks)."""
    weakness: Array
    """For each network, how much more than the mean it is fooled as a target."""
    affinity: Array
    """(sources, targets): what strength and weakness leave unexplained; nan on the diagonal."""
    strength_low: Array
    strength_high: Array
    weakness_low: Array
    weakness_high: Array
    affinity_low: Array = Field(default_factory=lambda: np.zeros((0, 0)))
    """Each pair's own interval, as `affinity`; empty in results from before it was kept."""
    affinity_high: Array = Field(default_factory=lambda: np.zeros((0, 0)))

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        noise = np.nanmean([self.noise_share(target)[0] for target in range(len(self.names))])
        return (
            f"Another network's pictures fool {self.value:.1%}{bracketed(self.interval)} at {shown(self.eps, self.norm)} "
            f"{NORMS[self.norm]}; random signs of that size {noise:.1%}."
        )

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        return (
            f"{'; '.join(self.attacks)}; {shown(self.eps, self.norm)} {NORMS[self.norm]} on pixels in [0, 1], "
            f"seed {self.seed}, {self.clean.shape[1]:,} images of {self.split}; each cell on the images that both networks get "
            "right; intervals over images, each number of these checkpoints."
        )

    def share(self, source: int, target: int, kind: Literal["both right", "source fooled"] = "both right") -> tuple[float, int]:
        """How often the target is fooled, and of how many images (nan of 0)."""
        counted = self.clean[source] & self.clean[target]
        if kind == "source fooled":
            counted = counted & self.fooled[source, source]
        n = int(counted.sum())
        return (float(self.fooled[source, target][counted].mean()) if n else float("nan")), n

    def matrices(self) -> list[Matrix]:
        """Who fools whom, with random signs of the same size beside them, and the affinity of each pair."""
        lines = [(source, [self.share(s, t) for t in range(len(self.names))]) for s, source in enumerate(self.names)]
        lines.append(("random signs", [self.noise_share(t) for t in range(len(self.names))]))
        cells = tuple(
            tuple(self._row("fooled", *cell, f"{source} -> {target}") if cell[1] else None for cell, target in paired)
            for source, shares in lines
            for paired in [list(zip(shares, self.names, strict=True))]
        )
        title = "Share of images on which the target is fooled by the source's pictures, of those that both get right."
        names = tuple(source for source, _ in lines)
        fooled = Matrix(title=title, corner="source, by target", lines=names, columns=self.names, cells=cells)
        return [fooled, *self._affinities()]

    def _affinities(self) -> list[Matrix]:
        """What strength and weakness leave to each pair."""
        told = {row.setting: row for row in self._parts() if row.metric == "affinity"}
        if not told:
            return []
        cells = tuple(tuple(told.get(f"{source} -> {target}") for target in self.names) for source in self.names)
        title = "Logits by which a pair's fooled share exceeds what the source's strength and the target's weakness add up to."
        return [Matrix(title=title, corner="source, by target", lines=self.names, columns=self.names, cells=cells)]

    def noise_share(self, target: int) -> tuple[float, int]:
        """How often random signs fool a target, of the images that it gets right."""
        n = int(self.clean[target].sum())
        return (float(self.noise[target][self.clean[target]].mean()) if n else float("nan")), n

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        rows = [Metric.of(self.measure, self.value, self.interval, self.n, self.unit, setting=self.attack, split=self.split)]
        for s, source in enumerate(self.names):
            for t, target in enumerate(self.names):
                setting = f"{source} -> {target}"
                rows.append(self._row("fooled, both right", *self.share(s, t), setting))
                rows.append(self._row("fooled, source fooled", *self.share(s, t, "source fooled"), setting))
                kept = ~self.fooled[s, t]
                rows.append(self._row("accuracy, all images", float(kept.mean()), len(kept), setting))
        rows += [self._row("fooled by noise", *self.noise_share(t), name) for t, name in enumerate(self.names)]
        rows += [self._row("transfer above white-box", c.share, c.n, c.sentence.partition(":")[0]) for c in self.checks]
        return [row for row in rows if row.n] + self._parts()

    def _row(self, metric: str, value: float, n: int, setting: str) -> Metric:
        """A share as a tidy row, with Wilson's interval."""
        between = wilson(round(value * n), n) if n else None
        return Metric.of(metric, value if n else 0.0, between, n, self.unit, setting=setting, split=self.split)

    def _parts(self) -> list[Metric]:
        """Strength, weakness and affinity as tidy rows."""
        if not self.strength.size:
            return []
        about: dict[str, Any] = {"n": int(self.clean.all(0).sum()), "unit": "logits", "split": self.split}
        rows: list[Metric] = []
        for metric, values, low, high in (
            ("source strength", self.strength, self.strength_low, self.strength_high),
            ("target weakness", self.weakness, self.weakness_low, self.weakness_high),
        ):
            rows += [
                Metric(metric=metric, value=v, low=a, high=b, setting=who, **about)
                for who, v, a, b in zip(self.names, values.tolist(), low.tolist(), high.tolist(), strict=True)
            ]
        return rows + [
            Metric(metric="affinity", setting=f"{self.names[s]} -> {self.names[t]}", **self.affinity_of(s, t), **about)
            for s, t in self.pairs()
        ]

    def pairs(self) -> list[tuple[int, int]]:
        """Every source with every other network as its target."""
        return [(s, t) for s in range(len(self.names)) for t in range(len(self.names)) if s != t]

    def affinity_of(self, source: int, target: int) -> dict[str, float | None]:
        """A pair's affinity as `value`, with the ends of its interval, `low` and `high`."""
        ends = {"low": self.affinity_low, "high": self.affinity_high}
        known = {name: float(end[source, target]) if end.size else None for name, end in ends.items()}
        return {"value": float(self.affinity[source, target]), **known}

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of each set, most important first."""
        from priorscope.probes.transfer.figures import draw_affinity, draw_matrix, draw_parts

        split = [result for _, result in results if result.strength.size]
        return [
            *(draw_matrix(result) for _, result in results),
            *(draw_parts(result) for result in split),
            *(draw_affinity(result) for result in split),
        ]


@asks(TransferConfig)
def measure_transfer(
    subjects: Mapping[str, Classifier | Evidence | TrainedRun],
    data: Source | Split,
    asked: TransferConfig,
    *,
    folder: Path | None = None,
) -> Transfer:
    """Attacks every network and shows every other the pictures that come out.

    The adversarial pictures are kept block by block in a `folder` (not set: each network's evidence has its own), under a hash
    of weights, data and attack: stopped, the measurement resumes with the next block.
    """
    from priorscope.data.fetch import fetcher, some_images
    from priorscope.probes.transfer.showing import doubts_of, show_adversarial, show_all, signs

    names = tuple(subjects)
    evidences = [evidence_of(subject) for subject in subjects.values()]
    models = [evidence.model for evidence in evidences]
    _check(names, models)
    whole = labelled_split(data, asked.split, *evidences)
    check_budget(asked.budget(), asked.norm, whole.image_size)
    chosen, index = some_images(whole, asked.images)
    attacks = asked.attacks(len(chosen.classes))
    caveats = [said for name, model in zip(names, models, strict=True) for said in doubts_of(name, model, chosen)]
    clean, _ = show_all(models, models[0], chosen, fetcher(chosen, models[0].device))
    folders = [folder or evidence.folder for evidence in evidences]
    fooled, not_finite = show_adversarial(models, chosen, index, asked, folders)
    noisy, _ = show_all(models, models[0], chosen, signs(models[0], chosen, index, asked))
    caveats += [
        f"{name}: {bad:,} of its answers to made pictures were NaN or infinite; they count as fooled."
        for name, bad in zip(names, not_finite, strict=True)
        if bad
    ]
    checks = tuple(_check_target(names, target, clean, fooled, asked.attack) for target in range(len(names)))
    return Transfer(
        **_numbers(clean, fooled, asked.seed),
        unit="share of images",
        caveats=(*caveats, *_caveats(clean), *(found.sentence for found in checks if found.finding != "fine")),
        names=names,
        split=chosen.name,
        data=whole.fingerprint,
        attack=asked.attack,
        attacks=tuple(each.sentence() for each in attacks),
        norm=asked.norm,
        eps=asked.budget(),
        seed=asked.seed,
        checks=checks,
        index=index,
        clean=clean,
        fooled=fooled,
        noise=~noisy,
    )


def _check(names: tuple[str, ...], models: Sequence[Classifier]) -> None:
    if len(models) < 2:
        raise RequestError(f"{len(models)} network was given.", "two or more", "name another run")
    first = models[0]
    for name, model in zip(names, models, strict=True):
        if (model.image_size, model.num_classes) != (first.image_size, first.num_classes):
            raise RequestError(
                f"{names[0]} answers {first.num_classes} classes on images of side {first.image_size}, "
                f"{name} {model.num_classes} on {model.image_size}.",
                "networks that answer the same question about the same images",
                "leave one out; a backbone of another size resizes inside (input_size)",
            )


def _numbers(clean: Bools, fooled: Bools, seed: int) -> dict[str, Any]:
    """The mean share fooled with its interval over images, and the matrix's parts if there are enough networks."""
    networks, images = clean.shape
    draws = stream(seed, "transfer", "resample").multinomial(images, np.full(images, 1 / images), RESAMPLES)
    ones = np.ones((1, images))
    off = ~np.eye(networks, dtype=np.bool_)
    cells = both_right(clean, fooled, ones)[0][off]
    if np.isnan(cells).all():
        raise RequestError(
            "No image is right for any two of the networks.",
            "networks that get some of the same images right",
            "train them first",
        )
    value = float(np.nanmean(cells))
    resampled = both_right(clean, fooled, draws)[:, off]
    resampled = resampled[~np.isnan(resampled).all(1)]
    asked = int((clean.sum(0) >= 2).sum())
    parts: dict[str, Floats] = {f"{name}{end}": np.zeros(0) for name in PARTS for end in ("", "_low", "_high")}
    if networks >= 3 and clean.all(0).any():
        parts = parts_with_intervals(clean, fooled, ones, draws)
    interval = share_from_resamples(np.nanmean(resampled, axis=1), value, asked)
    return {"value": value, "interval": interval, "n": asked, **parts}


def _caveats(clean: Bools) -> list[str]:
    """What there are too few networks or images to say."""
    said, common = list[str](), int(clean.all(0).sum())
    if len(clean) < 3:
        said.append("Two networks have no strength, weakness and affinity apart: that takes three.")
    if common < FEW:
        said.append(f"Only {common} images are right for all networks: what is said of them says little.")
    return said


def _check_target(names: tuple[str, ...], target: int, clean: Bools, fooled: Bools, attack: str) -> Check:
    """Whether some other network's pictures break the target on images where its own attack did not."""
    n = int(clean[target].sum())
    worst, count = most_broken(names, target, fooled[:, target] & clean[target] & ~fooled[target, target])
    said = f"pictures made for {worst} break {count} of {n} images that its own attack left"
    return check("transfer", count, n, f"{names[target]}: {said}.", follows_gradients=follows_gradients(attack))


def most_broken(names: tuple[str, ...], target: int, broken: Bools) -> tuple[str, int]:
    """The other network whose pictures break most of the target's images, and how many; `broken` is (sources, images)."""
    others = {name: int(row.sum()) for source, (name, row) in enumerate(zip(names, broken, strict=True)) if source != target}
    worst = max(others, key=lambda name: others[name])
    return worst, others[worst]
