"""A recipe carried out: `fit` trains it into a folder, `load` reads the folder back.

A run's folder is complete once `environment.json` stands in it: it is written last. Until then `checkpoint.pt` says where
to go on, and a second `fit` of the same recipe goes on there, bit for bit as if nothing had happened.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from priorscope.core import folder
from priorscope.core.config import Plain, content_key
from priorscope.core.errors import RequestError
from priorscope.core.machine import versions
from priorscope.data import SOURCES, augment
from priorscope.data import open as open_source
from priorscope.fitting import ENVIRONMENT, STEPS, WEIGHTS, Fitting, Report, Status, shape_of
from priorscope.models import FAMILIES
from priorscope.recipe import Recipe
from priorscope.train import loop, optim
from priorscope.train.start import Start

if TYPE_CHECKING:
    from priorscope.core.contracts import Result
    from priorscope.data.split import Source
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

RECIPE, MADE_FROM, RESULTS = "recipe.toml", "made_from.json", "results"

__all__ = [
    "ENVIRONMENT",
    "MADE_FROM",
    "RECIPE",
    "RESULTS",
    "STEPS",
    "WEIGHTS",
    "Report",
    "Run",
    "Status",
    "adopt",
    "fit",
    "inputs",
    "load",
]


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
            fitting = Fitting(recipe, out, content_key(made_from), _start(recipe, init))
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


def _start(recipe: Recipe, init: Path | None) -> Start | None:
    """The weights that a recipe begins with; None where it begins at random."""
    if recipe.init.kind == "scratch":
        return None
    if recipe.init.kind == "published":
        from priorscope.models.published import read_published

        path = Path(str(recipe.init.published))
        return Start(path, read_published(path).num_classes)
    earlier = load(init or str(recipe.init.run))
    return Start(earlier.path / WEIGHTS, int(earlier.environment["model"]["num_classes"]))


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
            "model": shape_of(model, ()),
            "chosen_epoch": 0,
            "threads": recipe.train.threads,
            "images_seen": 0,
            **versions(),
        }
        folder.write_json(out / ENVIRONMENT, environment)
    return Run(out)
