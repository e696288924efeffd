"""Products in a short type on a processor that has no instructions for it: right, and up to a hundred times as slow.

A recipe that names bfloat16 for the machine it was written on trains for days on another. `auto` asks the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from priorscope.core.machine import on_threads, pick_device
from priorscope.doctor import Finding
from priorscope.doctor.machine import giga, matrix_rate

if TYPE_CHECKING:
    from priorscope.recipe import Recipe


def look_at_recipe(recipe: Recipe) -> Iterator[Finding]:
    """Products of the type that the recipe names, beside float32, where it trains on a processor."""
    import torch

    from priorscope.train.precision import compute_dtype

    cpu = torch.device("cpu")
    dtype = compute_dtype(recipe.train.precision, cpu)
    if recipe.train.precision == "auto" or dtype == torch.float32 or pick_device(recipe.train.device) != "cpu":
        return
    with on_threads(recipe.train.threads):
        named, plain = matrix_rate(dtype), matrix_rate(torch.float32)
    if named < plain:
        yield Finding(
            check="precision",
            severity="warning",
            saw=f"This processor multiplies {giga(named):,} GFLOP/s in train.precision = {recipe.train.precision!r}, and"
            f" {giga(plain):,} in float32.",
            means=f"it emulates that type: a training bound by products takes up to {plain / named:.0f} times as long",
            do="--set train.precision=auto",
        )
