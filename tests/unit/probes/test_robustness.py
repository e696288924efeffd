"""The robustness probe on networks whose truth is known: linear, masked on purpose, broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from priorscope import models
from priorscope.attacks.verdict import AuditVerdict, Check, check
from priorscope.core.contracts import Subject
from priorscope.core.errors import RequestError, WorkError
from priorscope.data.fetch import some_images
from priorscope.data.split import ArrayPixels, Split
from priorscope.evidence import Evidence
from priorscope.models.classifier import Classifier
from priorscope.probes import load_result, probe_config
from priorscope.probes.robustness import Robustness, compare_smallest, measure_robustness, median_budget

SIDE, CLASSES, N = 8, 5, 120
CURVE = tuple(level / 255 for level in (1, 2, 4, 8, 16, 32))


class Net(nn.Module):
    """A small network with a factor on its logits."""

    def __init__(self, scale: float = 1.0, hidden: int = 32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3 * SIDE * SIDE, hidden)
        self.last = nn.Linear(hidden, CLASSES)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.last(torch.relu(self.first(x.flatten(1))))


def world(n: int = N) -> Split:
    """Five templates with noise, as bytes."""
    draw = np.random.default_rng(0)
    templates = draw.uniform(0.44, 0.56, (CLASSES, SIDE, SIDE, 3))
    labels = np.arange(n) % CLASSES
    pixels = templates[labels] + draw.normal(0, 0.06, (n, SIDE, SIDE, 3))
    array = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return Split("made", "test", ArrayPixels(array), labels.astype(np.int64), tuple("abcde"))


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """Weights that know the world."""
    net, split = Net(), world(600)
    images = torch.from_numpy(np.stack([split[i][0] for i in range(len(split))])).permute(0, 3, 1, 2) / 255
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(images), torch.from_numpy(split.labels)).backward()
        optimiser.step()
    return net.state_dict()


def subject(trained: dict[str, Tensor], scale: float = 1.0) -> Classifier:
    net = Net(scale)
    net.load_state_dict(trained)
    return models.wrap(net, image_size=SIDE, classes=CLASSES)


def wrapped(net: nn.Module) -> Classifier:
    return models.wrap(net, image_size=SIDE, classes=CLASSES)


def finding(result: Robustness, name: str) -> tuple[str, float]:
    (check,) = [check for check in result.checks if check.name == name]
    return check.finding, check.share


def test_the_headline_is_the_median_smallest_budget_and_the_curve_falls(trained: dict[str, Tensor]) -> None:
    result = measure_robustness(subject(trained), world(), budgets=CURVE)
    assert result.n == int(result.correct.sum()) > 100
    assert result.interval is not None
    assert result.interval.low <= result.value <= result.interval.high
    assert result.value == np.median(np.minimum(result.smallest[result.correct], 32 / 255))
    assert result.interval.low <= np.median(result.stood[result.correct])
    assert (result.stood < result.smallest)[result.correct].all()
    assert result.right_at[0] == result.correct.sum()
    assert (np.diff(result.right_at) <= 0).all()
    for eps, count in zip(result.budgets, result.right_at, strict=True):
        assert count == np.count_nonzero(result.correct & (result.smallest > eps * 1.000001))
    assert (result.smallest[~result.correct] == 0).all()
    assert result.verdict == "no sign of overestimation"
    assert result.after_audit is not None
    assert result.after_audit <= result.accuracy_at(8 / 255) + 0.05
    assert f"{result.value * 255:.3g}/255" in result.headline()


def test_images_that_no_budget_breaks_are_counted_as_censored(trained: dict[str, Tensor]) -> None:
    result = measure_robustness(subject(trained), world(40), eps=2 / 255, budgets=(4 / 255,), audit_images=0)
    assert 0 < result.censored() == result.right_at[-1] < result.n
    (row,) = (row for row in result.metrics() if row.metric == "censored")
    assert row.value == result.right_at[-1] / result.n


def test_a_median_beyond_every_budget_is_more_than_the_last_one(trained: dict[str, Tensor]) -> None:
    result = measure_robustness(subject(trained), world(40), eps=1e-6, budgets=(1e-6, 2e-6), audit_images=0)
    assert result.value == result.budgets[-1]
    assert result.headline().startswith("Half or more of the images it gets right still stand at 0.00051/255 L-inf; ")
    assert "break within more than " in result.charts()[0].title


def test_where_no_image_is_right_nothing_speaks_for_the_number(trained: dict[str, Tensor]) -> None:
    split = world(40)
    answers = Evidence(subject(trained)).logits(split).argmax(1)
    never = Split("made", "test", split.pixels, (answers + 1) % CLASSES, split.classes)
    result = measure_robustness(subject(trained), never, attack="pgd", steps=20)
    assert (result.n, result.verdict) == (0, "suspect")
    assert result.headline().startswith("It gets none of 40 images right")
    assert any(caveat.startswith("No image that the audit looked at was right, so nothing") for caveat in result.caveats)
    assert not any("not audited" in caveat for caveat in result.caveats)
    assert [figure.name for figure in result.charts()] == ["smallest-budget", "robustness-curve"], "no check looked at anything"


def test_what_transfers_makes_a_number_worse_by_how_much_of_it_does() -> None:
    fine = Robustness.model_construct(verdict="no sign of overestimation", checks=())
    said = [fine.checked([check("transfer", count, 100, "")]).verdict for count in (0, 4, 30)]
    assert said == ["no sign of overestimation", "suspect", "masked"]


def test_logits_a_thousand_times_larger_mask_pgd_and_leave_the_ensemble(trained: dict[str, Tensor]) -> None:
    plain = measure_robustness(subject(trained), world(), attack="pgd", eps=8 / 255, budgets=CURVE)
    blind = measure_robustness(subject(trained, 1000.0), world(), attack="pgd", eps=8 / 255, budgets=CURVE)
    assert plain.verdict != "masked"  # a few images more fall to more steps
    assert blind.accuracy_at(8 / 255) > plain.accuracy_at(8 / 255) + 0.15
    assert blind.verdict == "masked"
    assert blind.standing().ground == "masked gradients: do not believe it"
    assert finding(blind, "zero gradients")[0] == "masked"
    assert finding(blind, "margin loss")[0] == "masked"
    assert blind.after_audit == pytest.approx(plain.accuracy_at(8 / 255), abs=0.03)
    calm, scaled = (
        measure_robustness(subject(trained, scale), world(), attack="quick", eps=8 / 255, budgets=CURVE) for scale in (1, 1000)
    )
    assert scaled.right_at.tolist() == pytest.approx(calm.right_at.tolist(), abs=1)
    assert scaled.verdict == calm.verdict == "no sign of overestimation"


@pytest.mark.slow
def test_the_standard_ensembles_number_and_verdict_survive_a_factor_of_a_thousand(trained: dict[str, Tensor]) -> None:
    calm, scaled = (
        measure_robustness(subject(trained, scale), world(), attack="standard", eps=8 / 255, budgets=(8 / 255,))
        for scale in (1, 1000)
    )
    assert scaled.right_at.tolist() == calm.right_at.tolist()
    assert scaled.verdict == calm.verdict == "no sign of overestimation"
    assert calm.turns[0][1] > 0
    assert scaled.turns[0][1] < calm.turns[0][1]  # cross-entropy saw nothing; the others did its work


@pytest.mark.parametrize("attack", ["fgsm", "z-fgsm", "z-pgd5"])
def test_weak_attacks_are_upper_bounds_and_nothing_else(trained: dict[str, Tensor], attack: str) -> None:
    for scale in (1.0, 1000.0):
        result = measure_robustness(subject(trained, scale), world(60), attack=attack)
        assert result.verdict == "weak attack: upper bound only"


def test_few_steps_of_pgd_are_weak_too(trained: dict[str, Tensor]) -> None:
    result = measure_robustness(subject(trained), world(40), attack="pgd", steps=9, budgets=CURVE, audit_images=0)
    assert result.verdict == "weak attack: upper bound only"


def test_z_fgsm_is_the_published_protocol(trained: dict[str, Tensor]) -> None:
    model, split = subject(trained), world(60)
    result = measure_robustness(model, split, attack="z-fgsm", images=None)
    images = torch.from_numpy(np.stack([split[i][0] for i in range(len(split))])).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(split.labels)
    images.requires_grad_(True)
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(images), labels), images)
    budgets = [k * 0.0125 for k in range(21)]
    shown = [model((images + eps * gradient.sign()).clamp(0, 1)) for eps in budgets]
    right = np.stack([(logits.argmax(1) == labels).numpy() for logits in shown])
    assert result.right_at.tolist() == right.sum(1).tolist()
    np.testing.assert_allclose(result.budgets, budgets, atol=1e-12)
    first = right.argmin(0)  # the place of the first budget that breaks it, where one does
    fell = right[0] & ~right.all(0)
    assert fell.sum() > 30
    np.testing.assert_allclose(result.smallest[fell], np.array(budgets)[first[fell]], atol=1e-12)
    np.testing.assert_allclose(result.stood[fell], np.array(budgets)[first[fell] - 1], atol=1e-12)


def test_five_guesses_are_told_of_more_than_five_classes_alone() -> None:
    """Of three classes every answer is among five guesses, broken or not."""
    seen = planted(AROUND).model_copy(update={"within_at": np.full(len((0.0, *CURVE)), 200)})
    for classes, told in ((5, 0), (6, len((0.0, *CURVE)))):
        rows = seen.model_copy(update={"classes": classes}).metrics()
        assert sum(row.metric == "top-5 under attack" for row in rows) == told


def test_z_pgd5_attacks_every_image_and_judges_the_last_iterate(trained: dict[str, Tensor]) -> None:
    result = measure_robustness(subject(trained), world(60), attack="z-pgd5")
    np.testing.assert_allclose(result.budgets, np.arange(0, 0.025, 0.025 / 12), atol=1e-12)
    assert result.right_at[0] == result.correct.sum()
    assert result.right_at[-1] < result.right_at[0]


def test_budget_zero_is_clean_accuracy_exactly(trained: dict[str, Tensor]) -> None:
    from priorscope.probes.accuracy import measure_accuracy

    model, split = subject(trained), world()
    result = measure_robustness(model, split, images=None, budgets=(8 / 255,), audit_images=0)
    assert (result.correct == measure_accuracy(model, split).correct).all()
    assert result.right_at[0] == result.correct.sum()


def test_the_images_of_a_smaller_measurement_have_the_same_budgets_in_a_larger_one(trained: dict[str, Tensor]) -> None:
    some = measure_robustness(subject(trained), world(), images=30, budgets=CURVE, audit_images=0)
    more = measure_robustness(subject(trained), world(), images=90, budgets=CURVE, audit_images=0)
    assert set(some.index) < set(more.index)
    where = np.searchsorted(more.index, some.index)
    np.testing.assert_allclose(more.smallest[where], some.smallest, rtol=0.02)


def test_looking_leaves_the_model_as_it_was(trained: dict[str, Tensor]) -> None:
    model = subject(trained).train()
    state = torch.random.get_rng_state()
    measure_robustness(model, world(20), budgets=CURVE, audit_images=10)
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_result_is_stored_and_drawn_without_the_model(trained: dict[str, Tensor], tmp_path: Path) -> None:
    result = measure_robustness(subject(trained), world(40), budgets=CURVE)
    again = load_result(result.save(tmp_path / "r.json"))
    assert isinstance(again, Robustness)
    assert again.table() == result.table()
    assert [check.plain() for check in again.checks] == [check.plain() for check in result.checks]
    pair = [(Subject(name=name, family="mlp"), again) for name in ("one", "two")]
    names = [figure.name for figure in Robustness.draw(pair)]
    assert names == ["smallest-budget", "robustness-curve", "robustness-audit"]
    assert "that all networks get right" in str(Robustness.draw(pair)[0].n)
    half = f"{again.value * 255:.3g}/255"
    assert Robustness.draw(pair)[0].title == (
        f"No network stands out: half of the images of one break within {half}, of two within {half}, and none is "
        "distinguishable from one"
    )
    more = 1.3 + 0.4 * (again.index % 2)
    tougher = again.model_copy(update={"smallest": again.smallest * more, "stood": again.stood * more})
    drawn = Robustness.draw([pair[0], (Subject(name="tough", family="cnn"), tougher)])
    assert drawn[0].title.startswith("tough withstands most: half of its images break within")
    assert len(Robustness.draw([pair[0], (Subject(name="l2", family="cnn"), again.model_copy(update={"norm": "l2"}))])) == 3


def planted(smallest: NDArray[np.float64], verdict: AuditVerdict = "no sign of overestimation", *checks: Check) -> Robustness:
    """A result whose smallest breaking budgets are these, in 255ths."""
    broken, n, levels = smallest / 255, len(smallest), (0.0, *CURVE)
    return Robustness(
        value=float(np.median(np.minimum(broken, levels[-1]))),
        interval=None,
        n=n,
        unit="L-inf on pixels in [0, 1]",
        split="test",
        attack="quick",
        attacks=("a",),
        norm="linf",
        eps=8 / 255,
        budgets=levels,
        classes=10,
        seed=0,
        verdict=verdict,
        checks=checks,
        index=np.arange(n),
        correct=np.ones(n, bool),
        smallest=broken,
        stood=0.9 * broken,
        right_at=np.array([(broken > level).sum() for level in levels]),
        within_at=np.zeros(0, int),
    )


def titles(**results: Robustness) -> list[str]:
    return [figure.title for figure in Robustness.draw([(Subject(name=n, family="mlp"), r) for n, r in results.items()])]


AROUND = np.linspace(0.9, 1.1, 200)
UNBROKEN = np.full(200, np.inf)
BLIND = check("margin loss", 180, 200, "180 of 200 more images are broken with the margin loss.")


def test_a_masked_network_is_named_apart_and_never_the_most_robust() -> None:
    blind, found = planted(UNBROKEN, "masked", BLIND), "blind's number is not to be believed: masked gradients"
    budget, curve, audit = titles(honest=planted(10 * AROUND), blind=blind)
    assert budget == f"Half of the images of honest break within 10/255; {found}"
    assert curve == f"At 8/255 honest is right on 100%; {found}"
    assert audit == "Not to be believed as they are: blind"
    budget, curve, _ = titles(honest=planted(10 * AROUND), blind=blind, weak=planted(4 * AROUND))
    assert budget == f"honest withstands most: half of its images break within 10/255; {found}"
    assert curve == f"At 8/255 honest is right most often: 100% (no sign of overestimation); {found}"
    bound = planted(16 * AROUND, "weak attack: upper bound only")
    budget, curve, _ = titles(one=bound, two=bound, blind=blind)
    told = f"{found}; the numbers of one and two are an upper bound only: weak attack"
    assert budget == f"No number here says who withstands more: {told}"
    assert curve == f"At 8/255 no number says who is right more often: {told}"


def test_the_largest_median_is_compared_with_every_other_network() -> None:
    """A few images that break at once do not move a median, and image by image they decide."""
    torn = np.where(np.arange(200) < 90, 0.001, 1.2)
    assert titles(a=planted(torn), b=planted(np.ones(200)))[0] == (
        "Half of the images of a break within 1.2/255, but image by image b withstands more"
    )
    noisy = 4 * 2 ** np.random.default_rng(0).normal(0, 0.5, 200)
    assert titles(a=planted(noisy), b=planted(noisy[::-1]), c=planted(AROUND))[0].startswith(
        "a withstands most, but not distinguishably from b: half of its images break within "
    )
    same = planted(AROUND)
    assert titles(a=same, b=same, c=same)[0].startswith("No network stands out: half of the images of a break within 1/255")


def test_medians_beyond_every_budget_are_more_than_the_last_in_every_title() -> None:
    for title in (titles(a=planted(UNBROKEN))[0], titles(a=planted(UNBROKEN), b=planted(AROUND))[0]):
        assert "within more than 32/255" in title
    figure = Robustness.draw([(Subject(name="a", family="mlp"), planted(UNBROKEN))])[0]
    assert figure.alt.startswith("a more than 32/255")


def test_networks_without_a_common_image_are_not_said_to_share_any() -> None:
    one = planted(AROUND)
    first, second = (
        one.model_copy(update={"correct": half, "n": 100, "value": times / 255, "smallest": times * one.smallest})
        for half, times in ((np.arange(200) < 100, 1.0), (np.arange(200) >= 100, 2.0))
    )
    figure = Robustness.draw([(Subject(name=name, family="mlp"), each) for name, each in (("a", first), ("b", second))])[0]
    assert figure.n == "100 images or more, those that each gets right"
    assert figure.title == "Not compared on the same images: half of them break within 1/255 (a) to 2/255 (b)"
    nothing = one.model_copy(update={"correct": np.zeros(200, bool), "n": 0, "value": 0.0})
    assert titles(a=nothing)[0] == "No image is right, so that there is nothing to break"


def test_checks_speak_against_a_weak_attacks_number_too() -> None:
    weak = planted(16 * AROUND, "weak attack: upper bound only", BLIND)
    assert titles(fgsm=weak)[-1] == "Not to be believed as they are: fgsm"
    fine = planted(AROUND, "no sign of overestimation", check("margin loss", 0, 200, ""))
    assert titles(a=fine)[-1] == "No check speaks against any of these numbers"


def test_the_audit_s_picture_leaves_out_checks_that_had_nothing_to_look_at() -> None:
    idle = planted(UNBROKEN, "suspect", check("zero gradients", 0, 0, "No image is right, so no gradient was looked at."))
    looked = planted(AROUND, "no sign of overestimation", check("margin loss", 0, 200, ""), check("half the range", 0, 0, ""))
    assert len(titles(a=idle)) == 2
    drawn = Robustness.draw([(Subject(name=name, family="mlp"), each) for name, each in (("idle", idle), ("looked", looked))])
    assert list(drawn[-1].rows) == [{"x": "margin loss", "y": "looked", "value": 0.0}]
    assert drawn[-1].n == "200 to 200 audited images a check"


def test_the_interval_of_a_median_stays_between_no_budget_and_the_largest() -> None:
    """Three images: widened as so few must be, the percentiles would reach from -0.6 to 1.6 of the largest budget."""
    stood, smallest = np.array([0.1, 0.4, 0.5]), np.array([0.2, 0.5, np.inf])
    value, interval = median_budget(stood, smallest, 1.0, seed=0)
    assert value == 0.5
    assert interval is not None
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_a_median_that_breaks_at_the_last_budget_itself_is_not_beyond_it() -> None:
    at_last = planted(np.full(200, 32.0))
    assert not at_last.standing().beyond
    assert at_last.headline().startswith("Half of the images it gets right break within 32/255 L-inf; ")
    assert "more than" not in titles(a=at_last)[0]
    half = planted(np.where(np.arange(201) < 100, 1.0, np.inf))
    assert half.standing().beyond
    assert half.headline().startswith("Half or more of the images it gets right still stand at 32/255 L-inf; ")


def test_the_share_that_stands_is_ranked_where_it_differs_alone() -> None:
    tough, soft = planted(16 * AROUND), planted(AROUND)
    assert titles(a=tough)[1] == "At 8/255 100% of the images are right (no sign of overestimation)"
    assert titles(a=tough, b=tough)[1] == "At 8/255 a and b are each right on 100%"
    assert titles(a=tough, b=soft)[1] == "At 8/255 a is right most often: 100% (no sign of overestimation)"
    assert titles(a=soft, b=soft)[1] == "At 8/255 no network is right on any image"
    other = tough.model_copy(update={"attacks": ("b",)})
    assert titles(a=soft, b=other)[1] == "At 8/255 from 0% (a) to 100% (b) are right, not all attacked in one way"


def test_who_is_right_most_often_at_a_budget_is_so_by_a_test_on_the_same_images() -> None:
    """One image of 200 between them says nothing, though each stands on 50 that the other loses; 40 more say enough."""
    at, low, high = np.arange(200), 1.0, 16.0
    one = planted(np.where(at < 101, high, low))
    other = planted(np.where((at >= 50) & (at < 150), high, low))
    assert titles(one=one, other=other)[1] == (
        "No network stands out: at 8/255 one is right on 50%, other on 50%, and none is distinguishable from one"
    )
    few = planted(np.where(at < 61, high, low))
    assert titles(few=few, one=one, other=other)[1] == (
        "At 8/255 one is right most often, but not distinguishably from other: 50% (no sign of overestimation)"
    )
    elsewhere = few.model_copy(update={"index": at + 1})
    assert titles(one=one, few=elsewhere)[1] == "At 8/255 one is right on 50%; it was compared with no other"
    fewer = np.maximum(few.right_at - 1, 0)  # of a protocol's images, some stand again at a larger budget
    assert titles(one=one, few=few.model_copy(update={"right_at": fewer}))[1].endswith("compared with no other")


def test_networks_are_compared_on_the_images_that_both_get_right(trained: dict[str, Tensor]) -> None:
    base = measure_robustness(subject(trained), world(), budgets=CURVE, audit_images=0)
    half = base.model_copy(update={"smallest": base.smallest / 2, "correct": base.correct & (base.index % 2 == 0)})
    difference = compare_smallest(base, half)
    assert base.paired(half) == difference, "what the report tests two checkpoints with"
    assert difference.value == pytest.approx(1.0, abs=0.15)  # one doubling, but for what the curve's end censors
    assert difference.interval.low > 0.5
    middle = np.median(base.smallest[half.correct])
    plain = Robustness.difference_of_values([base], [half], 0.95)
    assert plain is not None
    assert plain.value == pytest.approx(min(middle, CURVE[-1]) - middle / 2)
    assert plain.n == half.correct.sum()
    assert Robustness.difference_of_values([base], [half.model_copy(update={"norm": "l2"})], 0.95) is None
    with pytest.raises(RequestError, match="are not the same measurement"):
        compare_smallest(base, base.model_copy(update={"norm": "l2"}))


def test_a_search_is_resumed_from_its_folder(trained: dict[str, Tensor], tmp_path: Path) -> None:
    settings = {"budgets": CURVE, "audit_images": 0, "folder": tmp_path}
    first = measure_robustness(subject(trained), world(30), **settings)
    assert len(list(tmp_path.glob("robustness-*.npz"))) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("priorscope.attacks.search.run_attack", None)  # nothing is attacked again
        assert measure_robustness(subject(trained), world(30), **settings).table() == first.table()
    other = subject(trained)
    with torch.no_grad():
        next(other.parameters()).mul_(1.5)
    measure_robustness(other, world(30), **settings)
    measure_robustness(subject(trained), world(30), seed=1, **settings)
    assert len(list(tmp_path.glob("robustness-*.npz"))) == 3
    part, index = some_images(world(30), 10)
    for of, images in ((world(30), 10), (part, None)):  # the same pictures, whose places in their splits name other draws
        measure_robustness(subject(trained), of, images=images, **settings)
    assert not np.array_equal(index, np.arange(10))
    assert len(list(tmp_path.glob("robustness-*.npz"))) == 5


@pytest.mark.parametrize("attack", ["pgd", "z-pgd5"])
def test_a_finished_audit_and_a_protocol_are_read_from_the_folder(
    attack: str, trained: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from priorscope.probes.robustness import measured

    settings: dict[str, Any] = {"attack": attack, "eps": 2 / 255, "budgets": CURVE, "audit_images": 10, "folder": tmp_path}
    first = measure_robustness(subject(trained), world(30), **settings)
    assert sorted(path.name.partition("-")[0] for path in tmp_path.iterdir()) == ["audit", "robustness"]
    with monkeypatch.context() as patch:
        for part in ("search.run_attack", "audit.run_in_turn"):
            patch.setattr(f"priorscope.attacks.{part}", None)  # nothing is attacked again
        assert measure_robustness(subject(trained), world(30), **settings).table() == first.table()
    monkeypatch.setattr(measured, "VERSION", 99)
    measure_robustness(subject(trained), world(30), **settings)
    assert len(list(tmp_path.glob("audit-*.npz"))) == 2, "what an older audit found is not read"
    measure_robustness(subject(trained), world(30), **settings | {"audit_images": 20})
    assert len(list(tmp_path.iterdir())) == 4


def test_a_finished_search_outlives_a_change_of_the_audit(trained: dict[str, Tensor], tmp_path: Path) -> None:
    """What the file is named by: the search's own version, for which 2 was the probe's when files were first kept."""
    from priorscope.probes import robustness

    assert robustness.SEARCH == 2
    settings = {"budgets": CURVE, "audit_images": 0, "folder": tmp_path}
    measure_robustness(subject(trained), world(30), **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robustness, "VERSION", 99)
        measure_robustness(subject(trained), world(30), **settings)
    assert len(list(tmp_path.glob("robustness-*.npz"))) == 1


def test_images_of_different_data_are_never_paired(trained: dict[str, Tensor]) -> None:
    """Two sources of one split's name and one number of images, and the same positions."""
    here = world(30)
    flipped = ArrayPixels(np.stack([here[i][0][::-1] for i in range(30)]))
    there = Split("other", "test", flipped, here.labels, here.classes)
    how: dict[str, Any] = {"budgets": CURVE, "audit_images": 0}
    one, other = (measure_robustness(subject(trained), split, **how) for split in (here, there))
    part = measure_robustness(subject(trained), here, images=20, **how)
    assert one.data == part.data != other.data
    assert compare_smallest(one, part).value == pytest.approx(0, abs=0.02)
    with pytest.raises(RequestError, match="are not the same measurement"):
        compare_smallest(one, other)
    assert Robustness.side_by_side([one, other]) is None
    drawn = Robustness.draw([(Subject(name=name, family="mlp"), each) for name, each in (("one", one), ("other", other))])
    assert "that all networks get right" not in "".join(figure.alt + figure.title for figure in drawn)
    assert "withstand most" not in drawn[0].title
    table = one.model_dump()
    del table["data"]
    assert Robustness(**table).data == "", "as a result was stored before"


