"""A recipe carried out: `fit` trains it into a folder, which `priorscope.run` reads back.

A run's folder is complete once `environment.json` stands in it: it is written last. Until then `checkpoint.pt` says where
to resume, and a second `fit` of the same recipe resumes there, bit for bit as if nothing had happened.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from priorscope.core import folder, layout
from priorscope.core.config import Plain, content_key
from priorscope.core.machine import on_threads, pick_device, return_freed_memory
from priorscope.fitting.attempt import Attempt, Status, Watch
from priorscope.fitting.init import initial_weights
from priorscope.fitting.made_from import inputs
from priorscope.fitting.resuming import resumed
from priorscope.fitting.run_folder import check_folder, prepare
from priorscope.fitting.setup import Setup
from priorscope.recipe import Recipe
from priorscope.run import Run, load
from priorscope.train import extension
from priorscope.train.distributed import joined
from priorscope.train.exporters import Exporters
from priorscope.train.precision import numerics

__all__ = ["Status", "Watch", "fit"]


def fit(
    recipe: Recipe,
    out: Path | str,
    *,
    watch: Watch = lambda _: None,
    init: Path | None = None,
    extend: Path | str | None = None,
    exporters: Sequence[str] = (),
    resume: bool = True,
) -> Run:
    """Carries out a recipe into a folder, resuming where an earlier attempt stopped; a finished run is returned as it is.

    `watch` is called after every step. `init` is the folder of the run to begin with, which a study knows where the recipe
    names another of its recipes. `extend` is a finished run that differs only in its length, after whose steps this one
    continues. `exporters` get every epoch, those of a finished run too. A folder of another recipe is refused, and without
    `resume` one of an unfinished run. Under `torchrun`, or started by SLURM's `srun`, all ranks call this alike.
    """
    import torch

    out = folder.at_home(out)
    folder.check_free(out)  # said first: what another process is about to write there is not looked at
    made_from = inputs(recipe, load(init).key if init else None)
    check_folder(out, recipe, made_from, init, resume=resume)  # before the ranks meet: none waits for one that has refused
    earlier = _earlier(extend, made_from, recipe) if extend else None
    device = pick_device(recipe.train.device)
    with joined(device) as ranks, folder.locked(out) if ranks.first else nullcontext():
        if ranks.first:
            prepare(out, recipe, made_from, init)
        ranks.wait()  # the others look at the folder when it is prepared
        finished = layout.is_finished(out)
        ranks.check_one_folder(out, finished)
        if not finished:
            with on_threads(recipe.train.threads), numerics(recipe.train.precision, torch.device(device)):
                setup = Setup.of(recipe, out, ranks, initial_weights(recipe, init))
                attempt = Attempt(setup, resumed(setup, content_key(made_from), earlier), exporters)
                attempt.carry_out(watch)
                attempt.finish()
            return_freed_memory()
        elif exporters and ranks.first:  # what is opened with all epochs of a run writes those that it has not got
            Exporters(exporters, out, recipe.plain(), Run(out).history).close()
    return Run(out)


def _earlier(extend: Path | str, made_from: Plain, recipe: Recipe) -> extension.Earlier:
    """The run that is made longer; refused if it is not the beginning of this one."""
    run = load(extend)
    path = run.path
    mend = f"what trained it writes it again: priorscope train RECIPE --out {shlex.quote(str(path))}"
    before, file = folder.read_json(path / layout.MADE_FROM, mend), path / layout.EXTEND
    extension.check_extensible(path, before, made_from, recipe.train, recipe.optim, file)
    return extension.Earlier(path, run.key, run.recipe.train)
