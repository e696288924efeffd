"""How often is it right, and where is it wrong?

Top-1 and top-k accuracy with Wilson's interval, accuracy of each class, the confusion matrix, and how confident the network
is where it is right and where it is wrong (confidence = largest softmax probability). Every image of the split is scored
exactly once; with `views` it is seen several ways (test-time augmentation), and the views' mean is scored once.

Where a split has the column `real` with a row of labels for each image (ImageNet with ReaL labels, Beyer et al. 2020), an
answer is also right by ReaL if it is any of an image's labels there. Images without a label are left out, as its authors do;
the share of all images, which counts these as wrong, stands beside it, because some studies print that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priorscope.core.aspects import AspectName
from priorscope.core.comparison import Difference
from priorscope.core.config import Config
from priorscope.core.contracts import Array, Metric, Result, Subject
from priorscope.core.errors import RequestError
from priorscope.core.extremes import named, smallest
from priorscope.core.metrics import answers_alone, confusion, log_loss, softmax, top_k_correct
from priorscope.core.seeds import by_recipe, difference_of_seeds
from priorscope.core.stats import Interval, bracketed, wilson
from priorscope.core.wording import counted
from priorscope.probes import ProbeConfig, TrainedRun, asks, evidence_of, labelled_split
from priorscope.views import Views, ViewsSetting

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

VERSION = 3
NO_ONE = "no one class"
"""The answer of a network that gives several classes its highest logit, or NaN."""

BINS = 20
MOST_CLASSES = 40
"""Classes that a picture names one by one: of more, the hardest or the most mistaken."""


class AccuracyConfig(ProbeConfig):
    """Which split to score, in which views, and how many guesses count as right beside one."""

    name: str = "accuracy"
    split: str = Field(default="test", description="which split is scored")
    k: int = Field(
        default=5, ge=2, description="top-k is told beside top-1; of few classes at most one guess fewer than there are classes"
    )
    views: ViewsSetting = Field(
        default=None,
        description="test-time augmentation: flip, six, or a table of a name and its settings; not set: each picture as it is",
    )


class Real(Config):
    """Accuracy by ReaL's labels: of the `n` images that have any, and of all."""

    accuracy: float
    interval: Interval
    n: int
    of_all: float
    of_all_interval: Interval


class Accuracy(Result):
    """How often a network is right on a split."""

    probe: ClassVar[str] = "accuracy"
    question: ClassVar[str] = "How often is it right, and where is it wrong?"
    measure: ClassVar[str] = "accuracy"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    better: ClassVar[Literal["higher", "lower", "neither"]] = "higher"
    aspect: ClassVar[AspectName | None] = "accuracy"

    split: str
    classes: tuple[str, ...]
    k: int
    top_k: float
    top_k_interval: Interval
    loss: float | None = None
    views: Views | None = None
    real: Real | None = None
    correct: Array
    confusion: Array
    confidence_right: Array
    confidence_wrong: Array

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        return f"It is right on {self.value:.1%} of {self.n:,} images{bracketed(self.interval)}."

    def scored(self) -> str:
        """What was scored, in half a sentence."""
        seen = "" if self.views is None else f", {self.views.sentence()}"
        return f"Top-1 on {self.split}{seen}, every image scored once"

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        return f"{self.scored()}; Wilson 95 % intervals over images, each of one checkpoint."

    def per_image(self) -> NDArray[np.bool_]:
        """Whether each image was answered right."""
        return self.correct

    def class_accuracy(self) -> list[tuple[str, int, int]]:
        """Each class with how often it was answered right and how often it was asked."""
        names = told_apart(self.classes)
        return [(name, int(row[i]), int(row.sum())) for i, (name, row) in enumerate(zip(names, self.confusion, strict=True))]

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        unit, split = self.unit, self.split
        rows = [Metric.of("top-1 accuracy", self.value, self.interval, self.n, unit, split=split)]
        if self.k > 1:
            rows.append(Metric.of(f"top-{self.k} accuracy", self.top_k, self.top_k_interval, self.n, unit, split=split))
        if self.loss is not None:
            rows.append(Metric.of("log loss", self.loss, None, self.n, "nats", split=split))
        if self.real is not None:
            real, total = self.real, self.n
            rows.append(Metric.of("ReaL accuracy", real.accuracy, real.interval, real.n, unit, split=split))
            setting = "images without a label counted as wrong"
            rows.append(
                Metric.of("ReaL accuracy", real.of_all, real.of_all_interval, total, unit, setting=setting, split=split)
            )
        rows += [
            Metric.of("class accuracy", right / asked, wilson(right, asked), asked, unit, setting=name, split=split)
            for name, right, asked in self.class_accuracy()
            if asked
        ]
        return rows

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of one or many results side by side, most important first."""
        arms = by_recipe(results)
        return [_draw_accuracy(arms), _draw_classes(arms), _draw_confidence(arms), _draw_confusion(*arms[0])]


@asks(AccuracyConfig)
def measure_accuracy(subject: Classifier | Evidence | TrainedRun, data: Source | Split, asked: AccuracyConfig) -> Accuracy:
    """Scores every image of a split once."""

    evidence = evidence_of(subject)
    chosen = labelled_split(data, asked.split, evidence)
    logits = evidence.logits(chosen, asked.views)
    guesses = max(1, min(asked.k, len(chosen.classes) - 1))
    right, within = top_k_correct(logits, chosen.labels), top_k_correct(logits, chosen.labels, guesses)
    confidence = softmax(logits).max(1)
    edges = np.linspace(0, 1, BINS + 1)
    caveats: list[str] = []
    if guesses < asked.k:
        instead = f"top-{guesses} is shown instead" if guesses > 1 else "it is left out"
        caveats.append(f"Top-{asked.k} of {len(chosen.classes)} classes is always right: {instead}.")
    finite, real = np.isfinite(logits).all(1), chosen.columns.get("real")
    if not finite.all():
        broken = int((~finite).sum())
        caveats.append(f"{broken} images got logits that are not finite: the loss leaves them out, and NaN is never right.")
    return Accuracy(
        value=float(right.mean()),
        interval=wilson(int(right.sum()), len(right)),
        n=len(right),
        unit="share of images",
        caveats=tuple(caveats),
        split=chosen.name,
        classes=chosen.classes,
        k=guesses,
        top_k=float(within.mean()),
        top_k_interval=wilson(int(within.sum()), len(within)),
        loss=float(log_loss(logits[finite], chosen.labels[finite]).mean()) if finite.any() else None,
        views=asked.views,
        real=None if real is None or real.ndim != 2 else real_accuracy(logits, real),
        correct=right,
        confusion=confusion(logits, chosen.labels),
        confidence_right=np.histogram(confidence[right], edges)[0],
        confidence_wrong=np.histogram(confidence[~right], edges)[0],
    )


def real_accuracy(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Real:
    """How often the likeliest class is among an image's labels; a row of `labels` is filled up with -1.

    Ties and NaN count as wrong, as everywhere.
    """
    guess = answers_alone(logits)
    right = (labels == guess[:, None]).any(1) & (guess >= 0)
    labelled = (labels >= 0).any(1)
    hits, n, total = int(right[labelled].sum()), int(labelled.sum()), len(labels)
    if n == 0:
        raise RequestError("No image has a ReaL label.", "some that have", "check real.json")
    return Real(accuracy=hits / n, interval=wilson(hits, n), n=n, of_all=hits / total, of_all_interval=wilson(hits, total))


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes that none shares: ImageNet has two cranes, a bird and a machine ("crane (134)", "crane (517)")."""
    counts = Counter(names)
    return tuple(f"{name} ({at})" if counts[name] > 1 else name for at, name in enumerate(names))


