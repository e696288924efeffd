"""How much do its features tell of the classes, when only a few images of each are labelled?

A ridge regression in closed form on what the head sees, from `shots` labelled training images of each class: nothing is
trained and no learning rate is chosen, so the number belongs to the features. Which images are labelled is drawn several
times, and the interval is over draws x test images; of a family over seeds x draws x test images, since the same images are
labelled for every network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.aspects import AspectName
from priorscope.core.comparison import Difference, seed_by_image_difference
from priorscope.core.contracts import Array, Metric, Result, Standing, Subject
from priorscope.core.errors import RequestError
from priorscope.core.metrics import top_k_correct
from priorscope.core.rng import stream
from priorscope.core.seeds import by_recipe, difference_of_seeds
from priorscope.core.stats import Interval, bracketed, seed_by_image, wilson
from priorscope.core.wording import capitalised
from priorscope.probes import ProbeConfig, TrainedRun, asks, check_apart, evidence_of, the_source
from priorscope.probes.shared.ridge import few_of_each, fit_ridge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from priorscope.core.figure import Figure
    from priorscope.data.split import Source
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 4

HEAD = "head/in"


class FewshotConfig(ProbeConfig):
    """How many labelled images of each class, drawn how often, read at which tap."""

    name: str = "fewshot"
    split: str = Field(default="test", description="which split is answered")
    shots: int = Field(default=10, ge=1, description="labelled training images of each class")
    draws: int = Field(default=5, ge=2, description="how often they are drawn")
    tap: str | None = Field(default=None, description="the address that is read; not set: what the head sees")
    seed: int = Field(default=0, ge=0, description="the seed of the draws")


class Fewshot(Result):
    """How often a ridge on a few labelled images is right."""

    probe: ClassVar[str] = "fewshot"
    question: ClassVar[str] = "How much do its features tell of the classes, from a few labelled images?"
    measure: ClassVar[str] = "few-shot accuracy"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    aspect: ClassVar[AspectName | None] = "data efficiency"

    split: str
    shots: int
    classes: int
    tap: str
    seed: int
    strengths: tuple[float, ...]
    right: Array
    """(draws, images): whether each is answered right."""
    correct: Array
    """(images): whether the network itself answers right; empty where it learnt other classes."""

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        said = f"{self.shots} labelled images a class make its features right on {self.value:.1%}{bracketed(self.interval)}"
        return f"{said}; the network itself is on {self.correct.mean():.1%}." if self.correct.size else f"{said}."

    def standing(self) -> Standing:
        """How few labelled images it is about."""
        return Standing(ground=f"{self.shots} images a class")

    def read_out(self) -> str:
        """How it was read out, in half a sentence."""
        return (
            f"Ridge regression in closed form on {self.tap}, {self.shots} training images of each class, {len(self.right)} "
            f"draws, penalty by leaving one out; all of {self.split}"
        )

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        return f"{self.read_out()}; interval over draws x images, of one checkpoint."

    def per_image(self) -> NDArray[np.float64]:
        """The share of draws in which each image is answered right."""
        return self.right.mean(0)

    def labelled(self) -> tuple[int, ...]:
        """What results must share for their draws to label the same images."""
        return self.seed, self.shots, *self.right.shape

    @classmethod
    def side_by_side(cls, results: Sequence[Self]) -> NDArray[Any] | None:
        """(results, draws, images) where the same draws label the same images for all: more seeds do not make draws more."""
        if len({result.labelled() for result in results}) > 1:
            return super().side_by_side(results)
        return np.stack([result.right for result in results])

    def paired(self, other: Self, level: float = 0.95) -> Difference | None:
        """This minus the other over draws x images: the same draws label the same images for both."""
        if self.labelled() != other.labelled():
            return None
        difference = seed_by_image_difference(self.right, other.right, paired=True, level=level)
        return difference.replace(interval=_over_draws(difference.interval), inner=_over_draws(difference.inner))

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        setting, unit = f"{self.shots} shots", self.unit
        rows = [Metric.of(self.measure, self.value, self.interval, self.n, unit, setting=setting, split=self.split)]
        for i, own in enumerate(self.right):
            hits = int(own.sum())
            at = f"{setting}, draw {i}"
            rows.append(
                Metric.of(self.measure, hits / self.n, wilson(hits, self.n), self.n, unit, setting=at, split=self.split)
            )
        return rows

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        return [_draw(results)]


def _over_draws(interval: Interval) -> Interval:
    """The interval of one checkpoint, in which draws of labelled images stand where a family has its seeds."""
    return interval.replace(over="draws x images")


def _tap(model: Classifier, tap: str | None) -> str:
    """The tap asked for, or what the head sees."""
    if tap is None and HEAD not in model.taps():
        raise RequestError(
            f"{model.name} does not say what its head sees.", "the tap where its features are", "tap = ..., one of model.taps()"
        )
    at = tap or HEAD
    model.tap(at)
    return at


def _flat(features: NDArray[Any]) -> NDArray[Any]:
    return features.reshape(len(features), -1)


@asks(FewshotConfig)
def measure_fewshot(subject: Classifier | Evidence | TrainedRun, data: Source, asked: FewshotConfig) -> Fewshot:
    """Labels a few training images of each class, several times over, and scores the whole split.

    Only the images that some draw labels are looked at, not the whole training split.
    """

    check_apart("fewshot", asked.split)
    evidence = evidence_of(subject)
    source = the_source("fewshot", data)
    train, test = source.split("train"), source.split(asked.split)
    tap, classes = _tap(evidence.model, asked.tap), len(test.classes)
    labelled = [
        few_of_each(train.labels, asked.shots, stream(asked.seed, "few shots", draw).permutation(len(train)), classes)
        for draw in range(asked.draws)
    ]
    union = np.unique(np.concatenate(labelled))
    known, unknown = _flat(evidence.features(train.choose(union), tap)), _flat(evidence.features(test, tap))
    fits = [fit_ridge(known[np.searchsorted(union, rows)], train.labels[rows], classes) for rows in labelled]
    right = np.stack([fitted.scores(unknown).argmax(1) == test.labels for fitted in fits])  # one class, the first of equals
    return Fewshot(
        value=float(right.mean()),
        interval=_over_draws(seed_by_image(right)),
        n=len(test),
        unit="share of images",
        split=test.name,
        shots=asked.shots,
        classes=classes,
        tap=tap,
        seed=asked.seed,
        strengths=tuple(fitted.strength for fitted in fits),
        right=right,
        correct=top_k_correct(evidence.logits(test), test.labels) if evidence.knows(test) else np.zeros(0, np.bool_),
    )


def _draw(results: Sequence[tuple[Subject, Fewshot]]) -> Figure:
    from priorscope.core.axis import SHARE
    from priorscope.core.charts import interval_dots
    from priorscope.probes.shared.lead import arm_rows

    arms, first = by_recipe(results), results[0][1]
    rows = arm_rows(arms)
    return interval_dots(
        "few-shot",
        _title(arms, {row["subject"]: row["value"] for row in rows}),
        rows,
        axis=SHARE,
        n=first.n,
        protocol=f"{first.read_out()}; 95 % intervals over seeds x draws x images; of one checkpoint, over draws x images.",
        alt="; ".join(f"{row['subject']} {row['value']:.1%}" for row in rows),
        reference=(1 / first.classes, "chance"),
    )


def _title(arms: Sequence[tuple[Subject, Sequence[Fewshot]]], values: Mapping[str, float]) -> str:
    """Whose features are right most often, if comparisons of all pairs on the same images say so."""
    from priorscope.probes.shared.lead import lead_of

    few = f"with {arms[0][1][0].shots} labelled images a class"
    if len(values) == 1:
        return f"{capitalised(few)} its features are right on {values[arms[0][0].name]:.1%}"
    lead = lead_of(values, {subject.name: seeds for subject, seeds in arms}, _more_right, "higher")
    best, last = f"{values[lead.best]:.1%}", f"{values[lead.last]:.1%}"
    return lead.title(
        claim=f"{capitalised(few)} the features of {lead.best} are right most often",
        number=best,
        fact=f"{few} the features of {lead.best} are right on {best}",
        last=f"those of {lead.last} on {last}",
    )


def _more_right(some: Sequence[Fewshot], others: Sequence[Fewshot]) -> Difference | None:
    """How much more often the one is right than the other; None if the draws differ, or one seed stands against several."""
    asked = {(result.split, result.labelled()) for result in (*some, *others)}
    return difference_of_seeds(some, others) if len(asked) == 1 else None
