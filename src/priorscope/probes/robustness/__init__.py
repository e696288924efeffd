"""How small a change of the pixels breaks it, and can that number be believed?

The headline is the smallest budget at which the attack breaks each image that was right before, as the median over images:
at 8/255 every network trained without attacks is near zero, and one accuracy there says nothing about which of two is the
more robust. It is found by bisection over budgets, and the accuracy at each of them stands beside it. Images that no budget
of the curve breaks count with the largest one, and are named as censored. Two networks are compared on the images that both
get right.

An attack gives an upper bound, so the verdict belongs to network, attack and number together: see
`priorscope.attacks.audit` for what is checked and what it means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from priorscope.attacks import NORMS, Norm
from priorscope.attacks.budgets import budget_asked, check_budget, levels_of, shown
from priorscope.attacks.verdict import AuditVerdict, Check
from priorscope.core.aspects import AspectName
from priorscope.core.comparison import Difference, difference_of_medians, paired_bootstrap
from priorscope.core.config import Number
from priorscope.core.contracts import Array, Metric, Result, Standing, Subject
from priorscope.core.errors import RequestError
from priorscope.core.stats import Interval, bootstrap, wilson
from priorscope.probes import TrainedRun, asks, evidence_of, labelled_split
from priorscope.probes.shared.attacking import AttackingConfig

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier
    from priorscope.probes.robustness.measured import Found, Measurement

VERSION = 7
SEARCH = 2
"""The version of what a search or a protocol keeps. It is its own: a change of the audit throws no finished search away."""
TOP = 5
"""Guesses of which one has to be right, where the protocol asks for that."""
QUERIES = 4
"""The version of what a search keeps whose attacks ask for answers alone: these spend no more queries than they are given."""

Budget = Annotated[Number, Field(ge=0)]

GROUNDS: dict[AuditVerdict, str] = {
    "weak attack: upper bound only": "weak attack: an upper bound",
    "no sign of overestimation": "audited: no sign of overestimation",
    "suspect": "suspect: the attack may have missed some",
    "masked": "masked gradients: do not believe it",
}
"""What each verdict means for who reads the number alone."""


class RobustnessConfig(AttackingConfig):
    """Which images, which attack, and at which budgets."""

    name: str = "robustness"
    eps: Annotated[Number, Field(gt=0)] | None = Field(
        default=None,
        description="the budget of the accuracy that the verdict is about; not set: 8/255 (l2: 0.5; z-fgsm and z-pgd5: 0.0125)",
    )
    budgets: tuple[Budget, ...] | None = Field(
        default=None,
        description="the curve's budgets; not set: 0.25/255 doubled up to 32/255 (l2: 1/32 to 4; z-fgsm, z-pgd5: as published)",
    )
    audit_images: int = Field(
        default=100, ge=0, description="how many of the images the audit looks at, spread evenly; 0 leaves it out"
    )
    seed: int = Field(default=0, ge=0, description="the seed of random starts and directions, and of intervals")

    @model_validator(mode="after")
    def _within_what_pixels_can_have(self) -> Self:
        check_budget(max((self.eps or 0.0, *(self.budgets or ()))), self.norm)
        return self

    def curve(self) -> tuple[float, tuple[float, ...]]:
        """The budget that the verdict is about, and all budgets of the curve, of which it is one."""
        eps = budget_asked(self.attack, self.norm, self.eps)
        levels = levels_of(self.attack, self.norm, eps, self.budgets)
        return min(levels, key=lambda level: abs(level - eps)), levels


class Robustness(Result):
    """The smallest budget that breaks each image, the accuracy at every budget, and a verdict on the number."""

    probe: ClassVar[str] = "robustness"
    question: ClassVar[str] = "How small a change of the pixels breaks it, and can that number be believed?"
    measure: ClassVar[str] = "median smallest breaking budget"
    bounds: ClassVar[tuple[float, float]] = (0, math.inf)
    sampled: ClassVar[str] = "images that it gets right"
    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    leaning: ClassVar[tuple[str, str] | None] = ("is harder to break", "is easier to break")
    best: ClassVar[str | None] = "is hardest to break"
    difference_unit: ClassVar[str | None] = "doublings of the budget"
    aspect: ClassVar[AspectName | None] = "robustness"

    split: str
    data: str = ""
    """The fingerprint of the whole split, which the positions in `index` are of; empty in results from before it was kept."""
    attack: str
    attacks: tuple[str, ...]
    norm: Norm
    eps: float
    budgets: tuple[float, ...]
    classes: int
    seed: int
    verdict: AuditVerdict
    checks: tuple[Check, ...] = ()
    turns: tuple[tuple[str, int], ...] = ()
    """Each attack of the ensemble with how many images it broke at `eps`, those before it having had their turn."""
    after_audit: float | None = None
    """The accuracy at `eps`, on the images that the audit looked at, after everything that its checks broke as well."""
    audited: int | None = None
    """How many images the audit looked at."""
    index: Array
    correct: Array
    smallest: Array
    """For each image the smallest budget found to break it: 0 if it was wrong before, infinite if none did."""
    stood: Array
    """For each image the largest budget found not to break it: the bisection ends between the two."""
    right_at: Array
    """How many images are right at each budget."""
    within_at: Array
    """How many images are right within five guesses at each budget, if the protocol asks for it (else empty)."""

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        if not self.n:
            return f"It gets none of {len(self.index):,} images right, so that there is nothing to break ({self.attack})."
        share = self.accuracy_at(self.eps)
        within = f"{shown(self.value, self.norm)} {NORMS[self.norm]}"
        half = (
            f"Half or more of the images it gets right still stand at {within}"
            if self.standing().beyond
            else f"Half of the images it gets right break within {within}"
        )
        return f"{half}; {share:.1%} of all are right at {shown(self.eps, self.norm)} ({self.attack}: {self.verdict})."

    def standing(self) -> Standing:
        """What the audit says: an attack gives an upper bound, a weak one nothing else, and a blind one says nothing.

        The number is beyond every budget where half of the images it gets right, or more, stood at the largest.
        """
        sound, bound_only = self.verdict == "no sign of overestimation", ("weak attack: upper bound only", "masked")
        return Standing(
            ground=GROUNDS[self.verdict],
            trust="believed" if sound else "not believed" if self.verdict in bound_only else "doubted",
            beyond=self.value >= self.budgets[-1] and 2 * self.censored() >= self.n,
        )

    @classmethod
    def side_by_side(cls, results: Sequence[Self]) -> NDArray[np.float64] | None:
        """Doublings of the budget that break each of the images that all get right; see `compare_smallest`."""
        return doublings(results) if len({result.asked() for result in results}) == 1 else None

    @classmethod
    def difference_of_values(cls, some: Sequence[Self], others: Sequence[Self], level: float) -> Difference | None:
        """How much larger the median budget of the first is than that of the others, on the images that all get right."""
        every = [*some, *others]
        if len({result.asked() for result in every}) > 1:
            return None
        budgets, at = smallest_on_common(every), len(some)
        return difference_of_medians(budgets[:at], budgets[at:], seed=every[0].seed, level=level)

    def asked(self) -> tuple[object, ...]:
        """What results must share for their images to be paired: positions in two data sets may be equal, images are not."""
        return self.norm, self.attacks, self.budgets, self.split, self.data

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        total = len(self.index)
        return (
            f"{self.attack} = {'; '.join(self.attacks)}; {NORMS[self.norm]} budgets on pixels in [0, 1], seed {self.seed}, "
            f"{total:,} images of {self.split}, {self.n:,} of them right without an attack; "
            "bootstrap over images, of one checkpoint."
        )

    def checked(self, more: Sequence[Check]) -> Self:
        """With further checks of the number: they can make the verdict worse, and a weak attack's number stays a bound."""
        verdict, found = self.verdict, {each.finding for each in more}
        if verdict in ("suspect", "no sign of overestimation"):
            verdict = "masked" if "masked" in found else "suspect" if "suspect" in found else verdict
        return self.model_copy(update={"checks": (*self.checks, *more), "verdict": verdict})

    def paired(self, other: Self, level: float = 0.95) -> Difference | None:
        """How many doublings of the budget this withstands more, on the images that both get right."""
        return compare_smallest(self, other, level)

    def accuracy_at(self, eps: float) -> float:
        """The share of all images that are right at one of the budgets."""
        return int(self.right_at[self._position(eps)]) / len(self.index)

    def _position(self, eps: float) -> int:
        return int(np.argmin(np.abs(np.array(self.budgets) - eps)))

    def censored(self) -> int:
        """How many images that are right stand at every budget of the curve."""
        return int(np.count_nonzero(np.isinf(self.smallest) & self.correct))

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        total, split = len(self.index), self.split
        rows = [
            Metric.of(self.measure, self.value, self.interval, self.n, self.unit, setting=self.attack, split=split),
            Metric.of("censored", self.censored() / max(self.n, 1), None, self.n, "share of images", split=split),
        ]
        counted = {"accuracy under attack": self.right_at}
        if self.classes > TOP:  # of fewer classes every answer is among so many guesses
            counted["top-5 under attack"] = self.within_at
        for name, counts in counted.items():
            rows += [
                Metric.of(
                    name,
                    count / total,
                    wilson(count, total),
                    total,
                    "share of images",
                    setting=f"{self.attack} {shown(eps, self.norm)}",
                    split=split,
                )
                for eps, count in zip(self.budgets, counts.tolist(), strict=False)
            ]
        if self.after_audit is not None and self.audited:
            setting = f"{self.attack} {shown(self.eps, self.norm)}"
            between = wilson(round(self.after_audit * self.audited), self.audited)
            rows.append(
                Metric.of("accuracy after audit", self.after_audit, between, self.audited, "share of images", setting=setting)
            )
        rows += [Metric.of(check.name, check.share, None, check.n, "share of images", setting="audit") for check in self.checks]
        return [row for row in rows if row.n]  # no images have no share

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        from priorscope.probes.robustness import figures

        if len({result.data for _, result in results}) > 1:  # a picture that pairs images tells splits apart by their names
            results = [(who, r.model_copy(update={"split": f"{r.split} ({r.data or 'unknown data'})"})) for who, r in results]
        drawn = [figures.draw_smallest(results), figures.draw_curve(results)]
        return drawn + (
            [figures.draw_audit(results)] if any(check.n for _, result in results for check in result.checks) else []
        )


