"""A recipe carried out: `fit` trains it into a folder, `load` reads the folder back.

A run's folder is complete once `environment.json` stands in it: it is written last. Until then `checkpoint.pt` says where
to go on, and a second `fit` of the same recipe goes on there, bit for bit as if nothing had happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from priorscope.core import folder
from priorscope.core.config import Plain, content_key
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.core.machine import on_threads, pick_device, versions
from priorscope.data import SOURCES
from priorscope.data import open as open_source
from priorscope.data.stamp import data_stamp, weights_stamp
from priorscope.fitting import ENVIRONMENT, SNAPSHOTS, STEPS, WEIGHTS, Fitting, Report, Status, snapshot_path
from priorscope.material import shape_of
from priorscope.models import FAMILIES
from priorscope.recipe import InitConfig, Recipe
from priorscope.train import checkpoint, extension, finetune, loop, optim, start
from priorscope.train.distributed import joined
from priorscope.train.precision import numerics
from priorscope.train.start import Start, Stored, Timm

if TYPE_CHECKING:
    from priorscope.core.contracts import Result
    from priorscope.core.notebook import Shown
    from priorscope.data.sources import SourceConfig
    from priorscope.data.split import Source
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier

RECIPE, MADE_FROM, RESULTS = "recipe.toml", "made_from.json", "results"
CARD = "README.md"

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
        return self.path.resolve().name  # `.` has none

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that was carried out."""
        return Recipe.load(self.path / RECIPE)

    @cached_property
    def environment(self) -> Plain:
        """Where and with what it was carried out, and what it had taken."""
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
    def snapshots(self) -> tuple[int, ...]:
        """After how many steps weights were kept; `at` gives the run as it was then."""
        return tuple(int(path.stem.partition("-")[2]) for path in sorted((self.path / SNAPSHOTS).glob("step-*.safetensors")))

    def at(self, *, step: int | None = None, epoch: int | None = None) -> Snapshot:
        """The run as it was after some steps or epochs, where a snapshot was kept (`train.keep`)."""
        if (step is None) == (epoch is None):
            raise RequestError("run.at wants one place.", "a step or an epoch", "run.at(epoch=3)")
        if epoch is not None:
            step = next((int(row["step"]) for row in self.history if row["epoch"] == epoch), -1)
        if step is None or step not in self.snapshots:
            kept = ", ".join(map(str, self.snapshots))
            raise RequestError(
                f"{self.path} keeps no snapshot after {f'epoch {epoch}' if epoch is not None else f'{step} steps'}.",
                f"after one of: {kept} steps" if kept else "a run with train.keep",
                f"run.at(step={self.snapshots[-1]})" if kept else "train.keep = 5 in its recipe, and train it",
            )
        return Snapshot(self.path, step)

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.path / WEIGHTS

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
            weights=self.weights,
        ).eval()

    @cached_property
    def evidence(self) -> Evidence:
        """What the model says about splits, kept in the run's folder."""
        from priorscope.evidence import Evidence

        return Evidence(self.model, self.key, self.path / "evidence", self.environment["model"].get("classes") or ())

    @property
    def results(self) -> dict[str, list[Result]]:
        """The stored results by probe."""
        found: dict[str, list[Result]] = {}
        for result, _ in self._told():
            found.setdefault(result.probe, []).append(result)
        return found

    def _told(self) -> list[tuple[Result, Plain]]:
        """The stored results, each with what it is about."""
        from priorscope.probes import load_result

        paths = sorted((self.path / RESULTS).glob("*/*.json"))
        return [(load_result(path), folder.read_json(path)["about"]) for path in paths]

    def export(self, out: Path | str) -> Path:
        """Writes weights, config and a model card as a folder that the Hugging Face hub takes; see `priorscope.models.hub`."""
        from priorscope.models.card import Trained, model_card
        from priorscope.models.hub import name_in_timm, save_hub

        out = Path(out)
        if out.is_dir() and any(out.iterdir()):
            raise RequestError(f"{out} holds something already.", "an empty folder", "choose another folder with --out")
        known = name_in_timm(self.model)
        told = Trained(
            name=self.name,
            recipe=self.recipe.plain(),
            recipe_file=self.recipe.toml(),
            environment=self.environment,
            history=self.history,
            results=self._told(),
            in_timm=known[0] if known else None,
        )
        card = model_card(told)
        save_hub(self.model, out, self.environment["model"].get("classes") or ())
        folder.write_text(out / CARD, card)
        return out

    def _shown(self) -> Shown:
        from priorscope.core.notebook import shown_run

        said = [result.headline() for result, _ in self._told()]
        return shown_run(self.name, self.recipe.plain(), self.environment, self.history, said)

    def _repr_html_(self) -> str:
        """What a notebook shows that knows HTML alone: what was trained, how it ended, what probes said, and the curves."""
        return self._shown().html()

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """What a notebook chooses from: HTML, the interactive chart, the picture, text."""
        return self._shown().mimebundle()


