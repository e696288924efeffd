"""Attacks against closed forms: linear networks, whose nearest adversarial picture is known exactly."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from priorscope.attacks import ENSEMBLES, PRESETS, Attack, Norm, attack_of, attacks_of
from priorscope.attacks.apgd import checkpoints_of
from priorscope.attacks.ball import Found, Pictures, lengths, picture_keys, pictures, uniform
from priorscope.attacks.fab import onto_plane
from priorscope.attacks.losses import LOSSES, right
from priorscope.attacks.pgd import fgsm_curve
from priorscope.attacks.search import Brackets, find_smallest, protocol_curve
from priorscope.attacks.square import window_side
from priorscope.attacks.turns import ONE_START, run_attack, run_in_turn
from priorscope.attacks.victim import Victim, frozen
from priorscope.core.errors import RequestError, WorkError

SIDE, CLASSES = 6, 5
NORMS: tuple[Norm, ...] = ("linf", "l2")


class Linear(nn.Module):
    """Logits that are linear in the pixels, times a factor."""

    def __init__(self, classes: int = CLASSES, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, 3 * SIDE * SIDE, generator=draw))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x - 0.5).flatten(1) @ self.weight.T


class Counting:
    """A network that counts the pictures that it is shown, and those of which a gradient is wanted."""

    def __init__(self, net: Linear) -> None:
        self.net, self.forwards, self.backwards = net, 0, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        self.backwards += len(x) * x.requires_grad
        return self.net(x)


def some(net: nn.Module, n: int = 40) -> tuple[Tensor, Tensor]:
    """Pictures far from 0 and 1, with what the network answers as their labels."""
    images = 0.35 + 0.3 * torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return images, net(images).argmax(1)


def nearest(net: Linear, images: Tensor, labels: Tensor, norm: Norm) -> Tensor:
    """The distance to the nearest other class: the gap of logits over the dual norm of the gap of weights."""
    logits = net(images).double()
    gaps = logits.gather(1, labels[:, None]) - logits
    w = net.scale * net.weight.double()
    apart = w[labels][:, None] - w[None]
    size = apart.abs().sum(2) if norm == "linf" else apart.norm(dim=2)
    return (gaps / size).masked_fill(torch.nn.functional.one_hot(labels, len(w)).bool(), torch.inf).amin(1).detach()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["apgd-t", "fab-t"])
def test_a_linear_network_breaks_exactly_beyond_its_closed_form(name: str, norm: Norm) -> None:
    net = Linear()
    images, labels = some(net)
    limit = nearest(net, images, labels, norm).float()
    (attack,) = attacks_of(name, CLASSES)
    attack = attack.replace(steps=30)
    for factor, breaks in ((0.998, False), (1.01, True)):
        found = run_attack(Victim(net), pictures(images, labels, factor * limit, norm=norm), attack)
        assert found.broken.tolist() == [breaks] * len(labels), factor


@pytest.mark.parametrize("norm", NORMS)
def test_the_search_brackets_the_closed_form_and_its_curve_is_exact(norm: Norm) -> None:
    net = Linear()
    images, labels = some(net)
    labels[:4] = (labels[:4] + 1) % CLASSES  # wrong before anything is done to them
    limit = nearest(net, images, labels, norm).numpy()
    ends = np.quantile(limit[4:], [0, 0.2, 0.4, 0.6, 0.8, 1])
    budgets = (0.0, *(float(b) for b in (ends[:-1] + ends[1:]) / 2))
    (attack,) = attacks_of("apgd-t", CLASSES)

    def fetch(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return images[rows], labels[rows]

    found = find_smallest(Victim(net), fetch, np.arange(40), [attack.replace(steps=30)], budgets, budgets[3], norm=norm)
    assert found.right().tolist() == [False] * 4 + [True] * 36
    assert found.high[:4].tolist() == [0.0] * 4
    for eps in budgets:
        assert found.standing(eps).tolist() == (found.right() & (limit > eps)).tolist(), eps
    broken = np.isfinite(found.high) & found.right()
    assert broken.sum() >= 30
    assert (limit[broken] <= found.high[broken] * 1.0001).all()
    assert (found.low[broken] <= limit[broken] * 1.0001).all()
    assert (found.high[broken] <= 1.5 * limit[broken]).all()


def _ensemble(first: str, second: str) -> tuple[Attack, Attack]:
    return attacks_of(first, CLASSES)[0].replace(steps=30), attacks_of(second, CLASSES)[0].replace(steps=30)


@pytest.mark.parametrize("order", [("apgd-t", "fgsm"), ("fgsm", "apgd-t"), ("square", "apgd-t")])
def test_an_ensemble_brackets_the_closed_form_whichever_attack_goes_ahead(order: tuple[str, str]) -> None:
    net = Linear()
    images, labels = some(net)
    limit = nearest(net, images, labels, "linf").numpy()
    budgets = (0.0, *(float(limit.min()) * 0.9 * 2**k for k in range(9)))
    found = find_smallest(
        Victim(net), lambda rows: (images[rows], labels[rows]), np.arange(40), _ensemble(*order), budgets, budgets[-1]
    )
    assert (limit <= found.high * 1.0001).all()
    assert (found.low <= limit * 1.0001).all()
    apart = found.low > 0
    assert apart.sum() >= 30
    assert (found.high[apart] <= 2 ** (1 / 4) * 1.01 * found.low[apart]).all()


def test_where_the_first_attack_finds_the_boundary_each_picture_meets_the_others_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Linear()
    images, labels = some(net)
    limit = nearest(net, images, labels, "linf").numpy()
    budgets = (0.0, *(float(limit.min()) * 0.9 * 2**k for k in range(9)))
    assert limit.max() < budgets[-1]
    met = np.zeros(40, np.int64)

    def counted(victim: Victim, of: Pictures, attack: Attack, seed: int = 0) -> Found:
        if attack.kind == "square":
            met[of.index.numpy()] += 1
        return run_attack(victim, of, attack, seed)

    monkeypatch.setattr("priorscope.attacks.search.run_attack", counted)
    ensemble = _ensemble("apgd-t", "square")
    find_smallest(Victim(net), lambda rows: (images[rows], labels[rows]), np.arange(40), ensemble, budgets, budgets[-1])
    assert met.tolist() == [1] * 40


def test_a_binary_linear_network_falls_to_fgsm_exactly_at_its_closed_form() -> None:
    net = Linear(classes=2)
    images, labels = some(net)
    limit = nearest(net, images, labels, "linf").float()
    for eps in np.linspace(0, float(limit.max()) * 1.23, 7):
        found = run_attack(Victim(net), pictures(images, labels, eps), attack_of("fgsm"))
        assert found.broken.tolist() == (limit < eps).tolist()


def test_one_step_of_pgd_without_a_random_start_is_fgsm() -> None:
    net = Linear()
    images, labels = some(net)
    logits = net(images.requires_grad_(True))
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels), images)
    images = images.detach()
    by_hand = (images + 0.05 * gradient.sign()).clamp(0, 1)
    one = attack_of("pgd", steps=1, step=1.0, start="none")
    assert torch.equal(run_attack(Victim(net), pictures(images, labels, 0.05), one).adversarial, by_hand)
    curve = fgsm_curve(Victim(net), pictures(images, labels, 0.0), [0.0, 0.05])
    assert torch.equal(curve[0], net(images))
    assert torch.equal(curve[1], net(by_hand))


def falls_at_100(rise: Tensor) -> Tensor:
    """Two logits of which the second leads from a `rise` of 100 on: attacks climb, and break nothing."""
    return torch.stack([torch.zeros_like(rise), rise - 100], 1)


def test_momentum_keeps_the_way_that_a_step_turned_back_from() -> None:
    """Over the mean of its size, the slope along the first pixel is +1.5 and after one step -0.5: summed, it still rises."""

    def turning(x: Tensor) -> Tensor:
        a, b = x[:, 0, 0, 0], x[:, 0, 0, 1]
        return falls_at_100(torch.where(a + b < 1.01, 3 * a + b, 3 * b - a))

    grey, ends = torch.full((1, 1, 1, 2), 0.5), {}
    for momentum in (0.0, 1.0):
        attack = attack_of("mi-fgsm", steps=2, step=0.5, momentum=momentum, loss="margin")
        ends[momentum] = run_attack(Victim(turning), pictures(grey, torch.tensor([0]), 0.1), attack).adversarial.flatten()
    assert ends[0.0].tolist() == pytest.approx([0.5, 0.6])
    assert ends[1.0].tolist() == pytest.approx([0.6, 0.6])


def test_apgd_halves_its_step_until_it_stands_on_the_top() -> None:
    """Nineteen tops at which the loss has a kink: a step of twice the budget, never halved, stays far from most."""
    tops = torch.linspace(0.41, 0.59, 19)

    def tent(x: Tensor) -> Tensor:
        return falls_at_100(-(x[:, 0, 0, 0] - tops[: len(x)]).abs())

    of = pictures(torch.full((19, 1, 1, 1), 0.5), torch.zeros(19, dtype=torch.int64), 0.1)
    found = run_attack(Victim(tent), of, attack_of("apgd", steps=100, loss="margin")).adversarial.flatten()
    assert (found - tops).abs().max() < 0.1 / 32


def _climb(x: float, waves: float, phase: float, eps: float, steps: int) -> list[float]:
    """The points at which APGD looks along one pixel, as its authors' code goes: a reading of it in plain numbers."""

    def seen(at: float) -> tuple[float, float]:
        """The cross-entropy and the sign of its slope."""
        rise = 3 * math.sin(waves * at + phase) - 5
        return math.log1p(math.exp(rise)), math.copysign(1.0, math.cos(waves * at + phase))

    low, high = x - eps, x + eps
    looked, losses, before, step, gap, since = [x], [0.0], x, 2 * eps, max(int(0.22 * steps), 1), 0
    (loss, slope), halved = seen(x), True
    best, best_loss, best_slope, best_then = x, loss, slope, loss
    for k in range(steps):
        ahead = min(max(x + step * slope, low), high)
        share = 0.75 if k else 1.0
        x, before = min(max(x + share * (ahead - x) + (1 - share) * (x - before), low), high), x
        loss, slope = seen(x)
        looked.append(x)
        losses.append(loss)
        if loss > best_loss:
            best, best_loss, best_slope = x, loss, slope
        since += 1
        if since == gap:
            rises = sum(losses[-i] > losses[-i - 1] for i in range(1, gap + 1))
            halved = rises <= 0.75 * gap or (not halved and best_then >= best_loss)
            best_then = best_loss
            if halved:
                step, x, slope = step / 2, best, best_slope
            since, gap = 0, max(gap - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    return looked


@pytest.mark.parametrize(("steps", "waves"), [(10, 25), (20, 90), (100, 90)])
def test_apgd_goes_where_its_authors_code_goes(steps: int, waves: float) -> None:
    """Sixty-four pixels, each with waves of its own to climb, and none high enough to fall."""
    phases = torch.linspace(0, 6, 64, dtype=torch.float64)
    looked: list[Tensor] = []

    def hilly(x: Tensor) -> Tensor:
        looked.append(x.detach().flatten())
        rise = 3 * torch.sin(waves * x[:, 0, 0, 0] + phases) - 5
        return torch.stack([torch.zeros_like(rise), rise], 1)

    of = pictures(torch.full((64, 1, 1, 1), 0.5, dtype=torch.float64), torch.zeros(64, dtype=torch.int64), 0.1)
    run_attack(Victim(hilly), of, attack_of("apgd", steps=steps, start="none"))
    ours = torch.stack(looked[-steps - 1 :], 1)
    wanted = torch.tensor([_climb(0.5, waves, float(phase), 0.1, steps) for phase in phases], dtype=torch.float64)
    apart = wanted.diff(dim=1).abs()
    told = ((apart == 0) | (apart > 1e-9)).all(1)  # of points that differ by rounding alone, rounding says which is higher
    assert told.sum() > 40
    torch.testing.assert_close(ours[told], wanted[told], rtol=0, atol=1e-5)


def test_the_curve_of_a_protocol_counts_the_first_guess_and_the_first_five() -> None:
    """Eight pictures with a label each, and a network that always guesses 0, 1, 2, ... in this order."""

    def in_order(x: Tensor) -> Tensor:
        return 0 * x.sum((1, 2, 3))[:, None] - torch.arange(8.0)

    def fetch(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.full((len(rows), 3, 2, 2), 0.5), torch.from_numpy(rows)

    curve = protocol_curve(Victim(in_order), fetch, np.arange(8), attack_of("z-fgsm"), [0.0, 0.1])
    assert curve.right.tolist() == [[True] + [False] * 7] * 2
    assert curve.within.tolist() == [[True] * 5 + [False] * 3] * 2


def test_a_protocol_attacks_every_picture_and_judges_the_last_iterate() -> None:
    """Wrong are pictures in a narrow strip: a step leads into it, a second past it, a third back; one inside the other way."""

    def strip(x: Tensor) -> Tensor:
        away = (x.mean((1, 2, 3)) - 0.52).abs()
        return torch.stack([torch.full_like(away, -0.008), -away], 1)

    def fetch(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        grey = torch.tensor([0.5, 0.521])[torch.from_numpy(rows)]
        return grey.view(-1, 1, 1, 1).expand(-1, 3, 2, 2).clone(), torch.zeros(len(rows), dtype=torch.int64)

    for steps, after in ((2, [True, False]), (3, [False, True])):
        attack = attack_of("z-pgd5", start="none", steps=steps)
        curve = protocol_curve(Victim(strip), fetch, np.arange(2), attack, [0.0, 0.03])
        assert curve.right.tolist() == [[True, False], after]


def test_a_whole_fgsm_curve_takes_one_backward_pass() -> None:
    net = Counting(Linear())
    fgsm_curve(Victim(net), pictures(*some(net.net), 0.0), [k / 80 for k in range(21)])
    assert (net.backwards, net.forwards) == (40, 40 * 21)


def test_broken_pictures_leave_the_batch() -> None:
    net = Linear()
    images, labels = some(net)
    stays, leaves = Counting(net), Counting(net)
    attack = attack_of("pgd", steps=20)
    found = run_attack(Victim(leaves), pictures(images, labels, 0.2), attack)
    kept = run_attack(Victim(stays), pictures(images, labels, 0.2), attack.replace(leave=False))
    assert found.broken.all()
    assert found.broken.tolist() == kept.broken.tolist()
    assert stays.backwards == 40 * 20
    assert leaves.backwards < 40 * 5


def test_nothing_depends_on_the_batch() -> None:
    net = Linear().double()
    images, labels = (part.double() if part.is_floating_point() else part for part in some(net.float()))
    net.double()
    index = torch.arange(100, 140)
    for name in ("pgd", "apgd", "square"):
        attack = attack_of(name, steps=8)
        whole = run_attack(Victim(net), pictures(images, labels, 0.02, index=index), attack)
        rows = torch.tensor([31, 3])
        part = run_attack(Victim(net, chunk=1), pictures(images[rows], labels[rows], 0.02, index=index[rows]), attack)
        torch.testing.assert_close(part.adversarial, whole.adversarial[rows], rtol=0, atol=1e-6)
        assert part.broken.tolist() == whole.broken[rows].tolist()


def test_an_unknown_attack_is_answered_with_all_that_there_are() -> None:
    with pytest.raises(RequestError, match=r"^'pgt' is not a named attack\.") as refused:
        attack_of("pgt")
    assert refused.value.wanted == f"one of: {', '.join(sorted((*PRESETS, *ENSEMBLES)))}"


def test_streams_are_of_the_picture_and_the_restart() -> None:
    index = torch.tensor([3, 7])
    a, b = picture_keys(0, index, "pgd", 0), picture_keys(0, index, "pgd", 1)
    assert len({*a.tolist(), *b.tolist()}) == 4
    assert torch.equal(picture_keys(0, index[1:], "pgd", 0), a[1:])
    draws = uniform(a, 0, 200_000)
    assert abs(float(draws.double().mean()) - 0.5) < 0.003
    assert abs(float(draws.double().var()) - 1 / 12) < 0.001
    counts = torch.histc(draws[0], 16, 0, 1)
    assert float(((counts - 12_500) ** 2 / 12_500).sum()) < 40  # chi-square, 15 degrees of freedom: p < 0.0005
    assert abs(float(torch.corrcoef(torch.stack([draws[0], draws[1], uniform(a[:1], 1, 200_000)[0]]))[0, 1])) < 0.01


def test_members_run_in_turn_on_what_stands() -> None:
    net = Linear(scale=1000.0)
    images, labels = some(net)
    limit = nearest(net, images, labels, "linf").float()
    blind, seeing = attack_of("pgd"), attack_of("apgd-dlr", steps=20)
    of = pictures(images, labels, 1.2 * limit)
    broken = run_in_turn(Victim(net), of, [blind, seeing]).broken
    assert broken.float().mean() > 0.9
    alone = run_attack(Victim(net), of, blind).broken
    assert (broken & ~alone).sum() > 30  # cross-entropy's gradient is 0 where the logits are a thousand apart


def test_dlr_does_not_see_the_scale_of_the_logits() -> None:
    logits = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 6
    targets = (labels + 1) % 6
    for name in ("dlr", "targeted-dlr"):
        torch.testing.assert_close(LOSSES[name](1024 * logits, labels, targets), LOSSES[name](logits, labels, targets))
    z = torch.tensor([[3.0, 1.0, 0.0, -1.0]])
    assert float(LOSSES["dlr"](z, torch.tensor([0]), None)) == pytest.approx(-(3 - 1) / (3 - 0))
    assert float(LOSSES["targeted-dlr"](z, torch.tensor([0]), torch.tensor([2]))) == pytest.approx(-(3 - 0) / (3 + 0.5))


def test_cross_entropy_falls_towards_the_target_and_rises_away_from_the_label() -> None:
    z, label, target = torch.tensor([[3.0, 1.0, 0.0, -1.0]]), torch.tensor([0]), torch.tensor([2])
    p = z[0].double().softmax(0)
    assert float(LOSSES["cross-entropy"](z, label, target)) == pytest.approx(float(p[2].log()), rel=1e-6)
    assert float(LOSSES["cross-entropy"](z, label, None)) == pytest.approx(-float(p[0].log()), rel=1e-4)


def test_ties_and_nan_count_as_wrong() -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 1.0], [torch.nan, 0.0], [0.0, torch.nan]])
    assert right(logits, torch.tensor([0, 0, 0, 0])).tolist() == [True, False, False, False]


