"""When it says that it is 80 % sure, is it right 80 % of the time?

The headline is the expected calibration error in 15 bins of equal width, beside its null level: what a calibrated network with
these very confidences on as many images would show by chance. An error inside that band is no sign of miscalibration, and
none is reported without it. See `estimating` for the estimates.

The same is measured after a temperature that is fitted on val and never on the split judged, and, where asked, after
test-time augmentation, under a corruption and under attack. The temperature is always the one that val asks for, not the one
that would mend the corruption: that is the question.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from priorscope.attacks.budgets import check_budget
from priorscope.attacks.doubts import PROBABILITIES, are_probabilities
from priorscope.core.aspects import AspectName
from priorscope.core.config import Config, Number
from priorscope.core.contracts import Array, Metric, Result, Standing, Subject
from priorscope.core.errors import RequestError
from priorscope.core.metrics import log_loss, softmax
from priorscope.core.stats import Interval, bootstrap
from priorscope.core.variance import normal_quantile
from priorscope.probes import ProbeConfig, TrainedRun, asks, evidence_of, labelled_split, run_of
from priorscope.probes.calibration.estimating import (
    BINS,
    Answers,
    Reliability,
    brier_parts,
    brier_scores,
    estimates,
    fit_temperature,
)
from priorscope.probes.calibration.estimating import squared_error as squared
from priorscope.views import Views, ViewsSetting

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 6

AS_IT_IS = "as it is"
FEW = 100
"""Fewer images than this, and the bins hold too few answers to say much."""


class CalibrationConfig(ProbeConfig):
    """Which split to judge, and under what conditions beside the plain one."""

    reads_runs = True

    name: str = "calibration"
    split: str = Field(default="test", description="which split is judged; val leaves the temperature out")
    temperature: bool = Field(
        default=True, description="each condition is judged once more with the temperature that val asks for"
    )
    views: ViewsSetting = Field(
        default=None, description="one more condition: test-time augmentation, flip, six, or a table of a name and its settings"
    )
    corruptions: tuple[str, ...] = Field(default=(), description="more conditions: kinds of common corruptions")
    severity: int = Field(default=3, ge=1, le=5, description="the severity of the corruptions, 1 to 5")
    attack: str | None = Field(default=None, description="one more condition: the name of an attack, L-inf")
    eps: Annotated[Number, Field(gt=0)] = Field(default=1 / 255, description="the attack's budget")
    attack_images: int = Field(default=200, ge=1, description="how many images are attacked, class-balanced")
    seed: int = Field(default=0, ge=0, description="the seed of null levels, intervals, corruptions and the attack")

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        if self.attack is None:
            self.refuse(("eps", "attack_images"), "no attack was named")
        if not self.corruptions:
            self.refuse(("severity",), "no corruptions were named")
        check_budget(self.eps, "linf")
        return self


class Estimate(Config):
    """An estimate of the calibration error beside the mean, the central 95 % and the p-value of its null level."""

    name: str
    value: float
    null: float
    null_low: float
    null_high: float
    p_value: float


class Scores(Config):
    """Everything about one condition. `temperature` is what the logits were divided by; `squared` is without bias."""

    condition: str
    temperature: float = 1.0
    n: int
    accuracy: float
    confidence: float
    estimates: tuple[Estimate, ...]
    squared: float
    squared_interval: Interval
    log_loss: float
    log_loss_interval: Interval | None
    brier: float
    brier_interval: Interval | None
    brier_reliability: float
    brier_resolution: float
    brier_uncertainty: float
    brier_within: float

    @property
    def error(self) -> Estimate:
        """The headline's estimate."""
        return self.estimates[0]

    @property
    def label(self) -> str:
        """The condition with its temperature, where there is one."""
        return self.condition if self.temperature == 1 else f"{self.condition}, T = {self.temperature:.2f}"


