"""Answers to claims, on arms whose difference and spread are planted."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from test_verdict import Cost, Score, reading, right, run, scored

from priorscope.core.claim import ClaimVerdict
from priorscope.core.contracts import Standing
from priorscope.core.environment import Environment, NetworkRecord
from priorscope.report.claims import Answer, answers
from priorscope.report.latex import all_tables
from priorscope.report.page import contents
from priorscope.report.verdict import findings


def answer(claim: str, runs, *others: str) -> Answer:
    told = replace(reading(runs), claims=(claim, *others))
    return answers(told, findings(told))[0]


def arms(first: float, second: float, seeds: int = 3, n: int = 1000):
    """Two recipes whose networks are right on these shares of the same images, each seed on others of them."""
    shares = (("mlp", first), ("cnn", second))
    return [run(name, seed, scored(right(share, n, 7 * seed))) for name, share in shares for seed in range(seeds)]


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("mlp > cnn in accuracy", "supported"),
        ("mlp > cnn in accuracy, margin 0.1", "supported"),
        ("mlp > cnn in accuracy, margin 0.5", "contradicted"),
        ("mlp < cnn in accuracy", "contradicted"),
        ("mlp = cnn in accuracy, margin 0.01", "contradicted"),
        ("mlp > cnn in accuracy, margin 0.3", "undecided"),
    ],
)
def test_a_planted_difference_of_30_points_decides_what_it_can(claim: str, verdict: ClaimVerdict) -> None:
    assert answer(claim, arms(0.8, 0.5)).verdict == verdict


class Partial(Score):
    def standing(self) -> Standing:
        return Standing(leads=False, ground="part of the pictures")


def test_what_was_measured_otherwise_than_its_name_promises_says_so() -> None:
    """The study has run to its end: to run it again would not help."""
    parts = [run(name, 0, Partial(value=v, interval=None, n=9, unit="share")) for name, v in (("mlp", 0.9), ("cnn", 0.1))]
    said = answer("mlp > cnn in accuracy", parts)
    assert said.verdict == "undecided"
    assert said.sentence == "It was measured, but not as its name promises: part of the pictures."


def test_seeds_that_are_missing_are_asked_for() -> None:
    said = answer("mlp > cnn in accuracy", arms(0.9, 0.2, seeds=2))
    assert said.verdict == "undecided"
    assert said.needs == "3 seeds of each"


def test_checkpoints_are_decided_as_checkpoints() -> None:
    said = answer("mlp > cnn in accuracy", arms(0.9, 0.2, seeds=1))
    assert said.verdict == "supported"
    assert said.confounds[0] == "It is about two checkpoints: 3 seeds of each speak for families."


@pytest.mark.parametrize(("seeds", "over"), [(1, "over "), (3, "over seeds and ")])
def test_a_claim_says_on_how_many_images_both_were_compared(seeds: int, over: str) -> None:
    said = answer("mlp > cnn in accuracy", arms(0.9, 0.2, seeds=seeds, n=400))
    assert f"95% interval {over}400 images)" in said.sentence


def test_what_would_decide_it_is_forecast_by_how_intervals_shrink() -> None:
    """At 52 against 50 of 100 images a difference of 2 points has some 95 % of +-14: (14 / 2)^2 times as many images."""
    rng = np.random.default_rng(0)
    first, second = rng.random(100) < 0.5, rng.random(100) < 0.5
    first[:], second[:] = np.arange(100) % 2, (np.arange(100) // 2) % 2
    first[np.flatnonzero(~first)[:2]] = True
    said = answer("mlp > cnn in accuracy", [run("mlp", 0, scored(first)), run("cnn", 0, scored(second))])
    assert said.verdict == "undecided"
    wanted = int(said.needs.split()[1].replace(",", ""))
    assert 3000 < wanted < 8000


def test_a_difference_at_the_edge_is_not_promised_to_be_decided() -> None:
    said = answer("mlp > cnn in accuracy", arms(0.5, 0.5))
    assert said.verdict == "undecided"
    assert said.needs.startswith("more than can be forecast")


def test_several_claims_widen_each_others_intervals() -> None:
    alone = answer("mlp > cnn in accuracy", arms(0.8, 0.5))
    among = answer("mlp > cnn in accuracy", arms(0.8, 0.5), *["mlp > cnn in accuracy"] * 4)
    assert "95% interval" in alone.sentence
    assert "99% interval" in among.sentence


def test_intervals_widen_as_five_claims_ask_and_not_in_their_words_alone() -> None:
    def width(*others: str) -> float:
        said = answer("mlp > cnn in accuracy", arms(0.8, 0.5, seeds=1), *others).sentence
        found = re.search(r"\(([+-][\d.]+) to ([+-][\d.]+); ", said)
        assert found
        return float(found[2]) - float(found[1])

    wanted = stats.norm.ppf(0.995) / stats.norm.ppf(0.975)
    assert width(*["mlp > cnn in accuracy"] * 4) / width() == pytest.approx(wanted, abs=0.02)


def test_seeds_are_forecast_by_how_intervals_over_seeds_shrink() -> None:
    """Each network has images of its own: the interval is Welch's over seeds, and has to fall to the difference, 0.02."""
    shares = {"mlp": [0.60, 0.66, 0.63], "cnn": [0.58, 0.64, 0.61]}
    runs = [
        run(name, seed, Score(value=share, interval=None, n=500, unit="share of images"), data=f"world {name} {seed}")
        for name, those in shares.items()
        for seed, share in enumerate(those)
    ]
    half = np.ptp(stats.ttest_ind(*shares.values(), equal_var=False).confidence_interval(0.95)) / 2
    wanted = math.ceil(3 * (half / 0.02) ** 2)
    assert wanted > 20
    assert answer("mlp > cnn in accuracy", runs).needs.startswith(f"about {wanted} seeds of each")


