from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
from fake_study import accuracy, write_study

from priorscope.core.contracts import About, Subject
from priorscope.report.records import Outcome, Reading
from priorscope.report.tidy import COLUMNS, tidy_rows, write_tidy


def test_writes_the_same_rows_three_times(tmp_path: Path) -> None:
    parquet, text, lines = write_tidy(write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, seeds=(0, 1)))
    rows = json.loads(text.read_text())
    assert pq.read_table(parquet).to_pylist() == rows
    with lines.open(newline="") as file:
        assert list(csv.DictReader(file)) == [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]
    assert tuple(rows[0]) == COLUMNS
    assert [row["run"] for row in rows] == sorted(
        [row["run"] for row in rows], key=["mlp-s0", "mlp-s1", "cnn-s0", "cnn-s1"].index
    )


def test_a_row_says_what_was_measured_where_and_how_sure(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5}, seeds=(1,), probes=("accuracy",))
    rows = json.loads(write_tidy(study)[1].read_text())
    (first,) = [row for row in rows if row["metric"] == "top-1 accuracy"]
    result = accuracy(0.5, 10 * (sum(map(ord, "mlp")) % 97) + 1)
    assert result.interval is not None
    assert first == {
        "study": "quickstart",
        "run": "mlp-s1",
        "recipe": "mlp",
        "other_run": None,
        "family": "mlp",
        "seed": 1,
        "probe": "accuracy",
        "config": "{}",
        "setting": "",
        "data": "shapetex",
        "split": "test",
        "metric": "top-1 accuracy",
        "value": result.value,
        "low": result.interval.low,
        "high": result.interval.high,
        "n": 1000,
        "unit": "share of images",
        "caveats": "",
    }


def test_equal_studies_give_equal_bytes(tmp_path: Path) -> None:
    written = [write_tidy(write_study(tmp_path / name, {"mlp": 0.5}, seeds=(0,))) for name in "ab"]
    for one, other in zip(*written, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_pair_names_both_runs_and_a_set_names_none() -> None:
    a, b, c = (Subject(name=name, family="mlp") for name in "abc")
    pair, those = Outcome(accuracy(0.5, 0), (a, b)), Outcome(accuracy(0.5, 0), (a, b, c))
    rows = tidy_rows(Reading("s", "", "", (), (), (pair, those), ()))
    assert {(row["run"], row["other_run"]) for row in rows} == {("a", "b"), (None, None)}


def test_a_study_without_results_gives_an_empty_table_with_columns(tmp_path: Path) -> None:
    parquet, text, lines = write_tidy(write_study(tmp_path, {"mlp": 0.5}, seeds=(0,), probes=()))
    assert json.loads(text.read_text()) == []
    assert lines.read_text() == ",".join(COLUMNS) + "\n"
    assert tuple(pq.read_table(parquet).column_names) == COLUMNS


def test_rows_of_two_ways_to_ask_one_thing_say_which_is_which() -> None:
    shape = {"data": {"name": "shapetex", "cue": "shape"}}
    about = About(config={"name": "accuracy", "views": "six"}, made_from=shape)
    (subject,) = (Subject(name="mlp-s0", family="mlp", recipe="mlp"),)
    texture = {"data": {"name": "shapetex", "cue": "texture"}}
    ways = (about, about.replace(made_from=texture), about.replace(config={}))
    told = tuple(Outcome(accuracy(0.5, 0), (subject,), way) for way in ways)
    rows = tidy_rows(Reading("s", "", "", (), (), told, ()))
    assert len({row["config"] for row in rows}) == 3
    assert {row["recipe"] for row in rows} == {"mlp"}
    config = tomllib.loads(f"config = {rows[0]['config']}")["config"]
    assert config == {"views": "six", "data": {"name": "shapetex", "cue": "shape"}}
