"""Training curves: of our runs, and of the logs that other systems left (`core/logs.py`)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from priorscope.core import logs
from priorscope.core.errors import RequestError
from priorscope.core.figure import STYLES, Figure
from priorscope.core.logs import SPLITS, Points
from priorscope.report.reading import RECIPE, RUNS, STEPS, RunRecord, read_run, read_study

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


def read_log(path: Path | str) -> list[Curve]:
    """The curves of a run's folder, of every run of a study's folder, or of a foreign log (.yaml, .json, .csv)."""
    path = Path(path)
    if path.name == STEPS:
        path = path.parent
    if (path / RECIPE).exists():
        run = read_run(path, [])
        return [curve_of(run)] if run else []
    if (path / RUNS).is_dir():
        return [curve_of(run) for run in read_study(path).runs]
    log = logs.read_log(path)
    points = {key: tuple((x, y) for x, y in seen if math.isfinite(y)) for key, seen in log.points.items()}
    return [Curve(log.name, log.name, family_in(log.name), points, {})]


def curve_of(run: RunRecord) -> Curve:
    """The curves of one of our runs; `train` is the un-augmented training split in evaluation mode."""
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    images: dict[str, int] = {}
    for row in run.history:
        for split in dict.fromkeys(SPLITS.values()):
            if isinstance(seen := row.get(split), dict):
                seen = cast("dict[str, Any]", seen)
                images[split] = int(seen.get("n") or 0)
                for metric, word in WORDS.items():
                    if seen.get(word) is not None:
                        points.setdefault((split, metric), []).append((float(row["epoch"]), float(seen[word])))
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
        raise RequestError(f"No log holds {metric} on {split}.", f"one of what they hold: {told}", "--metric and --split")
    if not band_rows(drawn, metric, split):
        came = ", ".join(dict.fromkeys(curve.label for curve in drawn))
        raise RequestError(
            f"The curves of {came} share no epoch with {metric} on {split}.",
            "a label for seeds of one another alone",
            "--labels",
        )
    return _figure(f"curves-{metric}-{split}", drawn, metric, (split,), panel=None)


def training_figures(curves: Sequence[Curve], where: str = "") -> dict[MetricName, Figure]:
    """Accuracy and loss on every split that was tracked, one panel a split; `where` says what sets these curves apart."""
    figures: dict[MetricName, Figure] = {}
    for metric in cast("tuple[MetricName, ...]", ("acc", "loss")):
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
        seeds = [dict(curve.along(split, metric)) for curve in _of(label, curves, metric, split)]
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


def _of(label: str, curves: Sequence[Curve], metric: str, split: str) -> list[Curve]:
    """The seeds of a label that tracked a metric on a split."""
    return [curve for curve in curves if curve.label == label and curve.along(split, metric)]


def _from_to(epochs: Sequence[float]) -> str:
    low, high = min(epochs), max(epochs)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _figure(name: str, curves: Sequence[Curve], metric: MetricName, splits: Sequence[str], panel: str | None) -> Figure:
    from priorscope.core.charts import Axis, curves_with_band

    rows: list[dict[str, Any]] = [row for split in splits for row in band_rows(curves, metric, split)]
    headline = "val" if "val" in splits else splits[-1]
    drawn = {row["series"]: row["x"] for row in rows if row["split"] == headline}
    last = {label: [curve.along(headline, metric)[-1] for curve in _of(label, curves, metric, headline)] for label in drawn}
    ends = {label: math.fsum(y for _, y in seen) / len(seen) for label, seen in last.items()}
    best = (max if metric == "acc" else min)(ends, key=lambda label: ends[label])
    said = f"{ends[best]:.1%}" if metric == "acc" else f"{ends[best]:.3g}"
    extreme = "highest" if metric == "acc" else "lowest"
    where = f"{headline} {WORDS[metric]}"
    title = (
        f"{best} ends with the {extreme} {where}: {said}"
        if len(ends) > 1
        else f"{where.capitalize()} ends at {said} after {_from_to([x for x, _ in last[best]])} epochs"
    )
    seeds = sorted({row["seeds"] for row in rows})
    many = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    band = f" Lines: mean of {many} seeds; bands: from the lowest seed to the highest." if seeds[-1] > 1 else " One run a line."
    longest = {label: max(x for x, _ in seen) for label, seen in last.items()}
    if short := [f"{label} {drawn[label]:g} (of up to {end:g})" for label, end in longest.items() if end > drawn[label]]:
        band += f" A line ends at the last epoch that all of its seeds have: {', '.join(short)}."
    labels = dict.fromkeys(curve.label for curve in curves)
    if apart := [label for label in labels if label not in drawn and _of(label, curves, metric, headline)]:
        band += f" Not drawn on {headline}, because their seeds share no epoch: {', '.join(apart)}."
    images = {split: max((curve.images.get(split, 0) for curve in curves), default=0) for split in splits}
    n = "; ".join(f"{split}: {count:,} images" for split, count in images.items() if count) or "n of images not in the log"
    return curves_with_band(
        name,
        title,
        rows,
        x=Axis("epoch"),
        y=Axis(WORDS[metric], format=".0%") if metric == "acc" else Axis("loss (mean cross-entropy, nats)"),
        n=n,
        protocol=f"Evaluated after each epoch in evaluation mode, without augmentation.{band}"
        if any(images.values())
        else f"As the logs say it.{band}",
        alt=f"{WORDS[metric].capitalize()} against epoch. At the end, on {headline}: "
        + "; ".join(f"{label} {end:.3g}" for label, end in ends.items())
        + ".",
        points=max(len(curve.along(split, metric)) for curve in curves for split in splits) <= 30,
        panel=panel,
    )


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
