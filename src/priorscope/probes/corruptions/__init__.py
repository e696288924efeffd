"""What is left of its accuracy when pictures are noisy, blurred, in bad weather or badly stored?

The kinds and severities are those of CIFAR-10-C and ImageNet-C, computed as they are needed (`priorscope.data.corruptions`).
The headline is the mean error over the 15 kinds and 5 severities, not divided by another network's (so "unnormalised"; the
divided form needs AlexNet's errors on the published files). Beside it stand the four further kinds, the curve of each kind
over severity, and the error that corruption adds to the error without one: who is worse to begin with has less to lose.

Every network sees the same corrupted pictures, so two of them are compared image by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.contracts import Array, Metric, Result, Subject
from priorscope.core.errors import RequestError, unknown_name
from priorscope.core.extremes import largest
from priorscope.core.metrics import top_k_correct
from priorscope.core.stats import bootstrap_of_shares, bracketed, wilson
from priorscope.core.wording import counted
from priorscope.data.corruptions import EXTRA, KINDS, SEVERITIES, SMALL, corrupted, group_of
from priorscope.probes import ProbeConfig, TrainedRun, asks, evidence_of, labelled_split

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 3

Bools = NDArray[np.bool_]
UNIT = "share of images"


class CorruptionsConfig(ProbeConfig):
    """Which images and which kinds."""

    name: str = "corruptions"
    split: str = Field(default="test", description="whose images are corrupted")
    images: int | None = Field(default=1000, ge=1, description="how many, class-balanced; all where there are no more")
    kinds: tuple[str, ...] | None = Field(default=None, description="which kinds; not set: all 19")
    seed: int = Field(default=0, ge=0, description="the seed of what a corruption draws, and of intervals")


class Corruptions(Result):
    """How often a network is right on corrupted pictures."""

    probe: ClassVar[str] = "corruptions"
    question: ClassVar[str] = "What is left of its accuracy when pictures are corrupted?"
    measure: ClassVar[str] = "mean corruption error, unnormalised"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"

    split: str
    image_size: int
    seed: int
    classes: int
    kinds: tuple[str, ...]
    correct: Array
    """(images): right without a corruption."""
    right: Array
    """(kinds, severities, images): right with one."""

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        worst = largest({self.kinds[at]: 1 - float(self.right[at].mean()) for at in self.counted()})
        most = "" if worst.equal else f"; most on {worst} ({worst.value:.1%})"
        return (
            f"It is wrong on {self.value:.1%} of corrupted images{bracketed(self.interval)}, without a corruption on "
            f"{1 - self.correct.mean():.1%}{most}."
        )

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        whose = "CIFAR-10-C" if self.image_size <= SMALL else "ImageNet-C"
        kinds = counted(len(self.counted()), "kind")
        frost = ", frost procedural" if "frost" in self.kinds else ""
        return (
            f"{kinds} of {whose} at 5 severities, computed here{frost}, seed {self.seed}; mean over kinds, severities and "
            f"{self.n:,} images of {self.split}, unnormalised; bootstrap over images, of several seeds over seeds too."
        )

    def counted(self) -> list[int]:
        """Which of the kinds the mean is over: those that are not kept apart, or all if no others were asked for."""
        return counted_of(self.kinds)

    def per_image(self) -> NDArray[np.float64]:
        """The share of counted kinds and severities at which each image is wrong."""
        return wrong_share(self.kinds, self.right)

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        n, split = self.n, self.split
        clean = int((~self.correct).sum())
        rows = [
            Metric.of(self.measure, self.value, self.interval, n, UNIT, split=split),
            Metric.of("error without a corruption", clean / n, wilson(clean, n), n, UNIT, split=split),
        ]
        added = self.per_image() - ~self.correct
        rows.append(
            Metric.of(
                "error added by corruption",
                float(added.mean()),
                bootstrap_of_shares(added, seed=self.seed, differences=True),
                n,
                UNIT,
                split=split,
            )
        )
        for kind, right in zip(self.kinds, self.right, strict=True):
            error = 1 - right.mean(0)
            rows.append(
                Metric.of(
                    "corruption error",
                    float(error.mean()),
                    bootstrap_of_shares(error, seed=self.seed),
                    n,
                    UNIT,
                    setting=kind,
                    split=split,
                )
            )
            for severity, own in zip(SEVERITIES, right, strict=True):
                wrong = int((~own).sum())
                setting = f"{kind} {severity}"
                rows.append(Metric.of("corruption error", wrong / n, wilson(wrong, n), n, UNIT, setting=setting, split=split))
        return rows

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        from priorscope.probes.corruptions import figures

        return [figures.draw_mean(results), figures.draw_kinds(results), figures.draw_severities(results)]


def counted_of(kinds: Sequence[str]) -> list[int]:
    """Which of the kinds the mean is over: those that are not kept apart, or all if no others were asked for."""
    main = [i for i, kind in enumerate(kinds) if kind not in EXTRA]
    return main or list(range(len(kinds)))


def wrong_share(kinds: Sequence[str], right: Bools) -> NDArray[np.float64]:
    """The share of counted kinds and severities at which each image is wrong."""
    return 1 - right[counted_of(kinds)].mean((0, 1))


@asks(CorruptionsConfig)
def measure_corruptions(
    subject: Classifier | Evidence | TrainedRun, data: Source | Split, asked: CorruptionsConfig
) -> Corruptions:
    """Scores a class-balanced part of a split at every severity of every kind; what was scored once is kept as evidence."""
    from priorscope.data.fetch import some_images

    kinds = _checked(asked.kinds)
    evidence = evidence_of(subject)
    chosen, index = some_images(labelled_split(data, asked.split, evidence), asked.images)
    correct = _right_on(evidence, chosen)
    cells = (corrupted(chosen, kind, severity, seed=asked.seed, index=index) for kind in kinds for severity in SEVERITIES)
    right = np.stack([_right_on(evidence, cell) for cell in cells]).reshape(len(kinds), len(SEVERITIES), len(chosen))
    score = wrong_share(kinds, right)
    return Corruptions(
        value=float(score.mean()),
        interval=bootstrap_of_shares(score, seed=asked.seed),
        n=len(chosen),
        unit=UNIT,
        caveats=tuple(_caveats(kinds, correct, len(chosen.classes))),
        split=chosen.name,
        image_size=chosen.image_size,
        seed=asked.seed,
        classes=len(chosen.classes),
        kinds=kinds,
        correct=correct,
        right=right,
    )


def _right_on(evidence: Evidence, part: Split) -> Bools:
    """Whether each image is right: kept instead of its logits, which would take 95 times the space of a split's."""
    from priorscope.evidence import one_pass

    def score() -> Bools:
        return top_k_correct(one_pass(evidence.model, part).logits, part.labels)

    return evidence.kept(part, "right", score).astype(np.bool_)