class Calibration(Result):
    """How well confidences tell how often answers are right."""

    probe: ClassVar[str] = "calibration"
    question: ClassVar[str] = "When it says how sure it is, is it right that often?"
    measure: ClassVar[str] = "expected calibration error"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    leaning: ClassVar[tuple[str, str] | None] = ("is worse calibrated", "is better calibrated")
    best: ClassVar[str | None] = "is best calibrated"
    biased: ClassVar[bool] = True
    difference_unit: ClassVar[str | None] = "squared ECE, debiased"
    aspect: ClassVar[AspectName | None] = "calibration"

    split: str
    seed: int
    views: Views | None = None
    temperature: float | None = None
    label_smoothing: float | None = None
    scores: tuple[Scores, ...]
    """The plain condition first; each condition as it is and, where there is one, at the temperature of val."""
    bin_n: Array
    """(scores, bins): how many answers, their mean confidence, how many of them right; the errors are computed from these."""
    bin_confidence: Array
    bin_right: Array
    bin_low: Array
    """(scores, bins): a calibrated network's share right lies between `bin_low` and `bin_high` in 95 % of cases."""
    bin_high: Array

    def reliability(self, which: int = 0) -> Reliability:
        """The bins of one of the scores."""
        return Reliability(
            *(bins[which] for bins in (self.bin_n, self.bin_confidence, self.bin_right, self.bin_low, self.bin_high))
        )

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        error = self.scores[0].error
        band = f"({error.null_low:.1%} to {error.null_high:.1%} would be chance)"
        if not self._beyond_chance():
            return f"Its confidence is off by {error.value:.1%} on average {band}: no sign that it is not calibrated."
        return f"Its confidence is off by {error.value:.1%} on average {band}: it is {self._way()}."

    def _way(self) -> str:
        """Over- or underconfident, only where the mean is off by half of the error and by more than calibrated answers are."""
        first, bins = self.scores[0], self.reliability()
        gap, n = first.confidence - first.accuracy, bins.n.sum()
        by_chance = normal_quantile(0.95) * np.sqrt((bins.n * bins.confidence * (1 - bins.confidence)).sum()) / n
        if abs(gap) <= by_chance or abs(gap) < first.error.value / 2:
            return "too sure of some answers and not sure enough of others"
        return "overconfident" if gap > 0 else "underconfident"

    def _beyond_chance(self) -> bool:
        """Whether the error is larger than a calibrated network's would be."""
        error = self.scores[0].error
        return error.value > error.null_high

    def standing(self) -> Standing:
        """What a calibrated network would show on as many images, whose error is never 0, and the chance that it is as large.

        No p-value of 1,000 draws is below 1 in 1,001, which is too much for fifty networks. But an answer more or less right
        moves the error of n by 1 / n at most, so that chance exceeds its mean by t with a probability of exp(-2 n t^2) at most
        (McDiarmid, Surveys in Combinatorics, 1989): the smaller of the two is taken.
        """
        score, error = self.scores[0], self.scores[0].error
        chance = min(error.p_value, math.exp(-2 * score.n * max(error.value - error.null, 0.0) ** 2))
        return Standing(
            ground=f"by chance {error.null_low:.3f} to {error.null_high:.3f}", chance=chance if self._beyond_chance() else 1.0
        )

    def compared(self) -> tuple[float, Interval | None] | None:
        """The squared error without bias: chance gives each distribution of confidences an ECE of its own, in every seed."""
        return self.scores[0].squared, self.scores[0].squared_interval

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        scaled = "" if self.temperature is None else f" Temperature {self.temperature:.3f}, fitted on val."
        seen = "" if self.views is None else f" Views: {self.views.sentence()}."
        return (
            f"Expected calibration error of the largest softmax probability, {BINS} bins of equal width, {self.n:,} images of "
            f"{self.split}; chance: labels drawn from the network's own probabilities, central 95 %.{scaled}{seen}"
        )

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows; an error's interval is left out, its null level stands beside it."""
        rows: list[Metric] = []
        for score in self.scores:
            at: dict[str, Any] = {"setting": score.label, "split": self.split}
            for error in score.estimates:
                rows.append(Metric.of(error.name, error.value, None, score.n, "probability", **at))
                rows.append(
                    Metric(
                        metric=f"{error.name}, by chance",
                        value=error.null,
                        low=error.null_low,
                        high=error.null_high,
                        n=score.n,
                        unit="probability",
                        **at,
                    )
                )
            rows.append(
                Metric.of("squared ECE, debiased", score.squared, score.squared_interval, score.n, "probability^2", **at)
            )
            rows.append(Metric.of("log loss", score.log_loss, score.log_loss_interval, score.n, "nats", **at))
            rows.append(Metric.of("Brier score", score.brier, score.brier_interval, score.n, "probability^2", **at))
            for part in ("reliability", "resolution", "uncertainty", "within"):
                value = getattr(score, f"brier_{part}")
                rows.append(Metric.of(f"Brier score, {part}", value, None, score.n, "probability^2", **at))
            rows.append(Metric.of("mean confidence", score.confidence, None, score.n, "probability", **at))
        return rows

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        from priorscope.probes.calibration import figures

        return figures.draw(results)


