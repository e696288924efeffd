"""What a probe says about networks: what is checked before it is asked, and the caveats beside what it says."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorscope import run as runs
from priorscope.core import layout
from priorscope.core.contracts import Result
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.machine import ran_out
from priorscope.probes import ProbeConfig, measure_of
from priorscope.study.networks import Network

if TYPE_CHECKING:
    from priorscope.data.split import Source


def answer(
    probe: ProbeConfig,
    networks: Sequence[Network],
    data: Source,
    companions: Mapping[str, Path] | None = None,
    device: str = "cpu",
) -> Result:
    """What a probe says about a network, or about several together, all on one device."""
    networks = [one.on(device) for one in networks]
    beside = {"companions": {name: runs.load(path).on(device) for name, path in companions.items()}} if companions else {}
    asked = {one.name: one.run if probe.reads_runs and one.run is not None else one.evidence for one in networks}
    if probe.per == "set":
        check_names([one.name for one in networks])
        if probe.reads_runs:
            _check_runs(probe.name, networks)
        subject: Any = asked
    else:
        (subject,) = asked.values()
    try:
        result = measure_of(probe.name)(subject, data, probe, **beside)
    except RuntimeError as error:
        if device == "cpu" or not ran_out(error):
            raise
        raise WorkError(
            f"The GPU's memory ran out while {probe.name} looked at {', '.join(asked)}.",
            "room for the network and a batch of pictures",
            "look on the processor: --device cpu, or in a study --set over.train.device=cpu",
        ) from error
    told = dict.fromkeys(caveat for one in networks for caveat in (*one.caveats, *_chosen_on(probe, one, data)))
    return result.model_copy(update={"caveats": tuple(dict.fromkeys((*result.caveats, *told)))})


def _chosen_on(probe: ProbeConfig, one: Network, data: Source) -> Iterator[str]:
    """What was chosen on the very images that are looked at, where these are the val of a run."""
    if one.run is None or getattr(probe, "split", "") != "val":
        return
    train = one.run.recipe.train
    epoch = len(one.run.history) > 1 and (train.choose == "best" or train.patience is not None)
    chosen = [name for name, is_so in (("epoch", epoch), ("settings", _is_tuned(one.run))) if is_so]
    if chosen and (data is one.source or data.split("val").fingerprint == one.source.split("val").fingerprint):
        yield (
            f"Val, which is looked at here, chose the {' and the '.join(chosen)}: a network does better on it than on images"
            " that chose nothing."
        )


def _is_tuned(run: runs.Run) -> bool:
    """Whether trials of its recipe lie beside the runs of its study."""
    place, arm = run.path.resolve().parent, run.name.rpartition("-s")[0]
    return place.name == layout.RUNS and any((place.parent / layout.TUNING).glob(f"{glob.escape(arm)}-t[0-9]*"))


def check_names(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RequestError(f"Two networks are called {twice!r}.", "a name of its own for each", "rename a file or a folder")


def _check_runs(probe: str, networks: Sequence[Network]) -> None:
    for one in networks:
        if one.run is None:
            raise RequestError(
                f"{probe} reads how networks were trained, which {one.name} does not say.",
                "folders of finished runs",
                f"priorscope probe {probe} runs/a runs/b",
            )
