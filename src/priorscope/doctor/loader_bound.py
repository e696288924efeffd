"""A run that waits for its pictures: the network could learn faster than the loader makes batches.

A run logs the share of its time that it waited. Before a run on a processor both are timed here, on this machine, for a second
or two each: the loader alone, and training steps on a batch that is there already.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from priorscope.core.machine import on_threads, pick_device
from priorscope.doctor import Finding

if TYPE_CHECKING:
    from priorscope.data.loader import Batch, Loader
    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier
    from priorscope.recipe import Recipe
    from priorscope.run import Run

SECONDS = 1.5
LOADER_IMAGES, STEP_IMAGES = 512, 64
"""Batches no larger than this are timed: a step on 1,024 images of a large network takes minutes on one core."""
MOST = 0.2
"""The share of a run's time that it may wait; a loader that keeps up leaves it at a few hundredths."""
LEAST_SECONDS = 5.0
"""A shorter wait is not worth a word: the network of a toy run learns from a batch in the time that starting a thread takes."""
DO = "convert the pictures to a store of their final size: priorscope data convert SRC DST.beton --res N"


def look_at_run(run: Run) -> Iterator[Finding]:
    """The share of its time that a run logged as waiting; the first epoch, in which things are opened, left out."""
    shares = [epoch.measured.data_wait_share for epoch in run.history]
    took = [epoch.seconds - before.seconds for before, epoch in itertools.pairwise(run.history)]
    waited = sum(share * seconds for share, seconds in zip(shares[1:], took, strict=True))
    if waited > max(MOST * sum(took), LEAST_SECONDS):
        yield Finding(
            check="loader_bound",
            severity="warning",
            saw=f"{run.name} waited for its pictures for {waited / sum(took):.0%} of its time "
            f"({waited:,.0f} s; most in one epoch: {max(shares[1:]):.0%}).",
            means="the network could have learnt faster than its loader made batches",
            do=DO,
        )


def look_at_training(recipe: Recipe, split: Split, network: Classifier) -> Iterator[Finding]:
    """Images a second of the loader and of the training step, where the processor does both."""
    if pick_device(recipe.train.device) != "cpu":
        return
    loads, learns = loader_rate(recipe, split), step_rate(recipe, split, network)
    if loads < learns:
        yield Finding(
            check="loader_bound",
            severity="warning",
            saw=f"The loader makes {loads:,.0f} images a second here, and {network.name} learns from {learns:,.0f}.",
            means=f"training waits for {1 - loads / learns:.0%} of its time",
            do=DO,
        )


def loader_rate(recipe: Recipe, split: Split) -> float:
    """Images a second of the loader alone, without its first batches: they compile, open, and are made ahead of being asked."""
    from priorscope.data.loader import AHEAD

    batches = itertools.chain.from_iterable(_loader(recipe, split, LOADER_IMAGES).epoch(epoch) for epoch in itertools.count())
    for _ in range(AHEAD + 1):
        next(batches)
    return _rate(lambda: len(next(batches).labels))


def step_rate(recipe: Recipe, split: Split, network: Classifier) -> float:
    """Images a second of forward and backward passes over one batch; the weights stay as they are."""
    import torch

    from priorscope.models.classifier import evaluating
    from priorscope.train.finetune import freeze, trains_body
    from priorscope.train.gradient import batch_loss
    from priorscope.train.precision import compute_dtype

    batch: Batch = next(iter(_loader(recipe, split, STEP_IMAGES).epoch(0)))
    wanted = batch.labels if batch.targets is None else batch.targets
    dtype = compute_dtype(recipe.train.precision, torch.device("cpu"))

    def step() -> int:
        network.train(trains_body(recipe.train.finetune))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = network(batch.images)
        batch_loss(logits, wanted, recipe.train.label_smoothing).backward()
        return len(batch.labels)

    with on_threads(recipe.train.threads), evaluating(network):  # as many as the run will have
        state = {name: value.clone() for name, value in network.state_dict().items()}
        freeze(network, recipe.train.finetune)
        step()
        rate = _rate(step)
        network.zero_grad(set_to_none=True)
        network.requires_grad_(True)
        network.load_state_dict(state)
    return rate


def _loader(recipe: Recipe, split: Split, most: int) -> Loader:
    from priorscope.data.loader import Loader

    return Loader(
        split,
        batch_size=min(recipe.train.batch_size, most, len(split)),
        augment=recipe.data.augment,
        shuffle=recipe.data.shuffle or True,
        threads=recipe.train.threads,
    )


def _rate(work: Callable[[], int]) -> float:
    """Images a second of some work, repeated for a while and at least twice."""
    began, images = time.perf_counter(), work() + work()
    while time.perf_counter() - began < SECONDS:
        images += work()
    return images / (time.perf_counter() - began)