@asks(RobustnessConfig)
def measure_robustness(
    subject: Classifier | Evidence | TrainedRun,
    data: Source | Split,
    asked: RobustnessConfig,
    *,
    folder: Path | None = None,
) -> Robustness:
    """Attacks a class-balanced part of a split (`images`; None: all of it) and audits the number at `eps`.

    With a `folder` (not set: the evidence's own) an interrupted search or audit is resumed.
    """
    from priorscope.data.fetch import some_images
    from priorscope.probes.robustness.measured import Measurement

    evidence = evidence_of(subject)
    whole = labelled_split(data, asked.split, evidence)
    chosen, index = some_images(whole, asked.images)
    eps, levels = asked.curve()
    check_budget(max(eps, *(asked.budgets or (eps,))), asked.norm, whole.image_size)
    attacks, kept = asked.attacks(len(chosen.classes)), folder or evidence.folder
    measurement = Measurement(evidence.model, chosen, index, asked, attacks, eps, levels, kept)
    found = measurement.find()
    right, n = found.correct, int(found.correct.sum())
    value, interval = median_budget(found.stood[right], found.smallest[right], levels[-1], asked.seed) if n else (0.0, None)
    return Robustness(
        value=value,
        interval=interval,
        n=n,
        unit=f"{NORMS[asked.norm]} on pixels in [0, 1]",
        caveats=(*found.caveats, *_caveats(found, value, interval, measurement)),
        split=chosen.name,
        data=whole.fingerprint,
        attack=asked.attack,
        attacks=tuple(each.sentence() for each in measurement.attacks),
        norm=asked.norm,
        eps=eps,
        budgets=levels,
        classes=len(chosen.classes),
        seed=asked.seed,
        index=index,
        correct=found.correct,
        smallest=found.smallest,
        stood=found.stood,
        right_at=found.right_at,
        within_at=found.within_at,
        verdict=found.verdict,
        checks=found.checks,
        turns=found.turns,
        after_audit=found.after_audit,
        audited=found.audited,
    )


