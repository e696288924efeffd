"""Any network that timm has, by its timm name: `timm/resnet26d`, `timm/vit_small_patch16_224`, `timm/hf-hub:owner/name`.

With `pretrained = true` its published weights are the start: they are fetched from the hub (or taken from the hub's cache), the
head is replaced where the number of classes differs, and images are normalised as the weights were trained, not as the data's
statistics say. The presets are the starts that earlier studies fine-tuned, with the resize to 224 pixels inside the model.

A network of a fixed size is built for the side that it gets (`input_size`, or the images' own), and the learnt positions of
published weights are interpolated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from priorscope.core.config import Plain
from priorscope.core.errors import RequestError, WorkError, first_line, nearest
from priorscope.models import FamilyConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from priorscope.models.classifier import Backbone, Tap


class TimmConfig(FamilyConfig):
    """A timm name, whether its published weights are the start, and the dropout that every timm network knows."""

    pretrained: bool = False
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @property
    def architecture(self) -> str:
        """The network's name in timm."""
        return self.name.partition("/")[2]

    def without_start(self) -> TimmConfig:
        return self.replace(pretrained=False)


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
    settings: dict[str, Any] = {"num_classes": num_classes, "drop_rate": config.dropout}
    if published.get("fixed_input_size"):
        settings["img_size"] = image_size
    if config.pretrained and not any(published.get(place) for place in ("hf_hub_id", "url", "file")):
        raise RequestError(
            f"timm has no published weights for {config.architecture!r}.",
            "a network with published weights, or a random start",
            "pretrained = false",
        )
    try:
        network = timm.create_model(config.architecture, pretrained=config.pretrained, **settings)
    except Exception as error:
        raise _explained(config, image_size, error) from error
    head = _head(network, num_classes)
    statistics = Statistics(mean=published["mean"], std=published["std"]) if config.pretrained else None
    return Backbone(quicken(network), taps(network, head), head, statistics)


def in_timm(config: TimmConfig, image_size: int) -> tuple[str, Plain] | None:
    """The network's name in timm and its settings; None where it is known by a place and not by a name."""
    if ":" in config.architecture:
        return None
    return config.architecture, {"img_size": image_size} if _published(config).get("fixed_input_size") else {}


def _published(config: TimmConfig) -> Mapping[str, Any]:
    """What timm knows about a network and its weights: size, normalisation, where they are."""
    from timm.models import get_pretrained_cfg, is_model, list_models

    name = config.architecture
    if name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        return _published_elsewhere(config)
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


def _published_elsewhere(config: TimmConfig) -> Mapping[str, Any]:
    """The settings beside weights in somebody's repository on the hub, or in a folder of its layout."""
    from timm.models._hub import load_model_config_from_hf, load_model_config_from_path

    source, _, place = config.architecture.partition(":")
    try:
        reader = load_model_config_from_path if source == "local-dir" else load_model_config_from_hf
        return reader(place)[0]
    except Exception as error:
        raise _explained(config, 0, error) from error


def _explained(config: TimmConfig, image_size: int, error: Exception) -> RequestError | WorkError:
    """Why timm could not build a network: the hub was out of reach, or the settings do not suit it."""
    reason = f"{type(error).__name__}: {first_line(error)}"
    if config.pretrained or config.architecture.startswith(("hf-hub:", "hf_hub:")):
        return WorkError(
            f"The published weights of {config.name} could not be had ({reason}).",
            "a reachable model hub (HF_ENDPOINT, default the Hugging Face hub), or the weights in its cache (HF_HOME)",
            "go online once, or pretrained = false for a random start, or weights = FILE for your own copy",
        )
    return RequestError(
        f"timm cannot build {config.architecture!r} for {image_size} pixels ({reason}).",
        "a size that the network was made for",
        "input_size = 224",
    )


def _head(network: nn.Module, num_classes: int) -> str | None:
    """The path of the network's one linear head, or None where it has none or several."""
    from torch import nn

    last = network.get_classifier()  # pyright: ignore[reportCallIssue]
    if not isinstance(last, nn.Linear) or last.out_features != num_classes:
        return None
    return next(path for path, module in network.named_modules() if module is last)


def taps(network: nn.Module, head: str | None) -> dict[str, Tap]:
    """The family's own addresses where the network is built as one of ours; else every submodule under its own path."""
    from priorscope.models.classifier import Tap, module_taps

    own, modules = _family_taps(network), dict(network.named_modules())
    if own and all(tap.module in modules for tap in own.values()):
        return own
    ends = {"head/in": Tap(head, "NC", "input")} if head else {}
    return module_taps(network) | ends | {"logits": Tap("", "NC")}


def _family_taps(network: nn.Module) -> dict[str, Tap]:
    """The addresses of the family whose class the network is of; other blocks in it may lack some of the places."""
    from timm.models.mlp_mixer import MlpMixer
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.tnt import TNT
    from timm.models.vision_transformer import VisionTransformer

    from priorscope.models import mixer, swin, tnt, vit

    def count(blocks: str) -> int:
        return len(list(network.get_submodule(blocks).children()))

    if type(network) is VisionTransformer:
        return vit.taps(count("blocks"))
    if type(network) is SwinTransformer:
        return swin.taps(tuple(count(f"layers.{stage}.blocks") for stage in range(count("layers"))))
    if type(network) is MlpMixer:
        return mixer.taps(count("blocks"))
    return tnt.timm_taps(count("blocks")) if type(network) is TNT else {}


def resample(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The weights for another image size, where the network is of a family whose positions can be interpolated."""
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import VisionTransformer

    from priorscope.models import swin, vit

    if isinstance(network, VisionTransformer):
        return vit.resample(state, network)
    return swin.resample(state, network) if isinstance(network, SwinTransformer) else state