Arms = Sequence[tuple[Subject, Sequence[Accuracy]]]
"""The seeds of each recipe together."""


def _draw_accuracy(arms: Arms) -> Figure:
    from priorscope.core.axis import SHARE
    from priorscope.core.charts import interval_dots
    from priorscope.probes.shared.lead import arm_rows

    rows, first = arm_rows(arms), arms[0][1][0]
    several = "95 % intervals over seeds x images; of one checkpoint, Wilson's over images."
    return interval_dots(
        "accuracy",
        _who_is_right(arms, {row["subject"]: row["value"] for row in rows}),
        rows,
        axis=SHARE,
        n=first.n,
        protocol=f"{first.scored()}; {several}",
        alt="; ".join(f"{row['subject']} {row['value']:.1%}" for row in rows),
        reference=(1 / len(first.classes), "chance"),
    )


def _who_is_right(arms: Arms, values: Mapping[str, float]) -> str:
    """Who is right most often, if comparisons of all pairs on the same images say so."""
    from priorscope.probes.shared.lead import lead_of

    images = f"the {arms[0][1][0].split} images"
    if len(values) == 1:
        return f"{values[arms[0][0].name]:.1%} of {images} are answered right"
    lead = lead_of(values, {subject.name: seeds for subject, seeds in arms}, _more_right, "higher")
    best, last = f"{values[lead.best]:.1%}", f"{values[lead.last]:.1%}"
    return lead.title(
        claim=f"{lead.best} is right most often",
        number=f"{best} of {images}",
        fact=f"of {images} {lead.best} answers {best} right",
        last=f"{lead.last} {last}",
    )


def _more_right(some: Sequence[Accuracy], others: Sequence[Accuracy]) -> Difference | None:
    """How much more often the one is right than the other; None if their images differ, or one seed stands against several."""
    asked = {(result.split, result.classes, result.n) for result in (*some, *others)}
    return difference_of_seeds(some, others) if len(asked) == 1 else None