@asks(CalibrationConfig)
def measure_calibration(
    subject: Classifier | Evidence | TrainedRun, data: Source | Split, asked: CalibrationConfig
) -> Calibration:
    """Judges the confidences on a split, and under the conditions asked for."""
    from priorscope.probes.calibration.conditions import conditions

    evidence = evidence_of(subject)
    chosen, caveats = labelled_split(data, asked.split, evidence), list[str]()
    answered = conditions(evidence, chosen, asked)
    if are_probabilities(answered[0].logits):
        caveats.append(
            f"{PROBABILITIES}: their softmax is taken again, and the confidence judged is not the network's own; wrap it "
            "without its last softmax."
        )
    fitted, untold = _temperatures(evidence, data, chosen, dict.fromkeys((None, asked.views)) if asked.temperature else ())
    caveats += untold
    scores: list[Scores] = []
    bins: list[Reliability] = []
    for one in answered:
        logits, labels, lost = _usable(one.logits, one.labels, one.name if one.name != AS_IT_IS else "")
        caveats += lost
        for divisor in (1.0, *((fitted[one.views],) if one.views in fitted else ())):
            score, reliability = _score(one.name, logits / divisor, labels, divisor, asked.seed)
            scores.append(score)
            bins.append(reliability)
    smoothing, confounds = _confounds(run_of(subject))
    caveats += confounds
    if scores[0].n < FEW:
        caveats.append(f"{scores[0].n} images say little about calibration: see how wide chance alone reaches.")
    return Calibration(
        value=scores[0].error.value,
        interval=None,
        n=scores[0].n,
        unit="probability",
        caveats=tuple(caveats),
        split=chosen.name,
        seed=asked.seed,
        views=asked.views,
        temperature=fitted.get(None),
        label_smoothing=smoothing,
        scores=tuple(scores),
        bin_n=np.stack([each.n for each in bins]),
        bin_confidence=np.stack([each.confidence for each in bins]),
        bin_right=np.stack([each.right for each in bins]),
        bin_low=np.stack([each.low for each in bins]),
        bin_high=np.stack([each.high for each in bins]),
    )


def _temperatures(
    evidence: Evidence, data: Source | Split, chosen: Split, asked: Collection[Views | None]
) -> tuple[dict[Views | None, float], list[str]]:
    """The temperature that val asks for under each of these views (None: as it is), and caveats.

    Empty where there is no val to fit it on.
    """
    from priorscope.data.split import Split

    if not asked:
        return {}, []
    if isinstance(data, Split):
        return {}, ["No temperature: one split was given, and none may be fitted where it is judged."]
    if chosen.name == "val":
        return {}, ["No temperature: val is judged, on which it would be fitted."]
    if "val" not in data.splits():
        return {}, ["No temperature: there is no val to fit it on."]
    val, caveats = data.split("val"), list[str]()
    found: dict[Views | None, float] = {}
    for views in asked:
        logits, labels, lost = _usable(evidence.logits(val, views), val.labels, "val")
        fitted = fit_temperature(logits, labels)
        found[views] = fitted.value
        caveats += lost
        if fitted.at_end:
            why = "right" if fitted.value < 1 else "no better than chance"
            caveats.append(f"Val asks for no temperature between 0.01 and 100: it is {why} throughout.")
    return found, caveats


def _usable(
    logits: NDArray[np.float32], labels: NDArray[np.int64], where: str
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """The images whose logits are finite; the others have no probabilities, and are counted in a caveat."""
    finite = np.isfinite(logits).all(1)
    if not finite.any():
        raise RequestError("No image got finite logits.", "a network that answers", "look for a diverged run")
    place = f" ({where})" if where else ""
    lost = f"{int((~finite).sum())} images got logits that are not finite and are left out{place}."
    return logits[finite].astype(np.float64), labels[finite], [] if finite.all() else [lost]


def _score(
    condition: str, logits: NDArray[np.float64], labels: NDArray[np.int64], divisor: float, seed: int
) -> tuple[Scores, Reliability]:
    losses = log_loss(logits, labels)  # refuses labels that the network does not know
    answers = Answers(softmax(logits), labels)
    found, reliability = estimates(answers, seed)
    value, interval = squared(answers)
    brier, parts = brier_scores(answers), brier_parts(answers)
    scores = Scores(
        condition=condition,
        temperature=divisor,
        n=len(labels),
        accuracy=float(answers.right.mean()),
        confidence=float(answers.confidence.mean()),
        estimates=tuple(
            Estimate(name=e.name, value=e.value, null=e.mean, null_low=e.low, null_high=e.high, p_value=e.p_value)
            for e in found
        ),
        squared=value,
        squared_interval=interval,
        log_loss=float(losses.mean()),
        log_loss_interval=bootstrap(losses, seed=seed),
        brier=parts.score,
        brier_interval=bootstrap(brier, seed=seed),
        brier_reliability=parts.reliability,
        brier_resolution=parts.resolution,
        brier_uncertainty=parts.uncertainty,
        brier_within=parts.within,
    )
    return scores, reliability


def _confounds(run: TrainedRun | None) -> tuple[float | None, list[str]]:
    """The label smoothing, if the recipe is known, and caveats about what in it changes confidences by itself."""
    if run is None:
        unknown = "How it was trained is not known: label smoothing and mixed labels make a network less sure than it is right."
        return None, [unknown]
    smoothing, caveats = run.recipe.train.label_smoothing, list[str]()
    if smoothing:
        caveats.append(
            f"Trained with label smoothing {smoothing:g}, which lowers confidence by itself: "
            "differences to networks trained without it are not the architecture's."
        )
    mixing = [op.op for op in run.recipe.data.augment.ops if op.op in ("mixup", "cutmix")]
    if mixing:
        caveats.append(f"Trained with {' and '.join(mixing)}, whose mixed labels lower confidence by themselves.")
    return smoothing, caveats
