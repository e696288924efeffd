"""Studies and runs of several folders as one reading, each called so that no two are taken for one another."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from os import PathLike

from priorscope.core import layout
from priorscope.core.claim import Claim
from priorscope.core.config import content_key
from priorscope.core.errors import RequestError
from priorscope.core.folder import at_home, shortest_names
from priorscope.report.reading import read_source
from priorscope.report.records import Reading, RunRecord, by_recipe

Place = PathLike[str] | str
"""A study's folder, a run's, or the run itself."""

Sources = Sequence[Place] | Place | Reading
"""Folders and runs, or what was read of them already: several things made of one reading cost one."""


def read_sources(sources: Sources) -> Reading:
    """Study folders and run folders as one reading, in the order given; of one alone, its folder or the run itself."""
    if isinstance(sources, Reading):
        return sources
    if isinstance(sources, str | PathLike):
        return read_source(at_home(sources))
    if not sources:
        raise RequestError("No folder was given.", "the folders of studies or runs", "priorscope report OUT --out report.html")
    for source in sources:
        _check_place(source)
    places = list({place.resolve(): place for place in map(at_home, sources)}.values())
    read = [read_source(place) for place in places]
    if len(read) == 1:
        return read[0]
    within = [one.name for one in read]
    if len(set(within)) < len(within):
        within = shortest_names([place.resolve().parent if layout.is_run(place) else place.resolve() for place in places])
    unclear = _of_two_meanings([run for one in read for run in one.runs])
    named = list(zip(within, read, strict=True))
    runs = [_within(name, run) if run.recipe_name in unclear else run for name, one in named for run in one.runs]
    return Reading(
        name=" + ".join(dict.fromkeys(one.name for one in read)),
        question=" / ".join(dict.fromkeys(one.question for one in read if one.question)),
        promise=" ".join(dict.fromkeys(one.promise for one in read if one.promise)),
        sources=tuple(source for one in read for source in one.sources),
        runs=tuple(runs),
        joint=tuple(outcome for one in read for outcome in one.joint),
        failures=tuple(failure for one in read for failure in one.failures),
        entries=tuple(entry for one in read for entry in one.entries),
        claims=tuple(dict.fromkeys(_claim_within(name, claim, unclear) for name, one in named for claim in one.claims)),
        tuned=read[0].tuned if all(one.tuned == read[0].tuned for one in read) else (),
        lacking=tuple(f"{said} in {name}" for name, one in named for said in one.lacking),
    )


def _check_place(source: object) -> None:
    """Refuses what is neither a folder nor a run: a result, say."""
    if not isinstance(source, str | PathLike):
        raise RequestError(
            f"A page is made of runs and studies, and {type(source).__name__} is neither.",
            "runs, or folders of studies or runs",
            'ps.write_report([ps.load("runs/a")], "report.html"); result.chart().save("accuracy.svg") draws one result',
        )


def _of_two_meanings(runs: Sequence[RunRecord]) -> set[str]:
    """The recipes' names under which runs of different recipes come, or one seed twice: seeds of one recipe belong together."""
    unclear: set[str] = set()
    for name, own in by_recipe(runs).items():
        recipes = {content_key({**run.recipe, "seed": 0}) for run in own}
        if len(recipes) > 1 or len({run.name for run in own}) < len(own):
            unclear.add(name)
    return unclear


def _within(study: str, run: RunRecord) -> RunRecord:
    """The run called by its study as well, and its results' subjects with it: two studies may use one name."""
    name, recipe = f"{study}/{run.name}", f"{study}/{run.recipe_name}"
    outcomes = [replace(o, subjects=tuple(s.replace(name=name, recipe=recipe) for s in o.subjects)) for o in run.outcomes]
    return replace(run, name=name, recipe_name=recipe, outcomes=tuple(outcomes))


def _claim_within(study: str, text: str, unclear: Collection[str]) -> str:
    """A claim whose recipes are called as their runs are."""
    claim = Claim.read(text)
    first, second = (f"{study}/{name}" if name in unclear else name for name in (claim.first, claim.second))
    return re.sub(r"^.*?(?=\s+in\s)", lambda _: f"{first} {claim.relation} {second}", text, flags=re.DOTALL)
