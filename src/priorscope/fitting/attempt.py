"""One run being carried out: it consumes the loop, evaluates on splits, chooses an epoch, saves, and writes what came out.

On several ranks each process makes an attempt, and all of them do the same at the same steps; the first one alone writes.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING

from priorscope.core import folder, layout
from priorscope.core.config import Plain
from priorscope.core.environment import Environment, Hardware, Learnt, write_environment
from priorscope.core.errors import RequestError, WorkError, first_line
from priorscope.core.machine import hardware, pick_device, ran_out, versions
from priorscope.core.stopping import AGAIN, Stopped, stopping
from priorscope.data.stamp import data_stamp
from priorscope.fitting.material import Material, first_model, record_of
from priorscope.recipe import Recipe
from priorscope.train import checkpoint, extension, loop
from priorscope.train.distributed import ALONE, Ranks, own_device
from priorscope.train.exporters import Exporters
from priorscope.train.init import InitialWeights
from priorscope.train.pace import Pace
from priorscope.train.precision import chosen_precision
from priorscope.train.schedule import LENGTHLESS, check_warmup, fall_begins
from priorscope.train.score import score

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.train.gradient import Gradient
    from priorscope.train.learner import Learner

SAVE_EVERY_SECONDS = 10.0
"""How often a run saves itself if saving is cheap."""
CHEAP_SECONDS = 0.2
"""A save that takes longer than this is made rarer in proportion, so that saving takes 2 % of a run at most."""
SHOW_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Status:
    """How far a run is, after every step.

    `row` is the epoch's line of `steps.jsonl`, at the end of an epoch; `pace` comes twice a second.
    """

    done: float
    images: int
    row: Plain | None = None
    pace: Pace | None = None


Watch = Callable[[Status], None]
"""Called after every step with how far the run is."""


class Attempt:
    """One run being carried out: consumes the loop, evaluates on splits, chooses an epoch, saves."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        key: str,
        *,
        init: InitialWeights | None = None,
        earlier: extension.Earlier | None = None,
        ranks: Ranks = ALONE,
        exporters: Sequence[str] = (),
    ) -> None:
        import torch

        from priorscope.train.budget import image_flops
        from priorscope.train.counters import Counters
        from priorscope.train.learner import Learner

        self.recipe, self.out, self.ranks = recipe, out, ranks
        device = own_device(pick_device(recipe.train.device), ranks)
        files = data_stamp(recipe.data.source)  # before they are opened: what changes later was not learnt from
        self.material = Material.of(recipe, ranks, device)
        self.loader = self.material.loader
        model = first_model(recipe, self.material.data, init)
        self.began_with = init.stamp if init else None
        self.network = record_of(model, self.material.data.classes)
        flops = image_flops(model, recipe.train, recipe.optim)
        self.step_flops = flops * self.loader.batch_size
        config = recipe.train.with_steps(self.step_flops)
        self.total = config.total(len(self.loader))
        check_warmup(recipe.optim, self.total, len(self.loader))
        self.snapshots = config.snapshots(len(self.loader), self.total)
        self.learner: Learner = Learner(model, config, recipe.optim, ranks, device)
        state = self._state(key, earlier)
        state.files = state.files or files
        state.precision = state.precision or chosen_precision(config.precision, torch.device(device))
        self.state, self.config = state, config.replace(precision=state.precision)
        self.gradient = self._gradient()
        self.counters = Counters(self.loader, self.config, flops, state, self.total)
        self.kept = state.position if state.position != loop.Position() else None
        self.unchecked: list[loop.Step] = []
        self.exporters = Exporters(exporters if ranks.first else (), out, recipe.plain(), state.history)

    def _state(self, key: str, earlier: extension.Earlier | None) -> checkpoint.RunState:
        """How far the run is: as its checkpoint says, as a shorter run left it, or at the beginning."""
        path = self.out / layout.CHECKPOINT
        state = checkpoint.load(path, key, self.learner.parts, self.ranks)
        if state.position == loop.Position() and self.ranks.first:  # what another run left here does not belong to this one
            shutil.rmtree(self.out / layout.SNAPSHOTS, ignore_errors=True)
            (self.out / layout.EXTEND).unlink(missing_ok=True)
        if earlier is not None and not path.exists():
            state = self._longer(earlier)
            state.key = key
        fingerprint = self.material.data.fingerprint
        if state.data not in (None, fingerprint):
            raise WorkError(
                f"The training data has changed since the run in {self.out} began: its fingerprint was {state.data}, and is"
                f" {fingerprint}.",
                "the data that it began with",
                f"put that data back, then {AGAIN}; or train anew in another folder",
            )
        state.data = fingerprint
        return state

    def _longer(self, earlier: extension.Earlier) -> checkpoint.RunState:
        """How far the shorter run is, which must be the beginning of this one; its snapshots are copied."""
        state = checkpoint.load(earlier.path / layout.EXTEND, earlier.key, self.learner.parts, self.ranks)
        if state.position == loop.Position():
            raise RequestError(
                f"The {layout.EXTEND} in {earlier.path} is not of the run there.",
                "the file that the run left",
                "train the longer run from its beginning",
            )
        per_epoch = len(self.loader)
        taken = state.steps(per_epoch)
        before = earlier.train.with_steps(self.step_flops).total(per_epoch)
        extension.check_rates(self.recipe.optim, taken, (before, self.total), per_epoch, earlier.path)
        for step in self.snapshots:
            if step <= taken and self.ranks.first:
                extension.take_over(layout.snapshot(earlier.path, step), layout.snapshot(self.out, step))
        return state

    def _gradient(self) -> Gradient:
        """The gradient function: compiled and split as in an earlier attempt, else as recipe and machine decide."""
        from priorscope.train.gradient import check_parts, has_batch_statistics

        if self.state.compiled is None:
            self.state.compiled = self._compiles()
        batch_size = self.loader.batch_size
        gradient = self.learner.gradient(self.config, batch_size, self.state.compiled)
        gradient.parts = self.state.in_parts or gradient.parts
        statistics = has_batch_statistics(self.learner.model, self.config)
        if self.learner.sharded or statistics:
            check_parts(batch_size, gradient.parts, self.ranks.size, statistics=statistics)
        return gradient

    def _compiles(self) -> bool:
        """Whether the steps are compiled: as the recipe says, or where that pays on this machine."""
        from priorscope.train.compilation import pays

        if self.config.compile != "auto":
            return self.config.compile == "always"
        left = self.total - self.state.steps(len(self.loader))
        return pays(self.learner.model, self.loader.batch(0, 0), self.config, left)

    def carry_out(self, watch: Watch) -> None:
        """Takes every step that is left, saving now and then; a signal saves and stops."""
        saved, pause = time.perf_counter(), SAVE_EVERY_SECONDS
        with stopping() as asked, closing(self.exporters):
            for step in self._steps():
                with self._naming_what_failed():
                    row = self._after(step)
                if row is not None:
                    self.exporters.row(row)
                done = 1.0 if self._is_stale() else (step.number + 1) / self.total
                watch(Status(done, step.images, row, self.counters.pace(step, SHOW_EVERY_SECONDS)))
                due = time.perf_counter() - saved > pause and self.ranks.first
                stop, save = self.ranks.any(bool(asked.number), due)
                if stop or save:
                    began = time.perf_counter()
                    self._save()
                    saved = time.perf_counter()
                    pause = SAVE_EVERY_SECONDS * max(1.0, (saved - began) / CHEAP_SECONDS)
                if done == 1:
                    return
                if stop:
                    where = f"{self.out} is saved after {done:.0%} of its steps"
                    raise Stopped(asked.number or SIGTERM, where, f"{AGAIN} goes on where it stopped")

    def _steps(self) -> Iterator[loop.Step]:
        """The steps that are left: none if the run had already stopped early."""
        if self._is_stale():
            return
        learner, recipe, state = self.learner, self.recipe, self.state
        with self._naming_what_failed():
            yield from loop.train(
                self.gradient,
                self.loader,
                learner.optimiser,
                recipe.optim,
                recipe.seed,
                state.position,
                history=state.history,
            )

    def _is_stale(self) -> bool:
        """Whether val has not improved for as many epochs as the recipe has patience."""
        patience = self.config.patience
        return patience is not None and self.state.epochs_without_gain() >= patience

    def _after(self, step: loop.Step) -> Plain | None:
        """What follows a step: it is counted and, at the end of an epoch, the network is evaluated."""
        self.state.count(step)
        self.state.in_parts = self.gradient.parts
        self.counters.count(step)
        self.unchecked.append(step)
        if self.learner.average:
            self.learner.average.follow(step.number)
        if step.number + 1 in self.snapshots:
            self._check()
            self._write_weights(layout.snapshot(self.out, step.number + 1), self.learner.weights())
        ends_epoch = step.next.step == 0
        if not ends_epoch:
            self._keep_extensible(step)  # before a row that a longer run would not have
        row = self._look(step) if step.ends else None
        if ends_epoch:
            self._keep_extensible(step)
        return row

    def _keep_extensible(self, step: loop.Step) -> None:
        """Saves the state from which a longer run can continue, if this is the step for it."""
        if self.recipe.optim.schedule in LENGTHLESS and step.number + 1 == self._falls_at():
            self._save(layout.EXTEND)

    def _falls_at(self) -> int:
        """How many steps a longer run would share with this one: up to where the learning rate begins to fall."""
        return fall_begins(self.recipe.optim, self.total, len(self.loader))

    def _look(self, step: loop.Step) -> Plain:
        """The end of an epoch: how the network does on the tracked splits, and whether it is the best on val so far."""
        state, judged = self.state, self.learner.judged
        self._check()
        row: Plain = {"epoch": step.at.epoch + 1, "step": step.number + 1, "train_loss": state.mean_loss(), "lr": step.lr}
        row |= self.counters.seen(step.number + 1)
        row |= {name: score(judged, split, self.ranks) for name, split in self.material.tracked.items()}
        if not math.isfinite(row["val"]["loss"]):
            raise loop.diverged(f"The loss on val became {row['val']['loss']}", step.at, self.kept)
        if self.config.adversarial is not None:
            from priorscope.train import adversarial

            row["robust"] = adversarial.look(judged, self.material.tracked["val"], self.config.adversarial, self.recipe.seed)
            row["robust"]["overfitted"] = adversarial.overfitted([*state.history, row])
        if self.gradient.parts != (self.config.accumulate or 1):
            row["parts"] = self.gradient.parts
        row["measured"] = self.counters.measured()
        row["seconds"] = round(self.counters.seconds, 3)
        state.end_epoch(row, self.learner.weights if self.config.choose == "best" else None)
        if self.ranks.first:
            folder.write_rows(self.out / layout.STEPS, state.history)
        return row

    def _check(self) -> None:
        """Stops a diverged run before anything is written of it."""
        loop.check_finite(self.unchecked, self.loader, self.kept, self.learner.is_finite())
        self.unchecked.clear()

    def _save(self, file: str = layout.CHECKPOINT) -> None:
        self._check()
        self.counters.keep()
        states = self.learner.states()
        if self.ranks.first:
            checkpoint.save(self.out / file, self.state, states)
        self.kept = self.state.position

    def _write_weights(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        from safetensors.torch import save as to_bytes

        if self.ranks.first:
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
        state, best = self.state, self.config.choose == "best" and self.config.trains
        chosen = state.best_epoch if best else len(state.history)
        weights = state.best_weights if best else self.learner.weights()
        if weights is None:
            raise WorkError(
                f"{self.out} chose no epoch.",
                "a finite validation loss in some epoch",
                "a smaller learning rate: --set optim.lr=...",
            )
        if self.ranks.first:
            folder.write_rows(self.out / layout.STEPS, state.history)
            self._write_weights(self.out / layout.WEIGHTS, weights)
            write_environment(self.out, self._environment(chosen))
            (self.out / layout.CHECKPOINT).unlink(missing_ok=True)
        self.ranks.wait()  # no rank reads the folder before it is complete

    def _environment(self, chosen: int) -> Environment:
        """The record of the run: where and with what it was carried out, and what it took."""
        state, data = self.state, self.material.data
        seen = self.counters.seen(state.steps(len(self.loader)))
        return Environment(
            key=state.key,
            data=Learnt(
                source=data.source,
                train=len(data),
                fingerprint=data.fingerprint,
                files=state.files,
                origin=self.material.origin,
                caveats=self.material.caveats,
            ),
            began_with=self.began_with,
            model=self.network,
            chosen_epoch=chosen,
            precision=state.precision,
            threads=self.config.threads,
            ranks=self.ranks.size,
            parts=self.gradient.parts,
            compiled=bool(state.compiled),
            seconds=round(self.counters.seconds, 3),
            joules=state.joules,
            images_seen=seen["images"],
            flops=seen["flops"],
            macs=seen["macs"],
            **versions(),
            hardware=Hardware(**hardware()),
        )
