"""Training curves: of our runs, and of the logs that other systems left (`core/logs.py`)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from priorscope.core import layout, logs
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.extremes import largest, smallest
from priorscope.core.figure import Figure
from priorscope.core.folder import at_home
from priorscope.core.logs import SPLITS, Points
from priorscope.core.palette import STYLES
from priorscope.core.wording import from_to
from priorscope.report.reading import read_run, read_study
from priorscope.report.records import Failure, RunRecord

MetricName = Literal["acc", "loss"]
SplitName = Literal["train", "val", "test"]
WORDS: Mapping[str, str] = {"acc": "accuracy", "loss": "loss"}


@dataclass(frozen=True)
class Curve:
    """One run's training: for each (split, metric), the value at each epoch. `label` is what it shares with its other seeds."""

    name: str
    label: str
    family: str
    points: Mapping[tuple[str, str], Points]
    images: Mapping[str, int]
    recipe: str = ""
    """What the page calls its recipe, however the curve is labelled."""

    @property
    def grid(self) -> tuple[str, str]:
        """The recipe whose grid it is of and its cell, `mlp` and `width=16-subset=500`; both empty where there is none."""
        cell = re.fullmatch(r"(.+?)-(\w+=.*)", self.label)
        return (cell[1], cell[2]) if cell else ("", "")

    def along(self, split: str, metric: str) -> Points:
        """(epoch, value), empty where it was not tracked."""
        return self.points.get((split, metric), ())


def read_curves(path: Path | str) -> list[Curve]:
    """The curves of a run's folder, of every run of a study's folder, or of a foreign log (.yaml, .json, .csv)."""
    path = at_home(path)
    if path.name == layout.STEPS:
        path = path.parent
    if layout.is_run(path):
        failures: list[Failure] = []
        run = read_run(path, failures)
        return _curves_of(path, [run] if run else [], failures)
    if layout.is_study(path):
        study = read_study(path)
        return _curves_of(path, study.runs, study.failures)
    log = logs.read_log(path)
    points = {key: tuple((x, y) for x, y in seen if math.isfinite(y)) for key, seen in log.points.items()}
    return [Curve(log.name, log.name, family_in(log.name), points, {})]


def _curves_of(path: Path, runs: Sequence[RunRecord], failures: Sequence[Failure]) -> list[Curve]:
    """The curves of our runs; where there are none because a file cannot be read, that is what is wrong."""
    curves = [curve_of(run) for run in runs]
    if failures and not any(curve.points for curve in curves):
        first = failures[0]
        raise WorkError(
            first.error.splitlines()[0], "a recipe and a log that can be read", f"mend {first.step}, or leave {path} out"
        )
    return curves


def curve_of(run: RunRecord) -> Curve:
    """The curves of one of our runs; `train` is the un-augmented training split in evaluation mode."""
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    images: dict[str, int] = {}
    for epoch in run.history:
        for split in dict.fromkeys(SPLITS.values()):
            if score := epoch.scores.get(split):
                images[split] = score.n
                for metric, value in (("acc", score.accuracy), ("loss", score.loss)):
                    points.setdefault((split, metric), []).append((float(epoch.epoch), value))
    tracked = {key: tuple(seen) for key, seen in points.items()}
    return Curve(run.name, run.recipe_name, run.family, tracked, images, run.recipe_name)


