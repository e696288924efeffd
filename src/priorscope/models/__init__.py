"""Architectures: one file a family, built by name, all with one interface.

A family is one file here and one line in `FAMILIES`. Its module has

    <Family>Config, PRESETS         the settings, and named ones (name after the slash -> settings; "tiny" is for quick starts);
                                    the config refuses what cannot be built, settings that do not go together as it is made and
                                    sides in `check_side`, and says more of itself where it has more to say (`FamilyConfig`)
    build(config, image_size, num_classes) -> Backbone
                                    the network of a config that was checked, and its taps
    read_name(rest) -> settings     where names follow a grammar (None: not such a name); the settings may hold the canonical
                                    `name`, so that two spellings of one model have one key
    translate(tensors) -> tensors   where weights are published under other keys
    resample(tensors, network) -> tensors
                                    where weights fit another image size after interpolation
    FIXED_SIZE                      the reason why they never do
    READ_LAST                       the parameters before the blocks that are read after the last one
    VERSION                         raised when the network's numbers change; 1 where there is none

Families with blocks of their own keep them in `networks/<family>.py`, because importing torch takes three seconds and a
list of presets, a recipe or a plan must not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from priorscope.core.config import Config, Plain
from priorscope.core.errors import RequestError, unknown_name
from priorscope.core.listing import Listing, Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from torch import nn

    from priorscope.core.contracts import Statistics
    from priorscope.models.classifier import Classifier
    from priorscope.models.counting import ModelInfo

FAMILIES = Listing(
    "model family",
    "priorscope models list",
    {
        "mlp": "priorscope.models.mlp",
        "cnn": "priorscope.models.cnn",
        "vit": "priorscope.models.vit",
        "swin": "priorscope.models.swin",
        "mixer": "priorscope.models.mixer",
        "timm": "priorscope.models.timm_zoo",
        "tnt": "priorscope.models.tnt",
        "perceiver": "priorscope.models.perceiver",
        "perceiver_io": "priorscope.models.perceiver_io",
        "dial": "priorscope.models.dial",
    },
)

Resize = Literal["bilinear", "area", "none"]


class Permutation(Config):
    """A fixed random order of the pixels that a backbone sees, the same for every picture, in training and ever after.

    What a family loses by it is what locality is worth to that family; an MLP loses nothing.
    """

    patch: int | None = Field(
        default=None, ge=2, description="pixels change places within patches of this side; not set: in the whole image"
    )
    seed: int = Field(default=0, ge=0, description="the seed of the order")

    def check_side(self, side: int) -> None:
        """Refuses pictures that patches do not tile."""
        if self.patch and side % self.patch:
            raise RequestError(
                f"Pixels were to change places within patches of {self.patch}, and the backbone sees {side}x{side}.",
                f"a divisor of {side}",
                "permute = {patch = 4}",
            )


class FamilyConfig(Member):
    """Base of every family's config. `name` is the preset it began as."""

    listing: ClassVar[Listing] = FAMILIES

    input_size: int | None = Field(
        default=None,
        description="the side of the images as the backbone sees them, after the classifier's own resize; not set: their own",
    )
    resize: Resize = Field(
        default="bilinear",
        description="how images come to input_size: bilinear (antialiased where it shrinks) or area; none refuses other sides",
    )
    permute: Permutation | None = Field(
        default=None, description="a fixed random order in which the backbone sees the pixels; not set: the image's own order"
    )

    @classmethod
    def names(cls, member: str) -> tuple[list[str], str | None]:
        """A family's presets, and what may follow the grammar of its names."""
        family = FAMILIES.load(member)
        begins = "^(mlp/|B_)" if member == "mlp" else f"^{member}/"
        return [f"{member}/{preset}" for preset in family.PRESETS], begins if hasattr(family, "read_name") else None

    @property
    def family(self) -> str:
        """The family's name in the list: what stands before the slash."""
        return self.name.partition("/")[0]

    @property
    def rates(self) -> dict[str, float]:
        """The config's rates of dropout and stochastic depth that are above 0, by the names of their settings."""
        found = {name: float(getattr(self, name, 0.0)) for name in ("dropout", "drop_path")}
        return {name: rate for name, rate in found.items() if rate}

    def check(self, image_size: int, num_classes: int | None = None) -> None:  # noqa: ARG002  most ask for none
        """Refuses images of a side for which the network cannot be built, before any weight is made, and without torch.

        `num_classes` is None where it is not known.
        """
        side = self.input_size or image_size
        check_resize(image_size, side, self.resize)
        if self.permute is not None:
            self.permute.check_side(side)
        self.check_side(side)

    def check_side(self, side: int) -> None:
        """Refuses a side for which the family's backbone cannot be built: what `check` asks of each family."""

    def without_start(self) -> FamilyConfig:
        """The config without pre-trained weights, for when others are loaded at once."""
        return self

    def self_contained(self) -> FamilyConfig:
        """The config without a place outside to which it points: that of an exported folder."""
        return self

    def keep_body(self, num_classes: int) -> FamilyConfig:  # noqa: ARG002  few bodies depend on it
        """The config that keeps the body as it is for this number of classes when the head becomes one for another."""
        return self

    def idle_parameters(self, image_size: int) -> list[str]:  # noqa: ARG002
        """The parameters that have no effect at a size of images, and so no gradient."""
        return []

    def in_timm(self, image_size: int) -> tuple[str, Plain] | None:  # noqa: ARG002
        """timm's name of the same network and the settings that make it; None where timm has it not."""
        return None


