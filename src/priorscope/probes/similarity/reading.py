"""Reading many layers of several networks in one pass over the images, in planned memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.arrays import Arrays, read_arrays
from priorscope.core.config import Plain
from priorscope.core.errors import RequestError
from priorscope.core.machine import memory_bytes
from priorscope.core.progress import Keeper
from priorscope.data.fetch import fetcher
from priorscope.data.split import Split
from priorscope.models.classifier import Classifier, Layout, looking
from priorscope.probes.shared import depth
from priorscope.probes.shared.networks import Size, pixel_count, pooled, sizes, small_pixels, twin_of
from priorscope.probes.shared.state import state_of
from priorscope.probes.similarity import VERSION, SimilarityConfig, matching
from priorscope.probes.similarity.cka import Alignment, gram, median_distance

GROUPS = 16
"""Disjoint groups of batches at most, each of which the jackknife leaves out once."""

MB = 1 << 20
COPIES = 6
"""Copies of one layer's features over all images that reading it by depth holds at most: joined, cleaned, halves, with ones."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ChosenLayers:
    """A network and the layers to read, with the size of each."""

    name: str
    model: Classifier
    taps: tuple[str, ...]
    sizes: tuple[Size, ...]

    @classmethod
    def of(cls, name: str, model: Classifier, patterns: Sequence[str], chosen: Split) -> Self:
        """The network with those of its layers that fit a pattern."""
        if model.image_size != chosen.image_size:
            raise RequestError(
                f"{name} takes images of side {model.image_size}, and {chosen.source} has {chosen.image_size}.",
                "networks that see the same images",
                "leave one out; a backbone of another size resizes inside (input_size)",
            )
        taps = matching(model.taps(), patterns, name)
        return cls(name, model, taps, tuple(sizes(model, taps)))

    def untrained(self, seed: int) -> Self | None:
        """The untrained twin of the network, with the same layers to read; None for a network without a config."""
        twin = twin_of(self.model, self.name, seed)
        return None if twin is None else replace(self, name=f"{self.name}, untrained", model=twin)

    @property
    def family(self) -> str:
        """The network's family; "other" for a user's own."""
        return self.model.config.family if self.model.config else "other"

    def passes(self, images: int, memory: float) -> list[slice]:
        """The layers in as few passes as keep a batch's activations within the memory (MB), at least one layer in each."""
        cuts, held = [0], 0
        for at, size in enumerate(self.sizes):
            taken = 4 * size.whole
            if at > cuts[-1] and (held + taken) * images > memory * MB:
                cuts.append(at)
                held = 0
            held += taken
        return [slice(start, end) for start, end in pairwise([*cuts, len(self.taps)])]


class Gathered:
    """What a pass knows: sums of HSIC, the rbf width of each layer, and features averaged over positions, raw pixels first."""

    def __init__(self, layers: int, groups: int, kept: int) -> None:
        self.done = 0
        self.alignment = Alignment(layers, groups)
        self.widths: NDArray[np.float64] = np.full(layers, np.nan)
        self.features: list[list[Tensor]] = [[] for _ in range(kept)]

    def known(self) -> Arrays:
        """All of it as arrays."""
        for parts in self.features:
            parts[:] = [torch.cat(parts)]
        features = {f"features{i}": parts[0].numpy() for i, parts in enumerate(self.features)}
        return features | {
            "done": np.array(self.done),
            "sums": self.alignment.sums,
            "variance": self.alignment.variance,
            "size": self.alignment.size,
            "widths": self.widths,
        }

    def resume(self, state: Path) -> None:
        """Reads what was `known` when it was written."""
        kept = [f"features{i}" for i in range(len(self.features))]
        known = read_arrays(state, ["done", "sums", "variance", "size", "widths", *kept])
        self.done, self.widths = int(known["done"]), known["widths"]
        self.alignment.sums, self.alignment.variance, self.alignment.size = (known[at] for at in ("sums", "variance", "size"))
        for parts, name in zip(self.features, kept, strict=True):
            parts[:] = [torch.from_numpy(known[name])]

    def by_depth(self, labels: Ints, seed: int) -> dict[str, Any]:
        """What each layer holds; labels in the order in which the images were read."""
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


