"""Asks every probe about networks on a device that is not the processor, and about the same networks on the processor.

    python far_device.py LIBRARY FAMILY...    the library is what `far.cpp` compiles to; prints a JSON list of what differs

A process of its own: once torch knows the device, all that runs in the process knows it.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
import tempfile
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch
from test_probes import ASKED, SMALL, network
from torch.nn.modules.module import register_module_forward_pre_hook

import priorscope as ps
from priorscope.core.errors import RequestError
from priorscope.data import open as open_source
from priorscope.data.split import Source
from priorscope.evidence import Evidence
from priorscope.looking.answer import answer
from priorscope.looking.networks import Network, network_of_run
from priorscope.models.classifier import Classifier
from priorscope.probes import measure_of, probe_config

SETTINGS = {
    **SMALL,
    "activation": {**SMALL["activation"], "steps": 1},
    "generalisation": {**SMALL["generalisation"], "readouts": ["ridge"]},
}
"""Attention is summed in another order there, and long searches and fits of a few pictures make much of a last bit."""

WORLD = {"name": "shapetex", "train": 160, "val": 40, "test": 60}
RECIPE = {
    "data": {"source": WORLD, "augment": "flip-crop"},
    "optim": {"name": "muon", "lr": 0.003},
    "train": {"epochs": 2, "batch_size": 40, "precision": "fp32", "ema": 0.9, "label_smoothing": 0.1, "track": ["val"]},
}

ACCURACY = probe_config("accuracy")
MEASURED = ("latency", "throughput", "peak memory")
"""What `cost` measures, which is not the same twice."""


def register(library: str) -> None:
    """Tells torch of the device `far`."""
    torch.ops.load_library(library)
    torch.utils.rename_privateuse1_backend("far")
    module = ModuleType("far")
    for name, said in {"is_available": True, "is_initialized": True, "_is_in_bad_fork": False, "device_count": 1}.items():
        setattr(module, name, lambda said=said: said)
    module.current_device = lambda: 0
    module.manual_seed_all = lambda _seed: None
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    torch._register_device_module("far", module)


def said(probe: str, model: Classifier, world: Source, device: str) -> list[tuple[str, str, float]]:
    """The numbers of a probe about a network on a device."""
    asked = probe_config({"name": probe, **SETTINGS.get(probe, {})})
    one, other = (Evidence(copy.deepcopy(model).to(device)) for _ in range(2))
    torch.manual_seed(0)
    result = measure_of(probe)({"one": one, "other": other} if asked.per == "set" else one, world, asked)
    assert one.model.device.type == device
    return [(row.metric, row.setting, row.value) for row in result.metrics()]


def differences(probe: str, model: Classifier, world: Source) -> Iterator[str]:
    """What a probe says otherwise of a network on the far device; of times it is enough that they are told."""
    here, there = (said(probe, model, world, device) for device in ("cpu", "far"))
    if probe == "cost":
        here, there = ([row for row in rows if not row[0].startswith(MEASURED)] for rows in (here, there))
    if [row[:2] for row in here] != [row[:2] for row in there]:
        yield "other rows"
        return
    for (metric, setting, value), (*_, far) in zip(here, there, strict=True):
        if far != pytest.approx(value, rel=1e-3, abs=1e-4, nan_ok=True):
            yield f"{metric}, {setting}: {value} and {far}"


@contextmanager
def _shown() -> Generator[set[str]]:
    """The kinds of devices that modules were shown tensors on inside the block."""
    seen = set[str]()
    hook = register_module_forward_pre_hook(lambda _, given: seen.add(given[0].device.type))
    try:
        yield seen
    finally:
        hook.remove()


def of_trainings(family: str, folder: Path) -> Iterator[str]:
    """A recipe carried out there learns as on the processor; the run is looked at where it is put."""
    runs: dict[str, ps.Run] = {}
    for device in ("cpu", "far"):
        with pytest.MonkeyPatch.context() as patch, _shown() as seen:
            for module in ("priorscope.fitting", "priorscope.fitting.setup"):
                patch.setattr(f"{module}.pick_device", lambda _wanted, device=device: device)
            runs[device] = ps.fit(ps.Recipe.of({**RECIPE, "model": f"{family}/tiny"}), out=folder / device / family)
        if seen - {"meta"} != {device}:
            yield f"on {device} it was asked about pictures on {seen}"
    losses = [[epoch.train_loss for epoch in run.history] for run in runs.values()]
    if losses[1] != pytest.approx(losses[0], rel=1e-3):
        yield f"it learnt {losses[1]} there and {losses[0]} here"
    run = runs["far"]
    tables: list[str] = []
    for device in ("cpu", "far"):
        shutil.rmtree(run.path / "evidence", ignore_errors=True)  # else the second would read what the first has kept
        with _shown() as seen:
            tables.append(answer(ACCURACY, [network_of_run(run.path)], run.source, device=device).table())
        if seen - {"meta"} != {device}:
            yield f"asked to look on {device} it looked on {seen}"
    if tables[0] != tables[1]:
        yield f"{tables[0]} and {tables[1]}"
    if (run.on("far").model.device.type, run.model.device.type) != ("far", "cpu"):
        yield "it is not where it was put"


class Careless(torch.nn.Module):
    """A network with a tensor that is neither a parameter nor a buffer, and stays where it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.map = torch.zeros(10), torch.nn.Linear(3 * 32 * 32, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.map(images.flatten(1)) + self.shift


def of_own(world: Source) -> Iterator[str]:
    """A network of a user's own is back where it was when it has been looked at, and told what keeps it from moving."""
    sizes = {"image_size": 32, "classes": 10}
    own = Evidence(ps.wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10)), **sizes).eval())
    answer(ACCURACY, [Network("own", own)], world, device="far")
    if own.model.device.type != "cpu":
        yield f"it was left on {own.model.device}"
    try:
        answer(ACCURACY, [Network("careless", Evidence(ps.wrap(Careless(), **sizes).eval()))], world, device="far")
        yield "what did not move whole was looked at"
    except RequestError as error:
        if "careless did not move to far whole" not in str(error) or "--device cpu" not in str(error):
            yield str(error)


def main() -> None:
    register(sys.argv[1])
    world = open_source(WORLD)
    found = [f"a network of one's own: {what}" for what in of_own(world)]
    for family in sys.argv[2:]:
        model = network(family, world).model
        for probe in ASKED:
            try:
                found += [f"{probe} of {family}: {what}" for what in differences(probe, model, world)]
            except Exception:
                found.append(f"{probe} of {family}: {traceback.format_exc()}")
        with tempfile.TemporaryDirectory() as folder:
            found += [f"a training of {family}: {what}" for what in of_trainings(family, Path(folder))]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