def check_resize(image_size: int, side: int, resize: Resize) -> None:
    """Refuses a backbone of another side than the images where nothing resizes them."""
    if resize == "none" and side != image_size:
        raise RequestError(
            f"The images have side {image_size} and the backbone wants {side}, but resize is 'none'.",
            "resize 'bilinear' or 'area', or equal sizes",
            'resize = "bilinear"',
        )


def presets() -> list[str]:
    """The names of every family's presets."""
    return [f"{family}/{preset}" for family in FAMILIES for preset in FAMILIES.load(family).PRESETS]


def family_config(model: str | Mapping[str, Any] | FamilyConfig, *, at: str = "") -> FamilyConfig:
    """The checked config of a model: of its name, or of a table with `name` and the settings that differ from the preset's.

    `at` is the dotted key under which it is typed.
    """
    if isinstance(model, FamilyConfig):
        return model
    table = FAMILIES.table(model)
    name = _full_name(str(table.get("name", "")))
    family, _, rest = name.partition("/")
    if family not in FAMILIES:
        raise unknown_name("model", name, presets(), "priorscope models list")
    module = FAMILIES.load(family)
    settings: Plain | None = module.PRESETS.get(rest)
    if settings is None and hasattr(module, "read_name"):
        settings = module.read_name(rest)
    if settings is None:
        raise unknown_name("model", name, presets(), "priorscope models list")
    name = settings.get("name", name)
    config = FAMILIES.config(family).parse({**settings, **table, "name": name}, f"model {name}", at)
    if not isinstance(config, FamilyConfig):
        raise TypeError(f"{type(config).__name__} is not a FamilyConfig")
    return config


def beside_name(table: Plain, other: str) -> Plain:
    """A model's table, left with its name and the settings that its name does not say and that the family of `other` has."""
    said, known = family_config(str(table["name"])).plain(), type(family_config(other)).model_fields
    kept = [name for name in table if name in known and table[name] != said.get(name)]
    return {"name": table["name"], **{name: table[name] for name in kept}}


def _full_name(name: str) -> str:
    """A model's name with its family: published Scaling-MLPs names ("B_12-Wi_1024") belong to `mlp`."""
    return f"mlp/{name}" if name.startswith("B_") else name


def create(
    name: str | Mapping[str, Any] | FamilyConfig,
    *,
    image_size: int,
    num_classes: int,
    statistics: Statistics | None = None,
    weights: Path | str | None = None,
    seed: int = 0,
    **overrides: Any,
) -> Classifier:
    """Builds a classifier that takes images in [0, 1], NCHW, at `image_size`, and returns logits.

    `statistics` are the training data's mean and standard deviation, applied inside; `weights` is a safetensors file;
    `overrides` change single settings of the preset. The initial weights are a pure function of the config and `seed`.
    """
    from priorscope.core.contracts import Statistics
    from priorscope.models.building import build

    if statistics is not None and not isinstance(statistics, Statistics):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RequestError(
            f"The statistics came as a {type(statistics).__name__}.",
            "the mean and standard deviation of each channel, as Statistics",
            "statistics=split.statistics of the training data",
        )
    config = family_config(name)
    if overrides:
        config = config.replace(**overrides)
    return build(config, image_size=image_size, num_classes=num_classes, statistics=statistics, weights=weights, seed=seed)


def at_size(classifier: Classifier, image_size: int) -> Classifier:
    """Returns a classifier with the same weights for images of another side; raises where its family cannot have them."""
    from priorscope.models import building

    return building.at_size(classifier, image_size)


def info(classifier: Classifier) -> ModelInfo:
    """What a model costs: parameters, multiply-adds and FLOPs, activation memory, tokens."""
    from priorscope.models import counting

    return counting.info(classifier)


def wrap(
    network: nn.Module,
    *,
    image_size: int,
    classes: int | tuple[str, ...] | list[str],
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    input_size: int | None = None,
    resize: Resize = "bilinear",
) -> Classifier:
    """Makes a classifier of any module that returns logits, so that every probe runs on it: its modules' names are its taps."""
    from priorscope.models.wrapping import wrap_network

    if (mean is None) != (std is None):
        raise RequestError(
            "wrap got only one of mean and std.", "both, or neither", "wrap(net, ..., mean=(.5, .5, .5), std=(.5, .5, .5))"
        )
    statistics = _three_channels(mean, std) if mean is not None and std is not None else None
    num_classes = classes if isinstance(classes, int) else len(classes)
    return wrap_network(network, image_size, num_classes, statistics, input_size, resize)


def _three_channels(mean: Iterable[float], std: Iterable[float]) -> Statistics:
    from priorscope.core.contracts import Statistics

    try:
        statistics = Statistics(mean=tuple(map(float, mean)), std=tuple(map(float, std)))
    except TypeError:
        statistics = None
    if statistics is None or len(statistics.mean) != 3 or len(statistics.std) != 3:
        raise RequestError(
            f"wrap got mean = {mean} and std = {std}.",
            "three numbers each: one for each channel",
            "mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), for example",
        )
    return statistics


from priorscope.models.timm_names import install as _register_with_timm  # noqa: E402  it needs the names above

_register_with_timm()
