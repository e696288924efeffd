"""A finished run made longer: it continues from the last step whose learning rate did not depend on its length.

Under `constant` and `plateau` that is its end; under `wsd` the step before the rate begins to fall. The longer run ends bit for
bit where one trained at that length from the start ends. So that it does, the rates of all steps taken are checked to be those
of the longer run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priorscope.core.config import Plain, flat
from priorscope.core.errors import RequestError
from priorscope.core.folder import write_bytes
from priorscope.train.config import LENGTHS, TrainConfig
from priorscope.train.optim import OptimConfig
from priorscope.train.schedule import LENGTHLESS, learning_rate

FREE = (*LENGTHS, "keep")
"""The settings of `train` that may differ: the length, and the number of snapshots."""


@dataclass(frozen=True)
class Earlier:
    """A finished run that is made longer: its folder, its key, and how it was trained."""

    path: Path
    key: str
    train: TrainConfig


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The settings beside its length in which two runs' inputs differ, by their dotted names."""
    flat_one, flat_other = flat(one), flat(other)
    free = {f"recipe.train.{name}" for name in FREE}
    return sorted(name for name in {*flat_one, *flat_other} - free if flat_one.get(name) != flat_other.get(name))


def check_extensible(earlier: Path, one: Plain, other: Plain, train: TrainConfig, optim: OptimConfig, file: Path) -> None:
    """Refuses a run that differs in more than its length, or whose schedule looks ahead to its end."""
    others = differing(one, other)
    if others:
        raise RequestError(
            f"The run in {earlier} differs in {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}.",
            "a run that differs in train.epochs, train.steps, train.flops or train.keep alone",
            'init = {kind = "run", run = "..."} begins a new run with its weights',
        )
    if train.adversarial is not None and train.adversarial.ramp > 0:
        raise RequestError(
            "train.adversarial.ramp came with a run that is made longer: the budget of its first steps would be another.",
            "a budget that does not grow with the run",
            "train the longer run from its beginning",
        )
    if not file.exists():
        reason = (
            f"the schedule {optim.schedule} depends on the length"
            if optim.schedule not in LENGTHLESS
            else "it stopped early, or the file is gone"
        )
        raise RequestError(
            f"{earlier} holds no {file.name}, from which it could go on: {reason}.",
            f"a run under one of: {', '.join(LENGTHLESS)}",
            'init = {kind = "run", run = "..."} begins a new run with its weights',
        )


def check_rates(optim: OptimConfig, taken: int, lengths: tuple[int, int], steps_per_epoch: int, where: Path) -> None:
    """Refuses if a step that was taken would have had another rate in the longer run, or the run is not longer."""
    before, now = lengths
    if now <= before:
        raise RequestError(f"The run in {where} has {before} steps, and {now} were asked for.", "more", "a larger train.epochs")
    for step in range(taken):
        had, has = (learning_rate(optim, step, length, steps_per_epoch) for length in lengths)
        if had != has:
            raise RequestError(
                f"Step {step + 1} of the run in {where} had the rate {had:g}, and would have {has:g} in a longer one.",
                "a warm-up within the shorter run",
                "train the longer run from its beginning",
            )


def take_over(snapshot: Path, to: Path) -> None:
    """Copies a snapshot that the longer run would have made just the same."""
    if not snapshot.exists():
        raise RequestError(
            f"The longer run keeps a snapshot after {snapshot.stem.replace('-', ' ')}, and the shorter one has none.",
            "snapshots at the same steps, as far as the shorter run goes",
            "another train.keep, or none",
        )
    write_bytes(to, snapshot.read_bytes())
