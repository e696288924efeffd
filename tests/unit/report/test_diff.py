"""Two studies beside each other: planted changes are found, and nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fake_study import write_study
from test_verdict import Score, reading, right, run, scored

from priorscope.core.contracts import Metric
from priorscope.report import write_report
from priorscope.report.diff import compare_sources, diff
from priorscope.report.records import Reading


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """The same study twice."""
    one = write_study(tmp_path / "one", {"mlp": 0.5, "cnn": 0.8})
    return one, Path(shutil.copytree(one, tmp_path / "other"))


def set_loss(study: Path, run: str, loss: float) -> None:
    (path,) = (study / "runs" / run / "results" / "accuracy").glob("*.json")
    stored = json.loads(path.read_text())
    stored["result"]["loss"] = loss
    path.write_text(json.dumps(stored))


def test_equal_studies_have_no_difference(two: tuple[Path, Path]) -> None:
    found = compare_sources([two[0]], two[1])
    assert found.changes == ()
    assert found.same > 20
    assert found.headline() == f"All {found.same:,} numbers are those of the other quickstart."


def test_exactly_the_number_that_was_changed_differs(two: tuple[Path, Path]) -> None:
    set_loss(two[0], "mlp-s1", 0.125)
    (change,) = compare_sources([two[0]], two[1]).changes
    assert (change.run, change.probe, change.kind, change.after) == ("mlp (2 of 3)", "accuracy", "changed", 0.125)


def test_other_seeds_are_matched_by_their_place(two: tuple[Path, Path]) -> None:
    runs = two[0] / "runs"
    for family in ("mlp", "cnn"):
        for seed in (2, 1, 0):
            (runs / f"{family}-s{seed}").rename(runs / f"{family}-s{seed + 7}")
            recipe = runs / f"{family}-s{seed + 7}" / "recipe.toml"
            recipe.write_text(recipe.read_text().replace(f"seed = {seed}\n", f"seed = {seed + 7}\n", 1))
            for path in (runs / f"{family}-s{seed + 7}" / "results").glob("*/*.json"):
                stored = json.loads(path.read_text())
                stored["about"]["subject"] |= {"name": f"{family}-s{seed + 7}", "seed": seed + 7}
                path.write_text(json.dumps(stored))
    set_loss(two[0], "cnn-s8", 0.5)
    (change,) = compare_sources([two[0]], two[1]).changes
    assert (change.run, change.after) == ("cnn (2 of 3)", 0.5)


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [
        ((0, 1, 2), (1,), {"mlp (seed 0)": "only here", "mlp (seed 2)": "only here"}),
        ((1,), (0, 1), {"mlp (seed 0)": "only there"}),
        ((0,), (4, 5), {"mlp (1 of 2)": "changed", "mlp (2 of 2)": "only there"}),
        ((0,), (4,), {"mlp": "changed"}),
    ],
)
def test_equal_seeds_are_matched_first(
    tmp_path: Path, here: tuple[int, ...], there: tuple[int, ...], said: dict[str, str]
) -> None:
    one, other = (write_study(tmp_path / name, {"mlp": 0.5}, seeds) for name, seeds in (("a", here), ("b", there)))
    assert {change.run: change.kind for change in compare_sources([one], other).changes} == said


class Listed(Score):
    """A score that lists itself as its one metric."""

    def metrics(self) -> list[Metric]:
        return [Metric(metric="score", value=self.value, n=self.n, unit=self.unit)]


def test_of_a_probe_asked_twice_answers_to_the_same_question_are_matched() -> None:
    def asked(shares: dict[str, float]) -> Reading:
        made = run("mlp", 0, scored(right(0.5), Listed))
        (one,) = made.outcomes
        ways = [
            replace(one, result=scored(right(share), Listed), about=one.about.replace(config={"views": views}))
            for views, share in shares.items()
        ]
        return reading([replace(made, outcomes=tuple(ways))])

    before = asked({"one": 0.5, "six": 0.8})
    assert diff(asked({"six": 0.8, "one": 0.5}), before).changes == ()
    (change,) = diff(asked({"six": 0.9, "one": 0.5}), before).changes
    assert (change.before, change.after) == (0.8, 0.9)
    (change,) = diff(asked({"six": 0.8}), before).changes
    assert (change.kind, change.before) == ("only there", 0.5)
    (change,) = diff(asked({"four": 0.7, "six": 0.8}), before).changes
    assert (change.kind, change.before, change.after) == ("changed", 0.5, 0.7)


def test_numbers_that_read_alike_are_told_with_what_differs() -> None:
    """9 of 16 and 18 of 32 right are both 56.2 %: n tells them apart, and the interval where there is one."""
    (change,) = diff(
        reading([run("mlp", 0, scored(right(9 / 16, 32), Listed))]), reading([run("mlp", 0, scored(right(9 / 16, 16), Listed))])
    ).changes
    assert change.before == change.after
    assert change.told == ("56.2% (n = 16)", "56.2% (n = 32)")


def test_what_only_one_of_them_has_is_named(two: tuple[Path, Path]) -> None:
    shutil.rmtree(two[1] / "runs" / "mlp-s2" / "results" / "cue_conflict")
    found = compare_sources([two[0]], two[1])
    assert {(change.run, change.probe, change.kind) for change in found.changes} == {
        ("mlp (3 of 3)", "cue_conflict", "only here")
    }
    turned = compare_sources([two[1]], two[0])
    assert {change.kind for change in turned.changes} == {"only there"}


def test_the_page_shows_the_differences(two: tuple[Path, Path], tmp_path: Path) -> None:
    set_loss(two[0], "mlp-s1", 0.125)
    text = write_report([two[0]], tmp_path / "page.html", other=two[1]).read_text()
    assert "1 number differs from the other quickstart" in text
    assert "--diff other" in text
    assert 'id="diff"' not in write_report([two[0]], tmp_path / "page.html").read_text()


def test_nothing_is_compared_where_neither_holds_a_number(tmp_path: Path) -> None:
    one, other = (write_study(tmp_path / name, {"mlp": 0.5}, (0,), name=name, probes=()) for name in "ab")
    found = compare_sources([one], other)
    assert found.headline() == "There is nothing to compare: neither this nor b holds a number that a probe measured."