def test_classes_are_counted_before_anything_runs() -> None:
    with pytest.raises(RequestError) as refused:
        attacks_of("apgd-t", 3)
    assert str(refused.value) == (
        'apgd-t raises targeted-dlr, and the network has 3 classes.\n  wanted: at least 4 classes\n  try:    loss = "margin"'
    )
    with pytest.raises(RequestError, match="apgd-dlr raises dlr, and the network has 2 classes"):
        attacks_of("apgd-dlr", 2)
    assert [attack.loss for attack in attacks_of("standard", 3)] == ["cross-entropy", "margin", "margin", "margin"]
    assert [attack.targets for attack in attacks_of("standard", 3)] == [0, 2, 2, 0]
    assert [attack.loss for attack in attacks_of("standard", 10)] == ["cross-entropy", "targeted-dlr", "margin", "margin"]
    with pytest.raises(RequestError, match="'pdg' is not a named attack"):
        attacks_of("pdg", 10)
    with pytest.raises(RequestError, match="standard is several attacks, and steps came for all of them"):
        attacks_of("standard", 10, steps=5)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_ensembles_run_with_few_classes(classes: int) -> None:
    net = Linear(classes=classes)
    images, labels = some(net, 8)
    limit = nearest(net, images, labels, "linf").float()
    short = [attack.replace(steps=min(attack.steps, 10)) for attack in attacks_of("standard", classes)]
    assert run_in_turn(Victim(net), pictures(images, labels, 1.05 * limit), short).broken.all()


