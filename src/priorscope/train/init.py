"""The weights that a run begins with if it does not begin at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from priorscope.core.errors import RequestError

if TYPE_CHECKING:
    from priorscope.core.contracts import Statistics
    from priorscope.models.classifier import Classifier


VERSION = 2
"""Version of what a run hands on to the run that begins with it; raised when that changes."""


class InitialWeights(Protocol):
    """Weights to begin with."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes that the weights' head tells apart, in its order; empty if they are not known."""
        ...

    @property
    def stamp(self) -> str | None:
        """What tells these weights from others at their place: the pictures that a run learnt from, or a file's content."""
        ...

    @property
    def classes(self) -> int | None:
        """How many classes the weights' head tells apart; None if that is not known."""
        ...

    def put_into(self, model: Classifier, seed: int) -> None:
        """Loads the weights into a model, with their own normalisation; a head for other classes is drawn again."""
        ...


@dataclass(frozen=True)
class Stored:
    """A file of weights, the number of its classes and, for a run's file, their names.

    A run's file holds its normalisation; a published one does not. A network that is taken as it is has its authors'
    `statistics`; one that is trained further has those of its new data, as its authors would have it.
    """

    weights: Path
    classes: int
    statistics: Statistics | None = None
    stamp: str | None = None
    names: tuple[str, ...] = ()

    def put_into(self, model: Classifier, seed: int) -> None:
        """Loads the file's weights into a model; a head for another number of classes is drawn again."""
        from priorscope.models.building import load_weights

        if self.statistics is not None:
            model.normalise_by(self.statistics)
        classes = model.num_classes
        if self.classes == classes:
            load_weights(model, self.weights)
            return
        self._check_body(model)
        model.replace_head(self.classes, seed)
        load_weights(model, self.weights)
        model.replace_head(classes, seed)

    def _check_body(self, model: Classifier) -> None:
        """Refuses a model whose body, not its head alone, depends on the number of classes and was made for another one."""
        if model.config is None:
            return
        has, wanted = model.config.plain(), model.config.keep_body(self.classes).plain()
        for name, value in wanted.items():
            if has.get(name) != value:
                raise RequestError(
                    f"The weights of {model.name} are for {self.classes} classes, its body was made for {model.num_classes}.",
                    "a body as the weights have it",
                    f"--set model.{name}={value}",
                )


@dataclass(frozen=True)
class Timm:
    """Weights that timm publishes, by timm's name of them, for its own network or for one of ours with the same parts."""

    name: str
    stamp: None = None
    names: tuple[str, ...] = ()

    @property
    def classes(self) -> int | None:
        """How many classes the weights' head tells apart, as timm says; None if it does not."""
        from priorscope.models.timm_zoo import TimmConfig, published_classes

        return published_classes(TimmConfig(name=f"timm/{self.name}"))

    def put_into(self, model: Classifier, seed: int) -> None:
        """Fetches the weights (or takes them from the hub's cache) and puts them in."""
        from priorscope.models import create
        from priorscope.models.weights import check_fit

        published = create(
            {"name": f"timm/{self.name}", "pretrained": True, "input_size": model.input_size},
            image_size=model.image_size,
            num_classes=model.num_classes,
            seed=seed,
        )
        state = published.state_dict()
        check_fit(state, model.state_dict(), f"timm's {self.name} does not fit {model.name}", f'model = "timm/{self.name}"')
        model.load_state_dict(state)
        if published.statistics is not None:
            model.normalise_by(published.statistics)
