"""Centred kernel alignment of many layers at once, without bias, from small batches.

Two layers that see the same n images have kernel matrices K and L. With each centred so that its diagonal plays no part
(U-centring; Szekely and Rizzo, Ann. Stat. 42, 2014), the sum of products over i != j divided by n (n - 3) is HSIC without bias
(Song et al., JMLR 13, 2012), whatever the batch. Sums over batches are therefore formed first and the ratio

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))

is taken once, at the end (Nguyen, Raghu and Kornblith, arXiv 2010.15327). The biased estimate reads 0.99 at a batch of 16 for
layers that have nothing in common.

Linear kernels of near-constant layers are differences of large equal numbers: one image's features are taken off all of them
before anything is multiplied, which changes no centred kernel. Products are summed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.variance import VariancePart, half_width
from priorscope.probes.similarity import Kernel

Floats = NDArray[np.float64]

CONSTANT = 1e-10
"""A layer whose variance is a smaller share of its mean square than this is constant: float32 rounds at 1e-14 of it."""


def around_one(features: Tensor) -> Tensor:
    """Features (n, p) minus those of the first image, then minus what is left of the mean: exact where all are nearly equal."""
    near = features - features[:1]
    return near - near.mean(0)


def gram(features: Tensor, kernel: Kernel = "linear", width: float | None = None) -> Tensor:
    """The kernel matrix (n, n) in float64.

    `cosine` scales every image's features to length one first (a zero vector stays). `rbf` is exp(-d^2 / (2 width^2)).
    """
    if kernel == "cosine":
        features = features / features.norm(dim=1, keepdim=True).clamp_min(torch.finfo(features.dtype).tiny)
    near = around_one(features)
    products = (near @ near.T).double()
    if kernel != "rbf":
        return products
    if width is None:
        raise ValueError("the rbf kernel has a width")
    return torch.exp(-distances(products) / (2 * max(width, 1e-30) ** 2))


def distances(products: Tensor) -> Tensor:
    """Squared distances from inner products."""
    lengths = products.diagonal()
    return (lengths[:, None] + lengths[None, :] - 2 * products).clamp_min(0)


def median_distance(features: Tensor) -> float:
    """The median distance between two images' features: what an rbf kernel's width is measured in."""
    near = around_one(features)
    squared = distances((near @ near.T).double())
    above = squared[torch.triu(torch.ones_like(squared, dtype=torch.bool), diagonal=1)]
    return float(above.median().sqrt())


def centred(kernel: Tensor) -> Tensor:
    """U-centring: rows and columns of the off-diagonal part sum to 0, the diagonal is 0."""
    n = len(kernel)
    hollow = kernel.clone()
    hollow.fill_diagonal_(0)
    rows = hollow.sum(1) / (n - 2)
    hollow += rows.sum() / (n - 1) - rows[:, None] - rows[None, :]
    return hollow.fill_diagonal_(0)


class Alignment:
    """HSIC of every pair of layers, summed over batches in disjoint groups of them."""

    def __init__(self, layers: int, groups: int) -> None:
        self.sums = np.zeros((groups, layers, layers))
        self.variance, self.size = np.zeros(layers), np.zeros(layers)

    def look(self, layer: int, features: Tensor) -> None:
        """Counts a batch's features towards whether the layer is constant."""
        near = around_one(features)
        self.variance[layer] += float(near.square().sum(dtype=torch.float64))
        self.size[layer] += float(features.square().sum(dtype=torch.float64))

    def add(self, group: int, kernels: Sequence[Tensor]) -> None:
        """A batch: one kernel matrix a layer. Weighed by its size, so that batches may differ by one image."""
        n = len(kernels[0])
        flat = torch.stack([torch.nan_to_num(centred(kernel)).flatten() for kernel in kernels])
        self.sums[group] += (flat @ flat.T).cpu().numpy() / (n - 3)

    def dead(self) -> NDArray[np.bool_]:
        """Layers that say nothing of the images: constant, not finite, or without a positive HSIC with themselves."""
        with np.errstate(invalid="ignore"):
            constant = ~(self.variance > CONSTANT * self.size)
        return constant | ~(np.diagonal(self.sums.sum(0)) > 0)

    def values(self, dead: NDArray[np.bool_] | None = None) -> tuple[Floats, Floats]:
        """CKA of all pairs, from everything and with each group left out; NaN where a layer is dead."""
        gone = self.dead() if dead is None else dead
        whole = self.sums.sum(0)
        return ratio(whole, gone), np.stack([ratio(whole - part, gone) for part in self.sums])


def ratio(hsic: Floats, dead: NDArray[np.bool_]) -> Floats:
    """CKA from sums of HSIC."""
    own = np.diagonal(hsic).copy()
    own[dead | ~(own > 0)] = np.nan
    scale = np.sqrt(own)
    values = hsic / scale[:, None] / scale[None, :]
    np.fill_diagonal(values, np.where(np.isnan(own), np.nan, 1.0))
    return values


def jackknife(left_out: Floats, level: float = 0.95) -> Floats:
    """Half the interval of a number from its values with each group left out (the first axis): Student's t, groups - 1.

    Groups share no image, so that nothing but the images' own variance is in it (Tukey 1958; Efron and Stein 1981).
    """
    groups = len(left_out)
    if groups < 2:
        return np.full(left_out.shape[1:], np.nan)
    spread = (groups - 1) / groups * np.square(left_out - left_out.mean(0)).sum(0)
    return np.sqrt(spread) * half_width([VariancePart(1.0, groups - 1)], level)
