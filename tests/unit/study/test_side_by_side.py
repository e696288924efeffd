"""What runs beside what: steps on paper, each of which ends before those that were started after it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from priorscope.study.executors import Ended, Resources
from priorscope.study.run import run_study
from priorscope.study.study import Study

SMALL = {"name": "shapetex", "train": 40, "val": 20, "test": 20}


class TwoAtOnce:
    """Notes beside which step each is started, and does nothing."""

    def __init__(self) -> None:
        self.going: deque[str] = deque()
        self.started: list[tuple[str, ...]] = []

    def room(self, takes: Resources) -> bool:
        return len(self.going) < (1 if takes.alone else 2)

    def start(self, id: str, work: Any, takes: Resources) -> None:  # noqa: ARG002
        self.started.append((id, *self.going))
        self.going.append(id)

    def news(self, seconds: float) -> Iterator[Ended]:  # noqa: ARG002
        yield Ended(self.going.popleft(), 0.0, 0.0)

    def stop(self) -> None: ...


@pytest.fixture
def started(tmp_path, monkeypatch):
    """What a study with these probes starts when it has begun all its trainings: each step with the one beside it."""
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))

    def carry_out(*probes: dict[str, Any], recipes: str = "ab") -> list[tuple[str, ...]]:
        base = {"data": {"source": SMALL}, "model": "mlp/tiny"}
        cells = {name: {} for name in recipes}
        study = {"name": "made", "question": "?", "base": base, "recipes": cells, "probes": probes}
        executor = TwoAtOnce()
        run_study(Study.parse(study), tmp_path / "out", executor=executor)
        assert [step for step, *_ in executor.started[: len(recipes)]] == [f"train {name}-s0" for name in recipes]
        return executor.started[len(recipes) :]

    return carry_out


def of(recipe: str, name: str, **entry: Any) -> dict[str, Any]:
    return {"name": name, "recipes": [recipe], **entry}


def test_probes_of_one_run_follow_each_other_while_another_run_waits(started):
    names = ("accuracy", "calibration", "robustness")
    assert started(*(of(recipe, name) for recipe in "ab" for name in names)) == [
        ("accuracy of a-s0", "train b-s0"),
        ("accuracy of b-s0", "accuracy of a-s0"),
        ("calibration of a-s0", "accuracy of b-s0"),
        ("calibration of b-s0", "calibration of a-s0"),
        ("robustness of a-s0", "calibration of b-s0"),
        ("robustness of b-s0", "robustness of a-s0"),
    ]


def test_a_run_is_asked_all_before_another_is_begun_with(started):
    """Two probes of four runs by two processes: they ask `a` and `b` both before they ask `c` and `d`."""
    probes = [{"name": name} for name in ("accuracy", "calibration")]
    assert [step for step, *_ in started(*probes, recipes="abcd")] == [
        f"{probe['name']} of {recipe}-s0" for pair in ("ab", "cd") for probe in probes for recipe in pair
    ]


def test_probes_of_one_run_go_side_by_side_where_nothing_else_is_ready(started):
    assert started(*(of("a", name) for name in ("accuracy", "calibration", "robustness")))[1:] == [
        ("calibration of a-s0", "accuracy of a-s0"),
        ("robustness of a-s0", "calibration of a-s0"),
    ]


def test_probes_of_one_run_on_other_data_share_no_pass(started):
    others = of("a", "accuracy", data={**SMALL, "seed": 1}), of("a", "calibration"), of("b", "accuracy")
    first, second, *_ = started(of("a", "accuracy"), *others)
    assert first == ("accuracy of a-s0", "train b-s0")
    assert second[0].startswith("accuracy of a-s0 (")


def test_a_probe_of_several_runs_neither_waits_nor_is_waited_for(started):
    probes = of("a", "accuracy"), {"name": "similarity"}, of("a", "calibration"), of("b", "accuracy")
    assert [step for step, *_ in started(*probes)] == [
        "accuracy of a-s0",
        "similarity of all runs",
        "calibration of a-s0",
        "accuracy of b-s0",
    ]
