"""The audit on networks whose truth is known: what gradients find that queries do not, and what more of the same finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from priorscope.attacks import Attack, attack_of
from priorscope.attacks.audit import Audited, audit
from priorscope.attacks.doubts import are_probabilities, doubts
from priorscope.attacks.verdict import Check, verdict_of
from priorscope.attacks.victim import Victim
from priorscope.core.errors import WorkError

SIDE, N = 8, 30


class Line(nn.Module):
    """Two classes, a hair apart in every pixel: a nearest adversarial picture at 0.01 that queries hardly find."""

    def __init__(self, detached: bool = False) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weight = torch.randn(3 * SIDE * SIDE, generator=draw)
        self.detached = detached

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach() if self.detached else x
        rise = (x - 0.5).flatten(1) @ self.weight / self.weight.abs().sum()
        return torch.stack([torch.full_like(rise, 0.01), rise], 1)


def number(net: Callable[[Tensor], Tensor], attacks: list[Attack], eps: float, budgets: tuple[float, ...] = ()) -> Audited:
    """All pictures are grey, and all stand; the curve is at 0 and `eps` where no other `budgets` are given."""
    everyone = np.arange(N)

    def fetch(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.full((len(rows), 3, SIDE, SIDE), 0.5), torch.zeros(len(rows), dtype=torch.int64)

    return Audited(Victim(net), fetch, everyone, attacks, eps, "linf", 0, everyone, everyone, budgets or (0.0, eps))


def named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


@pytest.mark.parametrize("name", ["square", "decision"])
def test_gradients_are_tried_on_a_number_that_came_without_them(name: str) -> None:
    attacks = [attack_of(name, steps=1000)]
    checks, left = audit(number(Line(), attacks, 0.011))
    assert named(checks, "margin loss").share == named(checks, "own step size").share == 1
    assert named(checks, "zero gradients").finding == "fine"
    assert verdict_of(attacks, checks) == "suspect"
    assert len(left) == 0
    checks, left = audit(number(Line(), attacks, 0.009))
    assert verdict_of(attacks, checks) == "no sign of overestimation"
    assert len(left) == N


def test_where_no_gradient_reaches_the_pixels_that_is_said() -> None:
    attacks = [attack_of("square", steps=1000)]
    checks, _ = audit(number(Line(detached=True), attacks, 0.009))
    assert [check.name for check in checks] == ["zero gradients", "without gradients"]
    assert checks[0].sentence.startswith("No gradient reaches the pixels")
    assert verdict_of(attacks, checks) == "suspect"


def test_more_steps_and_more_starts_are_read_at_one_two_and_four_times_as_many() -> None:
    """PGD of 10 steps of a twentieth of the budget goes half of the way; halved, 20 steps of 40 reach what 10 did."""
    attack = attack_of("pgd", steps=10, step=0.05, start="none")
    asked = number(Line(), [attack], 0.0101)
    checks, _ = audit(asked)
    longer = named(checks, "more steps")
    assert longer.left == ((1, 1.0), (2, 1.0), (4, 0.0))
    assert longer.sentence == (
        f"{N} of {N} more images are broken with four times the steps (left after 1, 2 and 4 times as many: "
        "100.0%, 100.0% and 0.0%)."
    )
    again = named(checks, "more starts")
    assert [times for times, _ in again.left] == [1, 2, 4]
    shares = [share for _, share in again.left]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(1 - again.share)
    nobody = replace(asked, right=np.zeros(0, np.int64), standing=np.zeros(0, np.int64))
    assert {check.n for check in audit(nobody)[0]} == {0}


def test_a_stopped_audit_resumes_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped half way, it asks about what is left and nothing else; answers that were not finite are counted once."""
    monkeypatch.setattr("priorscope.attacks.victim.BLOCK", 10)
    monkeypatch.setattr("priorscope.core.progress.SAVE_EVERY_SECONDS", 0.0)
    line, seen, left = Line(), list[int](), [10**9]

    def counted(x: Tensor) -> Tensor:
        """Answers NaN at pictures that are far from grey, and stops after so many pictures in all."""
        seen.append(len(x))
        if sum(seen) > left[0]:
            raise KeyboardInterrupt
        return torch.where(((x - 0.5).abs().amax((1, 2, 3)) > 0.1)[:, None], torch.nan, line(x))

    def asked(state: Path | None) -> Audited:
        attacks = [attack_of("pgd", steps=10, step=0.05, start="none")]
        return replace(number(counted, attacks, 0.0101, (0.0, 0.0101, 0.2)), victim=Victim(counted), state=state)

    whole = asked(None)
    checks, stood = audit(whole)
    needed = sum(seen)
    assert whole.victim.not_finite > 0
    state = tmp_path / "audit.npz"
    left[0] = needed // 2
    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        audit(asked(state))
    left[0] = 10**9
    seen.clear()
    again = asked(state)
    resumed, standing = audit(again)
    assert (resumed, standing.tolist()) == (checks, stood.tolist())
    assert needed // 2 <= sum(seen) < needed * 3 // 4, "a block that was stopped comes again, with pictures as they are"
    assert again.victim.not_finite == whole.victim.not_finite
    seen.clear()
    assert audit(asked(state))[0] == checks
    assert sum(seen) < 5 * N, "gradients and grey alone are looked at again"
    state.write_bytes(b"torn")
    with pytest.raises(WorkError, match="is damaged"):
        audit(asked(state))


