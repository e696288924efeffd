"""What a probe says about networks: what is checked before it is asked, and the caveats beside what it says."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorscope import run as runs
from priorscope.core import layout
from priorscope.core.contracts import Result
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.machine import ran_out
from priorscope.looking.networks import Network
from priorscope.probes import ProbeConfig, measure_of

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
    if probe.per == "set":
        check_names([one.name for one in networks])
        if probe.reads_runs:
            _check_runs(probe.name, networks)
    with _on(device, probe, networks) as placed:
        beside = {"companions": {name: runs.load(path).on(device) for name, path in companions.items()}} if companions else {}
        asked = {one.name: one.run if probe.reads_runs and one.run is not None else one.evidence for one in placed}
        subject: Any = asked if probe.per == "set" else next(iter(asked.values()))
        result = measure_of(probe.name)(subject, data, probe, **beside)
    told = dict.fromkeys(caveat for one in networks for caveat in (*one.caveats, *_chosen_on(probe, one, data)))
    return result.model_copy(update={"caveats": tuple(dict.fromkeys((*result.caveats, *told)))})


@contextmanager
def _on(device: str, probe: ProbeConfig, networks: Sequence[Network]) -> Generator[list[Network]]:
    """The networks on a device inside the block, and afterwards those from elsewhere where they were."""
    before = [(one.own.model, one.own.model.device) for one in networks if one.own is not None]
    try:
        yield [one.on(device) for one in networks]
    except RuntimeError as error:
        if device == "cpu":
            raise
        whom, do = ", ".join(one.name for one in networks), f"look on the processor: priorscope probe {probe.name} --device cpu"
        if ran_out(error):
            came = f"Memory ran out while {probe.name} looked at {whom} on {device}."
            raise WorkError(came, "room for networks and a batch of pictures", do) from error
        if before and "same device" in str(error):
            came = f"{whom} did not move to {device} whole: {str(error).partition('!')[0]}."
            raise RequestError(came, "a network all of whose tensors are parameters or buffers", do) from error
        raise
    finally:
        for model, place in before:
            model.to(place)


def _chosen_on(probe: ProbeConfig, one: Network, data: Source) -> Iterator[str]:
    """What was chosen on the very images that are looked at, where these are the val of a run."""
    if one.run is None or getattr(probe, "split", "") != "val":
        return
    train = one.run.recipe.train
    epoch = len(one.run.history) > 1 and (train.choose == "best" or train.patience is not None)
    chosen = [name for name, is_so in (("epoch", epoch), ("settings", layout.trials_beside(one.run.path))) if is_so]
    if chosen and (data is one.source or data.split("val").fingerprint == one.source.split("val").fingerprint):
        yield (
            f"Val, which is looked at here, chose the {' and the '.join(chosen)}: a network does better on it than on images"
            " that chose nothing."
        )


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
