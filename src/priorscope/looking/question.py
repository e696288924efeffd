"""What is asked of networks: everything that an answer is a function of, and where it is looked for.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from priorscope.core.config import Plain, content_key
from priorscope.core.errors import RequestError
from priorscope.core.machine import processor
from priorscope.data import source_config
from priorscope.data.sources import SourceConfig
from priorscope.data.stamp import files_stamp
from priorscope.probes import PROBES, ProbeConfig
from priorscope.recipe import Recipe

ON_GPU = ("cuda", "auto")
"""Values of `train.device` for which a run learns on a CUDA device where there is one."""

Known = TypeVar("Known")


def looks_on_gpu(probe: ProbeConfig, learnt_on: Iterable[str]) -> bool:
    """Whether a probe looks on a GPU where there is one: where all runs learn on one. Time is that of the processor."""
    return probe.asks_networks and not probe.alone and all(device in ON_GPU for device in learnt_on)


def measured_from(
    probe: ProbeConfig,
    keys: Mapping[str, str],
    source: SourceConfig,
    other: SourceConfig | None,
    companions: Mapping[str, str],
    machine: str | None = None,
) -> Plain:
    """Everything that a result is a function of; what measures time is a function of the machine too.

    `keys` are those of the runs by their names, and of a probe of one run its name is no part. `other` is the source if a user
    named it, and None if it is simply what the networks learnt from. `machine` is what measures time, by default the processor.
    """
    named = {str(one): one if isinstance(one, Path) else source_config(one) for one in probe.reads()}
    read = {name: stamp for name, one in named.items() if (stamp := files_stamp(one))}
    return {
        "probe": probe.plain(),
        "version": PROBES.load(probe.name).VERSION,
        "weights": dict(keys) if probe.per == "set" else next(iter(keys.values())),
        "data": source.plain(),
        **({"files": stamp} if other is not None and (stamp := files_stamp(other)) else {}),
        **({"read": read} if read else {}),
        "companions": dict(sorted(companions.items())),
        **({"machine": machine or processor()} if probe.alone else {}),
    }


def companions_of(probe: ProbeConfig, recipe: Recipe, known: Mapping[str, Known]) -> dict[str, Known]:
    """The companion runs that the probe asks for, out of `known` (recipe key -> run)."""
    asked = probe.companions(recipe)
    return {name: known[key] for name, other in asked.items() if (key := content_key(other.plain())) in known}


def check_one_source(probe: str, learnt: Sequence[tuple[str, SourceConfig]], do: str) -> None:
    """Refuses to ask networks about the data of the first where they, each by its name, learnt from different data."""
    other = next((name for name, source in learnt if source != learnt[0][1]), None)
    if other is not None:
        raise RequestError(
            f"{probe} compares {learnt[0][0]!r} and {other!r}, which learnt from different data.",
            "one source on which all are asked",
            do,
        )