def test_a_presets_words_name_what_moves_its_number() -> None:
    assert attack_of("z-pgd5").sentence() == (
        "z-pgd5, 5 steps, step size 0.5 of the budget, cross-entropy, random start, the last iterate counts"
    )
    assert attack_of("square").sentence() == "Square, 5000 queries, no gradients"
    assert attack_of("apgd").sentence() == "apgd, 100 steps, cross-entropy"
    assert attack_of("apgd", start="none").sentence() == "apgd, 100 steps, cross-entropy, no random start"
    assert attack_of("fab-t", start="random").sentence() == "fab-t, 100 steps, 9 target classes, random start"
    assert {name for name in PRESETS if attack_of(name).weak} == {"fgsm", "z-fgsm", "z-pgd5", "decision"}
    assert {member["name"] for members in ENSEMBLES.values() for member in members} <= set(PRESETS)


def test_a_wrong_range_is_refused() -> None:
    with pytest.raises(RequestError, match=r"The images came as torch.float32 from 0 to 255"):
        pictures(torch.tensor([0.0, 255.0]).view(2, 1, 1, 1), torch.tensor([0, 0]), 0.1)
    with pytest.raises(RequestError, match=r"torch.uint8"):
        pictures(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 0]), 0.1)


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach().mean((2, 3))


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([1.0, 0.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias.expand(len(x), 3)


@pytest.mark.parametrize("net", [Detached(), Constant()])
def test_a_network_without_a_gradient_is_refused(net: nn.Module) -> None:
    images = torch.full((2, 3, 4, 4), 0.5)
    with pytest.raises(RequestError, match="No gradient reaches the pixels"):
        run_attack(Victim(net), pictures(images, torch.tensor([0, 0]), 0.1), attack_of("pgd"))


def test_parameters_are_left_alone() -> None:
    net = Linear()
    fixed = nn.Parameter(torch.zeros(1), requires_grad=False)
    net.register_parameter("fixed", fixed)
    images, labels = some(net)
    with frozen(net):
        assert not net.weight.requires_grad
        run_attack(Victim(net), pictures(images, labels, 0.01), attack_of("pgd", steps=2))
    assert net.weight.requires_grad
    assert not fixed.requires_grad
    assert net.weight.grad is None


@pytest.mark.parametrize("norm", NORMS)
def test_square_and_rays_break_a_linear_network_without_its_gradient(norm: Norm) -> None:
    net = Linear()
    images, labels = some(net)
    limit = nearest(net, images, labels, norm).float()
    with torch.no_grad():
        for name, factor in (("square", 3.0), ("decision", 6.0)):
            attack = attack_of(name, steps=400)
            far = run_attack(Victim(net), pictures(images, labels, factor * limit, norm=norm), attack)
            near = run_attack(Victim(net), pictures(images, labels, 0.99 * limit, norm=norm), attack)
            assert far.broken.float().mean() >= 0.9, name
            assert not near.broken.any()
            assert (lengths(far.adversarial - images, norm) <= factor * limit + 1e-6).all()


@pytest.mark.parametrize("steps", [1, 2, 20, 23])
@pytest.mark.parametrize("name", ["square", "decision"])
def test_square_and_rays_ask_as_often_as_they_say(name: str, steps: int) -> None:
    net = Linear()
    images, labels = some(net)
    attack, asked = attack_of(name, steps=steps), Counting(net)
    keys = picture_keys(0, torch.arange(len(labels)), name)
    ONE_START[attack.kind](Victim(asked), pictures(images, labels, 1e-4), attack, keys, None)
    assert asked.forwards == steps * len(labels)
    found = ONE_START[attack.kind](Victim(net), pictures(images, labels, 0.3), attack, keys, None)
    assert found.steps.max() <= steps
    assert not right(net(found.adversarial), labels)[found.broken].any()
    assert found.broken.any() == (steps >= 20 or name == "square")  # a bisection is what brings RayS near


def test_apgds_checkpoints_are_the_published_ones() -> None:
    assert list(checkpoints_of(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(checkpoints_of(1)) == [1]


def test_squares_windows_shrink_on_the_published_schedule() -> None:
    assert [window_side(32, query, 10_000) for query in (1, 11, 51, 201, 501, 1001, 9999)] == [29, 20, 14, 10, 7, 5, 1]


@pytest.mark.parametrize("norm", NORMS)
def test_the_projection_onto_a_plane_is_the_nearest_point_of_it(norm: Norm) -> None:
    x = torch.tensor([[0.5, 0.5], [0.9, 0.2]], dtype=torch.float64)
    w = torch.tensor([[3.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    level = torch.tensor([3.0, 1.9], dtype=torch.float64)
    z = onto_plane(x, w, level, norm)
    torch.testing.assert_close((w * z).sum(1), level)
    # The first: t (|3| + |1|) = 1 in L-inf, t (9 + 1) = 1 in L2. The second: the first pixel meets 1, the second goes on.
    wanted = {"linf": [[0.75, 0.75], [1.0, 0.1]], "l2": [[0.8, 0.6], [1.0, 0.1]]}[norm]
    torch.testing.assert_close(z, torch.tensor(wanted, dtype=torch.float64))


def in_blocks(
    images: Tensor, labels: Tensor, asked: list[int], stop_after: int
) -> Callable[[np.ndarray], tuple[Tensor, Tensor]]:
    """Gives the pictures of a block, writes down with which one it begins, and is stopped when so many were asked for."""
    asked.clear()

    def fetch(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        if len(asked) == stop_after:
            raise KeyboardInterrupt
        asked.append(int(rows[0]))
        return images[rows], labels[rows]

    return fetch


def test_a_stopped_search_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Linear()
    images, labels = some(net)
    monkeypatch.setattr("priorscope.attacks.victim.BLOCK", 10)
    monkeypatch.setattr("priorscope.core.progress.SAVE_EVERY_SECONDS", 0.0)
    budgets = (0.0, 0.005, 0.01, 0.02, 0.04)
    (attack,) = attacks_of("pgd", CLASSES, steps=5)
    asked: list[int] = []

    def answer(x: Tensor) -> Tensor:
        """Of pictures that were moved far it answers NaN for some."""
        return torch.where((x.amax((1, 2, 3)) > images.amax() + 0.005)[:, None], torch.nan, net(x))

    def search(state: Path | None, stop_after: int = 10**9) -> np.ndarray:
        fetch, victim = in_blocks(images, labels, asked, stop_after), Victim(answer)
        found = find_smallest(victim, fetch, np.arange(40), [attack], budgets, 0.02, state=state)
        lost.append(victim.not_finite)
        return found.high

    lost: list[int] = []
    whole = search(None)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "state.npz", stop_after=2)
    resumed = search(tmp_path / "state.npz")
    assert asked == [20, 30]
    assert resumed.tolist() == whole.tolist()
    assert search(tmp_path / "state.npz").tolist() == whole.tolist()
    assert asked == []
    assert lost[0] > 0
    assert set(lost) == {lost[0]}
    (tmp_path / "state.npz").write_bytes(b"torn")
    with pytest.raises(WorkError, match="is damaged"):
        search(tmp_path / "state.npz")


@pytest.mark.parametrize("name", ["z-fgsm", "z-pgd5"])
def test_a_stopped_protocol_goes_on_with_the_next_block(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Linear()
    images, labels = some(net)
    monkeypatch.setattr("priorscope.attacks.victim.BLOCK", 10)
    monkeypatch.setattr("priorscope.core.progress.SAVE_EVERY_SECONDS", 0.0)
    asked: list[int] = []

    def answer(x: Tensor) -> Tensor:
        """Of pictures that were moved far it answers NaN for some."""
        return torch.where((x.amax((1, 2, 3)) > 0.9)[:, None], torch.nan, net(x))

    def curve(state: Path | None, stop_after: int = 10**9) -> tuple[list[list[bool]], list[list[bool]], int]:
        victim, fetch = Victim(answer), in_blocks(images, labels, asked, stop_after)
        found = protocol_curve(victim, fetch, np.arange(40), attack_of(name), (0.0, 0.02, 0.3), state=state)
        return found.right.tolist(), found.within.tolist(), victim.not_finite

    whole = curve(None)
    assert whole[2] > 0
    with pytest.raises(KeyboardInterrupt):
        curve(tmp_path / "state.npz", stop_after=2)
    assert curve(tmp_path / "state.npz") == whole
    assert asked == [20, 30]
    assert curve(tmp_path / "state.npz") == whole
    assert asked == []


@pytest.mark.parametrize("before", [1, 2, 5])
def test_a_search_stopped_after_any_attack_of_an_ensemble_repeats_none(
    before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Linear()
    images, labels = some(net)
    monkeypatch.setattr("priorscope.core.progress.SAVE_EVERY_SECONDS", 0.0)
    ensemble = _ensemble("fgsm", "apgd-t")
    done: list[str] = []
    stop_at = [10**9]

    def stopping(victim: Victim, of: Pictures, attack: Attack, seed: int = 0) -> Found:
        if len(done) == stop_at[0]:
            raise KeyboardInterrupt
        found = run_attack(victim, of, attack, seed)
        done.append(attack.name)
        return found

    monkeypatch.setattr("priorscope.attacks.search.run_attack", stopping)

    def search(state: Path | None) -> Brackets:
        return find_smallest(
            Victim(net),
            lambda rows: (images[rows], labels[rows]),
            np.arange(40),
            ensemble,
            (0.0, 0.01, 0.04),
            0.04,
            state=state,
        )

    whole = search(None)
    wanted = done.copy()
    assert len(wanted) > 6
    assert set(wanted) == {"fgsm", "apgd-t"}
    done.clear()
    while len(done) < len(wanted):
        stop_at[0] = len(done) + before
        with contextlib.suppress(KeyboardInterrupt):
            search(tmp_path / "state.npz")
    stop_at[0] = 10**9
    resumed = search(tmp_path / "state.npz")
    assert done == wanted
    for field in fields(Brackets):
        np.testing.assert_array_equal(getattr(resumed, field.name), getattr(whole, field.name))


def test_attacks_are_plain_data() -> None:
    attack = attack_of("mi-fgsm", steps=7)
    assert Attack.parse(attack.plain()) == attack
    assert attack.momentum == 1.0
