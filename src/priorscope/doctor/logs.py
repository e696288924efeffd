"""The curves that another system logged, column by column: a JSON list of rows, JSON or YAML lists by name, or CSV."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from priorscope.core.errors import RequestError, WorkError

COLUMN = re.compile(r"(train|trn|training|val|valid|validation|eval|test|tst)[_ ]?(loss|acc|accuracy|top1)", re.IGNORECASE)
SPLITS = {"trn": "train", "training": "train", "valid": "val", "validation": "val", "eval": "val", "tst": "test"}
RATES = ("lr", "learning_rate")


@dataclass(frozen=True)
class Log:
    """One run's curves: `points[split, "loss" | "acc"]` has a value an epoch, accuracies as shares; `rates` as logged."""

    name: str
    points: Mapping[tuple[str, str], tuple[float, ...]]
    rates: tuple[float, ...] = ()

    def along(self, split: str, metric: str) -> tuple[float, ...]:
        """The values of one curve, empty where it was not logged."""
        return self.points.get((split, metric), ())


def read_log(path: Path) -> Log:
    """Reads a log by its ending."""
    readers = {".json": _json, ".yaml": _yaml, ".yml": _yaml, ".csv": _csv}
    if path.suffix.lower() not in readers or not path.is_file():
        raise RequestError(f"There is no log {str(path)!r}.", "a file in .json, .yaml or .csv", "check the path")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read: {error}.", "a text file in UTF-8", "check the file") from None
    columns = readers[path.suffix.lower()](path, text)
    points: dict[tuple[str, str], tuple[float, ...]] = {}
    for name, values in columns.items():
        if found := COLUMN.fullmatch(name):
            split = SPLITS.get(found[1].lower(), found[1].lower())
            points[split, "loss" if found[2].lower() == "loss" else "acc"] = values
    if not any(points.values()):
        raise RequestError(
            f"{path} holds no training curve; it has: {', '.join(columns) or 'nothing'}.",
            "columns such as train_loss, train_acc, val_loss, val_acc",
            "check the file",
        )
    accuracies = [value for (_, metric), values in points.items() if metric == "acc" for value in values]
    if max(accuracies, default=0) > 1:  # percentages
        points = {key: tuple(v / 100 for v in values) if key[1] == "acc" else values for key, values in points.items()}
    rates = next((columns[name] for name in RATES if name in columns), ())
    return Log(path.stem, points, rates)


Columns = dict[str, tuple[float, ...]]


def _rows(rows: Iterable[Mapping[str, Any]]) -> Columns:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if name and value not in (None, ""):
                try:
                    columns.setdefault(name, []).append(float(value))
                except (TypeError, ValueError):
                    continue  # a name, a date: no number, and so no curve
    return {name: tuple(values) for name, values in columns.items()}


def _json(path: Path, text: str) -> Columns:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise WorkError(f"{path} is damaged: {error}.", "JSON", "check the file") from None
    if isinstance(content, list):
        return _rows([row for row in cast("list[Any]", content) if isinstance(row, dict)])
    lists = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    return {name: _numbers(values) for name, values in lists.items() if isinstance(values, list)}


def _numbers(values: list[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values if isinstance(value, int | float))


def _csv(_path: Path, text: str) -> Columns:
    return _rows(csv.DictReader(text.splitlines(), skipinitialspace=True))


def _yaml(_path: Path, text: str) -> Columns:
    """Top-level names, each with a list of numbers: in brackets, or one a line."""
    columns: dict[str, list[float]] = {}
    name = ""
    for line in text.splitlines():
        if found := re.match(r"([A-Za-z]\w*) *:(.*)", line):
            name = found[1]
            line = found[2]
        columns.setdefault(name, []).extend(float(number) for number in re.findall(NUMBER, line))
    return {name: tuple(values) for name, values in columns.items()}


NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
