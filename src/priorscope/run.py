"""A recipe carried out: `fit` trains it into a folder, `load` reads the folder back.

A run's folder is complete once `environment.json` stands in it: it is written last. Until then `checkpoint.pt` says where
to go on, and a second `fit` of the same recipe goes on there, bit for bit as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from priorscope.core import folder
from priorscope.core.config import Plain, content_key
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.machine import hardware, pick_device, versions
from priorscope.core.stopping import Stopped, stopping
from priorscope.data import SOURCES, augment
from priorscope.data import open as open_source
from priorscope.models import FAMILIES
from priorscope.recipe import Recipe
from priorscope.train import checkpoint, finetune, loop, optim

if TYPE_CHECKING:
    from priorscope.core.contracts import Result
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

RECIPE, MADE_FROM, ENVIRONMENT = "recipe.toml", "made_from.json", "environment.json"
STEPS, WEIGHTS, RESULTS = "steps.jsonl", "weights.safetensors", "results"
SAVE_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class Status:
    """How far a run is, told after every step; `row` is the epoch's line of `steps.jsonl`, at the end of an epoch."""

    done: float
    images: int
    row: Plain | None = None


Report = Callable[[Status], None]


class Run:
    """A finished run's folder: recipe, model, curves and results."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that was carried out."""
        return Recipe.load(self.path / RECIPE)

    @cached_property
    def environment(self) -> Plain:
        """Where and with what it was carried out."""
        return folder.read_json(self.path / ENVIRONMENT)

    @property
    def key(self) -> str:
        """What the weights are a function of."""
        return str(self.environment["key"])

    @cached_property
    def history(self) -> list[Plain]:
        """One row an epoch: loss, learning rate, accuracy on the tracked splits."""
        return folder.read_rows(self.path / STEPS)

    @cached_property
    def source(self) -> Source:
        """The data it was trained on."""
        return open_source(self.recipe.data.source)

    @cached_property
    def model(self) -> Classifier:
        """The trained classifier, in evaluation mode."""
        from priorscope.core.contracts import Statistics
        from priorscope.models import create

        shape = self.environment["model"]
        return create(
            self.recipe.model,
            image_size=shape["image_size"],
            num_classes=shape["num_classes"],
            statistics=Statistics.parse(shape["statistics"]) if shape["statistics"] else None,
            weights=self.path / WEIGHTS,
        ).eval()

    @cached_property
    def evidence(self) -> Evidence:
        """What the model says about splits, kept in the run's folder."""
        from priorscope.evidence import Evidence

        return Evidence(self.model, self.key, self.path / "evidence")

    @property
    def results(self) -> dict[str, list[Result]]:
        """The stored results by probe."""
        from priorscope.probes import load_results

        return load_results(self.path / RESULTS)


def load(path: Path | str) -> Run:
    """Opens a finished run's folder."""
    path = Path(path)
    if not (path / ENVIRONMENT).exists():
        found = "an unfinished run" if (path / RECIPE).exists() else "no run"
        raise RequestError(
            f"{path} holds {found}.", "the folder of a finished run", f"priorscope train RECIPE --out {path} --resume"
        )
    return Run(path)


def fit(recipe: Recipe, out: Path | str, *, report: Report = lambda _: None, init: Path | None = None) -> Run:
    """Carries out a recipe into a folder, going on where an earlier attempt stopped; a finished run is returned as it is.

    `init` is the run of the recipe that this one begins with (a study knows it). A folder of another recipe is refused.
    """
    out = Path(out)
    made_from = inputs(recipe, load(init).key if init else None)
    with folder.locked(out):
        folder.remove_leftovers(out)
        if (out / MADE_FROM).exists() and folder.read_json(out / MADE_FROM) != made_from:
            raise RequestError(
                f"{out} holds a run of another recipe.",
                "an empty folder, or a run of this recipe",
                "choose another folder with --out",
            )
        if not (out / ENVIRONMENT).exists():
            folder.write_text(out / RECIPE, recipe.toml())
            folder.write_json(out / MADE_FROM, made_from)
            fitting = _Fitting(recipe, out, content_key(made_from), init)
            fitting.carry_out(report)
            fitting.finish()
    return Run(out)


