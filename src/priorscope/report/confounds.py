"""What limits the sentences of a page: seeds, recipes that differ, sizes, comparisons and caveats."""

from __future__ import annotations

from collections.abc import Sequence

from priorscope.core.wording import from_to, listed
from priorscope.report.recipes import compared_runs, recipe_differences
from priorscope.report.records import Reading, RunRecord
from priorscope.report.verdict import Finding, same_images
from priorscope.report.words import FEW, few_compared


def limits(reading: Reading, found: Sequence[Finding]) -> list[str]:
    """What limits every sentence of the page: seeds, recipes that differ, tuning, sizes, comparisons and caveats."""
    said = [_seeds_said(found), _recipes_said(reading, found), _sizes_said(compared_runs(reading, found))]
    tested = sum(1 for finding in found for pair in finding.pairs if pair.comparison)
    if tested:
        were = "comparisons were" if tested > 1 else "comparison was"
        said.append(f"{tested} {were} tested; within each table, a probe at one setting, the p-values are Holm-corrected.")
    few = [finding.measure for finding in found if few_compared(finding)]
    if few:
        said.append(f"Fewer than {FEW} images stand behind comparisons on {listed(few)}, which are few for an interval.")
    caveats = sum(len(outcome.result.caveats) > 0 for finding in found for outcome in finding.outcomes)
    if caveats:
        said.append(f"{caveats} result{'s carry' if caveats > 1 else ' carries'} caveats, shown in the section of the probe.")
    return [one for one in said if one]


def _seeds_said(found: Sequence[Finding]) -> str:
    seeds = sorted({arm.seeds for finding in found for arm in finding.arms})
    if not seeds:
        return ""
    if seeds == [1]:
        return "Every network was trained once: each statement is about these checkpoints, not about their families."
    short_of = [f for f in found if any(arm.scope == "too few seeds" and not arm.exact for arm in f.arms)]
    few = sorted({f"{finding.measure} ({finding.result.seeds_needed})" for finding in short_of})
    short = f" Too few for a sentence about families on {listed(few)}." if few else ""
    return f"{from_to(seeds)} seeds a recipe: intervals of families are over {_families_over(found)}.{short}"


def _families_over(found: Sequence[Finding]) -> str:
    """What intervals of families are over: seeds alone, where a number is of no image or seeds had images of their own."""
    families = [(f.measure, arm) for f in found for arm in f.arms if arm.scope == "family" and arm.interval]
    alone = [(measure, arm) for measure, arm in families if arm.interval and arm.interval.over == "seeds"]
    if not alone:
        return "seeds and images"
    names, lacking = (
        list(dict.fromkeys(measure for measure, _ in those)) for those in (alone, [one for one in alone if same_images(one[1])])
    )
    every = len(names) == len({measure for measure, _ in families})
    over = "seeds" if every else f"seeds and images, those of {listed(names)} over seeds alone"
    return f"{over}; what other images would change is not in those of {listed(lacking)}" if lacking else over


def _recipes_said(reading: Reading, found: Sequence[Finding]) -> str:
    """Rule of fairness: the same recipe, or where the recipes differ beside the architecture."""
    compared = compared_runs(reading, found)
    if len({run.recipe_name for run in compared}) < 2:
        return ""
    differing = recipe_differences(compared)
    chosen = [name for name in differing if name in reading.tuned]
    others = [name for name in differing if name not in chosen]
    if reading.tuned and not others:
        tuned = listed(reading.tuned)
        return f"All were trained by the same recipe but for the model, each tuned by as many trials on val ({tuned})."
    if not differing:
        return "All were trained by the same recipe but for the model; none was tuned for a best of its own."
    return f"The recipes differ beside the architecture in {listed(others)}: what is compared is the whole recipe."


def _sizes_said(runs: Sequence[RunRecord]) -> str:
    sizes = {run.recipe_name: run.parameters for run in runs if run.parameters}
    if len(set(sizes.values())) < 2:
        return ""
    small, large = min(sizes, key=lambda name: sizes[name] or 0), max(sizes, key=lambda name: sizes[name] or 0)
    return f"Sizes differ: from {sizes[small]:,} parameters ({small}) to {sizes[large]:,} ({large})."
