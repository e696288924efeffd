"""Every shipped study runs at its smallest budget: each step done, a page written, nothing left for a second time."""

from __future__ import annotations

import json

import pytest

from priorscope.study.lacking import lacking
from priorscope.study.plan import make_plan
from priorscope.study.study import Study, shipped_studies

WITH_SMOKE = [name for name in shipped_studies() if "smoke" in Study.load(name).budgets]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_SMOKE)
def test_a_shipped_study_runs_at_its_smallest_budget(name, shell, tmp_path):
    needed = lacking(make_plan(Study.load(name, budget="smoke"), tmp_path / "none"))
    if needed:
        pytest.skip(needed[0])
    steps = json.loads(shell("study", name, "--budget", "smoke", "--plan", "--json"))["steps"]
    told = json.loads(shell("study", name, "--budget", "smoke", "--json"))
    assert told["steps_done"] == len(steps)
    assert (shell.folder / told["report"]).stat().st_size > 100_000
    assert json.loads(shell("study", name, "--budget", "smoke", "--json"))["steps_done"] == 0
