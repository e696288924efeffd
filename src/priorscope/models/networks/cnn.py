"""Residual and plain convolutional networks for small images; the residual ones have timm's state-dict keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope.models.classifier import Backbone, Tap
from priorscope.models.networks.convolution import Convolution
from priorscope.models.networks.fused import Gelu, gelu
from priorscope.models.networks.linear import Linear

if TYPE_CHECKING:
    from priorscope.models.cnn import CnnConfig

GROUP_WIDTH = 16
"""Channels a group of a group norm has: Wu and He 2018 (arXiv 1803.08494), table 3."""

AIR_SCALE = 1 / 9
"""The airbench nets scale their logits by this: without it the first steps at their learning rates are too sure."""


def normalisation(kind: str, channels: int) -> nn.Module:
    """The norm layer of a kind. Group norm has 16 channels a group, or the most that divides the channels."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group":
        width = next(width for width in range(min(GROUP_WIDTH, channels), 0, -1) if channels % width == 0)
        return nn.GroupNorm(channels // width, channels)
    return nn.Identity()


def convolution(inputs: int, outputs: int, kernel: int, norm: str, stride: int = 1) -> Convolution:
    """A convolution that keeps the map's size at stride 1; it has a bias only where no norm follows that brings one."""
    return Convolution(inputs, outputs, kernel, stride, bias=norm == "none")


def channels_last(x: Tensor) -> Tensor:
    """Pixels in the layout that convolutions are fastest in: 1.6 times the step in float32 and bfloat16 on one core."""
    return x.contiguous(memory_format=torch.channels_last)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, norm: str, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, 3, norm, stride)
        self.bn1 = normalisation(norm, width)
        self.conv2 = convolution(width, width, 3, norm)
        self.bn2 = normalisation(norm, width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + short)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 (which carries the stride) and 1x1 convolutions beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, norm: str, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, 1, norm)
        self.bn1 = normalisation(norm, width)
        self.conv2 = convolution(width, width, 3, norm, stride)
        self.bn2 = normalisation(norm, width)
        self.conv3 = convolution(width, self.expansion * width, 1, norm)
        self.bn3 = normalisation(norm, self.expansion * width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + short)


BLOCKS = {"basic": BasicBlock, "bottleneck": BottleneckBlock}


class PadShortcut(nn.Module):
    """Option A of He et al.: every `stride`-th pixel, and zeros around the channels for the new ones."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        before = (outputs - inputs) // 2
        self.channels = (before, outputs - inputs - before)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.channels))


def _shortcut(inputs: int, outputs: int, stride: int, kind: str, norm: str) -> nn.Module | None:
    if inputs == outputs and stride == 1:
        return None
    if kind == "pad":
        return PadShortcut(inputs, outputs, stride)
    return nn.Sequential(convolution(inputs, outputs, 1, norm, stride), normalisation(norm, outputs))


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average, linear head."""

    def __init__(self, config: CnnConfig, classes: int) -> None:
        super().__init__()
        first, kernel, stride = (config.widths[0], 3, 1) if config.stem == "cifar" else (64, 7, 2)
        self.conv1 = convolution(3, first, kernel, config.norm, stride)
        self.bn1 = normalisation(config.norm, first)
        self.act1 = nn.ReLU()
        self.maxpool = nn.Identity() if config.stem == "cifar" else nn.MaxPool2d(3, 2, 1)
        inputs = first
        for i, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True)):
            stage, inputs = _stage(config, inputs, width, depth, 1 if i == 0 else 2)
            self.add_module(f"layer{i + 1}", stage)
        self.fc = Linear(inputs, classes)
        self._stages = tuple(f"layer{i + 1}" for i in range(len(config.depths)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.act1(self.bn1(self.conv1(channels_last(x)))))
        for stage in self._stages:
            x = getattr(self, stage)(x)
        return self.fc(x.mean((2, 3)))


def _stage(config: CnnConfig, inputs: int, width: int, depth: int, stride: int) -> tuple[nn.Sequential, int]:
    """A stage's blocks, of which the first takes the stride, and the channels that come out."""
    block = BLOCKS[config.block]
    outputs = width * block.expansion
    blocks: list[nn.Module] = []
    for _ in range(depth):
        shortcut = _shortcut(inputs, outputs, stride, config.shortcut, config.norm)
        blocks.append(block(inputs, width, stride, config.norm, shortcut))
        inputs, stride = outputs, 1
    return nn.Sequential(*blocks), outputs


class AirStage(nn.Module):
    """Convolution, max-pool, norm, GELU; then `depth` times convolution, norm, GELU."""

    def __init__(self, inputs: int, width: int, depth: int, norm: str) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.convs = nn.ModuleList(convolution(inputs if k == 0 else width, width, 3, norm) for k in range(depth + 1))
        self.norms = nn.ModuleList(normalisation(norm, width) for _ in range(depth + 1))

    def forward(self, x: Tensor) -> Tensor:
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x)
            x = gelu(norm(self.pool(x) if k == 0 else x))
        return x


class AirNet(nn.Module):
    """A 2x2 stem, one `AirStage` a width, global max, linear head without bias."""

    def __init__(self, config: CnnConfig, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 2, config.stem_stride)
        self.act = Gelu()
        self.stages = nn.ModuleList(
            AirStage(inputs, width, depth, config.norm)
            for inputs, width, depth in zip((24, *config.widths[:-1]), config.widths, config.depths, strict=True)
        )
        self.head = Linear(config.widths[-1], classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(channels_last(x)))
        for stage in self.stages:
            x = stage(x)
        return self.head(torch.amax(x, (2, 3))) * AIR_SCALE


def resnet(config: CnnConfig, classes: int) -> Backbone:
    """A ResNet and its taps."""
    taps = {"embed/out": Tap("maxpool", "NCHW")}
    convolutions = 3 if config.block == "bottleneck" else 2
    for i, depth in enumerate(config.depths):
        for j in range(depth):
            here, there = f"stages/{i}/blocks/{j}", f"layer{i + 1}.{j}"
            for k in range(1, convolutions + 1):
                taps[f"{here}/conv{k}"] = Tap(f"{there}.conv{k}", "NCHW")
                taps[f"{here}/norm{k}"] = Tap(f"{there}.bn{k}", "NCHW")
            taps[f"{here}/out"] = Tap(there, "NCHW")
    taps |= {"head/in": Tap("fc", "NC", "input"), "logits": Tap("fc", "NC")}
    return Backbone(ResNet(config, classes), taps, "fc")


def air(config: CnnConfig, classes: int) -> Backbone:
    """An airbench-like net and its taps."""
    taps = {"embed/out": Tap("act", "NCHW")}
    for i, depth in enumerate(config.depths):
        here, there = f"stages/{i}/blocks/0", f"stages.{i}"
        for k in range(depth + 1):
            taps[f"{here}/conv{k + 1}"] = Tap(f"{there}.convs.{k}", "NCHW")
            taps[f"{here}/norm{k + 1}"] = Tap(f"{there}.norms.{k}", "NCHW")
        taps[f"{here}/out"] = Tap(there, "NCHW")
    taps |= {"head/in": Tap("head", "NC", "input"), "logits": Tap("", "NC")}
    return Backbone(AirNet(config, classes), taps, "head")
