"""One run being carried out: it consumes the loop, looks at splits, chooses an epoch, saves, and writes what came out.

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
from priorscope.core.machine import hardware, pick_device, versions
from priorscope.core.stopping import AGAIN, Stopped, stopping
from priorscope.data.stamp import data_stamp
from priorscope.fitting.material import Material, first_model, network_of
from priorscope.recipe import Recipe
from priorscope.train import checkpoint, extension, loop
from priorscope.train.distributed import ALONE, Ranks, own_device
from priorscope.train.exporters import Exporters
from priorscope.train.pace import Pace
from priorscope.train.precision import settled
from priorscope.train.schedule import LENGTHLESS, fall_begins
from priorscope.train.score import score
from priorscope.train.start import Start

if TYPE_CHECKING:
    from torch import Tensor

    from priorscope.train.gradient import Gradient
    from priorscope.train.learner import Learner
    from priorscope.train.precision import Precision

SAVE_EVERY_SECONDS = 10.0
SHOW_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Status:
    """How far a run is, told after every step.

    `row` is the epoch's line of `steps.jsonl`, at the end of an epoch; `pace` comes twice a second.
    """

    done: float
    images: int
    row: Plain | None = None
    pace: Pace | None = None


Report = Callable[[Status], None]


class Attempt:
    """One run being carried out: consumes the loop, looks at splits, chooses, saves."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        key: str,
        *,
        start: Start | None = None,
        earlier: extension.Earlier | None = None,
        ranks: Ranks = ALONE,
        exporters: Sequence[str] = (),
    ) -> None:
        from priorscope.train.budget import image_flops
        from priorscope.train.counters import Counters
        from priorscope.train.learner import Learner

        self.recipe, self.out, self.ranks = recipe, out, ranks
        device = own_device(pick_device(recipe.train.device), ranks)
        files = data_stamp(recipe.data.source)  # before they are opened: what changes later was not learnt from
        self.material = Material.of(recipe, ranks, device)
        self.loader = self.material.loader
        model = first_model(recipe, self.material.data, start)
        self.began_with = start.stamp if start else None
        self.network = network_of(model, self.material.data.classes)
        flops = image_flops(model, recipe.train, recipe.optim)
        self.step_flops = flops * self.loader.batch_size
        self.config = recipe.train.settled(self.step_flops)
        self.total = self.config.total(len(self.loader))
        self.learner: Learner = Learner(model, self.config, recipe.optim, ranks, device)
        self.progress = self._progress(key, earlier)
        self.progress.files = self.progress.files or files
        self.config = self.config.replace(precision=self._precision())
        self.gradient = self._gradient()
        self.counters = Counters(self.loader, self.config, flops, self.progress, self.total)
        self.kept = self.progress.position if self.progress.position != loop.Position() else None
        self.unchecked: list[loop.Step] = []
        self.snapshots = self.config.snapshots(len(self.loader), self.total)
        self.exporters = Exporters(exporters if ranks.first else (), out, recipe.plain(), self.progress.history)

    def _progress(self, key: str, earlier: extension.Earlier | None) -> checkpoint.Progress:
        """How far the run is: where its checkpoint stands, where a shorter run of the same kind ended, or at the beginning."""
        path = self.out / layout.CHECKPOINT
        progress = checkpoint.load(path, key, self.learner.parts)
        if progress.position == loop.Position() and self.ranks.first:  # what another run left here is not of this one
            shutil.rmtree(self.out / layout.SNAPSHOTS, ignore_errors=True)
            (self.out / layout.EXTEND).unlink(missing_ok=True)
        if earlier is not None and not path.exists():
            progress = self._longer(earlier)
            progress.key = key
        fingerprint = self.material.data.fingerprint
        if progress.data not in (None, fingerprint):
            raise WorkError(
                f"The training data has changed since the run in {self.out} began: its fingerprint was {progress.data}, and is"
                f" {fingerprint}.",
                "the data that it began with",
                f"put that data back, then {AGAIN}; or train anew in another folder",
            )
        progress.data = fingerprint
        return progress

    def _longer(self, earlier: extension.Earlier) -> checkpoint.Progress:
        """How far the shorter run is, which must be the beginning of this one; its snapshots are taken over."""
        progress = checkpoint.load(earlier.path / layout.EXTEND, earlier.key, self.learner.parts)
        if progress.position == loop.Position():
            raise RequestError(
                f"The {layout.EXTEND} in {earlier.path} is not of the run there.",
                "the file that the run left",
                "train the longer run from its beginning",
            )
        per_epoch = len(self.loader)
        taken = progress.steps(per_epoch)
        before = earlier.train.settled(self.step_flops).total(per_epoch)
        extension.check_rates(self.recipe.optim, taken, (before, self.total), per_epoch, earlier.path)
        for step in self.config.snapshots(per_epoch, self.total):
            if step <= taken and self.ranks.first:
                extension.take_over(layout.snapshot(earlier.path, step), layout.snapshot(self.out, step))
        return progress

    def _precision(self) -> Precision:
        """As an earlier attempt began with it, or as this machine chooses."""
        import torch

        progress = self.progress
        progress.precision = progress.precision or settled(self.config.precision, torch.device(self.learner.device))
        return progress.precision

    def _gradient(self) -> Gradient:
        """What makes the steps: as an earlier attempt came to make them, or as the recipe and this machine will have it."""
        from priorscope.train.gradient import check_parts, has_batch_statistics

        progress, batch_size = self.progress, self.loader.batch_size
        if progress.compiled is None:
            from priorscope.train.compilation import pays

            progress.compiled = self.config.compile == "always" or (
                self.config.compile == "auto"
                and pays(
                    self.learner.model, self.loader.batch(0, 0), self.config, self.total - progress.steps(len(self.loader))
                )
            )
        gradient = self.learner.gradient(self.config, batch_size, progress.compiled)
        gradient.parts = progress.in_parts or gradient.parts
        statistics = has_batch_statistics(self.learner.model, self.config)
        if self.learner.sharded or statistics:
            check_parts(batch_size, gradient.parts, self.ranks.size, statistics=statistics)
        return gradient

    def carry_out(self, report: Report) -> None:
        """Takes every step that is left, saving now and then; a signal saves and stops."""
        saved = time.perf_counter()
        with stopping() as asked, closing(self.exporters):
            for step in self._steps():
                with self._naming_what_failed():
                    row = self._after(step)
                if row is not None:
                    self.exporters.row(row)
                done = 1.0 if self._is_stale() else (step.number + 1) / self.total
                report(Status(done, step.images, row, self.counters.pace(step, SHOW_EVERY_SECONDS)))
                due = time.perf_counter() - saved > SAVE_EVERY_SECONDS and self.ranks.first
                stop, save = self.ranks.any(bool(asked.number), due)
                if stop or save:
                    self._save()
                    saved = time.perf_counter()
                if done == 1:
                    return
                if stop:
                    where = f"{self.out} is saved after {done:.0%} of its steps"
                    raise Stopped(asked.number or SIGTERM, where, f"{AGAIN} goes on where it stopped")

    def _steps(self) -> Iterator[loop.Step]:
        """The steps that are left: none where the run had stopped early already."""
        if self._is_stale():
            return
        learner, recipe, progress = self.learner, self.recipe, self.progress
        with self._naming_what_failed():
            yield from loop.train(
                learner.model,
                self.loader,
                learner.optimiser,
                learner.scaler,
                self.config,
                recipe.optim,
                recipe.seed,
                progress.position,
                history=progress.history,
                gradient=self.gradient,
            )

    def _is_stale(self) -> bool:
        """Whether val has not been better for as many epochs as the recipe has patience."""
        patience = self.config.patience
        return patience is not None and self.progress.epochs_without_gain() >= patience

    def _after(self, step: loop.Step) -> Plain | None:
        """What follows a step: everything is noted, and looked at where an epoch ends."""
        self.progress.count(step)
        self.progress.in_parts = self.gradient.parts
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
        """Saves the place from which a longer run can go on, where this step is it."""
        if self.recipe.optim.schedule in LENGTHLESS and step.number + 1 == self._falls_at():
            self._save(layout.EXTEND)

    def _falls_at(self) -> int:
        """Up to which step the run would be the same if it were longer."""
        return fall_begins(self.recipe.optim, self.total, len(self.loader))

    def _look(self, step: loop.Step) -> Plain:
        """The end of an epoch: how the network does on the tracked splits, and whether val likes it best so far."""
        progress, judged = self.progress, self.learner.judged
        self._check()
        row: Plain = {"epoch": step.at.epoch + 1, "step": step.number + 1, "train_loss": progress.mean_loss(), "lr": step.lr}
        row |= self.counters.seen(step.number + 1)
        row |= {name: score(judged, split, self.ranks) for name, split in self.material.looked_at.items()}
        if not math.isfinite(row["val"]["loss"]):
            raise loop.diverged(f"The loss on val became {row['val']['loss']}", step.at, self.kept)
        if self.config.adversarial is not None:
            from priorscope.train import adversarial

            row["robust"] = adversarial.look(judged, self.material.looked_at["val"], self.config.adversarial, self.recipe.seed)
            row["robust"]["overfitted"] = adversarial.overfitted([*progress.history, row])
        if self.gradient.parts != (self.config.accumulate or 1):
            row["parts"] = self.gradient.parts
        row["measured"] = self.counters.measured()
        row["seconds"] = round(self.counters.seconds, 3)
        progress.end_epoch(row, self.learner.weights if self.config.choose == "best" else None)
        if self.ranks.first:
            folder.write_rows(self.out / layout.STEPS, progress.history)
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
            checkpoint.save(self.out / file, self.progress, states)
        self.kept = self.progress.position

    def _write_weights(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        from safetensors.torch import save as to_bytes

        if self.ranks.first:
            folder.write_bytes(path, to_bytes(dict(weights)))

    @contextmanager
    def _naming_what_failed(self) -> Iterator[None]:
        """Says in our words that pictures cannot be read any more, or that memory ran out, and where the run goes on."""
        from priorscope.train.gradient import ran_out

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
        progress, best = self.progress, self.config.choose == "best" and self.config.trains
        chosen = progress.best_epoch if best else len(progress.history)
        weights = progress.best_weights if best else self.learner.weights()
        if weights is None:
            raise WorkError(
                f"{self.out} chose no epoch.",
                "a finite validation loss in some epoch",
                "a smaller learning rate: --set optim.lr=...",
            )
        if self.ranks.first:
            folder.write_rows(self.out / layout.STEPS, progress.history)
            self._write_weights(self.out / layout.WEIGHTS, weights)
            write_environment(self.out, self._environment(chosen))
            (self.out / layout.CHECKPOINT).unlink(missing_ok=True)
        self.ranks.any(True)  # no rank reads the folder before it is complete

    def _environment(self, chosen: int) -> Environment:
        """Where and with what the run was carried out, and what it took."""
        progress, data = self.progress, self.material.data
        seen = self.counters.seen(progress.steps(len(self.loader)))
        return Environment(
            key=progress.key,
            data=Learnt(
                source=data.source,
                train=len(data),
                fingerprint=data.fingerprint,
                files=progress.files,
                origin=self.material.origin,
                caveats=self.material.caveats,
            ),
            began_with=self.began_with,
            model=self.network,
            chosen_epoch=chosen,
            precision=progress.precision,
            threads=self.config.threads,
            ranks=self.ranks.size,
            parts=self.gradient.parts,
            compiled=bool(progress.compiled),
            seconds=round(self.counters.seconds, 3),
            joules=progress.joules,
            images_seen=seen["images"],
            flops=seen["flops"],
            macs=seen["macs"],
            **versions(),
            hardware=Hardware(**hardware()),
        )
