"""How far a run is when an attempt begins, and what its first attempt decided for all that follow."""

from __future__ import annotations

import shutil

from priorscope.core import layout
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.stopping import AGAIN
from priorscope.fitting.setup import Setup
from priorscope.train import checkpoint, extension
from priorscope.train.checkpoint import RunState
from priorscope.train.loop import Position
from priorscope.train.precision import chosen_precision


def resumed(setup: Setup, key: str, earlier: extension.Earlier | None) -> RunState:
    """How far a run is: as its checkpoint says, as a shorter run left it, or at the beginning.

    Of the last two this attempt decides, once and for all, how the steps are made: in which precision, and whether compiled.
    """
    import torch

    path = setup.out / layout.CHECKPOINT
    state = checkpoint.load(path, key, setup.learner.parts, setup.ranks)
    if state.position == Position() and setup.ranks.first:  # what another run left here does not belong to this one
        shutil.rmtree(setup.out / layout.SNAPSHOTS, ignore_errors=True)
        (setup.out / layout.EXTEND).unlink(missing_ok=True)
    if earlier is not None and not path.exists():
        state = _longer(setup, earlier)
        state.key = key
    _check_data(setup, state)
    state.files = state.files or setup.files
    state.precision = state.precision or chosen_precision(setup.config.precision, torch.device(setup.device))
    if state.compiled is None:
        state.compiled = _compiles(setup, state)
    return state


def _longer(setup: Setup, earlier: extension.Earlier) -> RunState:
    """How far the shorter run is, which must be the beginning of this one; its snapshots are copied."""
    state = checkpoint.load(earlier.path / layout.EXTEND, earlier.key, setup.learner.parts, setup.ranks)
    if state.position == Position():
        raise RequestError(
            f"The {layout.EXTEND} in {earlier.path} is not of the run there.",
            "the file that the run left",
            "train the longer run from its beginning",
        )
    per_epoch = len(setup.loader)
    taken = state.steps(per_epoch)
    before = earlier.train.with_steps(setup.image_flops * setup.loader.batch_size).total(per_epoch)
    extension.check_rates(setup.recipe.optim, taken, (before, setup.total), per_epoch, earlier.path)
    for step in sorted(setup.snapshots):
        if step <= taken and setup.ranks.first:
            extension.take_over(layout.snapshot(earlier.path, step), layout.snapshot(setup.out, step))
    return state


def _check_data(setup: Setup, state: RunState) -> None:
    """Notes which pictures the run learns from; refuses others than those that it began with."""
    fingerprint = setup.material.data.fingerprint
    if state.data not in (None, fingerprint):
        raise WorkError(
            f"The training data has changed since the run in {setup.out} began: its fingerprint was {state.data}, and is"
            f" {fingerprint}.",
            "the data that it began with",
            f"put that data back, then {AGAIN}; or train anew in another folder",
        )
    state.data = fingerprint


def _compiles(setup: Setup, state: RunState) -> bool:
    """Whether the steps are compiled: as the recipe says, or where that pays on this machine."""
    from priorscope.train.compilation import pays

    config = setup.config.replace(precision=state.precision)
    if config.compile != "auto":
        return config.compile == "always"
    left = setup.total - state.steps(len(setup.loader))
    return pays(setup.learner.model, setup.loader.batch(0, 0), config, left)
