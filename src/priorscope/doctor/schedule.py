"""A learning rate that is not the one asked for: stepped an epoch late, twice, or towards another end than the run's.

A study's cosine was stepped with the number of the epoch before: its rates began 1, 0.997, 1, 0.997, 0.989 and ended, after 5
epochs, at 0.65 of the start. Scaling MLPs' training ran one epoch fewer than its cosine was made for.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from priorscope.core.epoch import Epoch
from priorscope.core.logs import Log
from priorscope.doctor import Finding
from priorscope.doctor.scripts import Script, last_name

if TYPE_CHECKING:
    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier
    from priorscope.recipe import Recipe
    from priorscope.run import Run


EPOCH = re.compile(
    r"(?:(?:i|cur|curr|current|this|global)_?)?epochs?(?:_?(?:i|id|idx|index|num|number|count|counter))?", re.IGNORECASE
)
"""Names of an epoch's number: `epoch_loss` and `loss_epoch` are none."""


def look_at_recipe(recipe: Recipe) -> Iterator[Finding]:
    """Finds a warm-up that is as long as the run or longer, where its length is given in epochs."""
    if recipe.optim.warmup >= recipe.train.epochs > 0:
        yield _never_warm(recipe.optim.warmup, f"train.epochs = {recipe.train.epochs}", recipe.train.epochs)


def look_at_training(recipe: Recipe, split: Split, network: Classifier) -> Iterator[Finding]:
    """Finds a warm-up that is as long as the run or longer, where its length is given in steps or operations.

    The data and the network tell how many epochs these are.
    """
    from priorscope.train.budget import image_flops

    if recipe.train.epochs:
        return
    pictures = recipe.data.subset or len(split)
    batch = min(recipe.train.batch_size, pictures)
    steps = recipe.train.with_steps(image_flops(network, recipe.train, recipe.optim) * batch).steps or 0
    epochs = steps / (pictures // batch)
    if recipe.optim.warmup >= epochs > 0:
        yield _never_warm(recipe.optim.warmup, f"{steps:,} steps, which are {epochs:.3g} epochs", epochs)


def _never_warm(warmup: float, length: str, epochs: float) -> Finding:
    return Finding(
        check="schedule",
        severity="fault",
        saw=f"optim.warmup = {warmup:g} epochs came with {length}.",
        means="the rate rises to the very end: the schedule after the warm-up never happens",
        do=f"--set optim.warmup={epochs / 20:.2g}",
    )


def look_at_run(run: Run) -> Iterator[Finding]:
    """The logged rates beside those that the recipe asks for."""
    if not run.history:
        return
    for epoch, wanted in zip(run.history, asked_for(run.recipe, run.history), strict=False):
        if not math.isclose(epoch.lr, wanted, rel_tol=1e-6, abs_tol=1e-12):
            yield Finding(
                check="schedule",
                severity="fault",
                saw=f"At the end of epoch {epoch.epoch} the rate was {epoch.lr:.4g}; the recipe's "
                f"{run.recipe.optim.schedule} schedule has {wanted:.4g} there.",
                means="the run was not carried out as its recipe says",
                do="train the run again",
            )
            return


def asked_for(recipe: Recipe, history: Sequence[Epoch]) -> list[float]:
    """The rate of the last step of each logged epoch; none where the log does not say how long epoch and run are.

    A run that counts steps or operations may end in its first epoch, and one that counts operations before its last step.
    """
    from priorscope.train.schedule import learning_rate

    train, per_epoch = recipe.train, history[0].step
    counts_epochs = train.steps is None and train.flops is None
    if not counts_epochs and (len(history) == 1 or train.patience is not None):
        return []
    total = train.total(per_epoch) if train.flops is None else history[-1].step
    return [learning_rate(recipe.optim, epoch.step - 1, total, per_epoch, history[:at]) for at, epoch in enumerate(history)]


def look_at_log(log: Log) -> Iterator[Finding]:
    """Rates that fall and return, or a cosine that stops before its end."""
    rates = log.rates
    if len(rates) < 3:
        return
    again = returns(rates)
    if again is not None:
        shown = ", ".join(f"{rate:.4g}" for rate in rates[: again + 2])
        yield Finding(
            check="schedule",
            severity="fault",
            saw=f"{log.name} logs the rates {shown}: epoch {again + 1} has the rate of epoch {again - 1} again.",
            means=f"the schedule was stepped with another epoch's number; its last rate is {rates[-1] / max(rates):.3f} of its "
            "highest",
            do="step it once an epoch and without an argument: scheduler.step()",
        )
    short = cosine_is_short(rates if again is None else rates[again:])
    if short:
        yield Finding(
            check="schedule",
            severity="warning",
            saw=f"{log.name} follows a cosine that would take {short} more epoch{'s' if short > 1 else ''}; its last rate is "
            f"{rates[-1] / max(rates):.3f} of its highest.",
            means="the run ended before its schedule did: its last steps were larger than meant",
            do="make the schedule as long as the run",
        )


def returns(rates: Sequence[float]) -> int | None:
    """The place at which a rate, having fallen, is back where it was two epochs before."""
    for i in range(2, len(rates)):
        if rates[i - 1] < rates[i] and math.isclose(rates[i], rates[i - 2], rel_tol=1e-6):
            return i
    return None


def cosine_is_short(rates: Sequence[float]) -> int:
    """How many epochs a half cosine, taken once an epoch, had left; 0 where it came to its end, or is not such a cosine.

    Its angle grows by the same amount each epoch; over T epochs the last rate stands one such amount before the end.
    """
    peak = max(rates)
    if peak <= 0 or len(rates) < 4 or rates[0] != peak:
        return 0
    angles = [math.acos(min(max(2 * rate / peak - 1, -1), 1)) for rate in rates]
    steps = [b - a for a, b in pairwise(angles)]
    mean = sum(steps) / len(steps)
    if mean <= 0 or max(abs(step - mean) for step in steps) > 0.02 * mean:
        return 0
    return max(round((math.pi - angles[-1]) / mean) - 1, 0)


def look_at_script(script: Script) -> Iterator[Finding]:
    """A scheduler that is told an epoch; one ahead, or the share of one that is done, is what some of them ask for."""
    for name, call in script.calls():
        told = ast.unparse(call.func).lower()
        if name == "step" and call.args and "sched" in told and _is_epoch(call.args[0]):
            yield Finding(
                check="schedule",
                severity="fault",
                saw=f"{script.at(call)} steps its schedule with an epoch's number: {ast.unparse(call)}.",
                means="counted from another start than the loop's, every rate is late, and the last one is far from the end",
                do="scheduler.step(), once after each epoch",
            )


def _is_epoch(value: ast.expr) -> bool:
    """Whether a value is an epoch's number, or one that is less by something."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Sub):
        value = value.left
    return EPOCH.fullmatch(last_name(value)) is not None
