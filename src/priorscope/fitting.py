"""One run being carried out: it consumes the loop, looks at splits, chooses an epoch, saves, and writes what came out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope.core import folder
from priorscope.core.config import Plain
from priorscope.core.errors import WorkError
from priorscope.core.machine import hardware, pick_device, versions
from priorscope.core.stopping import Stopped, stopping
from priorscope.data import open as open_source
from priorscope.recipe import Recipe
from priorscope.train import checkpoint, finetune, loop, optim
from priorscope.train.start import Start, begin_with

if TYPE_CHECKING:
    from priorscope.data.split import Source, Split
    from priorscope.models.classifier import Classifier

ENVIRONMENT, STEPS, WEIGHTS = "environment.json", "steps.jsonl", "weights.safetensors"
SAVE_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class Status:
    """How far a run is, told after every step; `row` is the epoch's line of `steps.jsonl`, at the end of an epoch."""

    done: float
    images: int
    row: Plain | None = None


Report = Callable[[Status], None]


class Fitting:
    """One run being carried out: consumes the loop, looks at splits, chooses, saves."""

    def __init__(self, recipe: Recipe, out: Path, key: str, start: Start | None) -> None:
        import torch

        from priorscope.data.loader import Loader
        from priorscope.models import create
        from priorscope.train.ema import Average

        torch.set_num_threads(recipe.train.threads)
        self.recipe, self.out = recipe, out
        source = open_source(recipe.data.source)
        self.told: Plain = {"origin": source.origin, "caveats": source.caveats}
        data = source.split("train")
        if recipe.data.subset is not None:
            data = data.subset(recipe.data.subset)
        self.data = data
        self.looked_at = {name: _looked_at(source, data, name, recipe) for name in dict.fromkeys(("val", *recipe.train.track))}
        device = pick_device(recipe.train.device)
        self.model = create(
            recipe.model,
            image_size=data.image_size,
            num_classes=len(data.classes),
            statistics=data.statistics,
            seed=recipe.seed,
        )
        if start is not None:
            begin_with(self.model, start, recipe.seed)
        self.model.to(device)
        finetune.freeze(self.model, recipe.train.finetune)
        self.optimiser = optim.make_optimiser(self.model, recipe.optim, recipe.train.finetune)
        self.scaler = loop.make_scaler(recipe.train.precision, torch.device(device))
        self.average = None if recipe.train.ema is None else Average(self.model, recipe.train.ema)
        self.judged = self.average.model if self.average else self.model
        self.loader = Loader(
            data,
            batch_size=min(recipe.train.batch_size, len(data)),
            augment=recipe.data.augment,
            seed=recipe.seed,
            device=device,
            shuffle=True,
            partial="drop",
            threads=recipe.train.threads,
        )
        self.parts: dict[str, checkpoint.Stateful] = {
            "model": self.model,
            "optimiser": self.optimiser,
            "scaler": self.scaler,
            **({"average": self.average} if self.average else {}),
        }
        self.progress = checkpoint.load(out / checkpoint.FILE, key, self.parts)
        self.kept = self.progress.position if self.progress.position != loop.Position() else None
        self.unchecked: list[loop.Step] = []
        self.began = time.perf_counter() - self.progress.seconds

    def carry_out(self, report: Report) -> None:
        """Takes every step that is left, saving now and then; a signal saves and stops."""
        progress, total = self.progress, self.recipe.train.total(len(self.loader))
        saved = time.perf_counter()
        with stopping() as asked:
            for step in self._steps():
                progress.count(step)
                self.unchecked.append(step)
                if self.average:
                    self.average.follow(step.number)
                row = self._look(step) if step.ends else None
                done = 1.0 if self._is_stale() else (step.number + 1) / total
                report(Status(done, step.images, row))
                if asked.number or time.perf_counter() - saved > SAVE_EVERY_SECONDS:
                    self._save()
                    saved = time.perf_counter()
                if done == 1:
                    return
                if asked.number:
                    where = f"{self.out} is saved after {done:.0%} of its steps"
                    raise Stopped(asked.number, where, "the same command again goes on where it stopped")

    def _steps(self) -> Iterator[loop.Step]:
        """The steps that are left: none where the run had stopped early already."""
        if self._is_stale():
            return iter(())
        recipe, start = self.recipe, self.progress.position
        return loop.train(self.model, self.loader, self.optimiser, self.scaler, recipe.train, recipe.optim, recipe.seed, start)

    def _is_stale(self) -> bool:
        """Whether val has not been better for as many epochs as the recipe has patience."""
        patience = self.recipe.train.patience
        return patience is not None and self.progress.epochs_without_gain() >= patience

    def _look(self, step: loop.Step) -> Plain:
        """The end of an epoch: how the network does on the tracked splits, and whether val likes it best so far."""
        progress = self.progress
        self._check()
        row: Plain = {"epoch": step.at.epoch + 1, "step": step.number + 1, "train_loss": progress.mean_loss(), "lr": step.lr}
        row["images"] = (step.number + 1) * self.loader.batch_size
        row |= {name: _score(self.judged, split) for name, split in self.looked_at.items()}
        if not math.isfinite(row["val"]["loss"]):
            raise loop.diverged(f"The loss on val became {row['val']['loss']}", step.at, self.kept)
        row["seconds"] = round(time.perf_counter() - self.began, 3)
        progress.end_epoch(row, self.judged if self.recipe.train.choose == "best" else None)
        folder.write_rows(self.out / STEPS, progress.history)
        return row

    def _check(self) -> None:
        """Stops a diverged run before anything is written of it."""
        loop.check_finite(self.unchecked, self.loader, self.kept)
        self.unchecked.clear()

    def _save(self) -> None:
        self._check()
        self.progress.seconds = time.perf_counter() - self.began
        checkpoint.save(self.out / checkpoint.FILE, self.progress, self.parts)
        self.kept = self.progress.position

    def finish(self) -> None:
        """Writes what came out; `environment.json` last, because it says that the rest is complete."""
        from safetensors.torch import save as to_bytes

        progress, recipe = self.progress, self.recipe
        chosen = progress.best_epoch if recipe.train.choose == "best" else len(progress.history)
        weights = progress.best_weights if recipe.train.choose == "best" else self.judged.state_dict()
        if weights is None:
            raise WorkError(
                f"{self.out} chose no epoch.",
                "a finite validation loss in some epoch",
                "a smaller learning rate: --set optim.lr=...",
            )
        folder.write_rows(self.out / STEPS, progress.history)
        folder.write_bytes(self.out / WEIGHTS, to_bytes({name: value.cpu().contiguous() for name, value in weights.items()}))
        environment = {
            "key": progress.key,
            "data": {"source": self.data.source, "train": len(self.data), "fingerprint": self.data.fingerprint, **self.told},
            "model": shape_of(self.model, self.data.classes),
            "chosen_epoch": chosen,
            "threads": recipe.train.threads,
            "seconds": round(time.perf_counter() - self.began, 3),
            "images_seen": progress.history[-1]["images"] if progress.history else 0,
            **versions(),
            "hardware": hardware(),
        }
        folder.write_json(self.out / ENVIRONMENT, environment)
        (self.out / checkpoint.FILE).unlink(missing_ok=True)


def _looked_at(source: Source, data: Split, name: str, recipe: Recipe) -> Split:
    """A split to evaluate after each epoch.

    The training data itself un-augmented, val whole, any other up to `track_images`.
    """
    split = data if name == "train" else source.split(name)
    most = recipe.train.track_images
    return split if name == "val" or len(split) <= most else split.subset(most)


def _score(model: Classifier, split: Split) -> Plain:
    """Loss and accuracy of the network as it is, in evaluation mode, un-augmented."""
    from priorscope.core.metrics import log_loss, top_k_correct
    from priorscope.evidence import LOGITS, answers

    logits = answers(model, split, [LOGITS])[LOGITS]
    loss, correct = log_loss(logits, split.labels), top_k_correct(logits, split.labels)
    return {"loss": float(loss.mean()), "accuracy": float(correct.mean()), "n": len(split)}


def shape_of(model: Classifier, classes: tuple[str, ...]) -> Plain:
    """What is needed beside the recipe to build a model again."""
    statistics = model.statistics
    return {
        "image_size": model.image_size,
        "num_classes": model.num_classes,
        "classes": classes,
        "statistics": statistics.plain() if statistics else None,
        "parameters": model.parameter_count(),
    }
