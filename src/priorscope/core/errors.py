"""Errors in three parts: what came, what was wanted, what to type.

Two kinds, told apart by the exit status that the command line returns for them:

    PriorscopeError
    ├── RequestError   2   the request was wrong: nothing was started
    └── WorkError      1   the work failed: what was finished is kept
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self


class PriorscopeError(Exception):
    """Refuses something, and says what to do instead."""

    exit_status = 1

    def __init__(self, came: str, wanted: str, do: str) -> None:
        super().__init__(came, wanted, do)
        self.came = came
        self.wanted = wanted
        self.do = do

    def of(self, what: str) -> Self:
        """The same, told of what it is about."""
        return type(self)(f"In {what}: {self.came}", self.wanted, self.do)

    def __str__(self) -> str:
        return f"{self.came}\n  wanted: {self.wanted}\n  try:    {self.do}"


class RequestError(PriorscopeError):
    """The request was wrong: a name, a value, a path, a combination."""

    exit_status = 2


class WorkError(PriorscopeError):
    """The work failed: a full disk, a torn file, a diverged run."""


def first_line(error: BaseException) -> str:
    """The first line of what a library's error says, without the advice of torch and numpy to open a file unchecked."""
    said = str(error).rpartition("WeightsUnpickler error:")[2]
    lines = [line.strip() for line in said.splitlines() if "allow_pickle" not in line]
    return next(filter(None, lines), "no further message").rstrip(".")[:200]


def nearest(name: str, choices: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The choice that a mistyped name most likely meant, or None where nothing is as close as the cutoff (1: the same)."""
    by_folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[close[0]] if close else None


def unknown_name(kind: str, name: str, choices: Iterable[str], listing: str = "") -> RequestError:
    """The error for a name that is in no list: names the nearest valid one and the command that lists all.

    Without such a command all names are in the message.
    """
    known = sorted(choices)
    if not known:
        return RequestError(f"{name!r} is not a {kind}: there is none.", f"a {kind}", "remove it, or write one")
    shown = ", ".join(known[:12]) + f", ... ({len(known)} in all)" if listing and len(known) > 12 else ", ".join(known)
    guess = nearest(name, known)
    do = [f"{guess!r} (did you mean that?)"] if guess else []
    do += [f"list all with: {listing}"] if listing else []
    return RequestError(f"{name!r} is not a {kind}.", f"one of: {shown}", ", or ".join(do) or f"{known[0]!r}, for example")
