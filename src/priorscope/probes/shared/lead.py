"""Who is best of some networks, as a title may say it: by tests of all pairs on the same images, not by the numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from priorscope.core.comparison import Difference, beside_the_best
from priorscope.core.contracts import Result, Subject
from priorscope.core.extremes import named
from priorscope.core.seeds import interval_of_seeds
from priorscope.core.stats import ends
from priorscope.core.wording import capitalised

T = TypeVar("T")
R = TypeVar("R", bound=Result)


def arm_rows(arms: Sequence[tuple[Subject, Sequence[R]]]) -> list[dict[str, Any]]:
    """For each recipe the mean value of its seeds and its interval, as a figure's row has them."""
    return [
        {
            "subject": subject.name,
            "family": subject.family,
            "value": float(np.mean([result.value for result in seeds])),
            "seeds": len(seeds),
            **ends(interval_of_seeds(seeds)),
        }
        for subject, seeds in arms
    ]


class Lead(NamedTuple):
    """The best number of two or more, and what a test says of it beside each of the others."""

    best: str
    last: str
    """The worst network, of those that the best could be compared with."""
    behind: Sequence[str]
    """The networks from which the best is told apart."""
    alike: Sequence[str]
    """The networks from which the best is not told apart."""
    untested: Sequence[str]
    """The networks with which the best could not be compared."""

    def title(self, claim: str, number: str, fact: str, last: str) -> str:
        """The claim with its number, where the best is told apart from any other; else what was counted of the best and last.

        All four speak of `best` but the last, which is read after `fact`.
        """
        left = f"was not compared with {named(self.untested)}" if self.untested else ""
        if self.behind:
            but = f", but not distinguishably from {named(self.alike)}" if self.alike else ""
            return f"{claim}{but}: {number}{left and f'; it {left}'}"
        if not self.alike:
            return f"{capitalised(fact)}; it was compared with no other"
        besides = f", which {left}" if left else ""
        return f"No network stands out: {fact}, {last}, and none is distinguishable from {self.best}{besides}"


def lead_of(
    values: Mapping[str, float],
    of: Mapping[str, T],
    difference: Callable[[T, T], Difference | None],
    better: Literal["higher", "lower"],
) -> Lead:
    """Who leads, of two networks or more: their values, and what `difference` (first minus second, None: no test) compares."""
    best, *others = sorted(values, key=lambda name: values[name], reverse=better == "higher")
    verdicts = beside_the_best(of[best], [of[name] for name in others], difference)
    told: dict[str, list[str]] = {"behind": [], "alike": [], "untested": []}
    for name, verdict in zip(others, verdicts, strict=True):
        told["untested" if verdict is None else "behind" if verdict == better else "alike"].append(name)
    tested = [name for name in others if name not in told["untested"]]
    return Lead(best, (tested or others)[-1], **told)
