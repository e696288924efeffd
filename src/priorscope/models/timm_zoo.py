"""Any network that timm has, by its timm name: `timm/resnet26d`, `timm/vit_small_patch16_224`, `timm/hf-hub:owner/name`.

With `pretrained = true` its published weights are the start: they are fetched from the hub (or taken from the hub's cache), the
head is replaced where the number of classes differs, and images are normalised as the weights were trained, not as the data's
statistics say. `args` are further settings of the network under timm's own names. The presets are the starts that earlier
studies fine-tuned, with the resize to 224 pixels inside the model.

A network of a fixed size is built for the side that it gets (`input_size`, or the images' own), and the learnt positions of
published weights are interpolated.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from priorscope.core.config import Plain
from priorscope.core.errors import RequestError, WorkError, first_line, nearest
from priorscope.core.machine import ran_out
from priorscope.models import FamilyConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from torch import Tensor, nn

    from priorscope.models.classifier import Backbone, Tap


_SAID = ("num_classes", "drop_rate", "pretrained")
"""What timm calls settings that are said elsewhere: the number of classes by the data, the others by fields of ours."""


class TimmConfig(FamilyConfig):
    """A timm name, whether its published weights are the start, and the dropout that every timm network knows."""

    pretrained: bool = Field(default=False, description="begin with the published weights")
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="timm's drop_rate: dropout before the head, in most networks"
    )
    args: dict[str, Any] | None = Field(
        default=None, description="further settings of the network under timm's names; img_size follows the images"
    )

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        for name in set(_SAID) & set(self.args or {}):
            raise RequestError(
                f"{self.name} came with args.{name}, which is said elsewhere.",
                "settings of timm's network beside its classes, dropout and weights",
                f"leave {name} out of args; dropout and pretrained are settings of the model",
            )
        return self

    @property
    def architecture(self) -> str:
        """The network's name in timm."""
        return self.name.partition("/")[2]

    def without_start(self) -> TimmConfig:
        return self.replace(pretrained=False)

    def in_timm(self, image_size: int) -> tuple[str, Plain]:
        """The network's name in timm and its settings."""
        own = self.self_contained()
        return own.architecture, _settings(own, image_size)

    def self_contained(self) -> Self:
        """The config by timm's name of the network and without its weights, where it was named by a place, which may go."""
        if ":" not in self.architecture:
            return self
        published, architecture, given = _at_place(self)
        args = _args(self, given)
        if published.get("fixed_input_size"):
            args.setdefault("img_size", published["input_size"][-1])
        return self.replace(name=f"timm/{architecture}", args=args or None, pretrained=False)


VERSION = 3
"""Raised when the numbers that these networks compute change."""

_START: Plain = {"pretrained": True, "input_size": 224}

PRESETS: dict[str, Plain] = {
    "vit_small_patch16_224": _START,
    "swin_base_patch4_window7_224": _START,
    "tnt_s_patch16_224": _START,
    "mixer_b16_224": _START,
}


def read_name(rest: str) -> Plain | None:
    """Every name is taken here: whether timm knows it shows when the network is built, because importing timm takes seconds."""
    return {} if rest else None


def build(config: TimmConfig, image_size: int, num_classes: int) -> Backbone:
    """The network of a timm name, with its published weights if the config says so."""
    import timm

    from priorscope.core.contracts import Statistics
    from priorscope.models.classifier import Backbone
    from priorscope.models.networks.transformer import quicken

    published = _published(config)
    if config.pretrained and not any(published.get(place) for place in ("hf_hub_id", "url", "file")):
        raise RequestError(
            f"timm has no published weights for {config.architecture!r}.",
            "a network with published weights, or a random start",
            "pretrained = false",
        )
    settings = _settings(config, image_size)
    make = partial(timm.create_model, config.architecture, num_classes=num_classes, drop_rate=config.dropout, **settings)
    try:
        network = make(pretrained=config.pretrained)
    except Exception as error:
        if ran_out(error):
            raise
        own = _failure(make) if config.pretrained else error
        raise _out_of_reach(config, error) if own is None else _unmade(config, image_size, own) from error
    head = _head(network, num_classes)
    network = quicken(network)
    statistics = Statistics(mean=published["mean"], std=published["std"]) if config.pretrained else None
    return Backbone(network, taps(network, head, image_size), head, statistics)


def published_classes(config: TimmConfig) -> int | None:
    """How many classes a network's published weights tell apart."""
    return _published(config).get("num_classes")


def _settings(config: TimmConfig, image_size: int) -> Plain:
    """The settings that timm builds the network with, for images of side `image_size`."""
    args = _args(config, _at_place(config)[2] if ":" in config.architecture else {})
    sized = "img_size" in args or _published(config).get("fixed_input_size")
    return {**args, **({"img_size": image_size} if sized else {})}


def _args(config: TimmConfig, given: Plain) -> Plain:
    """The settings that were given, overridden by the config's `args`, without those that fields of ours say."""
    return {name: value for name, value in {**given, **(config.args or {})}.items() if name not in _SAID}


