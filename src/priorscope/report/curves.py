"""Training curves: of our runs, and of the logs that other systems left.

Foreign logs are recognised by their columns, `train_loss`, `trn_acc`, `val_loss`, `test_acc` and the like: a YAML table of
lists of numbers (one value an epoch), a JSON list of rows, or CSV. Where a log's accuracies exceed 1 they are percentages.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from priorscope.core.errors import RequestError, WorkError
from priorscope.core.figure import STYLES, Figure
from priorscope.report.reading import RECIPE, RUNS, STEPS, RunRecord, read_run, read_study

MetricName = Literal["acc", "loss"]
SplitName = Literal["train", "val", "test"]
WORDS: Mapping[str, str] = {"acc": "accuracy", "loss": "loss"}
SPLITS: Mapping[str, str] = {
    "train": "train",
    "trn": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "tst": "test",
}
COLUMN = re.compile(rf"({'|'.join(SPLITS)})[_ ]?(loss|acc|accuracy)", re.IGNORECASE)

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """One run's training: for each (split, metric), the value at each epoch. `label` is what it shares with its other seeds."""

    name: str
    label: str
    family: str
    points: Mapping[tuple[str, str], Points]
    images: Mapping[str, int]

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
    readers = {".yaml": _read_yaml, ".yml": _read_yaml, ".json": _read_json, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None or not path.exists():
        came = f"There is no log {str(path)!r}." if not path.exists() else f"{path} is no training log that is known here."
        raise RequestError(came, "a run's folder, a study's folder, or a .yaml, .json or .csv log", "check the path")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read: {error}.", "a text file in UTF-8", "check the file") from None
    return [_foreign(path, reader(path, text))]


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
    return Curve(run.name, run.recipe_name, run.family, {key: tuple(seen) for key, seen in points.items()}, images)


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
    return _figure(f"curves-{metric}-{split}", drawn, metric, (split,), panel=None)


def training_figures(curves: Sequence[Curve], where: str = "") -> dict[MetricName, Figure]:
    """Accuracy and loss on every split that was tracked, one panel a split; `where` says what sets these curves apart."""
    figures: dict[MetricName, Figure] = {}
    for metric in cast("tuple[MetricName, ...]", ("acc", "loss")):
        splits = tuple(split for split in ("train", "val", "test") if any(curve.along(split, metric) for curve in curves))
        if splits:
            name = "-".join(["training", WORDS[metric], *where.replace(",", "").split()])
            figure = _figure(name, curves, metric, splits, panel="split" if len(splits) > 1 else None)
            figures[metric] = replace(figure, title=f"{figure.title} ({where})") if where else figure
    return figures


def band_rows(curves: Sequence[Curve], metric: str, split: str) -> list[dict[str, Any]]:
    """Mean, lowest and highest over the seeds of each label, at every epoch that all of its seeds have."""
    rows: list[dict[str, Any]] = []
    for label in dict.fromkeys(curve.label for curve in curves):
        seeds = [dict(curve.along(split, metric)) for curve in curves if curve.label == label and curve.along(split, metric)]
        family = next(curve.family for curve in curves if curve.label == label)
        shared = set[float].intersection(*(set(seed) for seed in seeds)) if seeds else set[float]()
        for epoch in sorted(shared):
            values = [seed[epoch] for seed in seeds]
            between = {"low": min(values), "high": max(values)} if len(values) > 1 else {"low": None, "high": None}
            rows.append(
                {
                    "series": label,
                    "family": family,
                    "split": split,
                    "x": epoch,
                    "y": math.fsum(values) / len(values),
                }
                | between
                | {"seeds": len(values)}
            )
    return rows


def _figure(name: str, curves: Sequence[Curve], metric: MetricName, splits: Sequence[str], panel: str | None) -> Figure:
    from priorscope.core.charts import Axis, curves_with_band

    rows: list[dict[str, Any]] = [row for split in splits for row in band_rows(curves, metric, split)]
    headline = "val" if "val" in splits else splits[-1]
    ends = {row["series"]: row for row in rows if row["split"] == headline}
    best = max(ends.values(), key=lambda row: row["y"] if metric == "acc" else -row["y"])
    said = f"{best['y']:.1%}" if metric == "acc" else f"{best['y']:.3g}"
    extreme = "highest" if metric == "acc" else "lowest"
    where = f"{headline} {WORDS[metric]}"
    title = (
        f"{best['series']} ends with the {extreme} {where}: {said}"
        if len(ends) > 1
        else f"{where.capitalize()} ends at {said} after {best['x']:g} epochs"
    )
    seeds = sorted({row["seeds"] for row in rows})
    many = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    band = f" Lines: mean of {many} seeds; bands: from the lowest seed to the highest." if seeds[-1] > 1 else " One run a line."
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
        + "; ".join(f"{row['series']} {row['y']:.3g}" for row in ends.values())
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


# Foreign logs --------------------------------------------------------------------------------------------------------------

Columns = Mapping[str, Sequence[float | None]]


def _foreign(path: Path, columns: Columns) -> Curve:
    points: dict[tuple[str, str], Points] = {}
    for name, values in columns.items():
        if found := COLUMN.fullmatch(name):
            at = columns.get("epoch") or [float(i + 1) for i in range(len(values))]
            if len(at) != len(values):
                raise RequestError(
                    f"{path} has {len(at)} epochs and {len(values)} values of {name}.", "as many of both", "check the file"
                )
            seen = [(x, y) for x, y in zip(at, values, strict=True) if x is not None and y is not None and math.isfinite(y)]
            points[SPLITS[found[1].lower()], "loss" if found[2].lower() == "loss" else "acc"] = tuple(seen)
    if not any(points.values()):
        raise RequestError(
            f"{path} holds no training curve.",
            "columns such as train_loss, train_acc, val_loss, val_acc, with a row an epoch",
            f"it has: {', '.join(columns) or 'nothing'}",
        )
    accuracies = [y for (_, metric), seen in points.items() if metric == "acc" for _, y in seen]
    if accuracies and max(accuracies) > 1:
        points = {key: tuple((x, y / 100) for x, y in seen) if key[1] == "acc" else seen for key, seen in points.items()}
    return Curve(path.stem, path.stem, family_in(path.stem), points, {})


def family_in(name: str) -> str:
    """The family that a file's name mentions as a word, the longest first; `other` where it mentions none."""
    folded = name.lower().replace("-", "_")
    for family in sorted(STYLES, key=len, reverse=True):
        if re.search(rf"(?<![a-z]){family}(?![a-z])", folded):
            return family
    return "other"


def _read_json(path: Path, text: str) -> Columns:
    """A list of rows {epoch, trn_loss, ...}, or a table of lists."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise WorkError(f"{path} is damaged: {error}.", "JSON", "check the file") from None
    if isinstance(content, list) and all(isinstance(row, dict) for row in cast("list[Any]", content)):
        return _columns(path, cast("list[dict[str, Any]]", content))
    if isinstance(content, dict):
        lists = {name: values for name, values in cast("dict[str, Any]", content).items() if isinstance(values, list)}
        return {
            name: [_number(path, value) for value in values]
            for name, values in lists.items()
            if name == "epoch" or COLUMN.fullmatch(name)
        }
    raise RequestError(f"{path} is no training log.", "a list with one row an epoch", "check the file")


def _read_csv(path: Path, text: str) -> Columns:
    rows = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
    if not rows:
        raise RequestError(f"{path} holds a header and no rows.", "one row an epoch", "check the run that wrote it")
    return _columns(path, rows)


def _columns(path: Path, rows: Sequence[Mapping[str, Any]]) -> Columns:
    names = dict.fromkeys(name for row in rows for name in row if name)
    return {name: [_number(path, row.get(name)) for row in rows] for name in names if name == "epoch" or COLUMN.fullmatch(name)}


def _number(path: Path, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise RequestError(
            f"{path} holds {value!r} where a number should stand.", "numbers in its columns", "check the file"
        ) from None


def _read_yaml(path: Path, text: str) -> Columns:
    """Top-level keys with a number or a list of numbers (one a line, or in brackets): what a table of curves looks like."""
    columns: dict[str, list[float | None]] = {}
    key, open_list = "", ""
    for at, line in enumerate(text.splitlines(), 1):
        bare = line.split(" #")[0].rstrip()
        if not bare.strip() or bare.startswith(("#", "---")):
            continue
        if open_list:
            open_list += bare
        elif item := re.fullmatch(r"\s*- *(\S+)", bare):
            columns.setdefault(key, []).append(_yaml_number(path, at, item[1]))
            continue
        elif entry := re.fullmatch(r"(\w[\w ]*):\s*(.*)", bare):
            key, value = entry[1].strip(), entry[2]
            columns[key] = []
            if value.startswith("["):
                open_list = value
            elif value:
                continue  # a single value, such as num_params: no curve
        else:
            raise _no_yaml(path, at, line)
        if open_list.endswith("]"):
            columns[key] = [_yaml_number(path, at, part.strip()) for part in open_list[1:-1].split(",") if part.strip()]
            open_list = ""
    if open_list:
        raise _no_yaml(path, len(text.splitlines()), open_list[:40])
    return {name: values for name, values in columns.items() if COLUMN.fullmatch(name) or name == "epoch"}


def _yaml_number(path: Path, at: int, text: str) -> float:
    try:
        return float({".nan": "nan", ".inf": "inf", "-.inf": "-inf"}.get(text.lower(), text))
    except ValueError:
        raise _no_yaml(path, at, text) from None


def _no_yaml(path: Path, at: int, line: str) -> RequestError:
    return RequestError(
        f"{path}, line {at}: {line.strip()!r} is not understood.",
        "a YAML table whose values are numbers or lists of numbers",
        "write the curves as CSV with columns epoch, train_loss, val_loss, train_acc, val_acc",
    )
