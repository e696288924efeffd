"""Test-time augmentation: the same image seen several ways, and the answers averaged.

Only the running sum is held, so a hundred views need no more memory than one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from priorscope.core.config import Config, Number
from priorscope.core.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from priorscope.data.split import Split
    from priorscope.models.classifier import Classifier

Floats = NDArray[np.float32]

BATCH = 500
"""Images at a time."""

CROPS = 100
CROP_SCALE = (0.4, 1.0)
CROP_RATIO = (1.0, 1.0)
SHIFT = 1
"""What views use where a setting is None. They are not the config's defaults: its digest names answers that are kept."""

ViewKind = Literal["flip", "six", "crops"]


class Views(Config):
    """The ways in which each image is seen.

    flip: as it is and mirrored. six: both of these with half of the weight, and both shifted by `shift` pixels up and left, and
    down and right, the border reflected, with the other half (airbench's six views). crops: `n` random resized crops, each
    mirrored with chance 1/2, `scale` and `ratio` as in training; drawn from `seed` and the image's position alone.
    `mean` says what is averaged: probabilities, or logits (which a confident view then outvotes).
    """

    name: ViewKind
    n: int | None = Field(default=None, ge=1, description=f"crops: how many ({CROPS})")
    scale: tuple[Number, Number] | None = Field(default=None, description=f"crops: share of the area, from and to {CROP_SCALE}")
    ratio: tuple[Number, Number] | None = Field(default=None, description=f"crops: width to height, from and to {CROP_RATIO}")
    seed: int | None = Field(default=None, ge=0, description="crops: which ones (0)")
    shift: int | None = Field(default=None, ge=1, description=f"six: pixels ({SHIFT})")
    mean: Literal["probabilities", "logits"] = "probabilities"

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        own = {"flip": (), "six": ("shift",), "crops": ("n", "scale", "ratio", "seed")}[self.name]
        for field in ("n", "scale", "ratio", "seed", "shift"):
            if getattr(self, field) is not None and field not in own:
                raise RequestError(
                    f"views {self.name!r} came with {field}.",
                    f"its own settings: {', '.join((*own, 'mean'))}",
                    f"remove {field}, or take other views",
                )
        return self

    @property
    def label(self) -> str:
        """The views in two words."""
        return {"flip": "2 views", "six": "6 views", "crops": f"{self.n or CROPS} crops"}[self.name]

    def sentence(self) -> str:
        """The views in words."""
        kinds = {
            "flip": "2 views (as it is, mirrored)",
            "six": f"6 views (mirrored, shifted by {self.shift or SHIFT}; half of the weight unshifted)",
            "crops": f"{self.n or CROPS} random crops",
        }
        return f"{kinds[self.name]}, mean of {self.mean}"


def views_config(views: str | Mapping[str, Any] | Views | None) -> Views | None:
    """The checked views, from their name, a table or a config; None means the image as it is."""
    if views is None or isinstance(views, Views):
        return views
    return Views.parse({"name": views} if isinstance(views, str) else views, "views")


ViewsSetting = Annotated[Views | None, BeforeValidator(views_config, json_schema_input_type=ViewKind | Views | None)]
"""A field of a probe's config: views by their name or as a table."""


def answers_of_views(model: Classifier, split: Split, views: Views) -> Floats:
    """The averaged answers of several views: probabilities as their logarithms, summed in float64."""
    import torch

    from priorscope.models.classifier import looking

    device = model.device
    with looking(model), torch.inference_mode():
        if views.name == "crops":
            return _crops(model, split, views, device)
        return _fixed(model, split, views, device)


def _fixed(model: Classifier, split: Split, views: Views, device: torch.device) -> Floats:
    """The views that are the same for every image: each batch is rendered once and turned on the device."""
    import torch

    from priorscope.data.loader import Loader

    parts: list[Tensor] = []
    for batch in Loader(split, batch_size=BATCH, device=str(device)).epoch(0):
        sums = _Sum(views.mean)
        for weight, images in _turned(batch.images, views):
            sums.add(model(images), weight)
        parts.append(sums.result())
    return torch.cat(parts).numpy()


def _turned(images: Tensor, views: Views) -> Iterator[tuple[float, Tensor]]:
    """Each view with its weight, one at a time; the weights sum to 1."""
    from torch.nn import functional as F

    if views.name == "flip":
        yield 0.5, images
        yield 0.5, images.flip(3)
        return
    shift, side = views.shift or SHIFT, images.shape[-1]
    if shift >= side:
        raise RequestError(
            f"views.shift = {shift} came with pictures of {side} pixels.", f"less than {side}", f"views.shift = {SHIFT}"
        )
    padded = F.pad(images, (shift,) * 4, mode="reflect")
    for weight, start in ((0.25, shift), (0.125, 0), (0.125, 2 * shift)):
        shifted = padded[:, :, start : start + side, start : start + side]
        yield weight, shifted
        yield weight, shifted.flip(3)


def _crops(model: Classifier, split: Split, views: Views, device: torch.device) -> Floats:
    """One pass of the loader a view: its epoch is the view's number, so the loader's own crops and threads do the work."""
    from priorscope.data.loader import Loader

    operation = {"op": "resized-crop", "scale": views.scale or CROP_SCALE, "ratio": views.ratio or CROP_RATIO}
    augment = {"ops": [operation, "flip"]}
    loader = Loader(split, batch_size=BATCH, augment=augment, seed=views.seed or 0, device=str(device))
    count = views.n or CROPS
    sums = [_Sum(views.mean) for _ in range(len(loader))]
    for view in range(count):
        for own, batch in zip(sums, loader.epoch(view), strict=True):
            own.add(model(batch.images), 1 / count)
    return np.concatenate([own.result().numpy() for own in sums])


class _Sum:
    """A weighted mean of answers that grows view by view: of logits, or of probabilities kept as logarithms."""

    def __init__(self, mean: Literal["probabilities", "logits"]) -> None:
        import torch

        self._mean = mean
        self._sum = torch.tensor(0.0 if mean == "logits" else -torch.inf, dtype=torch.float64)

    def add(self, logits: Tensor, weight: float) -> None:
        import torch

        values = logits.cpu().double()  # in this order: not every device has float64
        if self._mean == "logits":
            self._sum = self._sum + weight * values
        else:
            self._sum = torch.logaddexp(self._sum, values.log_softmax(1) + float(np.log(weight)))

    def result(self) -> Tensor:
        return self._sum.float()
