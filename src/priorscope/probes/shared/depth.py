"""What a layer's features hold, layer by layer: a linear readout, neighbours, and how many directions they vary in.

All three read the same images' features, averaged over positions. None is scored on images that it was fitted to: the readout
is fitted on each half and scored on the other, and neighbours are looked for among all other images.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorscope.core.stats import Interval, bootstrap

NEIGHBOURS = 10
STEPS = 50
RIDGE = 1e-3
"""The penalty beside the mean log loss is half of this times the sum of squared weights: fixed, not tuned on anything."""

BYTES = 1 << 26
"""Memory that distances and differences may take at a time."""

Ints = NDArray[np.int64]


def logistic_right(features: Tensor, labels: Ints) -> NDArray[np.bool_]:
    """Whether each image's class is read out right by a logistic regression that was fitted on the other half.

    Every other image of the order given makes a half.
    """
    classes, right = int(labels.max()) + 1, np.zeros(len(labels), np.bool_)
    half = np.arange(len(labels)) % 2 == 0
    for fitted, scored in ((half, ~half), (~half, half)):
        right[scored] = by_logistic(features[fitted], labels[fitted], features[scored], classes) == labels[scored]
    return right


def by_logistic(known: Tensor, labels: Ints, asked: Tensor, classes: int) -> Ints:
    """The class of each asked image by a multinomial logistic regression on the known ones, whose deviation scales features."""
    mean, std = known.mean(0), known.std(0)
    scale = torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.inf)  # a constant feature is left out
    weights = fit_logistic((known - mean) / scale, torch.from_numpy(labels), classes)
    return ((asked - mean) / scale @ weights[:-1] + weights[-1]).argmax(1).numpy()


def fit_logistic(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The weights (features + 1, classes) of least ridge-penalised mean log loss; the last row is the intercept."""
    with torch.enable_grad(), torch.inference_mode(False):
        inputs = torch.cat([x.clone(), torch.ones(len(x), 1)], 1)
        weights = torch.zeros(inputs.shape[1], classes, requires_grad=True)
        search = torch.optim.LBFGS([weights], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            value = torch.nn.functional.cross_entropy(inputs @ weights, labels.clone())
            value = value + RIDGE / 2 * weights[:-1].square().sum()
            value.backward()  # pyright: ignore[reportUnknownMemberType]
            return value

        search.step(loss)  # pyright: ignore[reportArgumentType, reportUnknownMemberType]
    return weights.detach()


def nearest(features: Tensor, count: int) -> Tensor:
    """(n, count): the rows of each image's nearest others by Euclidean distance, nearest first.

    Distances are differences of large products, so they are formed in float64 around the mean; some images against some others
    at a time.
    """
    mean, n = features.mean(0), len(features)
    many = max(1, BYTES // (8 * (n + 4 * features.shape[1])))
    found: list[Tensor] = []
    for start in range(0, n, many):
        some = (features[start : start + many] - mean).double()
        squared = torch.empty(len(some), n, dtype=torch.float64)
        for first in range(0, n, many):
            others = (features[first : first + many] - mean).double()
            lengths = some.square().sum(1)[:, None] + others.square().sum(1)
            squared[:, first : first + many] = lengths - 2 * (some @ others.T)
        squared[torch.arange(len(some)), torch.arange(start, start + len(some))] = torch.inf
        found.append(squared.topk(count, dim=1, largest=False).indices)
    return torch.cat(found)


def neighbours_right(neighbours: Tensor, labels: Ints) -> NDArray[np.bool_]:
    """Whether the commonest class of the nearest images is right; of equally common ones, the nearest counts."""
    given = torch.from_numpy(labels)
    votes = torch.zeros(len(labels), int(given.max()) + 1)
    weight = 1 + 1e-3 / torch.arange(1, neighbours.shape[1] + 1)
    votes.scatter_add_(1, given[neighbours], weight.expand(len(labels), -1))
    return (votes.argmax(1) == given).numpy()


def two_nn(features: Tensor, neighbours: Tensor, seed: int) -> tuple[float, Interval | None]:
    """The number of directions that features vary in, from the ratio of each image's two smallest distances.

    If density is even over the two nearest neighbours, that ratio has the distribution 1 - r^-d (Facco et al., Sci. Rep. 7,
    2017): d is the inverse of the mean of log r. It reads low if d is beyond about 20 (the images needed grow exponentially
    with d, and borders are everywhere), reads the noise if the nearest differ in nothing else, and is NaN if images coincide.
    """
    many = max(1, BYTES // (2 * 8 * 3 * features.shape[1]))
    parts = zip(features.split(many), neighbours[:, :3].split(many), strict=True)
    apart = [(features[near] - some[:, None]).double().norm(dim=2) for some, near in parts]
    found = torch.cat(apart).sort(1).values
    first, second = found[:, 0], found[:, 1]
    logs = torch.log(second / first)[(first > 0) & torch.isfinite(second / first)].numpy()
    if len(logs) < 0.5 * len(features) or logs.mean() <= 0:
        return float("nan"), None
    value = (len(logs) - 1) / len(logs) / logs.mean()
    ends = bootstrap(logs, seed=seed, resamples=1000)
    if ends is None:
        return float(value), None
    low, high = (1 / ends.high, 1 / ends.low if ends.low > 0 else value)
    return float(value), Interval(low=min(low, value), high=max(high, value), method="bootstrap of log ratios", over="images")