@dataclass(frozen=True)
class NetworkReading:
    """One pass over the images in batches: every layer of the networks and of their twins.

    What layers hold by depth is read of the networks alone.
    """

    asked: SimilarityConfig
    chosen: Split
    batches: Sequence[Ints]
    trained: Sequence[ChosenLayers]
    twins: Sequence[ChosenLayers] = ()

    @cached_property
    def networks(self) -> list[ChosenLayers]:
        """All networks that are read: the trained ones, then their untrained twins."""
        return [*self.trained, *self.twins]

    @property
    def layers(self) -> int:
        """How many layers are read of all networks together."""
        return sum(len(network.taps) for network in self.networks)

    @property
    def groups(self) -> int:
        """Into how many groups the batches fall."""
        return min(GROUPS, len(self.batches))

    def planned_mb(self) -> float:
        """MB that the pass will hold beside the networks and their own working memory; refused if that does not fit."""
        batch, memory = max(map(len, self.batches)), self.asked.memory
        kernel = 3 * batch**2 * 8
        if kernel > memory * MB:
            most = int((memory * MB / 24) ** 0.5)
            raise RequestError(
                f"One layer's kernels alone take {kernel / MB:,.2g} MB in batches of {batch}, and memory = {memory:g}.",
                "smaller batches, which change no bias, or more memory",
                f"--set batch={max(most, 4)}" if most >= 4 else "--set memory=1024",
            )
        held = max(
            batch * sum(4 * size.whole for size in network.sizes[some])
            for network in self.networks
            for some in network.passes(batch, memory)
        )
        kernels, sums = self.layers * kernel, 2 * self.groups * self.layers**2 * 8
        total = (held + kernels + sums + self._kept_bytes()) / MB
        machine = memory_bytes() / MB
        if total > machine:
            raise RequestError(
                f"{total:,.0f} MB would be held, {kernels / MB:,.0f} of them kernels of {self.layers} layers in batches of "
                f"{batch}; this machine has {machine:,.0f}.",
                "smaller batches, fewer images or fewer layers",
                f"--set batch={max(batch // 4, 4)}",
            )
        return total

    def _kept_bytes(self) -> int:
        """Bytes of the features that are kept for what layers hold by depth, and of reading the widest of them."""
        if not self.asked.depth:
            return 0
        widths = [pixel_count(self.chosen.image_size), *(size.pooled for network in self.trained for size in network.sizes)]
        return 4 * len(self.chosen) * (sum(widths) + COPIES * max(widths)) + 3 * depth.BYTES

    def state(self, folder: Path | None) -> Path | None:
        """The file in which the pass keeps what it knows, named by everything that its sums are a function of."""
        asked = self.asked
        settings: Plain = {
            "version": VERSION,
            "taps": [network.taps for network in self.networks],
            "reading": [asked.kernel, asked.bandwidth, asked.pooling, asked.depth, len(self.trained)],
            "batch": asked.batch,
            "seed": asked.seed,
        }
        return state_of(folder, "similarity", [network.model for network in self.networks], self.chosen, settings)

    def gather(self, state: Path | None = None) -> Gathered:
        """Reads every batch, letting each activation go before the next is made.

        With a file `state`, what is known is kept there every now and then, and a pass that was stopped resumes with the next
        batch. The file is removed at the end.
        """
        kept = sum(len(network.taps) for network in self.trained) + 1 if self.asked.depth else 0
        known = Gathered(self.layers, self.groups, kept)
        fetch = fetcher(self.chosen, self.networks[0].model.device)
        if state is not None and state.exists():
            known.resume(state)
        keeper = Keeper(state, known.known)
        for number in range(known.done, len(self.batches)):
            kernels = self._kernels(fetch(self.batches[number])[0], known)
            known.alignment.add(number * self.groups // len(self.batches), kernels)
            known.done = number + 1
            keeper.now_and_then()
        if state is not None:
            with suppress(OSError):  # a read-only folder keeps what it has
                state.unlink()
        return known

    def _kernels(self, images: Tensor, known: Gathered) -> list[Tensor]:
        """The kernel of every layer for a batch; what else the pass wants to know of these images is noted."""
        asked, n = self.asked, len(images)
        if known.features:
            known.features[0].append(small_pixels(images).cpu())
        kernels: list[Tensor] = []
        for layer, (layout, value) in enumerate(self._activations(images)):
            flat = value.reshape(n, -1) if asked.pooling == "flatten" else pooled(value, layout, n)
            flat = flat.float()
            known.alignment.look(layer, flat)
            if asked.kernel == "rbf" and known.done == 0:
                known.widths[layer] = asked.bandwidth * median_distance(flat)
            kernels.append(gram(flat, asked.kernel, float(known.widths[layer])))
            if 1 + layer < len(known.features):
                known.features[1 + layer].append(pooled(value, layout, n).float().cpu())
        return kernels

    def _activations(self, images: Tensor) -> Iterator[tuple[Layout, Tensor]]:
        """Every layer of every network in turn, with what its axes mean."""
        for network in self.networks:
            seen = images.to(network.model.device)
            for some in network.passes(len(images), self.asked.memory):
                taps = network.taps[some]
                with looking(network.model), torch.inference_mode():
                    read = network.model.activations(seen, taps)
                for tap in taps:
                    yield network.model.tap(tap).layout, read.pop(tap)