def curves_figure(
    curves: Sequence[Curve], metric: MetricName = "acc", split: SplitName = "val", labels: Sequence[str] | None = None
) -> Figure:
    """One metric on one split against epochs: the mean over the seeds of a label, a band from the lowest seed to the highest.

    `labels` names the curves, one for each; curves with the same label are taken for seeds of one another.
    """
    drawn = _labelled(curves, labels)
    found = sorted({key for curve in drawn for key in curve.points})
    if not any(curve.along(split, metric) for curve in drawn):
        told = ", ".join(f"{metric} on {split}" for split, metric in found) or "no curves"
        do = f"--metric {found[0][1]} --split {found[0][0]}" if found else "let the run end its first epoch"
        raise RequestError(f"No log holds {metric} on {split}.", f"one of what they hold: {told}", do)
    if not band_rows(drawn, metric, split):
        came = ", ".join(dict.fromkeys(curve.label for curve in drawn))
        raise RequestError(
            f"The curves of {came} share no epoch with {metric} on {split}.",
            "a label for seeds of one another alone",
            f"--labels {','.join(curve.name for curve in drawn)}",
        )
    return _figure(f"curves-{metric}-{split}", drawn, metric, (split,), panel=None)


def training_figures(curves: Sequence[Curve], where: str = "") -> dict[MetricName, Figure]:
    """Accuracy and loss on every split that was tracked, one panel a split; `where` says what sets these curves apart."""
    figures: dict[MetricName, Figure] = {}
    metrics: tuple[MetricName, ...] = ("acc", "loss")
    for metric in metrics:
        splits = tuple(split for split in ("train", "val", "test") if band_rows(curves, metric, split))
        if splits:
            name = "-".join(["training", WORDS[metric], *where.replace(",", "").split()])
            figure = _figure(name, curves, metric, splits, panel="split" if len(splits) > 1 else None)
            figures[metric] = replace(figure, title=f"{figure.title} ({where})") if where else figure
    return figures


def band_rows(curves: Sequence[Curve], metric: str, split: str) -> list[dict[str, Any]]:
    """Mean, lowest and highest over the seeds of each label, at every epoch that all of its seeds have."""
    rows: list[dict[str, Any]] = []
    for label in dict.fromkeys(curve.label for curve in curves):
        seeds = [dict(curve.along(split, metric)) for curve in _seeds_of(label, curves, metric, split)]
        first = next(curve for curve in curves if curve.label == label)
        shared = set[float].intersection(*(set(seed) for seed in seeds)) if seeds else set[float]()
        for epoch in sorted(shared):
            values = [seed[epoch] for seed in seeds]
            between = {"low": min(values), "high": max(values)} if len(values) > 1 else {"low": None, "high": None}
            rows.append(
                {
                    "series": label,
                    "family": first.family,
                    "recipe": first.recipe or label,
                    "split": split,
                    "x": epoch,
                    "y": math.fsum(values) / len(values),
                }
                | between
                | {"seeds": len(values)}
            )
    return rows


def _seeds_of(label: str, curves: Sequence[Curve], metric: str, split: str) -> list[Curve]:
    """The seeds of a label that tracked a metric on a split."""
    return [curve for curve in curves if curve.label == label and curve.along(split, metric)]


def _figure(name: str, curves: Sequence[Curve], metric: MetricName, splits: Sequence[str], panel: str | None) -> Figure:
    from priorscope.core.axis import Axis
    from priorscope.core.charts import curves_with_band

    rows: list[dict[str, Any]] = [row for split in splits for row in band_rows(curves, metric, split)]
    headline = "val" if "val" in splits else splits[-1]
    labels = dict.fromkeys(curve.label for curve in curves)
    last = {
        label: tuple(curve.along(headline, metric)[-1] for curve in _seeds_of(label, curves, metric, headline))
        for label in labels
    }
    drawn = {row["series"]: row["x"] for row in rows if row["split"] == headline}
    ends = {label: math.fsum(y for _, y in last[label]) / len(last[label]) for label in drawn}
    images = {split: max((curve.images.get(split, 0) for curve in curves), default=0) for split in splits}
    how = (
        "Evaluated after each epoch in evaluation mode, without augmentation."
        if any(images.values())
        else "As the logs say it."
    )
    return curves_with_band(
        name,
        _title(ends, last, metric, headline),
        rows,
        x=Axis("epoch", counts=all(row["x"] == int(row["x"]) for row in rows)),
        y=Axis(WORDS[metric], domain=_ends(rows), format=".0%") if metric == "acc" else Axis("loss (mean cross-entropy, nats)"),
        n=_n(images),
        protocol=f"{how} {_band_note(rows, drawn, last, headline)}",
        alt=f"{WORDS[metric].capitalize()} against epoch. At the end, on {headline}: "
        + "; ".join(f"{label} {end:.3g}" for label, end in ends.items())
        + ".",
        points=max(len(curve.along(split, metric)) for curve in curves for split in splits) <= 30,
        panel=panel,
    )