def _draw_classes(arms: Arms) -> Figure:
    from priorscope.core.axis import SHARE
    from priorscope.core.matrices import heat_map

    first = arms[0][1][0]
    shares: dict[str, dict[str, float]] = {}
    for subject, seeds in arms:
        total = _answers(seeds)
        counts = zip(told_apart(seeds[0].classes), total.diagonal().tolist(), total.sum(1).tolist(), strict=True)
        shares[subject.name] = {name: right / asked for name, right, asked in counts if asked}
    every = list(dict.fromkeys(name for own in shares.values() for name in own))
    mean = {name: float(np.mean([own[name] for own in shares.values() if name in own])) for name in every}
    hard = set(sorted(every, key=lambda name: mean[name])[:MOST_CLASSES])
    shown = [name for name in every if name in hard]
    rows: list[dict[str, Any]] = [
        {"x": name, "y": who, "value": own[name]} for who, own in shares.items() for name in shown if name in own
    ]
    hardest = smallest({f"{name} for {who}": own[name] for name in shown for who, own in shares.items() if name in own})
    title = (
        f"{hardest.value:.0%} of each class is classified correctly"
        if hardest.equal
        else f"The hardest {'case is' if len(hardest.names) == 1 else 'cases are'} {hardest}: {hardest.value:.0%} right"
    )
    return heat_map(
        "accuracy-by-class",
        title,
        rows,
        x="class",
        y="",
        value=SHARE,
        n=f"{counted(min(asked for _, _, asked in first.class_accuracy() if asked), 'image')} or more a class and seed",
        protocol=f"Top-1 on {first.split}, seeds together{_of_all(len(shown), every, 'hardest')}; results.parquet "
        "beside the page holds each checkpoint's intervals.",
        alt=f"Accuracy of each class for each network. {title}.",
    )


def _draw_confidence(arms: Arms) -> Figure:
    from priorscope.probes.shared.confidences import Confidences, draw_confidences

    networks: list[Confidences] = []
    unsaid = 0
    for subject, seeds in arms:
        right = np.sum([one.confidence_right for one in seeds], axis=0)
        wrong = np.sum([one.confidence_wrong for one in seeds], axis=0)
        unsaid += sum(one.n for one in seeds) - int(right.sum() + wrong.sum())
        networks.append(Confidences(subject, right, wrong, sum(int((~one.correct).sum()) for one in seeds)))
    left_out = f"; answers without a confidence, which stand in neither: {unsaid:,}" if unsaid else ""
    first = arms[0][1][0]
    protocol = f"{first.split}, {BINS} bins of equal width, seeds together{left_out}"
    return draw_confidences("confidence", networks, n=first.n, protocol=protocol)


def _answers(seeds: Sequence[Accuracy]) -> NDArray[np.int64]:
    """How often each label (row) was answered with each class (column), and in the last column with no one class."""
    width = len(seeds[0].classes) + 1
    return np.sum([np.pad(one.confusion, ((0, 0), (0, width - one.confusion.shape[1]))) for one in seeds], axis=0)


def _draw_confusion(subject: Subject, seeds: Sequence[Accuracy]) -> Figure:
    from priorscope.core.axis import SHARE
    from priorscope.core.matrices import heat_map

    counts, names = _answers(seeds), told_apart(seeds[0].classes)
    asked = counts.sum(1)
    shares = counts / np.maximum(asked, 1)[:, None]
    off = shares[:, : len(names)] * (1 - np.eye(len(names)))
    some = _most_mistaken(off)
    given = [*some, len(names)] if counts[some, len(names)].any() else some
    called = (*names, NO_ONE)
    rows = [{"x": called[j], "y": names[i], "value": float(shares[i, j]) if asked[i] else None} for i in some for j in given]
    title = f"{subject.name} {_confused(off, names)}"
    return heat_map(
        "confusion",
        title,
        rows,
        x="answer",
        y="label",
        value=SHARE,
        n=seeds[0].n,
        protocol=f"Shares of each label on {seeds[0].split}{f', {len(seeds)} seeds together' if len(seeds) > 1 else ''}"
        f"{_of_all(len(some), names, 'most mistaken')}.",
        alt=title,
    )


def _confused(off: NDArray[np.float64], names: Sequence[str]) -> str:
    """Which class it takes for which most often, if there is one."""
    most = off.max()
    places = np.argwhere(np.isclose(off, most)).tolist()
    if most == 0:
        return "takes no class for another"
    if len(places) == off.size - len(off):
        return f"takes every class for every other equally often: {most:.0%} each"
    which = named([f"{names[asked]} for {names[answered]}" for asked, answered in places])
    return f"most often takes {which}: {most:.0%} {f'of {names[places[0][0]]}' if len(places) == 1 else 'each'}"


def _most_mistaken(off: NDArray[np.float64]) -> list[int]:
    """The classes that are taken for one another most often, in their order: all, where these are not too many to draw."""
    if len(off) <= MOST_CLASSES:
        return list(range(len(off)))
    pairs = zip(*np.unravel_index(np.argsort(-off, axis=None, kind="stable"), off.shape), strict=True)
    some: dict[int, None] = {}
    for pair in pairs:
        if len(some) >= MOST_CLASSES - 1:
            break
        some |= dict.fromkeys(int(at) for at in pair)
    return sorted(some)


def _of_all(count: int, classes: Sequence[str], which: str) -> str:
    return f"; the {count} {which} of {len(classes)} classes" if count < len(classes) else ""
