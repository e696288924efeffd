"""A finished run: its folder read back as recipe, network, curves and results."""

from __future__ import annotations

import shlex
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorscope.core import folder, layout
from priorscope.core.config import content_key
from priorscope.core.environment import Environment, read_environment
from priorscope.core.epoch import Epoch, read_history
from priorscope.core.errors import RequestError
from priorscope.data import open as open_source
from priorscope.recipe import Recipe

if TYPE_CHECKING:
    from priorscope.core.contracts import About, Result
    from priorscope.core.notebook import Shown
    from priorscope.data.split import Source
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

CARD = "README.md"
"""The model card of an exported run."""


class Run:
    """A finished run's folder: recipe, model, curves and results."""

    def __init__(self, path: Path, device: str | None = None) -> None:
        self.path = path
        self.device = device
        """Where somebody has put it: there its model computes, and there it is looked at."""

    def on(self, device: str) -> Run:
        """The same run, whose model computes on a device: `run.on("cuda")`."""
        return self if self._is_on(device) else Run(self.path, device)

    def _is_on(self, device: str) -> bool:
        """Whether it was put on a device, and nobody has moved its model since."""
        model: Classifier | None = self.__dict__.get("model")
        return device == (self.device or "cpu") and (model is None or str(model.device).startswith(device))

    def __fspath__(self) -> str:
        """The run's folder, so that a run may be given wherever the path of one is wanted."""
        return str(self.path)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name  # `.` has none

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that was carried out."""
        return Recipe.load(self.path / layout.RECIPE)

    @cached_property
    def environment(self) -> Environment:
        """The record of the run: where and with what it was carried out, and what it took."""
        return read_environment(self.path)

    @property
    def key(self) -> str:
        """The run's key: a hash of everything that the weights are a function of."""
        return self.environment.key

    @cached_property
    def history(self) -> list[Epoch]:
        """Its epochs: loss, learning rate, scores on the tracked splits, what had been taken by then."""
        return read_history(self.path)

    @cached_property
    def snapshots(self) -> tuple[int, ...]:
        """After how many steps weights were kept; `at` returns the run as it was then."""
        return tuple(layout.snapshots(self.path))

    def at(self, *, step: int | None = None, epoch: int | None = None) -> Snapshot:
        """The run as it was after some steps or epochs, if a snapshot was kept (`train.keep`)."""
        if (step is None) == (epoch is None):
            raise RequestError("run.at wants one place.", "a step or an epoch", "run.at(epoch=3)")
        if epoch is not None:
            step = next((one.step for one in self.history if one.epoch == epoch), -1)
        if step is None or step not in self.snapshots:
            kept = ", ".join(map(str, self.snapshots))
            raise RequestError(
                f"{self.path} keeps no snapshot after {f'epoch {epoch}' if epoch is not None else f'{step} steps'}.",
                f"after one of: {kept} steps" if kept else "a run with train.keep",
                f"run.at(step={self.snapshots[-1]})" if kept else "train.keep = 5 in its recipe, and train it",
            )
        return Snapshot(self.path, step, self.device)

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.path / layout.WEIGHTS

    @cached_property
    def source(self) -> Source:
        """The data it was trained on."""
        return open_source(self.recipe.data.source)

    @cached_property
    def model(self) -> Classifier:
        """The trained classifier, in evaluation mode."""
        from priorscope.models import create

        network = self.environment.network
        if not self.weights.exists():
            again = ("train", str(self.path / layout.RECIPE), "--out", str(self.path))
            raise RequestError(
                f"The run {self.path} has lost its weights.",
                f"{self.weights.name} in its folder",
                f"what made it makes them again: priorscope {shlex.join(again)}",
            )
        model = create(
            self.recipe.model,
            image_size=network.image_size,
            num_classes=network.num_classes,
            statistics=network.statistics,
            weights=self.weights,
        )
        return model.eval().to(self.device or "cpu")

    @cached_property
    def evidence(self) -> Evidence:
        """What the model says about splits, kept in the run's folder."""
        from priorscope.evidence import Evidence

        return Evidence(self.model, self.key, self.path / layout.EVIDENCE, self.environment.network.classes)

    @property
    def results(self) -> dict[str, list[Result]]:
        """The stored results by probe."""
        found: dict[str, list[Result]] = {}
        for result, _ in self._stored():
            found.setdefault(result.probe, []).append(result)
        return found

    def _stored(self) -> list[tuple[Result, About]]:
        """The stored results, each with what it is about."""
        from priorscope.core.contracts import About
        from priorscope.probes import load_result

        paths = layout.results(self.path / layout.RESULTS)
        return [(load_result(path), About.read(path)) for path in paths]

    def export(self, out: Path | str) -> Path:
        """Writes weights, config and a model card as a folder that the Hugging Face hub takes; see `priorscope.models.hub`."""
        from priorscope.models.card import Trained, model_card
        from priorscope.models.hub import name_in_timm, save_hub

        out = folder.at_home(out)
        if out.is_dir() and any(out.iterdir()):
            raise RequestError(f"{out} holds something already.", "an empty folder", "choose another folder with --out")
        known = name_in_timm(self.model)
        trained = Trained(
            name=self.name,
            recipe=self.recipe.plain(),
            recipe_file=self.recipe.toml(),
            environment=self.environment,
            history=self.history,
            results=self._stored(),
            in_timm=known[0] if known else None,
        )
        card = model_card(trained)
        save_hub(self.model, out, self.environment.network.classes)
        folder.write_text(out / CARD, card)
        return out

    def _shown(self) -> Shown:
        from priorscope.core.notebook import shown_run

        headlines = [result.headline() for result, _ in self._stored()]
        return shown_run(self.name, self.recipe.plain(), self.environment, self.history, headlines)

    def _repr_html_(self) -> str:
        """What a notebook that knows only HTML shows: what was trained, how it ended, what probes said, and the curves."""
        return self._shown().html()

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """What a notebook chooses from: HTML, the interactive chart, the picture, text."""
        return self._shown().mimebundle()