def inputs(recipe: Recipe, init_key: str | None) -> Plain:
    """Everything that a run's weights are a function of.

    The recipe, what it begins with, and the version of each part's numbers.
    """
    family, source = FAMILIES.load(recipe.model.family), SOURCES.load(recipe.data.source.name)
    return {
        "recipe": recipe.plain(),
        "init": init_key,
        "versions": {
            "training": loop.VERSION,
            "optimiser": optim.VERSION,
            "augmentation": _version(augment),
            f"family {recipe.model.family}": _version(family),
            f"source {recipe.data.source.name}": _version(source),
        },
    }


def _version(part: ModuleType) -> int:
    """The version of a part's numbers; 1 where they never changed."""
    return int(getattr(part, "VERSION", 1))


class _Fitting:
    """One run being carried out: consumes the loop, looks at splits, chooses, saves."""

    def __init__(self, recipe: Recipe, out: Path, key: str, init: Path | None) -> None:
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
        if recipe.init.kind != "scratch":
            _begin_with(self.model, _earlier_weights(recipe, init), recipe.seed)
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
            "model": _shape(self.model, self.data.classes),
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


def _earlier_weights(recipe: Recipe, init: Path | None) -> tuple[Path, int]:
    """The file of weights that a recipe begins with, and how many classes they tell apart."""
    if recipe.init.kind == "published":
        from priorscope.models.published import read_published

        path = Path(str(recipe.init.published))
        return path, read_published(path).num_classes
    earlier = load(init or str(recipe.init.run))
    return earlier.path / WEIGHTS, int(earlier.environment["model"]["num_classes"])


def _begin_with(model: Classifier, weights: tuple[Path, int], seed: int) -> None:
    """Puts earlier weights in, with their own normalisation; where they told other classes apart, the head is made anew."""
    from priorscope.models.classifier import load_weights

    path, before = weights
    classes = model.num_classes
    if before == classes:
        load_weights(model, path)
        return
    model.replace_head(before, seed)
    load_weights(model, path)
    model.replace_head(classes, seed)


def adopt(weights: Path | str, out: Path | str, data: str | None = None) -> Run:
    """Makes a run of zero steps of a published file of weights, so that every probe runs on it like on a run of ours.

    `data` names the source it was trained on, where the file's own name does not say.
    """
    from safetensors.torch import save as to_bytes

    from priorscope.models.published import read_published, trained_on

    path, out = Path(weights), Path(out)
    model = read_published(path)
    source = data or trained_on(path)
    if source is None:
        raise RequestError(f"{path.name} does not say what it was trained on.", "the name of a source", "add --data NAME")
    if model.config is None or model.statistics is None:
        raise RequestError(f"{path.name} is no model of a family.", "a published file", "priorscope models list")
    init = {"kind": "published", "published": str(path)}
    recipe = Recipe.of({"data": {"source": source}, "model": model.config, "init": init, "train": {"epochs": 0}})
    with folder.locked(out):
        if (out / RECIPE).exists():
            raise RequestError(f"{out} holds a run already.", "an empty folder", "choose another folder with --out")
        made_from = {"weights": hashlib.sha256(path.read_bytes()).hexdigest()}
        folder.write_text(out / RECIPE, recipe.toml())
        folder.write_json(out / MADE_FROM, made_from)
        folder.write_rows(out / STEPS, [])
        folder.write_bytes(out / WEIGHTS, to_bytes({name: value.contiguous() for name, value in model.state_dict().items()}))
        environment = {
            "key": content_key(made_from),
            "data": {"source": source},
            "model": _shape(model, ()),
            "chosen_epoch": 0,
            "threads": recipe.train.threads,
            "images_seen": 0,
            **versions(),
        }
        folder.write_json(out / ENVIRONMENT, environment)
    return Run(out)


def _shape(model: Classifier, classes: tuple[str, ...]) -> Plain:
    """What is needed beside the recipe to build a model again."""
    statistics = model.statistics
    return {
        "image_size": model.image_size,
        "num_classes": model.num_classes,
        "classes": classes,
        "statistics": statistics.plain() if statistics else None,
        "parameters": model.parameter_count(),
    }
