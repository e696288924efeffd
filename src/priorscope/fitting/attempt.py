"""One run being carried out: it consumes the loop, evaluates on splits, chooses an epoch, saves, and writes what came out.

On several ranks each process makes an attempt, and all of them do the same at the same steps; the first one alone writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING

from priorscope.core import folder, layout
from priorscope.core.environment import Environment, Hardware, Learnt, write_environment
from priorscope.core.epoch import Epoch, write_history
from priorscope.core.errors import WorkError, first_line
from priorscope.core.machine import hardware, ran_out, versions
from priorscope.core.progress import Rhythm
from priorscope.core.stopping import AGAIN, Stopped, stopping
from priorscope.fitting.setup import Setup
from priorscope.train import checkpoint, loop
from priorscope.train.exporters import Exporters
from priorscope.train.pace import Pace
from priorscope.train.schedule import LENGTHLESS, fall_begins
from priorscope.train.score import score

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.train.gradient import Gradient

SAVE_EVERY_SECONDS = 10.0
"""How often a run saves itself if saving is cheap."""
CHEAP_SECONDS = 0.2
"""A save that takes longer than this is made rarer in proportion, so that saving takes 2 % of a run at most."""
SHOW_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Status:
    """How far a run is, after every step.

    `ended` is the epoch that ended with this step, if one did; `pace` comes twice a second.
    """

    done: float
    images: int
    ended: Epoch | None = None
    pace: Pace | None = None


Watch = Callable[[Status], None]
"""Called after every step with how far the run is."""


class Attempt:
    """One run being carried out: consumes the loop, evaluates on splits, chooses an epoch, saves."""

    def __init__(self, setup: Setup, state: checkpoint.RunState, exporters: Sequence[str] = ()) -> None:
        from priorscope.train.counters import Counters

        self.setup, self.state = setup, state
        self.config = setup.config.replace(precision=state.precision)
        self.gradient = self._gradient()
        self.counters = Counters(setup.loader, self.config, setup.image_flops, state, setup.total)
        self.kept = state.position if state.position != loop.Position() else None
        self.unchecked: list[loop.Step] = []
        self.exporters = Exporters(exporters if setup.ranks.first else (), setup.out, setup.recipe.plain(), state.history)

    def _gradient(self) -> Gradient:
        """The gradient function, its batches split as in an earlier attempt, or else as recipe and machine decide."""
        from priorscope.train.gradient import check_parts, has_batch_statistics

        learner, batch_size = self.setup.learner, self.setup.loader.batch_size
        gradient = learner.gradient(self.config, batch_size, bool(self.state.compiled))
        gradient.parts = self.state.in_parts or gradient.parts
        statistics = has_batch_statistics(learner.model, self.config)
        if learner.sharded or statistics:
            check_parts(batch_size, gradient.parts, self.setup.ranks.size, statistics=statistics)
        return gradient

    def carry_out(self, watch: Watch) -> None:
        """Takes every step that is left, saving now and then; a signal saves and stops."""
        rhythm = Rhythm(SAVE_EVERY_SECONDS, CHEAP_SECONDS)
        with stopping() as asked, closing(self.exporters):
            for step in self._steps():
                with self._naming_what_failed():
                    ended = self._after(step)
                if ended is not None:
                    self.exporters.epoch(ended)
                done = 1.0 if self._is_stale() else (step.number + 1) / self.setup.total
                watch(Status(done, step.images, ended, self.counters.pace(step, SHOW_EVERY_SECONDS)))
                stop, save = self.setup.ranks.any(bool(asked.number), rhythm.due and self.setup.ranks.first)
                if stop or save:
                    with rhythm.save():
                        self._save()
                if done == 1:
                    return
                if stop:
                    where = f"{self.setup.out} is saved after {done:.0%} of its steps"
                    raise Stopped(asked.number or SIGTERM, where, f"{AGAIN} goes on where it stopped")

    def _steps(self) -> Iterator[loop.Step]:
        """The steps that are left: none if the run had already stopped early."""
        if self._is_stale():
            return
        setup, state = self.setup, self.state
        with self._naming_what_failed():
            yield from loop.train(
                self.gradient,
                setup.loader,
                setup.learner.optimiser,
                setup.recipe.optim,
                setup.recipe.seed,
                state.position,
                history=state.history,
            )

    def _is_stale(self) -> bool:
        """Whether val has not improved for as many epochs as the recipe has patience."""
        patience = self.config.patience
        return patience is not None and self.state.epochs_without_gain() >= patience

    def _after(self, step: loop.Step) -> Epoch | None:
        """What follows a step: it is counted and, at the end of an epoch, the network is evaluated."""
        self.state.count(step)
        self.state.in_parts = self.gradient.parts
        self.counters.count(step)
        self.unchecked.append(step)
        if self.setup.learner.average:
            self.setup.learner.average.follow(step.number)
        if step.number + 1 in self.setup.snapshots:
            self._check()
            self._write_weights(layout.snapshot(self.setup.out, step.number + 1), self.setup.learner.weights())
        ends_epoch = step.next.step == 0
        if not ends_epoch:
            self._keep_extensible(step)  # before an epoch that a longer run would not have
        ended = self._look(step) if step.ends else None
        if ends_epoch:
            self._keep_extensible(step)
        return ended

    def _keep_extensible(self, step: loop.Step) -> None:
        """Saves the state from which a longer run can continue, if this is the step for it."""
        if self.setup.recipe.optim.schedule in LENGTHLESS and step.number + 1 == self._falls_at():
            self._save(layout.EXTEND)

    def _falls_at(self) -> int:
        """How many steps a longer run would share with this one: up to where the learning rate begins to fall."""
        setup = self.setup
        return fall_begins(setup.recipe.optim, setup.total, len(setup.loader))

    def _look(self, step: loop.Step) -> Epoch:
        """The end of an epoch: how the network does on the tracked splits, and whether it is the best on val so far."""
        setup, state, config = self.setup, self.state, self.config
        judged, val = setup.learner.judged, setup.material.tracked["val"]
        self._check()
        scores = {name: score(judged, split, setup.ranks) for name, split in setup.material.tracked.items()}
        if not math.isfinite(scores["val"].loss):
            raise loop.diverged(f"The loss on val became {scores['val'].loss}", step.at, self.kept)
        robust = None
        if config.adversarial is not None:
            from priorscope.train import adversarial

            robust = adversarial.look(judged, val, config.adversarial, setup.recipe.seed, state.history)
        seen = self.counters.seen(step.number + 1)
        epoch = Epoch(
            epoch=step.at.epoch + 1,
            step=step.number + 1,
            lr=step.lr,
            train_loss=state.mean_loss(),
            robust=robust,
            parts=self.gradient.parts if self.gradient.parts != (config.accumulate or 1) else None,
            measured=self.counters.measured(),
            seconds=round(self.counters.seconds, 3),
            images=seen.images,
            flops=seen.flops,
            macs=seen.macs,
            **scores,
        )
        state.end_epoch(epoch, setup.learner.weights if config.choose == "best" else None)
        if setup.ranks.first:
            write_history(setup.out, state.history)
        return epoch

    def _check(self) -> None:
        """Stops a diverged run before anything is written of it."""
        loop.check_finite(self.unchecked, self.setup.loader, self.kept, self.setup.learner.is_finite())
        self.unchecked.clear()

    def _save(self, file: str = layout.CHECKPOINT) -> None:
        self._check()
        self.counters.keep()
        states = self.setup.learner.states()
        if self.setup.ranks.first:
            checkpoint.save(self.setup.out / file, self.state, states)
        self.kept = self.state.position

    def _write_weights(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        from safetensors.torch import save as to_bytes

        if self.setup.ranks.first:
            folder.write_bytes(path, to_bytes(dict(weights)))

    @contextmanager
    def _naming_what_failed(self) -> Iterator[None]:
        """Says in our words that pictures cannot be read any more, or that memory ran out, and where the run resumes."""
        kept = f"{AGAIN} goes on from the last checkpoint"
        try:
            yield
        except OSError as error:
            raise WorkError(
                f"The pictures cannot be read any more: {error}.", "the data where it was", f"put it back: {kept}"
            ) from error
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            raise WorkError(
                f"Memory ran out: {first_line(error)}.",
                "room for the network and a batch",
                f"train.accumulate = 2, or free memory: {kept}",
            ) from error

    def finish(self) -> None:
        """Writes what came out; `environment.json` last, because it says that the rest is complete."""
        setup, state = self.setup, self.state
        best = self.config.choose == "best" and self.config.trains
        chosen = state.best_epoch if best else len(state.history)
        weights = state.best_weights if best else setup.learner.weights()
        if weights is None:
            raise WorkError(
                f"{setup.out} chose no epoch.",
                "a finite validation loss in some epoch",
                "a smaller learning rate: --set optim.lr=...",
            )
        if setup.ranks.first:
            write_history(setup.out, state.history)
            self._write_weights(setup.out / layout.WEIGHTS, weights)
            write_environment(setup.out, self._environment(chosen))
            (setup.out / layout.CHECKPOINT).unlink(missing_ok=True)
        setup.ranks.wait()  # no rank reads the folder before it is complete

    def _environment(self, chosen: int) -> Environment:
        """The record of the run: where and with what it was carried out, and what it took."""
        setup, state, data = self.setup, self.state, self.setup.material.data
        seen = self.counters.seen(state.steps(len(setup.loader)))
        return Environment(
            key=state.key,
            data=Learnt(
                source=data.source,
                train=len(data),
                fingerprint=data.fingerprint,
                files=state.files,
                origin=setup.material.origin,
                caveats=setup.material.caveats,
            ),
            began_with=setup.began_with,
            model=setup.network,
            chosen_epoch=chosen,
            precision=state.precision,
            threads=self.config.threads,
            ranks=setup.ranks.size,
            parts=self.gradient.parts,
            compiled=bool(state.compiled),
            seconds=round(self.counters.seconds, 3),
            joules=state.joules,
            images_seen=seen.images,
            flops=seen.flops,
            macs=seen.macs,
            **versions(),
            hardware=Hardware(**hardware()),
        )
