"""The descent on losses whose best picture is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from priorscope.synthesis import descent
from priorscope.synthesis.descent import Steps, descend
from priorscope.synthesis.forms import Natural, Palette, Pixels
from priorscope.synthesis.motion import Motion

SIDE = 8


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def grey(n: int) -> Tensor:
    return torch.full((n, 3, SIDE, SIDE), 0.5)


@pytest.mark.parametrize("optimiser", ["steepest", "adam", "sgd"])
def test_the_best_pixels_of_a_linear_function_are_its_signs(optimiser: str) -> None:
    weight = drawn(2, 3, SIDE, SIDE)

    def loss(images: Tensor, rows: slice) -> Tensor:
        return -(images * weight[rows]).flatten(1).sum(1)

    best = descend(loss, grey(2), Pixels(), Steps(steps=2000, lr=0.05, optimiser=optimiser))
    ends = weight.abs() > 0.02  # what hardly matters is hardly moved by a plain gradient
    assert torch.equal(best[ends], (weight > 0).float()[ends])


def test_held_at_real_contrast_the_steepest_way_ends_at_the_gradients_direction_at_each_frequency() -> None:
    """Of a function that is linear in the numbers, the best ones in a ball are its gradient's, of the ball's size."""
    real = torch.rand(50, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    form = Natural(SIDE, Palette.of(real), real, held=True)
    wave = form.encode(real[:1])  # what any picture's spectrum holds: no number that the inverse transform ignores
    wanted = wave / wave.square().mean().sqrt()

    def loss(images: Tensor, rows: slice) -> Tensor:  # noqa: ARG001  one picture
        return -(form.encode(images) * wanted).flatten(1).sum(1)

    found = form.encode(descend(loss, 0.01 * wanted, form, Steps(steps=600, lr=0.1, optimiser="steepest", schedule="cosine")))
    ring = form.ring
    for r in range(int(ring.max()) + 1):
        got, best = found[:, :, ring == r], wanted[:, :, ring == r]
        assert torch.nn.functional.cosine_similarity(got.flatten(), best.flatten(), dim=0) > 0.98, r
        assert float(got.square().mean()) == pytest.approx(1, abs=0.03), r


def test_a_picture_depends_on_no_other_of_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, start = drawn(5, 3, SIDE, SIDE), torch.rand(5, 3, SIDE, SIDE)
    names = [f"picture {i}" for i in range(5)]

    def run(rows: list[int]) -> Tensor:
        def loss(images: Tensor, some: slice) -> Tensor:
            return (images * weight[rows][some]).flatten(1).sum(1).square()

        how = Steps(steps=30, lr=0.02)
        return descend(
            loss, start[rows], Pixels(), how, motion=Motion(shift=0.1, turn=20), names=[names[i] for i in rows], seed=3
        )

    together = run([0, 1, 2, 3, 4])
    assert torch.allclose(run([3, 1]), together[[3, 1]], atol=1e-6)
    monkeypatch.setattr(descent, "AT_ONCE", 2 * SIDE**2)
    assert torch.allclose(run([0, 1, 2, 3, 4]), together, atol=1e-6)


def test_a_picture_that_is_good_enough_stays_as_it_is() -> None:
    target = torch.tensor([0.5, 0.9]).view(2, 1, 1, 1)

    def loss(images: Tensor, rows: slice) -> Tensor:
        return (images - target[rows]).square().flatten(1).mean(1)

    found = descend(loss, grey(2), Pixels(), Steps(steps=50, lr=0.02, enough=0.01))
    assert torch.equal(found[0], grey(1)[0])  # its loss is 0 before the first step
    assert 0.79 < float(found[1].mean()) < 0.83  # (0.9 - 0.8)^2 = 0.01, and steps of 0.02


def test_a_gradient_that_is_not_a_number_moves_nothing() -> None:
    def loss(images: Tensor, rows: slice) -> Tensor:  # noqa: ARG001
        values = images.flatten(1).sum(1)
        return values / torch.tensor([1.0, 0.0])

    found = descend(loss, grey(2), Pixels(), Steps(steps=3, lr=0.1, optimiser="sgd"))
    assert float(found[0].mean()) == pytest.approx(0.2)
    assert torch.equal(found[1], grey(1)[0])


def test_rates() -> None:
    how = Steps(steps=350, lr=1500.0, schedule="tenth-every-80")
    divided, rates = 1500.0, list[float]()
    for step in range(350):  # that study's loop: a step, then at 0, 80, 160, ... a tenth of the rate from there on
        rates.append(divided)
        divided /= 10 if step % 80 == 0 else 1
    assert [how.rate(step) for step in range(350)] == pytest.approx(rates)
    assert [how.rate(step) for step in (0, 1, 80, 81, 160, 161)] == pytest.approx([1500, 150, 150, 15, 15, 1.5])
    cosine = Steps(steps=100, lr=2.0, schedule="cosine")
    assert [cosine.rate(step) for step in (0, 50)] == pytest.approx([2, 1])
    assert cosine.rate(25) == pytest.approx(1 + math.cos(math.pi / 4))
