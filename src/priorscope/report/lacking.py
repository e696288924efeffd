"""What a study asks for and is not in its folder: a study that was stopped looks like a small one that is complete."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from priorscope.core.config import Plain
from priorscope.core.errors import PriorscopeError
from priorscope.core.wording import counted
from priorscope.probes import probe_config

if TYPE_CHECKING:
    from priorscope.report.records import Entry, Outcome, RunRecord


def lacking_said(
    study: Mapping[str, Any], entries: Sequence[Entry], runs: Sequence[RunRecord], joint: Sequence[Outcome]
) -> Iterator[str]:
    """How many of the runs that a study asks for are not finished, and how many of the results are missing.

    Of a folder of runs without a study, how many of these are not finished. Trials are not counted: what they choose is.
    """
    done = [run for run in runs if run.environment is not None]
    recipes: Mapping[str, Plain] = study.get("recipes") or {}
    shared = tuple(study.get("seeds") or (0,))
    seeds = {name: tuple(recipe.get("seeds") or shared) for name, recipe in recipes.items()}
    of = {name: [run for run in done if _is_of(run, name, recipe)] for name, recipe in recipes.items()}
    cells = {name: math.prod(len(values) for values in (recipe.get("grid") or {}).values()) for name, recipe in recipes.items()}
    asked = sum(cells[name] * len(seeds[name]) for name in recipes) or len(runs)
    there = sum(len(found) for found in of.values()) if recipes else len(done)
    if there < asked:
        yield f"{asked - there} of {counted(asked, 'run')} {'is' if asked - there == 1 else 'are'} not finished"
    results = missing = 0
    sources = {run.name: run.source for run in runs}
    for entry in entries:
        looked = [name for name in entry.recipes or recipes if name in recipes]
        wanted = {name: [seed for seed in seeds[name] if entry.seeds is None or seed in entry.seeds] for name in looked}
        size = sum(cells[name] * len(wanted[name]) for name in looked)
        if _together(entry):
            fitting = [one for one in joint if entry.fits(one, sources.get(one.subjects[0].name, {}) if one.subjects else {})]
            results += 1
            missing += not any(len(one.subjects) == size for one in fitting)
            continue
        about = [run for name in looked for run in of[name] if run.seed in wanted[name]]
        results += size
        missing += max(0, size - sum(any(entry.fits(one, run.source) for one in run.outcomes) for run in about))
    if missing:
        yield f"{missing} of {counted(results, 'result')} {'is' if missing == 1 else 'are'} missing"


def _is_of(run: RunRecord, name: str, recipe: Plain) -> bool:
    """Whether a run is one of a recipe's, or of a cell of its grid: `mlp`, or `mlp-width=16-subset=500`."""
    axis = next(iter(recipe.get("grid") or {}), None)
    return run.recipe_name == name if axis is None else run.recipe_name.startswith(f"{name}-{axis.rpartition('.')[2]}=")


def _together(entry: Entry) -> bool:
    """Whether an entry has one result about all its runs, and not one a run."""
    try:
        return probe_config(entry.probe).per == "set"
    except PriorscopeError:  # stored by a version that knew other settings
        return False