def _published(config: TimmConfig) -> Mapping[str, Any]:
    """What timm knows about a network and its weights: size, normalisation, where they are."""
    from timm.models import get_pretrained_cfg, is_model, list_models

    name = config.architecture
    if name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        return _at_place(config)[0]
    if not is_model(name.partition(".")[0]):
        guess = nearest(name, list_models())
        raise RequestError(
            f"timm has no network {name!r}.",
            "a name that timm lists",
            f"'timm/{guess}' (did you mean that?)" if guess else "timm.list_models('*vit*')",
        )
    try:
        known = get_pretrained_cfg(name)
    except RuntimeError:  # a tag that timm does not know for this network
        network = name.partition(".")[0]
        raise RequestError(
            f"timm has no weights {name!r}.", f"one of timm.list_pretrained('{network}*')", f"timm/{network}"
        ) from None
    return known.to_dict() if known else {}


def _at_place(config: TimmConfig) -> tuple[Mapping[str, Any], str, Plain]:
    """Reads the config beside weights in somebody's repository on the hub, or in a folder of its layout.

    It returns what is known of the weights, timm's name of the network, and its settings.
    """
    from timm.models._hub import load_model_config_from_hf, load_model_config_from_path

    source, _, place = config.architecture.partition(":")
    try:
        reader = load_model_config_from_path if source == "local-dir" else load_model_config_from_hf
        published, architecture, args = reader(place)
        return published, architecture, args or {}
    except Exception as error:
        if source == "local-dir":
            raise RequestError(
                f"{place} holds no network of timm's ({_reason(error)}).",
                "a folder with config.json and model.safetensors",
                "timm/local-dir:FOLDER",
            ) from error
        raise _out_of_reach(config, error) from error


def _failure(make: Callable[..., nn.Module]) -> Exception | None:
    """Why timm does not build the network where no weights are asked for; None where it does."""
    try:
        make(pretrained=False)
    except Exception as error:
        if ran_out(error):
            raise
        return error
    return None


def _out_of_reach(config: TimmConfig, error: Exception) -> WorkError:
    return WorkError(
        f"The published weights of {config.name} could not be had ({_reason(error)}).",
        "a reachable model hub (HF_ENDPOINT, default the Hugging Face hub), or the weights in its cache (HF_HOME)",
        "go online once, or pretrained = false for a random start, or weights = FILE for your own copy",
    )


def _unmade(config: TimmConfig, image_size: int, error: Exception) -> RequestError:
    """Why timm does not build a network, weights or not: a setting that it does not take, or a size."""
    if config.args and isinstance(error, TypeError):
        return RequestError(
            f"timm's {config.architecture!r} does not take {config.args} ({_reason(error)}).",
            "settings of the network's constructor in timm",
            "other args, or none",
        )
    return RequestError(
        f"timm cannot build {config.architecture!r} for {image_size} pixels ({_reason(error)}).",
        "a size that the network was made for",
        "input_size = 224",
    )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _head(network: nn.Module, num_classes: int) -> str | None:
    """The path of the network's one linear head, or None where it has none or several."""
    from torch import nn

    last = network.get_classifier()  # pyright: ignore[reportCallIssue]
    if not isinstance(last, nn.Linear) or last.out_features != num_classes:
        return None
    return next(path for path, module in network.named_modules() if module is last)


def taps(network: nn.Module, head: str | None, image_size: int) -> dict[str, Tap]:
    """The family's own addresses where the network is built as one of ours; else every submodule under its own path."""
    from priorscope.models.classifier import Tap
    from priorscope.models.wrapping import module_taps

    kind, modules = type(network), dict(network.named_modules())
    own = _relatives()[kind][1](network) if kind in _relatives() else {}
    if own and all(tap.module in modules for tap in own.values()):
        return own
    ends = {"head/in": Tap(head, "NC", "input")} if head else {}
    return module_taps(network, image_size)[0] | ends | {"logits": Tap("", "NC")}


def _relatives() -> dict[type[nn.Module], tuple[ModuleType, Callable[[Any], dict[str, Tap]]]]:
    """timm's classes that are built as a family here: the family, and its taps in a network of exactly that class.

    A network with blocks of another kind has none of these taps where it lacks a place, or adds something else there.
    """
    from timm.models.mlp_mixer import MlpMixer
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.tnt import TNT
    from timm.models.vision_transformer import VisionTransformer

    from priorscope.models import mixer, swin, tnt, vit

    return {
        VisionTransformer: (vit, vit.timm_taps),
        SwinTransformer: (swin, lambda network: swin.taps(tuple(len(stage.blocks) for stage in network.layers))),
        MlpMixer: (mixer, lambda network: mixer.taps(len(network.blocks))),
        TNT: (tnt, lambda network: tnt.timm_taps(len(network.blocks))),
    }


def resample(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The weights for another image size, where the network descends from a family whose positions can be interpolated."""
    for kind, (family, _) in _relatives().items():
        if isinstance(network, kind) and hasattr(family, "resample"):
            return family.resample(state, network)
    return state
