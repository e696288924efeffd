"""How good is the best of k trials, and would more of them have helped?

Trials are runs that differ in settings which somebody chooses by accuracy on val. The best of many is better than the
best of few, so that networks are compared at equal numbers of trials, or not at all (Dodge et al., arXiv 1909.03004). This
reads the logs of trials: the best of each arm, what the best of k is expected to be for every k (`best_of`), and whether the
best one stands at the end of what was tried, so that a better one may lie beyond.

Everything here is about val, on which the trials were judged: the score of the best is flattered by having been chosen. What
it is worth is for other seeds and the test split to say. A trial whose numbers stopped being finite counts as wrong on every
image. A study with `[tune]` asks this of all of its trials by itself; asked about runs of yours, those called NAME-t1, NAME-t2
and so on are trials of NAME, and others of their network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from priorscope.core import layout
from priorscope.core.config import Config, Plain, flat, is_number
from priorscope.core.contracts import Metric, Result, Subject
from priorscope.core.environment import Environment
from priorscope.core.epoch import Epoch, Score
from priorscope.core.errors import RequestError
from priorscope.core.stats import Interval
from priorscope.core.wording import from_to
from priorscope.probes import ProbeConfig, TrainedRun, asks, check_trained
from priorscope.probes.tuning.best_of import best_interval, best_spread, expected_best

if TYPE_CHECKING:
    from priorscope.core.figure import Figure
    from priorscope.data.split import Source, Split

VERSION = 1

FEWEST = 3
"""How many values of a setting must have been tried before the best one can be said to stand at their end."""


class TuningConfig(ProbeConfig):
    """Nothing is to be set: what was tried stands in the recipes of the trials."""

    per = "set"
    reads_runs = True
    asks_networks = False

    name: str = "tuning"


class Trial(Config):
    """One trial: what it set and how it did on val."""

    name: str
    accuracy: float
    settings: Plain
    diverged: bool = False


class Edge(Config):
    """A setting whose best value has none beyond it among those tried."""

    setting: str
    best: float
    end: Literal["smallest", "largest"]
    tried: int

    def sentence(self, arm: str) -> str:
        """What a reader should know before trusting the tuning."""
        return (
            f"The best trial of {arm} has the {self.end} {self.setting} of the {self.tried} that were tried ({self.best:g}): a "
            "better one may lie beyond."
        )


class Best(Config):
    """What the best of k trials is expected to be, how surely, and between which scores it lies in most choices of k."""

    k: int
    value: float
    interval: Interval
    spread: tuple[float, float]


class TunedArm(Config):
    """The trials of one recipe, in order, and what follows from them."""

    name: str
    family: str
    images: int
    trials: tuple[Trial, ...]
    curve: tuple[Best, ...]
    edges: tuple[Edge, ...]

    @property
    def best(self) -> Trial:
        """The trial whose settings are taken."""
        return self.trials[best_trial([trial.accuracy for trial in self.trials])]

    @property
    def ends_told(self) -> bool:
        """Whether enough values of every number were tried for `edges` to name one whose best stands at their end."""
        numbers = {key for trial in self.trials for key, value in trial.settings.items() if is_number(value)}
        return all(len(_tried(self.trials, key)) >= FEWEST for key in numbers)


class Tuning(Result):
    """The trials of one or more arms; `value` is the best accuracy on val of the first."""

    probe: ClassVar[str] = "tuning"
    question: ClassVar[str] = "How good is the best of k trials, and would more of them have helped?"
    measure: ClassVar[str] = "best accuracy on val"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    sampled: ClassVar[str] = "trials"

    arms: tuple[TunedArm, ...]

    def headline(self) -> str:
        """The answer in one sentence made from the numbers."""
        ranked = sorted(self.arms, key=lambda arm: -arm.best.accuracy)
        said = [f"{arm.name} {arm.best.accuracy:.1%} ({_settings(arm.best.settings)})" for arm in ranked]
        many = from_to([len(arm.trials) for arm in self.arms])
        return f"The best of {many} trials on val: {'; '.join(said)}."

    def protocol(self) -> str:
        """How it was measured, in one sentence."""
        images = sorted({arm.images for arm in self.arms})
        return (
            f"Accuracy on val ({' or '.join(f'{count:,}' for count in images)} images) of the epoch that each trial keeps; the "
            "expected best of k is the mean over all choices of k trials; intervals over trials, valid for every k at once "
            "(Dvoretzky-Kiefer-Wolfowitz)."
        )

    def metrics(self) -> list[Metric]:
        """Every number of the result as tidy rows."""
        rows: list[Metric] = []
        for arm in self.arms:
            rows.append(Metric.of(self.measure, arm.best.accuracy, None, arm.images, "share", setting=arm.name, split="val"))
            for best in arm.curve:
                where = f"{arm.name}, best of {best.k}"
                row = Metric.of(
                    "expected best", best.value, best.interval, len(arm.trials), "share", setting=where, split="val"
                )
                rows.append(row)
            for trial in arm.trials:
                where = f"{trial.name}: {_settings(trial.settings)}"
                rows.append(
                    Metric.of("accuracy of a trial", trial.accuracy, None, arm.images, "share", setting=where, split="val")
                )
        return rows

    @classmethod
    def draw(cls, results: Sequence[tuple[Subject, Self]]) -> list[Figure]:
        """The pictures of each set, most important first."""
        from priorscope.probes.tuning.figures import draw_all

        return [figure for _, result in results for figure in draw_all(result)]


def val_accuracy(name: str, environment: Environment, history: Sequence[Epoch]) -> float:
    """A run's accuracy on val at the epoch whose weights it keeps; 0 where its numbers stopped being finite."""
    return 0.0 if environment.diverged else _kept(name, environment, history).accuracy


