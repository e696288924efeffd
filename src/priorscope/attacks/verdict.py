"""What may be said about a robustness number: the checks' findings, their limits, and the verdict that they add up to.

An attack gives an upper bound, so a verdict belongs to network, attack and number together. Signs of *masked* gradients say
that the attack was blind: it met zero gradients, another loss or no gradient at all breaks what it left, or a budget of half
the range of pixels, at which every picture can be made grey, leaves some that grey makes wrong. Signs of mere weakness (more
steps or starts break more, a larger budget breaks fewer) make a number suspect. Shares are judged by the low end of their
exact 95 % interval (Clopper and Pearson 1934), so one lucky picture in a hundred, or in ten, accuses nobody: Wilson's low end
is 1.8 % for 1 of 10, and the exact one 0.25 %.

Where only attacks without gradients were asked, gradients that break more say that too few queries were spent, not that the
attack was blind: such a number is suspect and never called masked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from priorscope.attacks import Attack
from priorscope.core.config import Config

Finding = Literal["fine", "suspect", "masked"]
AuditVerdict = Literal["weak attack: upper bound only", "no sign of overestimation", "suspect", "masked"]

LIMITS: dict[str, tuple[float, float]] = {
    "zero gradients": (0.01, 0.1),
    "margin loss": (0.005, 0.05),
    "own step size": (0.005, math.inf),
    "more steps": (0.005, math.inf),
    "more starts": (0.005, math.inf),
    "without gradients": (0.005, 0.02),
    "half the range": (0.01, 0.1),
    "falling curve": (0.02, math.inf),
    "transfer": (0.005, 0.05),
}
"""Above which share a check finds a number suspect, and above which masked."""


class Check(Config):
    """One check: the share that it found, out of how many pictures, what that means, and in words.

    `left` are pairs of how many times the steps (or how many more starts) and the share of those pictures that stood after
    them, if a check asks for more of the same.
    """

    name: str
    share: float
    n: int
    finding: Finding
    sentence: str
    left: tuple[tuple[int, float], ...] = ()


def check(
    name: str,
    count: int,
    n: int,
    sentence: str,
    *,
    follows_gradients: bool = True,
    left: Sequence[tuple[int, float]] = (),
) -> Check:
    """A check of a share, judged by the low end of its interval.

    `follows_gradients` is whether the number comes from attacks that do, which can be blind.
    """
    low = low_end(count, n)
    suspect, masked = LIMITS[name]
    finding: Finding = "masked" if follows_gradients and low > masked else "suspect" if low > suspect else "fine"
    return Check(name=name, share=count / n if n else 0.0, n=n, finding=finding, sentence=sentence, left=tuple(left))


def low_end(count: int, n: int) -> float:
    """The low end of the exact 95 % interval: the share at which `count` or more of `n` come up with a chance of 2.5 %."""
    if count == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(count, n - count + 1, 0.025))


def verdict_of(attacks: Sequence[Attack], checks: Sequence[Check]) -> AuditVerdict:
    """What the checks allow to be said about a number. A weak attack's number is never more than an upper bound."""
    if all(attack.weak for attack in attacks):
        return "weak attack: upper bound only"
    findings = {check.finding for check in checks}
    if "masked" in findings:
        return "masked"
    return "suspect" if "suspect" in findings else "no sign of overestimation"