class Nan(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.where(x.mean((1, 2, 3)) > 0.49, torch.nan, 1.0)[:, None]


class Noisy(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(len(x), CLASSES)


class Probabilities(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Deaf(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach()).detach()


class Bytes(Net):
    """Wants pixels from 0 to 255: in [0, 1] it sees black."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.relu(x - 5))


def load(net: nn.Module, trained: dict[str, Tensor]) -> Classifier:
    net.load_state_dict(trained)
    return wrapped(net)


def test_nan_is_refused(trained: dict[str, Tensor]) -> None:
    with pytest.raises(WorkError, match=r"The network answers NaN or infinity for \d+ of 60 images"):
        measure_robustness(load(Nan(), trained), world(60))


def test_a_network_without_a_gradient_is_refused_by_gradient_attacks_only(trained: dict[str, Tensor]) -> None:
    model = load(Deaf(), trained)
    with pytest.raises(RequestError, match='attack = "square" or "decision", which need no gradient'):
        measure_robustness(model, world(20))
    result = measure_robustness(model, world(20), attack="square", steps=100, budgets=CURVE)
    assert result.verdict == "weak attack: upper bound only"
    assert result.right_at[-1] < result.right_at[0]


def test_random_answers_make_a_number_suspect(trained: dict[str, Tensor]) -> None:
    result = measure_robustness(load(Noisy(), trained), world(40), budgets=CURVE)
    assert result.verdict in ("suspect", "masked")
    assert any("differ between two passes" in caveat for caveat in result.caveats)


def test_probabilities_are_named(trained: dict[str, Tensor]) -> None:
    result = measure_robustness(load(Probabilities(), trained), world(40), budgets=CURVE)
    assert any("probabilities, not logits" in caveat for caveat in result.caveats)
    assert result.verdict in ("suspect", "masked")


def test_a_network_that_wants_other_pixels_is_named(trained: dict[str, Tensor]) -> None:
    result = measure_robustness(load(Bytes(), trained), world(40), budgets=CURVE, attack="square", steps=20)
    assert any("not above chance" in caveat for caveat in result.caveats)


def test_settings_are_the_config_s_however_they_are_written(trained: dict[str, Tensor]) -> None:
    written: dict[str, Any] = {"eps": "2/255", "budgets": ["1/255", "2/255"], "images": 10, "audit_images": 0}
    result = measure_robustness(subject(trained), world(20), **written)
    assert (result.eps, result.budgets) == (2 / 255, (0.0, 1 / 255, 2 / 255))
    config = probe_config({"name": "robustness", **written})
    assert measure_robustness(subject(trained), world(20), config).table() == result.table()
    with pytest.raises(RequestError, match=r"'epsilon' is not a setting in measure_robustness"):
        measure_robustness(subject(trained), world(20), epsilon=0.1)
    with pytest.raises(RequestError, match=r"budgets.0 = -1 was refused"):
        measure_robustness(subject(trained), world(20), budgets=[-1])


def test_a_protocol_of_many_steps_is_suspect_as_long_as_nothing_was_audited(trained: dict[str, Tensor]) -> None:
    result = measure_robustness(subject(trained), world(), attack="z-pgd5", steps=20, images=None, audit_images=0)
    assert result.verdict == "suspect"
    assert any("not audited" in caveat for caveat in result.caveats)


def test_a_protocol_is_audited_on_as_many_images_as_its_settings_say(trained: dict[str, Tensor]) -> None:
    """A thousand times larger logits hide every gradient of cross-entropy: the protocol's number is not what stands."""
    how: dict[str, Any] = {"attack": "z-fgsm", "eps": 8 / 255, "images": None, "audit_images": 40}
    plain, blind = (measure_robustness(subject(trained, scale), world(), **how) for scale in (1.0, 1000.0))
    assert plain.audited == blind.audited == 40
    assert blind.after_audit == pytest.approx(plain.after_audit, abs=0.03)
    assert blind.accuracy_at(blind.eps) > (blind.after_audit or 0) + 0.15
    assert finding(blind, "zero gradients")[0] == "masked"
    assert blind.verdict == plain.verdict == "weak attack: upper bound only"
    assert not any("not audited" in caveat for caveat in blind.caveats)


def test_the_curve_of_a_single_step_follows_the_loss_that_was_asked_for(trained: dict[str, Tensor]) -> None:
    """At logits a thousand apart cross-entropy has no gradient in float32, and the margin has the one it always had."""
    plain, scaled = (
        measure_robustness(subject(trained, scale), world(), attack="z-fgsm", loss="margin", images=None).right_at
        for scale in (1.0, 1000.0)
    )
    assert scaled.tolist() == plain.tolist()
    blind = measure_robustness(subject(trained, 1000.0), world(), attack="z-fgsm", images=None).right_at
    assert blind[5] > plain[5] + 20


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attack": "fgsm", "restarts": 5}, "begins at the picture itself"),
        ({"attack": "square", "loss": "cross-entropy"}, "reads no loss"),
        ({"attack": "fab-t", "loss": "dlr"}, "reads no loss"),
        ({"attack": "decision", "restarts": 2}, "begins at the picture itself"),
        ({"attack": "apgd", "step": 0.1}, "reads no step"),
        ({"attack": "fab-t", "momentum": 1}, "reads no momentum"),
        ({"attack": "square", "start": "none"}, "reads no start"),
        ({"attack": "quick", "momentum": 1}, "several attacks"),
    ],
)
def test_what_an_attack_does_not_read_is_refused(trained: dict[str, Tensor], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        measure_robustness(subject(trained), world(), **settings)


@pytest.mark.parametrize(
    ("attack", "settings", "same"),
    [
        ("pgd", {"steps": 1, "step": 1, "start": "none"}, {"attack": "fgsm"}),
        ("mi-fgsm", {"momentum": 0}, {"attack": "bim", "step": "1/10"}),
        ("bim", {"momentum": 1, "step": 0.1}, {"attack": "mi-fgsm"}),
        ("mi-fgsm", {"steps": 20, "step": "1/8", "momentum": 0, "loss": "margin"}, {"attack": "pgd-margin", "start": "none"}),
    ],
)
def test_an_attack_with_another_s_settings_is_that_attack(
    trained: dict[str, Tensor], attack: str, settings: dict[str, Any], same: dict[str, Any]
) -> None:
    how: dict[str, Any] = {"images": 40, "budgets": CURVE, "audit_images": 0}
    one, other = (
        measure_robustness(subject(trained), world(), **how, **set_) for set_ in ({"attack": attack, **settings}, same)
    )
    np.testing.assert_array_equal(one.smallest, other.smallest)
    assert one.right_at[1] > one.right_at[-1]


def test_half_a_step_of_a_protocol_is_a_whole_one_at_half_the_budget(trained: dict[str, Tensor]) -> None:
    whole, half = (
        measure_robustness(subject(trained), world(), attack="z-fgsm", eps=b[1], budgets=b, step=step, audit_images=0)
        for b, step in (((0.0, 0.01, 0.02), 1), ((0.0, 0.02, 0.04), "1/2"))
    )
    assert half.right_at.tolist() == whole.right_at.tolist()
    assert half.right_at[1] > half.right_at[2]


def test_mi_fgsm_from_random_starts_may_be_begun_again(trained: dict[str, Tensor]) -> None:
    how: dict[str, Any] = {"attack": "mi-fgsm", "start": "random", "images": None, "budgets": CURVE, "audit_images": 0}
    once, often = (measure_robustness(subject(trained), world(), restarts=n, **how) for n in (1, 5))
    assert (often.right_at <= once.right_at).all()
    assert often.attacks == (
        "mi-fgsm, 10 steps, step size 0.1 of the budget, cross-entropy, momentum 1, random start, 5 restarts",
    )
    with pytest.raises(RequestError) as refused:
        measure_robustness(subject(trained), world(), attack="mi-fgsm", restarts=5)
    assert refused.value.do == 'start = "random"'


def test_settings_that_are_not_set_leave_the_key_as_it_was() -> None:
    plain = {"name": "robustness", "split": "test", "images": 200, "attack": "quick", "norm": "linf"}
    assert probe_config("robustness").plain() == plain | {"audit_images": 100, "seed": 0}


class Rounded(nn.Module):
    """A defence without a weight: pictures are rounded before a network sees them, and no gradient passes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.first, self.last = inner.first, inner.last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first((x * 8).round().flatten(1) / 8)))


def test_a_defence_without_weights_takes_nothing_over_from_the_undefended_network(
    trained: dict[str, Tensor], tmp_path: Path
) -> None:
    net = Net()
    net.load_state_dict(trained)
    how: dict[str, Any] = {"attack": "pgd", "images": None, "audit_images": 0}
    plain = measure_robustness(wrapped(net), world(), folder=tmp_path, **how)
    defended = measure_robustness(wrapped(Rounded(net)), world(), folder=tmp_path, **how)
    assert defended.smallest.tolist() == measure_robustness(wrapped(Rounded(net)), world(), **how).smallest.tolist()
    assert defended.smallest.tolist() != plain.smallest.tolist()


def test_the_accuracy_after_the_audit_counts_the_images_that_it_looked_at(trained: dict[str, Tensor]) -> None:
    result = measure_robustness(subject(trained), world(), images=None, audit_images=10)
    (row,) = (row for row in result.metrics() if row.metric == "accuracy after audit")
    assert row.n == 10
    assert row.low is not None
    assert row.low < row.value < (row.high or 0) or row.value in (0, 1)


def test_labels_that_the_network_does_not_know_are_refused(trained: dict[str, Tensor]) -> None:
    more = world()
    more = Split("made", "test", more.pixels, (np.arange(N) % 7).astype(np.int64), tuple("abcdefg"))
    with pytest.raises(RequestError, match="has 7 classes, and tells 5 apart"):
        measure_robustness(subject(trained), more)


def test_the_best_of_five_was_chosen_on_the_images_that_test_it() -> None:
    """It withstands more on 8 of 200 images (p = 2 / 2^8): enough for 4 pairs, not for the 10 that might have been asked."""
    more, rest = planted(np.where(np.arange(200) < 8, 4.0, 1.0)), planted(np.ones(200))
    assert titles(a=more, b=rest, c=rest, d=rest, e=rest)[0].startswith("No network stands out: half of the images of a break")
    assert titles(a=more, b=rest)[0].startswith("a withstands most")
