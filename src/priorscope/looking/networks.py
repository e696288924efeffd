"""What users name to be looked at: a finished run, published weights, a network of timm's, and one of their own."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope import run as runs
from priorscope.core import layout
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.imports import made_by
from priorscope.models.published_resnets import HUB_FILES

if TYPE_CHECKING:
    from priorscope.data.split import Source, Split
    from priorscope.evidence import Evidence
    from priorscope.models.classifier import Classifier


@dataclass(frozen=True)
class Network:
    """What a probe is asked about. A run's network is not read before somebody asks for its evidence."""

    name: str
    own: Evidence | None = None
    run: runs.Run | None = None
    caveats: tuple[str, ...] = ()
    typed: tuple[str, ...] = ()
    """What names the network in a command."""

    @property
    def evidence(self) -> Evidence:
        """What the network says about splits."""
        if self.own is not None:
            return self.own
        if self.run is None:
            raise TypeError("a network without evidence or run")
        return self.run.evidence

    def on(self, device: str) -> Network:
        """The same network, computing on a device."""
        own, run = self.own and self.own.on(device), self.run and self.run.on(device)
        return replace(self, own=own, run=run)

    @property
    def source(self) -> Source:
        """The data that it was trained on."""
        return self.run.source if self.run is not None else _needed(self.name, None)


def network_of_run(path: Path) -> Network:
    """The network of a finished run, for a probe to ask about."""
    run = runs.load(path)
    return Network(run.name, run=run, typed=(str(path),))


def network(subject: str, data: Source | None) -> Network:
    """The network that a user names by a run's folder, published weights (a file or a folder), or its name in timm."""
    path = Path(subject)
    published = path.is_file() or any((path / name).is_file() for name in HUB_FILES)
    if layout.is_run(path) or (layout.is_study(path) and not published):
        return network_of_run(path)
    if published:
        from priorscope.models.published import read_published

        own = path.absolute()  # not where a link leads: in the hub's cache files are links to blobs
        return _elsewhere(own.parent.name if own.name in HUB_FILES else own.name, read_published(path), (subject,))
    if subject.startswith("timm/"):
        return _of_timm(subject, _needed(subject, data))
    raise RequestError(
        f"{subject!r} is no network to look at.",
        "the folder of a finished run, timm/NAME, or a published file of weights",
        "check the path, or name your own with --model package.module:function",
    )


def _of_timm(name: str, data: Source) -> Network:
    from priorscope.models import create

    split = _shown(data)
    if sys.stderr.isatty():
        print(f"{name}: fetching its published weights, unless they are in the hub's cache ...", file=sys.stderr)
    try:
        model = create({"name": name, "pretrained": True}, image_size=split.image_size, num_classes=len(split.classes))
    except WorkError as error:
        raise WorkError(
            error.came,
            error.wanted,
            "go online once, or name your own copy: --model package.module:function --weights FILE",
        ) from error
    caveat = f"{name} keeps its published head only where that tells {len(split.classes)} classes apart; else it is untrained."
    return _elsewhere(name, model, (name,), (caveat,))


def own_network(factory: str, weights: Path | None, data: Source | None) -> Network:
    """The network that a user's function returns: a classifier as it is, another module as one on pixels in [0, 1]."""
    from torch.nn import Module

    from priorscope.models import wrap
    from priorscope.models.classifier import Classifier
    from priorscope.models.weights import check_fit, read_tensors

    made = made_by(factory)
    if not isinstance(made, Module):
        raise RequestError(f"{factory!r} returns a {type(made).__name__}.", "a torch.nn.Module", "return the network itself")
    if weights is not None:
        tensors = read_tensors(weights)
        check_fit(tensors, made.state_dict(), weights.name, "give the file that this network wrote")
        made.load_state_dict(tensors)
    if not isinstance(made, Classifier):
        split = _shown(_needed(factory, data))
        made = wrap(made, image_size=split.image_size, classes=split.classes)
    typed = ("--model", factory, *(() if weights is None else ("--weights", str(weights))))
    return _elsewhere(factory.partition(":")[2], made, typed)


def _needed(what: str, data: Source | None) -> Source:
    if data is None:
        raise RequestError(f"{what} does not say what it was trained on.", "the name of a source", "add --data NAME")
    return data


def _shown(data: Source) -> Split:
    """A split that says how large the pictures are and which classes they have: test where there is one."""
    names = data.splits()
    return data.split("test" if "test" in names else names[0])


def _elsewhere(name: str, model: Classifier, typed: tuple[str, ...], caveats: tuple[str, ...] = ()) -> Network:
    from priorscope.evidence import Evidence

    return Network(name, Evidence(model), None, caveats, typed)