def best_trial(accuracies: Sequence[float]) -> int:
    """The index of the most accurate trial; the first of those that are equally good."""
    return max(range(len(accuracies)), key=lambda place: (accuracies[place], -place))


@asks(TuningConfig)
def measure_tuning(
    subjects: Mapping[str, TrainedRun],
    data: Source | Split | None = None,  # noqa: ARG001  the logs say all
    asked: TuningConfig = TuningConfig(),  # noqa: ARG001, B008  it has no settings
) -> Tuning:
    """Reads the logs of trials, arm by arm."""
    check_trained("tuning", subjects)
    groups: dict[str, dict[str, TrainedRun]] = {}
    for name, run in subjects.items():
        groups.setdefault(_arm_of(name, run), {})[name] = run
    arms = tuple(_arm(name, runs) for name, runs in groups.items())
    last = arms[0].curve[-1]
    return Tuning(
        value=last.value, interval=last.interval, n=len(arms[0].trials), unit="share", caveats=tuple(_caveats(arms)), arms=arms
    )


def _arm(name: str, runs: Mapping[str, TrainedRun]) -> TunedArm:
    given = {trial: flat(run.recipe.plain()) for trial, run in runs.items()}
    keys = [key for key in dict.fromkeys(key for own in given.values() for key in own) if key != "seed"]
    varied = [key for key in keys if len({repr(own.get(key)) for own in given.values()}) > 1]
    trials = tuple(
        Trial(
            name=trial,
            accuracy=val_accuracy(trial, run.environment, run.history),
            settings={key: given[trial][key] for key in varied if key in given[trial]},
            diverged=run.environment.diverged is not None,
        )
        for trial, run in runs.items()
    )
    scores = [trial.accuracy for trial in trials]
    first = next(iter(runs.values()))
    return TunedArm(
        name=name,
        family=first.recipe.model.family,
        images=_images(runs.values()),
        trials=trials,
        curve=tuple(_best_of(scores, k) for k in range(1, len(scores) + 1)),
        edges=tuple(_edges(trials, varied)),
    )


def _best_of(scores: Sequence[float], k: int) -> Best:
    return Best(k=k, value=expected_best(scores, k), interval=best_interval(scores, k), spread=best_spread(scores, k))


def _edges(trials: Sequence[Trial], varied: Sequence[str]) -> list[Edge]:
    """The settings whose best value is the smallest or the largest of those tried."""
    best = trials[best_trial([trial.accuracy for trial in trials])]
    found: list[Edge] = []
    for key in varied:
        values = _tried(trials, key)
        at = best.settings.get(key)
        if len(values) >= FEWEST and is_number(at) and at in (values[0], values[-1]):
            end: Literal["smallest", "largest"] = "smallest" if at == values[0] else "largest"
            found.append(Edge(setting=key, best=float(at), end=end, tried=len(values)))
    return found


def _tried(trials: Sequence[Trial], key: str) -> list[float]:
    """The numbers that a setting had, each once, rising."""
    return sorted({float(value) for trial in trials if is_number(value := trial.settings.get(key))})


def _caveats(arms: Sequence[TunedArm]) -> list[str]:
    said = [edge.sentence(arm.name) for arm in arms for edge in arm.edges]
    counts = {arm.name: len(arm.trials) for arm in arms}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        said.append(f"The numbers of trials are unequal ({told}): compare at the smallest of them.")
    lost = [trial.name for arm in arms for trial in arm.trials if trial.diverged]
    if lost:
        said.append(f"Diverged, and counted as wrong on every image: {', '.join(lost)}.")
    return said


def _arm_of(name: str, run: TrainedRun) -> str:
    return layout.arm_of_trial(name) or run.recipe.model.name


def _images(runs: Iterable[TrainedRun]) -> int:
    """How many images val has, by the log of a trial that did not diverge."""
    found = (_kept(run.name, run.environment, run.history).n for run in runs if run.environment.diverged is None)
    return next(found, 1)


def _kept(name: str, environment: Environment, history: Sequence[Epoch]) -> Score:
    """What the log says of val at the epoch whose weights were kept."""
    kept = environment.kept_epoch(history)
    if kept is None:
        raise RequestError(f"{name} has no accuracy on val.", "a run that was trained", "priorscope train RECIPE")
    return kept.val


def _settings(settings: Plain) -> str:
    """Settings as a reader wants them: the last part of their names, and few digits."""
    said = [f"{key.rpartition('.')[2]} {value:.4g}" if is_number(value) else f"{key.rpartition('.')[2]} {value}"
            for key, value in settings.items()]  # fmt: skip
    return ", ".join(said) or "as written"