def _caveats(found: Found, value: float, interval: Interval | None, of: Measurement) -> list[str]:
    """What is to be doubted of the headline number."""
    said, most, total, n = [], of.levels[-1], len(of.index), int(found.correct.sum())
    unbroken = int(np.isinf(found.smallest[found.correct]).sum())
    if wilson(n, total).low <= 1 / len(of.images.classes):
        said.append(f"Right on {n / total:.1%} of the images, which is not above chance: there is little to break.")
    if n and value >= most and 2 * unbroken >= n:
        said.append(
            f"Half of the images or more stand at every budget up to {shown(most, of.asked.norm)}: the median is at least that."
        )
    elif interval is not None and interval.high >= most:
        said.append(f"The interval ends with the budgets that were tried, at {shown(most, of.asked.norm)}: it may go on.")
    return said


def median_budget(
    stood: NDArray[np.float64], smallest: NDArray[np.float64], most: float, seed: int
) -> tuple[float, Interval | None]:
    """The median of the smallest breaking budgets, those beyond `most` taken as `most`, and its interval over images.

    Each budget is known up to its bracket only, so the interval begins at the low end of the brackets' low ends' interval.
    It stays between 0 and `most`, as every one of these budgets does.
    """
    high = np.minimum(smallest, most)
    lower, upper = (bootstrap(values, seed=seed, statistic=_median) for values in (np.minimum(stood, high), high))
    if lower is None or upper is None:
        return float(np.median(high)), None
    low, end = max(lower.low, 0.0), min(upper.high, most)
    between = Interval(low=low, high=end, method="percentile bootstrap of brackets", over="images")
    return float(np.median(high)), between