class Snapshot(Run):
    """A run as it was `step` steps into its training. Results that probes stored are about the finished weights, not these."""

    def __init__(self, path: Path, step: int, device: str | None = None) -> None:
        super().__init__(path, device)
        self.finished, self.step = Run(path), step

    def on(self, device: str) -> Snapshot:
        return self if self._is_on(device) else Snapshot(self.path, self.step, device)

    @property
    def name(self) -> str:
        return f"{self.finished.name}@{self.step}"

    @cached_property
    def environment(self) -> Environment:
        """The run's record with what it had taken by then; `chosen_epoch` and `seconds` are known only at an epoch's end."""
        whole, last = self.finished.environment, self.finished.history[-1]
        seen = {"images_seen": last.images, "flops": last.flops, "macs": last.macs}
        by_then = {name: taken // last.step * self.step for name, taken in seen.items()}
        ended = next((epoch for epoch in self.history if epoch.step == self.step), None)
        of_epoch = {"chosen_epoch": ended.epoch if ended else 0, "seconds": ended and ended.seconds, "joules": None}
        return whole.model_copy(update={**by_then, **of_epoch})

    @property
    def key(self) -> str:
        return content_key([self.finished.key, "step", self.step])

    @cached_property
    def history(self) -> list[Epoch]:
        return [epoch for epoch in self.finished.history if epoch.step <= self.step]

    @property
    def weights(self) -> Path:
        return layout.snapshot(self.path, self.step)

    def _stored(self) -> list[tuple[Result, About]]:
        return []


def load(path: Path | str) -> Run:
    """Opens a finished run's folder."""
    path = folder.at_home(path)
    if layout.is_study(path) and not layout.is_run(path):
        raise RequestError(f"{path} is a study.", "the folder of a finished run", f"its runs are {path / layout.RUNS}/*")
    if not layout.is_finished(path):
        found, do = "no run", "check the path, or train one there: priorscope train RECIPE --out"
        if (path / layout.RECIPE).exists():
            found, do = "an unfinished run", "finish it: priorscope train RECIPE --resume --out"
        raise RequestError(f"{path} holds {found}.", "the folder of a finished run", f"{do} {shlex.quote(str(path))}")
    return Run(path)
