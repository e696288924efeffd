"""What a study's numbers say about its claims: supported, contradicted or undecided, and what would decide them.

A claim is about families, so it is decided over seeds and images where there are seeds enough; with fewer the answer is about
these checkpoints, and says so. Several claims of one study are several chances to be wrong: their intervals are widened until
all of them hold together at 95 % (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from priorscope.core.claim import Claim, ClaimVerdict
from priorscope.core.errors import PriorscopeError
from priorscope.core.stats import Interval
from priorscope.core.wording import capitalised, listed
from priorscope.report.recipes import recipe_differences
from priorscope.report.records import Reading
from priorscope.report.verdict import Arm, Finding, arm_difference, difference_of_values, difference_unit
from priorscope.report.words import compared_images, difference_between, number_of, signed

LEVEL = 0.95


@dataclass(frozen=True)
class Answer:
    """What is said about one claim, and why not more."""

    text: str
    verdict: ClaimVerdict
    sentence: str
    needs: str
    confounds: tuple[str, ...]


def answers(reading: Reading, found: Sequence[Finding]) -> list[Answer]:
    """One answer a claim, in the order in which the study makes them, from findings that are what their name promises."""
    claims = [(text, Claim.read(text)) for text in reading.claims]
    level = 1 - (1 - LEVEL) / max(1, len(claims))
    return [_answer(text, claim, reading, found, level) for text, claim in claims]


def shared_confounds(found: Sequence[Answer]) -> tuple[str, ...]:
    """What is said beside every one of several claims, and need be said once."""
    if len(found) < 2:
        return ()
    return tuple(one for one in found[0].confounds if all(one in answer.confounds for answer in found))


def _answer(text: str, claim: Claim, reading: Reading, found: Sequence[Finding], level: float) -> Answer:
    measured = [(finding, arms) for finding in found if (arms := _meant(claim, finding))]
    fitting = [(finding, arms) for finding, arms in measured if finding.leads]
    if not measured:
        return Answer(text, "undecided", "It was not measured on both.", "the study to run to its end", ())
    if not fitting:
        lacks = listed(list(dict.fromkeys(reason for finding, _ in measured for reason in _lacks(finding))))
        said = f"It was measured, but not as its name promises{f': {lacks}' if lacks else ''}."
        return Answer(text, "undecided", said, "a measurement that lacks nothing", ())
    finding, (first, second) = fitting[0]
    answer = _of(text, claim, first, second, finding, reading, level)
    return replace(answer, sentence=answer.sentence + _measured_how(finding, len(fitting)))


def _lacks(finding: Finding) -> Iterator[str]:
    """Why a finding's numbers are not what their name promises, in the words of their probe."""
    for result in (result for arm in finding.arms for result in arm.results):
        standing = result.standing()
        if not standing.leads:
            yield standing.ground or " ".join(result.caveats[:1]).rstrip(".")


def _meant(claim: Claim, finding: Finding) -> tuple[Arm, Arm] | None:
    """The two arms that a claim compares, where a finding is of its probe, asked as it wants, and has both."""
    if finding.probe != claim.probe or not claim.settings.items() <= finding.about.config.items():
        return None
    first, second = finding.arm(claim.first), finding.arm(claim.second)
    return (first, second) if first and second else None


def _measured_how(finding: Finding, ways: int) -> str:
    """Which of several ways to measure it decides a claim; nothing where there is one alone."""
    if ways > 1:
        return f" Decided by {finding.measure}, the first of {ways} ways in which it was measured."
    return f" Decided by {finding.measure}." if finding.where else ""


