"""The folder that a run is carried out in: what it holds, and whether that is what is asked."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

from priorscope.core import folder, layout
from priorscope.core.config import Plain, content_key
from priorscope.core.environment import Environment, read_environment
from priorscope.core.errors import PriorscopeError, RequestError
from priorscope.data.sources import SourceConfig
from priorscope.data.stamp import data_stamp
from priorscope.fitting.init import init_changed
from priorscope.recipe import Recipe
from priorscope.train import extension


def begun(out: Path) -> bool:
    """Whether a folder holds something of a training; one that was refused before its first step leaves only its recipe."""
    return any((out / name).exists() for name in (layout.ENVIRONMENT, layout.CHECKPOINT, layout.STEPS))


def stands_for(out: Path, asked: Plain) -> Plain | None:
    """What the run in a folder was made from; None if nothing is begun.

    If that record is gone or damaged, a finished run's key shows whether it was made from `asked`.
    """
    if not begun(out):
        return None
    try:
        return folder.read_json(out / layout.MADE_FROM)
    except PriorscopeError:
        finished = finished_in(out)
        return None if finished is None else asked if finished.key == content_key(asked) else {}


def finished_in(out: Path) -> Environment | None:
    """The record of the finished run in a folder; None if there is none, or it is damaged."""
    with suppress(PriorscopeError):
        return read_environment(out)


def is_whole(weights: Path) -> bool:
    """Whether a file of weights is there and as long as its header says."""
    try:
        with safe_open(weights, framework="numpy"):
            return True
    except (FileNotFoundError, SafetensorError):
        return False


def data_changed(environment: Environment, source: SourceConfig) -> bool:
    """Whether the files that a finished run learnt from have changed; if they are not here, they count as unchanged."""
    before, now = environment.data.files if environment.data else None, data_stamp(source)
    return before is not None and now is not None and before != now


def check_folder(out: Path, recipe: Recipe, made_from: Plain, init: Path | None, *, resume: bool = True) -> None:
    """Refuses a folder that is not for this run, and changes nothing: it holds something else, or must not be resumed."""
    check_own_files(out, recipe)
    finished, there = _whole_in(out), stands_for(out, made_from)
    if there is not None and there != made_from:
        longer = bool(finished and there) and (out / layout.EXTEND).exists() and not extension.differing(there, made_from)
        raise RequestError(
            f"{out} holds a run of another {'length' if longer else 'recipe'}.",
            "an empty folder, or a run of this recipe",
            "make it longer in another folder: priorscope train RECIPE "
            f"--out {shlex.quote(f'{out}-longer')} --extend {shlex.quote(str(out))}"
            if longer
            else "choose another folder with --out",
        )
    if finished and data_changed(finished, recipe.data.source):
        raise RequestError(
            f"The data of the run in {out} has changed since it was trained.",
            "the data as it was",
            "train in another folder with --out",
        )
    if finished and init_changed(finished, recipe.init, init):
        raise RequestError(
            f"What the run in {out} began with has changed since it was trained.",
            "the weights as they were",
            "train in another folder with --out",
        )
    if not resume and begun(out) and not layout.is_finished(out):
        raise RequestError(
            f"{out} holds an unfinished run.",
            "permission to continue it",
            "add --resume, or choose another folder with --out",
        )


def check_own_files(out: Path, recipe: Recipe) -> None:
    """Refuses a folder whose recipe or study somebody wrote: a run would write over the one and lie among the other's."""
    theirs = out / layout.RECIPE
    written = (out / layout.MADE_FROM).exists() or begun(out) or not theirs.exists()
    if not written and theirs.read_bytes() != recipe.toml().encode():
        raise RequestError(
            f"{theirs} was written by no run, and a run there would write over it.",
            "an empty folder, or a run of this recipe",
            "choose another folder with --out",
        )
    if (out / layout.STUDY).exists():
        raise RequestError(
            f"{out} holds a study.", "an empty folder, or a run of this recipe", "choose another folder with --out"
        )


def _whole_in(out: Path) -> Environment | None:
    """The record of the finished run in a folder; None also where its weights are gone."""
    finished = finished_in(out)
    return finished if finished and (finished.diverged is not None or is_whole(out / layout.WEIGHTS)) else None


def prepare(out: Path, recipe: Recipe, made_from: Plain, init: Path | None) -> None:
    """Writes what is asked into a folder that is locked by us, or refuses one that is not for it."""
    check_folder(out, recipe, made_from, init)
    folder.remove_leftovers(out, layout.RUN_FOLDERS)
    whole = _whole_in(out) is not None
    if not whole:
        (out / layout.ENVIRONMENT).unlink(missing_ok=True)  # its weights, or its record, are gone: it is carried out again
    folder.write_json(out / layout.MADE_FROM, made_from)
    if not whole:
        folder.write_text(out / layout.RECIPE, recipe.toml())  # after what says that a run wrote it