STEEP = attack_of("pgd", steps=10, step=0.25, start="none", loss="margin")


def at(shades: Tensor, labels: Tensor) -> Callable[[np.ndarray], tuple[Tensor, Tensor]]:
    """Pictures of one shade each."""
    return lambda rows: (shades[rows].view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE), labels[rows])


def test_what_stands_at_half_the_range_of_pixels_though_grey_breaks_it_is_masked() -> None:
    """The first class leads by one but near grey, and everywhere the gradient leads to white."""

    def hidden(x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        return torch.stack([torch.ones_like(mean), mean / 1e3 + 2 * ((mean - 0.5).abs() < 0.01)], 1)

    bright = at(torch.full((N,), 0.9), torch.zeros(N, dtype=torch.int64))
    checks, _ = audit(replace(number(hidden, [STEEP], 0.01), fetch=bright))
    half = named(checks, "half the range")
    assert (half.share, half.n, half.finding) == (1.0, N, "masked")
    assert half.sentence == (
        f"Of {N} images that uniform grey would make wrong {N} stand at half the range of pixels; none should."
    )


def test_of_the_class_that_grey_is_given_nothing_must_fall_at_half_the_range() -> None:
    """The second class begins at a mean of 0.2: from 0.1 it is near, and from 0.9 no picture within 0.5 leaves it."""

    def line(x: Tensor) -> Tensor:
        rise = x.mean((1, 2, 3)) - 0.2
        return torch.stack([torch.zeros_like(rise), rise], 1)

    bright = torch.arange(N) % 3 > 0
    fetch = at(torch.where(bright, 0.9, 0.1), bright.long())
    checks, left = audit(replace(number(line, [STEEP], 0.01), fetch=fetch))
    half = named(checks, "half the range")
    assert (half.share, half.n, half.finding) == (0.0, N // 3, "fine")
    assert len(left) == N


def test_an_attack_that_breaks_less_at_a_larger_budget_makes_the_number_suspect() -> None:
    """Pictures fall in a narrow strip above grey: steps of a quarter of the largest budget go past it."""

    def strip(x: Tensor) -> Tensor:
        rise = -(x.mean((1, 2, 3)) - 0.52).abs()
        return torch.stack([torch.full_like(rise, -0.008), rise], 1)

    checks, _ = audit(number(strip, [STEEP], 0.005, (0.0, 0.005, 0.03, 0.4)))
    falling = named(checks, "falling curve")
    assert (falling.share, falling.finding) == (1.0, "suspect")


def test_images_are_fetched_in_blocks_of_as_many_pixels_whatever_their_size() -> None:
    """What the docs reckon with: 512,000 pixels, 500 images of side 32 and 10 of side 224."""

    class Sized(nn.Module):
        def __init__(self, side: int) -> None:
            super().__init__()
            self.image_size = side

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :2] + torch.tensor([1.0, 0.0])

    for side, most in ((32, 500), (224, 10)):
        asked: list[int] = []

        def fetch(rows: np.ndarray, asked: list[int] = asked) -> tuple[Tensor, Tensor]:
            asked.append(len(rows))
            return torch.full((len(rows), 3, 4, 4), 0.5), torch.zeros(len(rows), dtype=torch.int64)

        victim, everyone = Victim(Sized(side)), np.arange(600)
        assert doubts(victim, fetch, 600) == ([], False)
        attacks = [attack_of("pgd", steps=10)]
        audit(Audited(victim, fetch, everyone, attacks, 0.01, "linf", 0, everyone, everyone, (0.0, 0.01)))
        assert max(asked) == most


def test_nan_is_refused_wherever_it_comes_and_probabilities_are_told_from_logits() -> None:
    def late(x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2] / (x.flatten(1)[:, :1] < 0.7)

    def fetch(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(np.where(rows == 640, 0.9, 0.4)).float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2), torch.zeros(
            len(rows)
        )

    assert doubts(Victim(late), fetch, 640) == ([], False)
    with pytest.raises(WorkError, match="late answers NaN or infinity for 1 of 700 images"):
        doubts(Victim(late), fetch, 700, "late")
    assert are_probabilities(np.array([[0.2, 0.8], [1.0, 0.0]]))
    assert not are_probabilities(np.array([[0.2, 0.8], [1.0, 0.1]]))
    assert not are_probabilities(np.array([[2.0, -1.0]]))
    assert not are_probabilities(np.ones((3, 1)))