def _ends(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The whole steps of 10 % between which all shares lie, of 1 % where they lie close: an axis of shares ends at 100 %."""
    seen = [row[name] for row in rows for name in ("y", "low", "high") if row[name] is not None]
    steps = 10 if max(seen) - min(seen) > 0.1 else 100
    low, high = math.floor(steps * min(seen)) / steps, math.ceil(steps * max(seen)) / steps
    if low == high:
        low, high = max(0.0, low - 1 / steps), min(1.0, high + 1 / steps)
    return low, high


def _title(ends: Mapping[str, float], last: Mapping[str, Points], metric: MetricName, headline: str) -> str:
    """From where to where curves end, as no test names a winner; of one curve after how many epochs."""
    low, high = smallest(ends), largest(ends)
    least, most = (f"{end.value:.1%}" if metric == "acc" else f"{end.value:.3g}" for end in (low, high))
    where = f"{headline} {WORDS[metric]}"
    if len(ends) == 1:
        epochs = from_to([x for x, _ in last[high.names[0]]])
        return f"{where.capitalize()} ends at {most} after {epochs} epoch{'' if epochs == '1' else 's'}"
    if high.equal:
        return f"{where.capitalize()} of {high} ends at {most}"
    return f"At the end, {where} runs from {least} ({low}) to {most} ({high})"


def _band_note(rows: Sequence[Mapping[str, Any]], drawn: Mapping[str, float], last: Mapping[str, Points], headline: str) -> str:
    """What lines and bands are, which lines end before all of their seeds do, and who is not drawn."""
    seeds = [row["seeds"] for row in rows]
    band = f"Lines: mean of {from_to(seeds)} seeds; bands: from the lowest seed to the highest."
    said = [band if max(seeds) > 1 else "One run a line."]
    longest = {label: max(x for x, _ in last[label]) for label in drawn}
    if short := [f"{label} {end:g} (of up to {longest[label]:g})" for label, end in drawn.items() if longest[label] > end]:
        said.append(f"A line ends at the last epoch that all of its seeds have: {', '.join(short)}.")
    if apart := [label for label, seen in last.items() if seen and label not in drawn]:
        said.append(f"Not drawn on {headline}, because their seeds share no epoch: {', '.join(apart)}.")
    return " ".join(said)


def _n(images: Mapping[str, int]) -> str:
    """How many images each split has, as far as the logs say it."""
    return "; ".join(f"{split}: {count:,} images" for split, count in images.items() if count) or "n of images not in the log"


def _labelled(curves: Sequence[Curve], labels: Sequence[str] | None) -> list[Curve]:
    if labels is None:
        return list(curves)
    if len(labels) != len(curves):
        raise RequestError(
            f"{len(labels)} labels came for {len(curves)} curves.",
            f"one label for each of: {', '.join(curve.name for curve in curves)}",
            "--labels A,B (equal labels join seeds)",
        )
    return [replace(curve, label=label) for curve, label in zip(curves, labels, strict=True)]


def family_in(name: str) -> str:
    """The family that a file's name mentions as a word, the longest first; `other` where it mentions none."""
    folded = name.lower().replace("-", "_")
    for family in sorted(STYLES, key=len, reverse=True):
        if re.search(rf"(?<![a-z]){family}(?![a-z])", folded):
            return family
    return "other"