def test_confounds_name_the_settings_that_differ_and_the_sizes() -> None:
    runs = [
        run(name, s, scored(right(0.5 + s / 100)), recipe={"optim": {"lr": lr}})
        for name, lr in (("mlp", 1), ("cnn", 2))
        for s in range(3)
    ]
    small, large = (NetworkRecord(image_size=32, num_classes=10, parameters=count) for count in (10, 99))
    runs = [replace(r, environment=Environment(key=r.name, model=small if r.name[0] == "m" else large)) for r in runs]
    said = answer("mlp > cnn in accuracy", runs)
    assert said.confounds[:2] == ("Their recipes differ in optim.lr.", "Their sizes differ: 10 and 99 parameters.")


def test_a_caveat_of_one_of_the_two_is_said_with_its_name() -> None:
    caveats = {"mlp": ("It stayed low.", "Few images."), "cnn": ("Few images.",)}
    runs = [
        run(name, seed, scored(right(share)).model_copy(update={"caveats": said if seed else ()}))
        for (name, said), share in zip(caveats.items(), (0.8, 0.5), strict=True)
        for seed in range(3)
    ]
    assert answer("mlp > cnn in accuracy", runs).confounds[-2:] == ("mlp: It stayed low.", "Few images.")


def test_a_claim_about_what_is_not_there_stays_open() -> None:
    assert answer("mlp > vit in accuracy", arms(0.8, 0.5)).sentence == "It was not measured on both."


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("cnn > mlp in accuracy", "supported"),
        ("cnn < mlp in accuracy", "contradicted"),
        ("cnn > mlp in accuracy, margin 4e6", "contradicted"),
        ("cnn = mlp in accuracy, margin 5e6", "supported"),
        ("cnn = mlp in accuracy, margin 4e6", "contradicted"),
    ],
)
def test_counts_decide_a_claim_themselves(claim: str, verdict: ClaimVerdict, seeds: int) -> None:
    """1 and 5 million multiply-adds, the same for every seed, differ by 4 million."""
    runs = [
        run(name, seed, Cost(value=value, interval=None, n=1, unit="multiply-adds"))
        for name, value in (("mlp", 1e6), ("cnn", 5e6))
        for seed in range(seeds)
    ]
    said = answer(claim, runs)
    assert (said.verdict, said.needs) == (verdict, "")
    assert said.sentence.endswith(", exactly.")


def test_page_and_tables_answer_from_the_same_findings() -> None:
    class Doubtful(Score):
        def standing(self) -> Standing:
            return Standing(leads=False)

        def protocol(self) -> str:
            return "As planted."

    runs = [run(name, s, scored(right(share), Doubtful)) for name, share in (("mlp", 0.5), ("cnn", 0.8)) for s in range(3)]
    told = replace(reading(runs), claims=("cnn > mlp in accuracy",))
    (on_page,) = contents(told, None, "report.html", None).claims
    assert on_page.verdict == "undecided"
    assert on_page.sentence in all_tables(told)["claims"]


def test_what_is_to_be_known_of_every_claim_is_said_once() -> None:
    """And of one claim alone beside it."""
    runs = arms(0.7, 0.4, seeds=1)
    told = replace(reading(runs), claims=("mlp > cnn in accuracy", "mlp < cnn in accuracy"))
    checkpoints = "It is about two checkpoints: 3 seeds of each speak for families."
    page = contents(told)
    assert page.of_claims[0] == checkpoints
    assert [claim.confounds for claim in page.claims] == [(), ()]
    alone = contents(replace(told, claims=told.claims[:1]))
    assert alone.of_claims == ()
    assert alone.claims[0].confounds[0] == checkpoints
