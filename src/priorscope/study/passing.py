"""Which kept results a study deletes when it is run again, because it does not ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from priorscope.core import layout
from priorscope.core.config import read_toml
from priorscope.core.errors import PriorscopeError
from priorscope.study.plan import make_plan
from priorscope.study.study import Study


def passing(results: Iterable[Path]) -> list[Path]:
    """The studies that delete some of these results of their runs when they are run again."""
    kept = [path.resolve() for path in results if path.exists()]  # runs/RUN/results/PROBE/KEY.json
    studies = dict.fromkeys(path.parents[4] for path in kept if path.parents[3].name == layout.RUNS)
    return [study for study in studies if _deletes(study, [path for path in kept if study in path.parents])]


def _deletes(study: Path, kept: Sequence[Path]) -> bool:
    try:
        if not layout.is_own_copy(read_toml(study / layout.STUDY)):
            return False
        plan = make_plan(Study.load(str(study / layout.STUDY)), study)
    except PriorscopeError:  # what is no study, or cannot be planned, cannot be run again
        return False
    return not plan.open and not {*kept} <= {step.out for step in plan.steps}
