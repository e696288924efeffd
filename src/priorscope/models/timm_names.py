"""Our families under timm's roof: `timm.create_model("priorscope_b12_w1024")`, for whoever trains or serves with timm's tools.

A preset `family/some-preset` is named `priorscope_family_some_preset`; an MLP `mlp/b12-w1024` is also `priorscope_b12_w1024`.
What comes back is the bare network, which takes normalised images as timm's do; `img_size`, `num_classes` and the preset's own
settings are keywords.

Importing timm takes seconds, so `install` waits: it registers at once where timm is already there, and otherwise when somebody
imports it.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from priorscope.core.errors import RequestError
from priorscope.models import FAMILIES, family_config, presets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from torch import nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

DEFAULT_SIZE = 32
"""The side that a network is built for where neither `img_size` nor its preset says it: that of the built-in data."""


def timm_names() -> dict[str, str]:
    """timm's name -> ours, for every preset of the families that timm does not have already."""
    names: dict[str, str] = {}
    for preset in presets():
        family, _, rest = preset.partition("/")
        if family == "timm":
            continue
        flat = rest.replace("-", "_")
        names[f"priorscope_{family}_{flat}"] = preset
        if family == "mlp" and rest[0] in "bs":
            names[f"priorscope_{flat}"] = preset
    return names


def install() -> None:
    """Registers our names with timm: now if it is imported, else as soon as it is."""
    if "timm" in sys.modules:
        register()
    elif not any(isinstance(finder, _WhenImported) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenImported())


def register() -> None:
    """Puts our names into timm's registry; those that are there stay."""
    from timm.models import is_model, register_model

    for name, preset in timm_names().items():
        if not is_model(name):
            register_model(_entry(name, preset))


def _entry(name: str, preset: str) -> Callable[..., nn.Module]:
    def entry(
        pretrained: bool = False, num_classes: int = 1000, img_size: int | None = None, in_chans: int = 3, **settings: Any
    ) -> nn.Module:
        if pretrained or in_chans != 3:
            raise RequestError(
                f"{name} came with pretrained={pretrained} and in_chans={in_chans}.",
                "pretrained=False and in_chans=3: its weights are not published under timm",
                f"timm.create_model({name!r})",
            )
        for key in [key for key in settings if key.startswith("pretrained_cfg") or key == "cache_dir"]:
            del settings[key]
        config = family_config(preset).replace(**settings)
        config.refuse(("permute", "resize"), "timm takes the network alone, and pixels are moved before it")
        side = img_size or config.input_size or DEFAULT_SIZE
        config.check_side(side)
        network = FAMILIES.load(config.family).build(config, side, num_classes).network
        about = {"architecture": name, "input_size": (3, side, side), "num_classes": num_classes}
        network.pretrained_cfg = network.default_cfg = {**about, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        network.num_classes = num_classes
        return network

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = f"Priorscope's {preset}."
    return entry


class _WhenImported(MetaPathFinder):
    """Lets timm be found as ever, and registers our names after it has run."""

    def find_spec(self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != "timm":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_register(module: ModuleType) -> None:
            run(module)
            register()

        setattr(spec.loader, "exec_module", run_and_register)  # noqa: B010  # a loader's method, replaced for this one import
        return spec
