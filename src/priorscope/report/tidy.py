"""All numbers of a study as tidy rows, for people and scripts: one row a metric of a result."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from priorscope.core.config import Plain, inline_toml
from priorscope.core.folder import write_bytes, write_text
from priorscope.probes import probe_config
from priorscope.report.reading import read_study
from priorscope.report.records import Outcome, Reading

COLUMNS = (
    "study", "run", "recipe", "other_run", "family", "seed", "probe", "config", "setting", "data", "split", "metric",
    "value", "low", "high", "n", "unit", "caveats",
)  # fmt: skip
PARQUET, JSON, CSV = TABLES = ("results.parquet", "results.json", "results.csv")


def write_tidy(study: Path | str) -> tuple[Path, Path, Path]:
    """Writes `results.parquet`, `results.json` and `results.csv`, which hold the same rows, into a study's folder."""
    study = Path(study)
    rows = tidy_rows(read_study(study))
    write_bytes(study / PARQUET, _parquet(rows))
    write_text(study / JSON, "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows) + "\n]\n")
    write_text(study / CSV, _csv(rows))
    return study / PARQUET, study / JSON, study / CSV


def tidy_rows(reading: Reading, *, timed: bool = True) -> list[Plain]:
    """Every metric of every result: runs in the study's order, then results about pairs and sets.

    `timed` says whether those taken with a clock are among them.
    """
    return [row for outcome in outcomes_of(reading) for row in rows_of(reading.name, outcome, timed=timed)]


def outcomes_of(reading: Reading) -> list[Outcome]:
    """Every result: of runs in the study's order, then of pairs and sets."""
    return [*(outcome for run in reading.runs for outcome in run.outcomes), *reading.joint]


def rows_of(study: str, outcome: Outcome, *, timed: bool = True) -> list[Plain]:
    """Every metric of a result. A set's rows name no run: they are about all of them."""
    one = outcome.subjects[0] if len(outcome.subjects) in (1, 2) else None
    other = outcome.subjects[1].name if len(outcome.subjects) == 2 else None
    shared: dict[str, Any] = {
        "study": study,
        "run": one.name if one else None,
        "recipe": one.recipe or None if one else None,
        "other_run": other,
        "family": one.family if one else None,
        "seed": one.seed if one else None,
        "probe": outcome.probe,
        "config": _asked(outcome),
        "data": outcome.about.data,
        "caveats": " ".join(outcome.result.caveats),
    }
    rows: list[Plain] = []
    for metric in outcome.result.metrics():
        if metric.timed and not timed:
            continue
        told = {name: getattr(metric, name) for name in ("setting", "metric", "value", "low", "high", "n", "unit")}
        row = shared | told | {"split": metric.split or outcome.about.split}
        rows.append({name: row[name] for name in COLUMNS})
    return rows


def _asked(outcome: Outcome) -> str:
    """What sets a probe's question apart from the plainest one, and the source that it was asked on, as a table of TOML.

    Two results of a run that differ in neither answer the same question.
    """
    plain, source = probe_config(outcome.probe).plain(), outcome.about.source
    given = {name: value for name, value in outcome.about.config.items() if value != plain.get(name)}
    return inline_toml(given | ({"data": source} if source else {}))


def _csv(rows: list[Plain]) -> str:
    """A line a row; what a row does not have is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row[name] for name in COLUMNS] for row in rows)
    return text.getvalue()


def _parquet(rows: list[Plain]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"seed": pa.int64(), "n": pa.int64(), "value": pa.float64(), "low": pa.float64(), "high": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    return file.getvalue()