def _of(text: str, claim: Claim, first: Arm, second: Arm, finding: Finding, reading: Reading, level: float) -> Answer:
    needed, unit = finding.result.seeds_needed, finding.unit
    confounds = _confounds(first, second, reading)
    values = f"{number_of(first, unit)} against {number_of(second, unit)}"
    tested = unit if claim.of_values(finding.result) else difference_unit(first)
    if claim.margin and not tested.startswith(claim.unit or unit):
        needs = f"a margin in {tested}, in which the two are compared: margin M {tested.partition(' ')[0]}"
        return Answer(text, "undecided", f"{values}.", needs, confounds)
    if tested != difference_unit(first) and (first.beyond or second.beyond):
        return Answer(text, "undecided", f"{values}.", "larger budgets, at which more than half of the images break", confounds)
    if first.exact and second.exact:
        return Answer(text, _exactly(claim, first.value - second.value), f"{values}, exactly.", "", confounds)
    if first.scope != second.scope or first.scope == "too few seeds":
        seeds = f"{first.seeds} and {second.seeds} seeds" if first.seeds != second.seeds else f"{first.seeds} seeds each"
        return Answer(text, "undecided", f"{values}, from {seeds}.", f"{needed} seeds of each", confounds)
    try:
        compared = arm_difference if tested == difference_unit(first) else difference_of_values
        difference = compared(first, second, level)
    except PriorscopeError:
        difference = None
    if difference is None:
        return Answer(
            text, "undecided", f"{values}; no interval can be put around the difference.", "the same images", confounds
        )
    unbelieved = [arm.label for arm in (first, second) if not arm.believed]
    if unbelieved:
        needs = f"numbers of {' and '.join(unbelieved)} that can be believed"
        return Answer(text, "undecided", f"{values}.", needs, confounds)
    if claim.relation != "=" and not first.told_from_chance and not second.told_from_chance:
        needs = f"a {finding.result.measure} of one of them beyond what chance alone gives"
        return Answer(text, "undecided", f"{values}.", needs, confounds)
    interval, verdict = difference.interval, claim.verdict(difference)
    if first.scope == "checkpoint":
        confounds = (f"It is about two checkpoints: {needed} seeds of each speak for families.", *confounds)
    between = difference_between(interval, tested, difference.over(compared_images(finding.result)))
    said = f"{values}: a difference of {signed(difference.value, tested)} ({between})."
    return Answer(text, verdict, said, "" if verdict != "undecided" else _needs(claim, interval, first), confounds)


def _exactly(claim: Claim, difference: float) -> ClaimVerdict:
    """What a difference without an interval says: it was counted, so nothing is left open."""
    if claim.relation == "=":
        return "supported" if abs(difference) < claim.margin else "contradicted"
    higher = difference if claim.relation == ">" else -difference
    return "supported" if higher > claim.margin else "contradicted"


def _needs(claim: Claim, interval: Interval, arm: Arm) -> str:
    """How many seeds or images would decide it, if the difference stays what it is.

    Half the interval falls as the root of what it is over, and has to fall to the distance from the claim's edge.
    """
    middle = (interval.low + interval.high) / 2
    distance = claim.distance(middle)
    if distance <= 0.02 * interval.width:
        return "more than can be forecast: the difference lies at the claim's edge"
    times = (interval.width / 2 / distance) ** 2
    if arm.scope == "checkpoint":
        return f"about {math.ceil(arm.results[0].n * times):,} images, if the difference stays what it is"
    more = f"about {max(arm.seeds + 1, math.ceil(arm.seeds * times)):,} seeds of each"
    if "images" in interval.over:
        more += f" (or, where images are what is missing, {math.ceil(arm.results[0].n * times):,} images)"
    return f"{more}, if the difference stays what it is"


def _confounds(first: Arm, second: Arm, reading: Reading) -> tuple[str, ...]:
    """What differs between the two beside what their names say, and what their numbers themselves doubt."""
    runs = [run for run in reading.runs if run.recipe_name in (first.label, second.label)]
    differing = list(recipe_differences(runs))
    said = (
        [f"Their recipes differ in {', '.join(differing[:4])}{' and more' if len(differing) > 4 else ''}."] if differing else []
    )
    sizes = [arm.runs[0].parameters for arm in (first, second)]
    if sizes[0] and sizes[1] and max(sizes[0], sizes[1]) > 1.5 * min(sizes[0], sizes[1]):
        said.append(f"Their sizes differ: {sizes[0]:,} and {sizes[1]:,} parameters.")
    standings = [result.standing() for arm in (first, second) for result in arm.results]
    grounds = dict.fromkeys(f"{capitalised(one.ground)}." for one in standings if one.trust != "believed")
    return (*said, *grounds, *list(_doubts(first, second))[:2])


def _doubts(first: Arm, second: Arm) -> Iterator[str]:
    """Each caveat once; one that is about one of the two alone is said with its name."""
    ours, theirs = (dict.fromkeys(caveat for result in arm.results for caveat in result.caveats) for arm in (first, second))
    for caveat in ours | theirs:
        about = [arm.label for arm, own in ((first, ours), (second, theirs)) if caveat in own]
        yield caveat if len(about) == 2 else f"{about[0]}: {caveat}"
