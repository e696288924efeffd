"""Motions of pictures: what they move where, and that they are functions of name and seed."""

from __future__ import annotations

import pytest
import torch

from priorscope.synthesis.motion import Motion, drawn_motions, moved


def dot(side: int, y: int, x: int) -> torch.Tensor:
    image = torch.zeros(1, 3, side, side)
    image[..., y, x] = 1
    return image


def test_no_draw_moves_nothing() -> None:
    images = torch.rand(3, 3, 16, 16)
    motion = Motion(shift=0.2, zoom=0.2, turn=30)
    assert torch.allclose(moved(images, torch.zeros(3, 4), motion), images, atol=1e-5)
    assert not motion.still()
    assert Motion().still()


def test_a_shift_is_a_share_of_the_side() -> None:
    image = dot(16, 8, 8)
    right = moved(image, torch.tensor([[-1.0, 0.0, 0.0, 0.0]]), Motion(shift=0.25))
    assert torch.allclose(right, dot(16, 8, 12), atol=1e-4)
    down = moved(image, torch.tensor([[0.0, -0.5, 0.0, 0.0]]), Motion(shift=0.25))
    assert torch.allclose(down, dot(16, 10, 8), atol=1e-4)


def test_a_turn_is_in_degrees() -> None:
    image = torch.rand(1, 3, 9, 9)
    turned = moved(image, torch.tensor([[0.0, 0.0, 0.0, 1.0]]), Motion(turn=90))
    assert torch.allclose(turned, torch.rot90(image, 1, (2, 3)), atol=1e-5)


def test_a_zoom_enlarges() -> None:
    ramp = torch.linspace(-1, 1, 65).expand(1, 3, 65, 65)
    zoomed = moved(ramp, torch.tensor([[0.0, 0.0, 1.0, 0.0]]), Motion(zoom=0.25))
    assert torch.allclose(zoomed, ramp / 1.25, atol=1e-5)


def test_draws_are_a_function_of_name_and_seed_alone() -> None:
    together = drawn_motions(["a", "b"], 0, 5)
    assert together.shape == (2, 5, 4)
    assert torch.equal(drawn_motions(["b"], 0, 5)[0], together[1])
    assert torch.equal(drawn_motions(["b"], 0, 3)[0], together[1, :3])
    assert not torch.equal(drawn_motions(["b"], 1, 5)[0], together[1])
    assert not torch.equal(together[0], together[1])


def test_draws_reach_both_ends() -> None:
    draws = drawn_motions(["a"], 0, 4000)[0]
    assert draws.min(0).values.tolist() == pytest.approx([-1] * 4, abs=2e-3)
    assert draws.max(0).values.tolist() == pytest.approx([1] * 4, abs=2e-3)
    assert draws.mean(0).abs().max() < 0.04
