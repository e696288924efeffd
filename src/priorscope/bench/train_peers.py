"""The implementations that training steps are measured beside: timm's and perceiver-pytorch's.

Each is built at exactly the sizes of a config of ours, as its own documentation builds it; what is not installed, or has no
reference, is None. They take normalised images (N, 3, side, side) like our networks, and are trained by the same loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

if TYPE_CHECKING:
    from priorscope.core.config import Plain
    from priorscope.models import FamilyConfig


class Reference(NamedTuple):
    """A network of another library, the library's name, and the settings with which ours does the same work as it."""

    library: str
    network: nn.Module
    ours: Plain


def reference(config: FamilyConfig, side: int, classes: int) -> Reference | None:
    """The reference of a model for images of `side`, or None where there is none here."""
    build = _BUILDERS.get(config.family)
    return None if build is None else build(config, side, classes)


def _vit(config: Any, side: int, classes: int) -> Reference | None:
    found = config.in_timm(side)
    return None if found is None else _timm(found[0], num_classes=classes, **found[1])


def _swin(config: Any, side: int, classes: int) -> Reference:
    return _timm(
        "swin_tiny_patch4_window7_224",
        num_classes=classes,
        img_size=side,
        patch_size=config.patch,
        window_size=config.window,
        embed_dim=config.width,
        depths=config.depths,
        num_heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        proj_drop_rate=config.dropout,
        drop_path_rate=config.drop_path,
    )


def _mixer(config: Any, side: int, classes: int) -> Reference:
    from timm.models.mlp_mixer import MlpMixer  # whose registered names fix the patch

    network = MlpMixer(
        num_classes=classes,
        img_size=side,
        patch_size=config.patch,
        num_blocks=config.depth,
        embed_dim=config.width,
        mlp_ratio=(config.token_ratio, config.channel_ratio),
        proj_drop_rate=config.dropout,
        drop_path_rate=config.drop_path,
    )
    return Reference("timm", network, {})


def _cnn(config: Any, _side: int, classes: int) -> Reference | None:
    """timm's ResNet-18 to 50 with the CIFAR stem put in, as is usual. The others have no reference in timm."""
    depth = config.name.removeprefix("cnn/resnet")
    if depth not in ("18", "34", "50") or config.norm != "batch" or config.stem != "cifar":
        return None
    built = _timm(f"resnet{depth}", num_classes=classes)
    network: Any = built.network
    network.conv1 = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return built


def _tnt(config: Any, side: int, classes: int) -> Reference | None:
    """timm's form. The package of the free form, transformer-in-transformer 0.1.2, does not run on the torch of today."""
    if config.form != "timm":
        return None
    return _timm("tnt_s_patch16_224", num_classes=classes, img_size=side, proj_drop_rate=config.dropout)


def _perceiver(config: Any, _side: int, classes: int) -> Reference | None:
    library: Any = _installed("perceiver_pytorch")
    if library is None or config.patch != 1:
        return None
    network = library.Perceiver(
        num_freq_bands=config.bands,
        depth=config.depth,
        max_freq=config.max_freq,
        num_latents=config.latents,
        latent_dim=config.width,
        cross_heads=config.cross_heads,
        latent_heads=config.heads,
        cross_dim_head=config.cross_head_width,
        latent_dim_head=config.head_width,
        num_classes=classes,
        attn_dropout=config.dropout,
        ff_dropout=config.dropout,
        self_per_cross_attn=config.selves,
    )
    dropping: Plain = {"dropout_at": "weights"} if config.dropout else {}  # where its releases since 0.8 drop
    return Reference("perceiver-pytorch", _ChannelsLast(network), dropping)


class _ChannelsLast(nn.Module):
    """Hands images to a network of perceiver-pytorch, which takes pixels with their colours last."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.permute(0, 2, 3, 1))


def _perceiver_io(config: Any, side: int, classes: int) -> Reference | None:
    library: Any = _installed("perceiver_pytorch")
    if library is None:
        return None
    without: Plain = {"dropout": 0.0} if config.dropout else {}  # it has none
    return Reference("perceiver-pytorch", _Asked(library, config, side, classes), without)


class _Asked(nn.Module):
    """perceiver-pytorch's PerceiverIO leaves tokens and queries to its user: here they are those of our family."""

    def __init__(self, library: Any, config: Any, side: int, classes: int) -> None:
        import torch

        from priorscope.models.networks.perceiver import FourierTokens
        from priorscope.models.networks.perceiver_io import ImageToken

        super().__init__()
        tokens = config.tokens == "patches"
        self.embed = FourierTokens(side, config.patch, config.bands, config.max_freq) if tokens else ImageToken(side)
        asked = config.query_width or classes
        self.queries = nn.Parameter(torch.randn(1, asked), requires_grad=config.queries == "trained")
        self.network = library.PerceiverIO(
            depth=config.depth,
            dim=self.embed.channels,
            queries_dim=asked,
            logits_dim=classes,
            num_latents=config.latents,
            latent_dim=config.width,
            cross_heads=config.cross_heads,
            latent_heads=config.heads,
            cross_dim_head=config.cross_head_width,
            latent_dim_head=config.head_width,
            decoder_ff=config.decoder_mlp,
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.embed(images).contiguous(), queries=self.queries)[:, 0]


def _timm(name: str, **settings: Any) -> Reference:
    import timm

    return Reference("timm", timm.create_model(name, **settings), {})


def _installed(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


_BUILDERS = {
    "vit": _vit,
    "swin": _swin,
    "mixer": _mixer,
    "cnn": _cnn,
    "tnt": _tnt,
    "perceiver": _perceiver,
    "perceiver_io": _perceiver_io,
}
