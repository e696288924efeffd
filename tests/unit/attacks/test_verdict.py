"""Shares are judged by the exact interval, whose ends for few pictures are known."""

from __future__ import annotations

import pytest

from priorscope.attacks import attack_of
from priorscope.attacks.verdict import check, low_end, verdict_of


def test_the_low_end_is_clopper_and_pearsons() -> None:
    """0 of n has 0; 1 of n has 1 - 0.975^(1/n) and n of n 0.025^(1/n), in closed form; 2 of 19 and 5 of 50 are tabled."""
    for n in (1, 5, 10, 100):
        assert low_end(0, n) == 0
        assert low_end(1, n) == pytest.approx(1 - 0.975 ** (1 / n))
        assert low_end(n, n) == pytest.approx(0.025 ** (1 / n))
    assert low_end(2, 19) == pytest.approx(0.01301, abs=5e-6)
    assert low_end(5, 50) == pytest.approx(0.03328, abs=5e-6)
    assert low_end(0, 0) == 0


@pytest.mark.parametrize(
    ("count", "n", "finding"),
    [(1, 10, "fine"), (1, 100, "fine"), (2, 100, "fine"), (3, 100, "suspect"), (2, 19, "suspect"), (10, 19, "masked")],
)
def test_a_lucky_picture_accuses_nobody(count: int, n: int, finding: str) -> None:
    assert check("without gradients", count, n, "").finding == finding


def test_a_number_without_gradients_is_never_called_masked() -> None:
    assert check("margin loss", 50, 100, "", follows_gradients=False).finding == "suspect"
    assert check("margin loss", 50, 100, "").finding == "masked"


@pytest.mark.parametrize("name", ["pgd", "apgd", "apgd-t", "fab-t"])
def test_few_steps_are_weak_whatever_the_attack(name: str) -> None:
    few, enough = attack_of(name, steps=9), attack_of(name, steps=10)
    assert verdict_of([few], []) == "weak attack: upper bound only"
    assert not enough.weak