class Snapshot(Run):
    """A run as it was `step` steps into its training. What probes stored is about the finished weights, and not about these."""

    def __init__(self, path: Path, step: int) -> None:
        super().__init__(path)
        self.finished, self.step = Run(path), step

    @property
    def name(self) -> str:
        return f"{self.finished.name}@{self.step}"

    @cached_property
    def environment(self) -> Plain:
        """The run's, with what it had taken by then; `chosen_epoch` and `seconds` are known where an epoch ended."""
        whole, rows = self.finished.environment, self.finished.history
        seen = {"images_seen": "images", "flops": "flops", "macs": "macs"}
        each = {name: int(rows[-1][row]) // int(rows[-1]["step"]) for name, row in seen.items()}
        ended = next((row for row in rows if row["step"] == self.step), None)
        kept = {name: value for name, value in whole.items() if name not in ("chosen_epoch", "seconds", "joules")}
        told = {} if ended is None else {"chosen_epoch": ended["epoch"], "seconds": ended["seconds"]}
        return {**kept, **{name: count * self.step for name, count in each.items()}, **told}

    @property
    def key(self) -> str:
        return content_key([self.finished.key, "step", self.step])

    @cached_property
    def history(self) -> list[Plain]:
        return [row for row in self.finished.history if row["step"] <= self.step]

    @property
    def weights(self) -> Path:
        return snapshot_path(self.path, self.step)

    def _told(self) -> list[tuple[Result, Plain]]:
        return []


def load(path: Path | str) -> Run:
    """Opens a finished run's folder."""
    path = Path(path)
    if not (path / ENVIRONMENT).exists():
        found, do = "no run", "check the path, or train one there: priorscope train RECIPE --out"
        if (path / RECIPE).exists():
            found, do = "an unfinished run", "finish it: priorscope train RECIPE --resume --out"
        raise RequestError(f"{path} holds {found}.", "the folder of a finished run", f"{do} {path}")
    return Run(path)


def fit(
    recipe: Recipe,
    out: Path | str,
    *,
    report: Report = lambda _: None,
    init: Path | None = None,
    extend: Path | str | None = None,
    exporters: Sequence[str] = (),
) -> Run:
    """Carries out a recipe into a folder, going on where an earlier attempt stopped; a finished run is returned as it is.

    `init` is the run of the recipe that this one begins with (a study knows it). `extend` is a finished run that differs in
    its length alone, after whose steps this one goes on. A folder of another recipe is refused. Under `torchrun`, or started
    by SLURM's `srun`, every rank calls this alike.
    """
    import torch

    out = Path(out)
    made_from = inputs(recipe, load(init).key if init else None)
    earlier = _earlier(Path(extend), made_from, recipe) if extend else None
    device = pick_device(recipe.train.device)
    with joined(device) as ranks, folder.locked(out) if ranks.first else nullcontext():
        if ranks.first:
            _prepare(out, recipe, made_from, init)
        ranks.any(True)  # the others look at the folder when it is prepared
        if not (out / ENVIRONMENT).exists():
            with on_threads(recipe.train.threads), numerics(recipe.train.precision, torch.device(device)):
                fitting = Fitting(
                    recipe,
                    out,
                    content_key(made_from),
                    start=_start(recipe, init),
                    earlier=earlier,
                    ranks=ranks,
                    exporters=exporters,
                )
                fitting.carry_out(report)
                fitting.finish()
    return Run(out)


def data_changed(environment: Plain, source: SourceConfig) -> bool:
    """Whether the files that a finished run learnt from are others now; one whose files are elsewhere is taken at its word."""
    before, now = (environment.get("data") or {}).get("files"), data_stamp(source)
    return before is not None and now is not None and before != now


def beginning_changed(environment: Plain, init: InitConfig, before: Path | None = None) -> bool:
    """Whether what a finished run began with is another now: an earlier run trained anew on other pictures, or another file.

    `before` is the earlier run where a study names it by its recipe.
    """
    then, now = environment.get("began_with"), _stamp(init, before)
    return then is not None and now is not None and then != now


def _stamp(init: InitConfig, before: Path | None) -> str | None:
    """What tells the weights that a run begins with from others in their place; None where they are not at hand."""
    if init.kind == "published":
        return weights_stamp(str(init.published))
    place = before or init.run
    if place is None or not Path(place, ENVIRONMENT).exists():
        return None
    return folder.read_json(Path(place, ENVIRONMENT))["data"].get("fingerprint")


def begun(out: Path) -> bool:
    """Whether a folder holds something of a training: one that was refused before its first step leaves its recipe alone."""
    return any((out / name).exists() for name in (ENVIRONMENT, checkpoint.FILE, STEPS))


def stands_for(out: Path, asked: Plain) -> Plain | None:
    """What the run in a folder was made from; None where nothing is begun.

    Where that record is gone or damaged, a finished run's key tells whether it is of what is `asked`.
    """
    if not begun(out):
        return None
    try:
        return folder.read_json(out / MADE_FROM)
    except PriorscopeError:
        if not (out / ENVIRONMENT).exists():
            return None
        return asked if folder.read_json(out / ENVIRONMENT).get("key") == content_key(asked) else {}


def _prepare(out: Path, recipe: Recipe, made_from: Plain, init: Path | None) -> None:
    """Writes what is asked into a folder, or refuses a folder where something else was asked."""
    folder.remove_leftovers(out)
    finished = folder.read_json(out / ENVIRONMENT) if (out / ENVIRONMENT).exists() else {}
    if finished and not (out / WEIGHTS).exists() and "diverged" not in finished:
        (out / ENVIRONMENT).unlink()  # its weights are gone: it is carried out again
        finished = {}
    before = stands_for(out, made_from)
    if before is not None and before != made_from:
        longer = bool(finished and before) and not extension.differing(before, made_from)
        raise RequestError(
            f"{out} holds a run of another {'length' if longer else 'recipe'}.",
            "an empty folder, or a run of this recipe",
            f"make it longer in another folder: --out {out}-longer --extend {out}"
            if longer
            else "choose another folder with --out",
        )
    if data_changed(finished, recipe.data.source):
        raise RequestError(
            f"The data of the run in {out} has changed since it was trained.",
            "the data as it was",
            "train in another folder with --out",
        )
    if beginning_changed(finished, recipe.init, init):
        raise RequestError(
            f"What the run in {out} began with has changed since it was trained.",
            "the weights as they were",
            "train in another folder with --out",
        )
    if not finished:
        folder.write_text(out / RECIPE, recipe.toml())
    folder.write_json(out / MADE_FROM, made_from)


def _earlier(path: Path, made_from: Plain, recipe: Recipe) -> extension.Earlier:
    """The run that is made longer, if it is the beginning of this one."""
    run = load(path)
    before, file = folder.read_json(path / MADE_FROM), path / checkpoint.EXTEND
    extension.check_extensible(path, before, made_from, recipe.train, recipe.optim, file)
    return extension.Earlier(path, run.key, run.recipe.train)


def inputs(recipe: Recipe, init_key: str | None) -> Plain:
    """Everything that a run's weights are a function of.

    The recipe, what it begins with, and the version of each part's numbers.
    """
    family, source = FAMILIES.load(recipe.model.family), SOURCES.load(recipe.data.source.name)
    begins_with, finetuning = _branched_from(recipe), recipe.train.finetune
    return {
        "recipe": recipe.plain(),
        "init": init_key if begins_with is None else begins_with.key,
        "versions": {
            "training": loop.VERSION,
            "optimiser": optim.VERSION,
            "augmentation": recipe.data.augment.version,
            **({"beginning": start.VERSION} if recipe.init.kind in ("run", "recipe") else {}),
            **({"layers": finetune.VERSION} if finetuning and finetuning.mode == "layers" else {}),
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
    if recipe.init.kind == "timm":
        return Timm(str(recipe.init.timm))
    if recipe.init.kind == "published":
        from priorscope.models.published import read_published, weights_file

        path = weights_file(str(recipe.init.published))
        published = read_published(path)
        statistics = None if recipe.train.trains else published.statistics
        return Stored(path, published.num_classes, statistics, _stamp(recipe.init, init))
    earlier = load(init) if init else _branched_from(recipe)
    if earlier is None:
        raise RequestError(
            f"The recipe begins with the recipe {recipe.init.recipe!r} of its study.", "its study", "priorscope study NAME"
        )
    shape = earlier.environment["model"]
    names = tuple(shape.get("classes") or ())
    return Stored(earlier.weights, int(shape["num_classes"]), stamp=_stamp(recipe.init, init), names=names)


def _branched_from(recipe: Recipe) -> Run | None:
    """The run, or its snapshot, that a recipe names to begin with."""
    if recipe.init.run is None:
        return None
    run = load(recipe.init.run)
    return run if recipe.init.step is None else run.at(step=recipe.init.step)


def adopt(weights: Path | str, out: Path | str, data: str | None = None) -> Run:
    """Makes a run of zero steps of published weights (a file, or a folder of the hub), so that every probe runs on it.

    `data` names the source it was trained on, where the file's own name does not say.
    """
    from safetensors.torch import save as to_bytes

    from priorscope.models.published import read_published, trained_on, weights_file

    path, out = weights_file(weights), Path(out)
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