def _median(values: NDArray[np.float64], /, *, axis: int) -> NDArray[np.float64]:
    return np.asarray(np.median(values, axis=axis))


def compare_smallest(first: Robustness, second: Robustness, level: float = 0.95) -> Difference:
    """How many doublings of the budget the first withstands more than the second, on the images that both get right.

    Budgets that no attack reached count with the curve's largest. The mean over images of log2(first / second).
    """
    if first.asked() != second.asked():
        raise RequestError(
            f"{first.attack} ({NORMS[first.norm]}) and {second.attack} ({NORMS[second.norm]}) are not the same measurement.",
            "one attack, norm, list of budgets and split of the same data for both",
            "measure both with the same settings on the same data",
        )
    a, b = doublings([first, second])
    return paired_bootstrap(a, b, seed=first.seed, level=level)


def doublings(results: Sequence[Robustness]) -> NDArray[np.float64]:
    """(networks, images): log2 of the smallest breaking budget, of the images that all of them get right."""
    least = min(level for level in results[0].budgets if level > 0) / 2**10
    return np.log2(np.maximum(smallest_on_common(results), least))


def smallest_on_common(results: Sequence[Robustness]) -> NDArray[np.float64]:
    """(networks, images): the smallest breaking budget of each image that all get right, the curve's largest where none did."""
    most, rows = results[0].budgets[-1], on_common(results)
    return np.stack([np.minimum(result.smallest[at], most) for result, at in zip(results, rows, strict=True)])


def on_common(results: Sequence[Robustness]) -> list[NDArray[np.int64]]:
    """For each network the rows of the images that all of them were asked about and get right."""
    common = set(results[0].index[results[0].correct].tolist())
    for result in results[1:]:
        common &= set(result.index[result.correct].tolist())
    wanted = np.array(sorted(common), np.int64)
    if not len(wanted):
        raise RequestError(
            "There is no image that all networks get right.", "at least one", "compare them on more images, or leave one out"
        )
    return [np.searchsorted(result.index, wanted) for result in results]
