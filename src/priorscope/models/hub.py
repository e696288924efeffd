"""Models as folders in the layout of the Hugging Face hub: `config.json` beside `model.safetensors`.

A folder of ours says the model's config, sizes and classes, so that it opens without anything else; of a network that began at
a place on the hub or in a folder, the config is by timm's name. The weights are the bare
network's, under the keys of its family, and the normalisation stands in the config: where timm has the network (ViT, Swin,
Mixer, `timm/*`), the same folder opens there too, as `local-dir:FOLDER` or `hf-hub:OWNER/NAME`. A folder that timm saved
opens here, as `timm/local-dir:FOLDER`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorscope.core.config import Config, Plain
from priorscope.core.contracts import Statistics
from priorscope.core.errors import RequestError
from priorscope.core.folder import at_home, read_json, write_bytes, write_json
from priorscope.models import create, family_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from priorscope.models.classifier import Classifier

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


class HubCard(Config):
    """What `config.json` says of a model of ours; the last three fields are what timm reads, where it has the network."""

    library: str
    model: dict[str, Any]
    image_size: int
    num_classes: int
    classes: tuple[str, ...] = ()
    statistics: Statistics | None = None
    architecture: str | None = None
    model_args: dict[str, Any] | None = None
    pretrained_cfg: dict[str, Any] | None = None


def save_hub(classifier: Classifier, folder: Path | str, classes: Sequence[str] = ()) -> Path:
    """Writes a model as a folder of the hub's layout, the weights first: a folder with a config is complete."""
    from safetensors.torch import save

    if classifier.config is None:
        raise RequestError(
            f"{classifier.name} is a network of your own: no config says how to build it again.",
            "a model of a family",
            "safetensors.torch.save_file(network.state_dict(), ...)",
        )
    folder, config = at_home(folder), classifier.config
    card = HubCard(
        library="priorscope",
        model=config.self_contained().plain(),
        image_size=classifier.image_size,
        num_classes=classifier.num_classes,
        classes=tuple(classes),
        statistics=classifier.statistics,
        **_for_timm(classifier, classes),
    )
    weights = {key: tensor.contiguous() for key, tensor in classifier.network.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(weights, {"format": "pt"}))
    write_json(folder / CONFIG, card.plain())
    return folder


def name_in_timm(classifier: Classifier) -> tuple[str, Plain] | None:
    """The network's name in timm and the settings that make it, where timm has it; None where it has not."""
    config = classifier.config
    if config is None or config.permute is not None:  # timm would show it the pixels in their own order
        return None
    return config.in_timm(classifier.input_size)


def _for_timm(classifier: Classifier, classes: Sequence[str]) -> Plain:
    """What timm wants to find in `config.json`; nothing where it does not have the network."""
    known = name_in_timm(classifier)
    if known is None:
        return {}
    architecture, settings = known
    mean, std = (value.flatten().tolist() for value in classifier.normalisation().values())
    side = classifier.input_size
    read = {
        "input_size": [3, side, side],
        "fixed_input_size": "img_size" in settings,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "mean": mean,
        "std": std,
        "num_classes": classifier.num_classes,
        **({"label_names": list(classes)} if classes else {}),
        **({"classifier": classifier.head_path} if classifier.head_path else {}),
    }
    return {"architecture": architecture, "model_args": settings, "pretrained_cfg": read}


def load_hub(folder: Path | str) -> Classifier:
    """Opens a folder of the hub's layout, written by `save_hub` or by timm."""
    folder = at_home(folder)
    stored = read_json(folder / CONFIG)
    if stored.get("library") == "priorscope":
        card = HubCard.parse(stored, str(folder / CONFIG))
        return create(
            family_config(card.model),
            image_size=card.image_size,
            num_classes=card.num_classes,
            statistics=card.statistics,
            weights=folder / WEIGHTS,
        )
    if "architecture" in stored:
        return _load_timm(folder, stored)
    raise RequestError(
        f"{folder / CONFIG} is neither ours nor timm's.",
        "a folder that priorscope or timm saved",
        "priorscope models import WEIGHTS --out RUN",
    )


def _load_timm(folder: Path, stored: dict[str, Any]) -> Classifier:
    about: Plain = stored.get("pretrained_cfg", stored)
    return create(
        f"timm/local-dir:{folder.resolve()}",
        image_size=int(about["input_size"][1]),
        num_classes=int(stored.get("num_classes", about["num_classes"])),
        pretrained=True,
    )
