"""Reading many layers of several networks in one pass over the images, in planned memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.arrays import read_arrays, write_arrays
from priorscope.core.errors import RequestError
from priorscope.core.machine import memory_bytes
from priorscope.core.rng import seed_of
from priorscope.data.split import Split
from priorscope.models import create
from priorscope.models.classifier import Classifier, Layout, evaluating
from priorscope.probes.shared import depth
from priorscope.probes.shared.cka import Alignment, gram, median_distance
from priorscope.probes.similarity import Kernel, Pooling, matching

MB = 1 << 20
SAVE_EVERY_SECONDS = 30.0
COPIES = 6
"""Copies of one layer's features over all images that reading it by depth holds at most: joined, cleaned, halves, with ones."""


@dataclass(frozen=True)
class Network:
    """A network, the layers to read, the bytes that each takes for one image, and its features averaged over positions."""

    name: str
    model: Classifier
    taps: tuple[str, ...]
    bytes_of: tuple[int, ...]
    widths: tuple[int, ...] = ()

    @classmethod
    def of(cls, name: str, model: Classifier, patterns: Sequence[str], chosen: Split) -> Network:
        """The network, after a look at two images of how large its layers are."""
        if model.image_size != chosen.image_size:
            raise RequestError(
                f"{name} takes images of side {model.image_size}, and {chosen.source} has {chosen.image_size}.",
                "networks that see the same images",
                "leave one out; a backbone of another size resizes inside (input_size)",
            )
        taps = matching(model.taps(), patterns, name)
        with evaluating(model), torch.inference_mode():
            read = model.activations(torch.rand(2, 3, model.image_size, model.image_size).to(model.mean.device), taps)
        widths = tuple(pooled(read[tap], model.tap(tap).layout, 2).shape[1] for tap in taps)
        return cls(name, model, taps, tuple(read[tap].numel() * 4 // 2 for tap in taps), widths)

    @property
    def family(self) -> str:
        """The network's family; "other" for a user's own."""
        return self.model.config.family if self.model.config else "other"

    def passes(self, images: int, memory: float) -> list[tuple[str, ...]]:
        """The taps in as few passes as keep a batch's activations within the memory; one tap at least."""
        cuts, held = [0], 0
        for at, size in enumerate(self.bytes_of):
            if at > cuts[-1] and (held + size) * images > memory * MB:
                cuts.append(at)
                held = 0
            held += size
        return [self.taps[a:b] for a, b in pairwise([*cuts, len(self.taps)])]


def twin_of(network: Network, seed: int) -> Network | None:
    """The same architecture with random weights that no training touched; None for a network without a config."""
    model = network.model
    if model.config is None:
        return None
    twin = create(
        model.config.without_start(),
        image_size=model.image_size,
        num_classes=model.num_classes,
        statistics=model.statistics,
        seed=seed_of(seed, "untrained twin", network.name),  # two networks of one config have two twins
    ).to(model.mean.device)
    return Network(f"{network.name}, untrained", twin, network.taps, network.bytes_of, network.widths)


@dataclass(frozen=True)
class Reading:
    """How layers are read: see `SimilarityConfig`. The first `pooled` networks' features are kept for what stands by depth."""

    kernel: Kernel
    bandwidth: float
    pooling: Pooling
    memory: float
    depth: bool
    pooled: int


@dataclass(frozen=True)
class Found:
    """Sums of HSIC, and features averaged over positions (raw pixels first)."""

    alignment: Alignment
    features: list[list[Tensor]]

    def by_depth(self, labels: NDArray[np.int64], seed: int) -> dict[str, Any]:
        """What each layer holds, in the order that the images were read in."""
        logistic: list[int] = []
        neighbours: list[int] = []
        dimension: list[tuple[float, float, float]] = []
        for parts in self.features:
            features = torch.nan_to_num(torch.cat(parts))
            near = depth.nearest(features, min(depth.NEIGHBOURS, len(features) - 1))
            logistic.append(int(depth.logistic_right(features, labels).sum()))
            neighbours.append(int(depth.neighbours_right(near, labels).sum()))
            value, between = depth.two_nn(features, near, seed)
            dimension.append((value, *((between.low, between.high) if between else (value, value))))
        return {
            "logistic": np.array(logistic, np.int64),
            "neighbours": np.array(neighbours, np.int64),
            "dimension": np.array(dimension, np.float64).reshape(-1, 3),
        }


def planned_mb(networks: Sequence[Network], images: int, batch: int, groups: int, reading: Reading) -> float:
    """MB that the pass will hold beside the networks and their own working memory; refused where that does not fit."""
    layers, kernel = sum(len(network.taps) for network in networks), 3 * batch**2 * 8
    if kernel > reading.memory * MB:
        most = int((reading.memory * MB / 24) ** 0.5)
        raise RequestError(
            f"One layer's kernels alone take {kernel / MB:,.2g} MB in batches of {batch}, and memory = {reading.memory:g}.",
            "smaller batches, which change no bias, or more memory",
            f"--set batch={max(most, 4)}" if most >= 4 else "--set memory=1024",
        )
    held = max(
        batch * sum(network.bytes_of[network.taps.index(tap)] for tap in taps)
        for network in networks
        for taps in network.passes(batch, reading.memory)
    )
    total = (held + layers * kernel + 2 * groups * layers**2 * 8 + _by_depth(networks, images, reading)) / MB
    machine = memory_bytes() / MB
    if total > machine:
        raise RequestError(
            f"{total:,.0f} MB would be held, {layers * kernel / MB:,.0f} of them kernels of {layers} layers in batches of "
            f"{batch}; this machine has {machine:,.0f}.",
            "smaller batches, fewer images or fewer layers",
            f"--set batch={max(batch // 4, 4)}",
        )
    return total


def _by_depth(networks: Sequence[Network], images: int, reading: Reading) -> int:
    """Bytes of the features that are kept for what stands by depth, and of reading the widest of them."""
    from priorscope.probes.shared.readouts import PIXEL_SIDE

    if not reading.depth:
        return 0
    of_pixels = 3 * min(networks[0].model.image_size, PIXEL_SIDE) ** 2
    widths = [of_pixels, *(width for network in networks[: reading.pooled] for width in network.widths)]
    return 4 * images * (sum(widths) + COPIES * max(widths)) + 3 * depth.BYTES


def collect(
    networks: Sequence[Network],
    chosen: Split,
    batches: Sequence[NDArray[np.int64]],
    groups: int,
    reading: Reading,
    state: Path | None = None,
) -> Found:
    """One pass over the images: every layer's kernel of every batch, each activation let go before the next is made.

    What is known is kept in the file `state` every now and then, so that a pass that is stopped goes on with the next batch; at
    the end the file goes.
    """
    from priorscope.attacks.supply import fetcher
    from priorscope.probes.shared.readouts import PIXEL_SIDE

    layers = sum(len(network.taps) for network in networks)
    alignment = Alignment(layers, groups)
    widths: dict[int, float] = {}
    kept = sum(len(network.taps) for network in networks[: reading.pooled]) if reading.depth else 0
    features: list[list[Tensor]] = [[] for _ in range(1 + kept)] if reading.depth else []
    fetch = fetcher(networks[0].model, chosen)
    done = _resumed(state, alignment, widths, features) if state is not None and state.exists() else 0
    saved = time.perf_counter()
    for number in range(done, len(batches)):
        images = fetch(batches[number])[0]
        if features:
            side = min(images.shape[-1], PIXEL_SIDE)
            features[0].append(torch.nn.functional.adaptive_avg_pool2d(images, side).flatten(1).cpu())
        kernels: list[Tensor] = []
        for layer, (layout, value) in enumerate(_read(networks, images, reading.memory)):
            flat = value.reshape(len(images), -1) if reading.pooling == "flatten" else pooled(value, layout, len(images))
            flat = flat.float()
            alignment.look(layer, flat)
            if reading.kernel == "rbf" and layer not in widths:
                widths[layer] = reading.bandwidth * median_distance(flat)
            kernels.append(gram(flat, reading.kernel, widths.get(layer)))
            if layer < kept:
                features[1 + layer].append(pooled(value, layout, len(images)).float().cpu())
        alignment.add(number * groups // len(batches), kernels)
        if state is not None and time.perf_counter() - saved >= SAVE_EVERY_SECONDS:
            _keep(state, number + 1, alignment, widths, features)
            saved = time.perf_counter()
    if state is not None:
        state.unlink(missing_ok=True)
    return Found(alignment, features)


def _keep(state: Path, done: int, alignment: Alignment, widths: Mapping[int, float], features: list[list[Tensor]]) -> None:
    """Writes what is known after so many batches, whole or not at all."""
    for parts in features:
        parts[:] = [torch.cat(parts)]
    known = {
        "done": np.array(done),
        "sums": alignment.sums,
        "variance": alignment.variance,
        "size": alignment.size,
        "widths": np.array([widths.get(layer, np.nan) for layer in range(len(alignment.size))]),
    }
    write_arrays(state, known | {f"features{i}": parts[0].numpy() for i, parts in enumerate(features)})


def _resumed(state: Path, alignment: Alignment, widths: dict[int, float], features: list[list[Tensor]]) -> int:
    """Reads what `_keep` wrote; how many batches it knows."""
    kept = [f"features{i}" for i in range(len(features))]
    known = read_arrays(state, ["done", "sums", "variance", "size", "widths", *kept])
    alignment.sums, alignment.variance, alignment.size = (known[name] for name in ("sums", "variance", "size"))
    widths |= {layer: float(width) for layer, width in enumerate(known["widths"]) if np.isfinite(width)}
    for parts, name in zip(features, kept, strict=True):
        parts[:] = [torch.from_numpy(known[name])]
    return int(known["done"])


def _read(networks: Sequence[Network], images: Tensor, memory: float) -> Iterator[tuple[Layout, Tensor]]:
    """Every layer of every network in turn, with what its axes mean."""
    for network in networks:
        seen = images.to(network.model.mean.device)
        for taps in network.passes(len(images), memory):
            with evaluating(network.model), torch.inference_mode():
                read = network.model.activations(seen, taps)
            for tap in taps:
                yield network.model.tap(tap).layout, read.pop(tap)


def pooled(value: Tensor, layout: Layout, n: int) -> Tensor:
    """A layer's features averaged over positions, (n, channels)."""
    if len(value) != n:  # pieces of images in the place of images: pixels of patches, say
        value = value.reshape(n, -1, *value.shape[1:]).mean(1)
    if value.ndim == 2:
        return value
    if layout in ("NCL", "NCHW") or (layout == "any" and value.ndim == 4):
        return value.flatten(2).mean(2)
    return value.flatten(1, -2).mean(1)