def _caveats(kinds: Sequence[str], correct: Bools, classes: int) -> list[str]:
    """What is to be doubted of the mean."""
    said: list[str] = []
    if "frost" in kinds:
        said.append("Frost is drawn by a procedure of ours in place of the published photographs: its error is ours alone.")
    if not set(KINDS) - set(EXTRA) <= set(kinds):
        said.append(f"The mean is over {counted(len(counted_of(kinds)), 'kind')} and not over the 15 of the benchmark.")
    if wilson(int(correct.sum()), len(correct)).low <= 1 / classes:
        said.append(f"Right on {correct.mean():.1%} of the images without a corruption, which is not above chance.")
    return said


def _checked(kinds: Sequence[str] | None) -> tuple[str, ...]:
    """The kinds asked for, in the benchmark's order, whose groups stay together."""
    for kind in kinds or ():
        if kind not in KINDS:
            raise unknown_name("kind of corruption", kind, KINDS)
    if kinds is not None and not kinds:
        raise RequestError("No kind of corruption was asked for.", "one at least", "leave out kinds: all 19")
    return KINDS if kinds is None else tuple(sorted(set(kinds), key=KINDS.index))


def by_group(result: Corruptions) -> dict[str, float]:
    """The mean error of each group of kinds."""
    errors = 1 - result.right.mean((1, 2))
    groups = [group_of(kind) for kind in result.kinds]
    return {
        group: float(np.mean([error for error, own in zip(errors, groups, strict=True) if own == group]))
        for group in dict.fromkeys(groups)
    }
