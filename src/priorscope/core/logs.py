"""The curves that another system logged: a JSON list of rows, a JSON or YAML table of lists, or CSV.

They are known by the names of their columns, `train_loss`, `trn_acc`, `val_loss`, `test_acc` and the like, in capitals or not.
Where a log's accuracies exceed 1 they are percentages.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priorscope.core.config import is_table
from priorscope.core.errors import RequestError, WorkError

SPLITS: Mapping[str, str] = {
    "train": "train",
    "trn": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "eval": "val",
    "test": "test",
    "tst": "test",
}
COLUMN = re.compile(rf"({'|'.join(SPLITS)})[_ ]?(loss|acc|accuracy|top1)")
RATES = ("lr", "learning_rate")

Points = tuple[tuple[float, float], ...]
Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Log:
    """One run's curves: for each (split, "loss" | "acc") pairs of epoch and value, accuracies as shares; `rates` as logged."""

    name: str
    points: Mapping[tuple[str, str], Points]
    rates: tuple[float, ...] = ()

    def along(self, split: str, metric: str) -> Points:
        """One curve, empty where it was not logged."""
        return self.points.get((split, metric), ())


def read_log(path: Path) -> Log:
    """Reads a log by its ending. A value that is not a number (diverged) stays in its curves; what is empty is left out."""
    readers = {".yaml": _read_yaml, ".yml": _read_yaml, ".json": _read_json, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None or not path.is_file():
        came = f"There is no log {str(path)!r}." if not path.exists() else f"{path} is no training log that is known here."
        raise RequestError(came, "a .yaml, .json or .csv log, or the folder of a run or a study", "check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets write a mark in front
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read: {error}.", "a text file in UTF-8", "check the file") from None
    found = reader(path, text)
    columns = {name: _numbers(path, name, values) for name, values in ((name.strip().lower(), found[name]) for name in found)}
    points: dict[tuple[str, str], Points] = {}
    for name, values in columns.items():
        if curve := COLUMN.fullmatch(name):
            at = columns.get("epoch") or [float(i + 1) for i in range(len(values))]
            if len(at) != len(values):
                raise RequestError(
                    f"{path} has {len(at)} epochs and {len(values)} values of {name}.", "as many of both", "check the file"
                )
            seen = tuple((x, y) for x, y in zip(at, values, strict=True) if x is not None and y is not None)
            points[SPLITS[curve[1]], "loss" if curve[2] == "loss" else "acc"] = seen
    if not any(points.values()):
        raise RequestError(
            f"{path} holds no training curve; it has: {', '.join(found) or 'nothing'}.",
            "columns such as train_loss, train_acc, val_loss, val_acc, with a row an epoch",
            "check the file",
        )
    accuracies = [y for (_, metric), seen in points.items() if metric == "acc" for _, y in seen]
    if max(filter(math.isfinite, accuracies), default=0) > 1:
        points = {key: tuple((x, y / 100) for x, y in seen) if key[1] == "acc" else seen for key, seen in points.items()}
    rates = next((columns[name] for name in RATES if name in columns), ())
    return Log(path.stem, points, tuple(rate for rate in rates if rate is not None))


def _read_json(path: Path, text: str) -> Columns:
    """A list of rows {epoch, trn_loss, ...}, or a table of lists."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise WorkError(f"{path} is damaged: {error}.", "JSON", "check the file") from None
    if isinstance(content, list) and all(is_table(row) for row in content):
        return _columns(content)
    if is_table(content):
        return {name: values if isinstance(values, list) else () for name, values in content.items()}
    raise RequestError(f"{path} is no training log.", "a list with one row an epoch", "check the file")


def _read_csv(path: Path, text: str) -> Columns:
    rows = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
    if not rows:
        raise RequestError(f"{path} holds a header and no rows.", "one row an epoch", "check the run that wrote it")
    return _columns(rows)


def _columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    names = dict.fromkeys(name for row in rows for name in row if name)
    return {name: [row.get(name) for row in rows] for name in names}


def _numbers(path: Path, name: str, values: Sequence[Any]) -> list[float | None]:
    """A column's numbers, None where it is empty; none at all of a column that is neither curve nor epoch nor rate."""
    if not (name == "epoch" or name in RATES or COLUMN.fullmatch(name)):
        return []
    numbers: list[float | None] = []
    for value in values:
        try:
            numbers.append(None if value is None or value == "" else float(value))
        except (TypeError, ValueError):
            if name in RATES:
                return []
            raise RequestError(
                f"{path} holds {value!r} where a number should stand.", "numbers in its columns", "check the file"
            ) from None
    return numbers


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
    return columns


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
