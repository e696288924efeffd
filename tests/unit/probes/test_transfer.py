"""The transfer matrix on networks whose answer is known: equal ones, unrelated ones, planted strengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from priorscope import models
from priorscope.attacks import attack_of
from priorscope.core.blocks import blocks
from priorscope.core.contracts import Subject
from priorscope.core.errors import RequestError, WorkError
from priorscope.data.split import ArrayPixels, Split
from priorscope.evidence import Evidence
from priorscope.models.classifier import Classifier
from priorscope.probes import load_result
from priorscope.probes.robustness import measure_robustness
from priorscope.probes.transfer import Transfer, TransferConfig, measure_transfer
from priorscope.probes.transfer.figures import draw_parts
from priorscope.probes.transfer.parts import additive_parts, both_right, parts_with_intervals

SIDE, CLASSES, N = 6, 4, 80


class Half(nn.Module):
    """A linear network that looks at one half of the pixels only."""

    def __init__(self, half: int, seed: int, scale: float = 1.0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        weight = torch.randn(CLASSES, 3, SIDE, SIDE, generator=draw)
        weight[:, :, (SIDE // 2) * half : (SIDE // 2) * (half + 1)] = 0
        self.last = nn.Linear(3 * SIDE * SIDE, CLASSES)
        self.last.weight.data = weight.flatten(1)
        self.last.bias.data.zero_()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.last((x - 0.5).flatten(1))


def wrapped(net: nn.Module) -> Classifier:
    return models.wrap(net, image_size=SIDE, classes=CLASSES)


def world(*nets: Classifier) -> Split:
    """Pictures that all networks answer alike: their common answer is the label. A few labels are wrong."""
    pixels = np.random.default_rng(0).integers(90, 166, (6000, SIDE, SIDE, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        answers = torch.stack([net(images).argmax(1) for net in nets])
    agreed = (answers == answers[0]).all(0).numpy()
    rows = np.flatnonzero(agreed)[:N]
    labels = answers[0].numpy()[rows].astype(np.int64)
    labels[:5] = (labels[:5] + 1) % CLASSES
    return Split("made", "test", ArrayPixels(pixels[rows]), labels, tuple("abcd"))


def test_the_diagonal_is_the_white_box_attack_and_equal_networks_have_equal_rows() -> None:
    one, twin, other = wrapped(Half(0, 0)), wrapped(Half(0, 0)), wrapped(Half(1, 7))
    split = world(one, other)
    for attack, extra in (
        ("mi-fgsm", {}),
        ("mi-fgsm", {"momentum": 0.5, "start": "random", "restarts": 2}),
        ("pgd", {"steps": 12}),
        ("pgd", {"steps": 2, "step": 0.5, "restarts": 3, "loss": "margin"}),
        ("quick", {}),
    ):
        result = measure_transfer(
            {"one": one, "twin": twin, "other": other}, split, attack=attack, eps=0.01, images=None, **extra
        )
        alone = measure_robustness(one, split, attack=attack, eps=0.01, budgets=(0.01,), images=None, audit_images=0, **extra)
        assert 5 < alone.right_at[1] < 75
        assert int((~result.fooled[0, 0]).sum()) == alone.right_at[1]
        assert (result.fooled[0, 0] == ~(alone.correct & (alone.smallest > 0.01))).all()
        assert (result.fooled[0] == result.fooled[1]).all()
        assert (result.fooled[:, 0] == result.fooled[:, 1]).all()


def test_fewer_steps_of_mi_fgsm_are_longer_and_steps_that_cannot_reach_the_budget_are_refused() -> None:
    """Its paper's step is the budget divided by the steps; two of BIM's, of a quarter each, end half way."""
    for steps in (1, 3, 10, 40):
        assert attack_of("mi-fgsm", steps=steps).reach == pytest.approx(1)
    assert attack_of("mi-fgsm").step == 0.1
    assert attack_of("mi-fgsm", steps=3, step=0.1).step == 0.1
    assert TransferConfig(attack="mi-fgsm", steps=3).attacks(4)[0].reach == pytest.approx(1)
    assert TransferConfig(attack="bim", steps=4).steps == 4
    with pytest.raises(RequestError) as refused:
        TransferConfig(attack="bim", steps=2)
    assert refused.value.came == "2 steps of bim, of 0.25 of the budget each, came for transfer."
    assert refused.value.do == "steps = 4"
    with pytest.raises(RequestError, match=r"^10 steps of mi-fgsm, of 0.05 of the budget each, came for transfer\."):
        TransferConfig(attack="mi-fgsm", step=0.05)
    usual = {"name": "transfer", "split": "test", "images": 200, "attack": "mi-fgsm", "norm": "linf", "seed": 0}
    assert TransferConfig().plain() == usual, "settings that are not set leave the key as it was"


def test_networks_that_look_at_different_pixels_do_not_share_their_weaknesses() -> None:
    left, right = wrapped(Half(0, 0)), wrapped(Half(1, 7))
    split = world(left, right)
    result = measure_transfer({"left": left, "right": right}, split, eps=0.05, images=None)
    assert result.share(0, 0)[0] > 0.9
    assert result.share(0, 1) == (0.0, 75)  # its gradient is 0 where the other looks
    assert result.value == 0.0
    assert result.clean.sum(1).tolist() == [75, 75]
    assert any("takes three" in caveat for caveat in result.caveats)


def test_a_share_is_of_the_images_that_source_and_target_both_get_right() -> None:
    fooled = np.zeros((2, 2, 3), bool)
    fooled[0, 1, 0] = True
    made = Transfer.model_construct(clean=np.array([[1, 1, 0], [1, 0, 1]], bool), fooled=fooled)
    assert made.share(0, 1) == (1.0, 1)
    assert made.share(1, 0) == (0.0, 1)


def test_a_masked_network_is_accused_by_what_transfers_to_it() -> None:
    open_, masked = wrapped(Half(0, 0)), wrapped(Half(0, 0, scale=1e5))
    split = world(open_, masked)
    result = measure_transfer({"open": open_, "masked": masked}, split, attack="pgd", eps=0.03, images=None)
    accused = {check.sentence.partition(":")[0]: check.finding for check in result.checks}
    assert accused == {"open": "fine", "masked": "masked"}
    assert any(caveat.startswith("masked: pictures made for open break") for caveat in result.caveats)
    asked = measure_transfer({"open": open_, "masked": masked}, split, attack="square", eps=0.03, images=None, steps=1)
    assert "masked" not in {check.finding for check in asked.checks}, "queries can be too few, and are never blind"


def test_noise_is_at_the_whole_budget_and_weaker_than_attack() -> None:
    one, other = wrapped(Half(0, 0)), wrapped(Half(1, 7))
    split = world(one, other)
    result = measure_transfer({"one": one, "other": other}, split, eps=0.05, images=None)
    assert result.noise_share(0)[0] < result.share(0, 0)[0] - 0.3
    rows = {(row.metric, row.setting): row for row in result.metrics()}
    assert rows["fooled by noise", "one"].n == 75
    assert rows["accuracy, all images", "one -> one"].n == 80
    assert rows["fooled, source fooled", "one -> other"].n == round(result.share(0, 0)[0] * 75)


def test_parts_of_a_planted_matrix_are_found() -> None:
    strength, weakness = np.array([1.0, 0.0, -0.4, -0.6]), np.array([-0.5, 0.2, 0.0, 0.3])
    logit = -0.3 + strength[:, None] + weakness[None, :]
    logit[0, 1] += 0.9
    logit[1, 0] += 0.9
    logit[0, 0] = 40  # the diagonal is not looked at
    shares = 1 / (1 + np.exp(-logit))
    plain = 1 / (1 + np.exp(-(-0.3 + strength[:, None] + weakness[None, :])))
    found = additive_parts(plain, 1e9)
    np.testing.assert_allclose(found[0], strength, atol=1e-6)
    np.testing.assert_allclose(found[1], weakness, atol=1e-6)
    np.testing.assert_allclose(found[2][~np.eye(4, dtype=bool)], 0, atol=1e-6)
    affinity = additive_parts(shares, 1e9)[2]
    assert {divmod(int(i), 4) for i in np.argsort(np.nan_to_num(affinity, nan=-9).ravel())[-4:]} >= {(0, 1), (1, 0)}


def test_the_interval_of_an_affinity_holds_the_planted_one() -> None:
    """Four networks, 300 images that each picture fools by its own chance: 20 draws of 12 pairs, at 95 %."""
    logit = np.array([1.0, 0.0, -0.4, -0.6])[:, None] + np.array([-0.5, 0.2, 0.0, 0.3])
    logit[0, 1] += 0.9
    shares, off, n, held = 1 / (1 + np.exp(-logit)), ~np.eye(4, dtype=bool), 300, list[np.ndarray]()
    planted = additive_parts(shares, 1e9)[2]
    for seed in range(20):
        draw = np.random.default_rng(seed)
        fooled = draw.random((4, 4, n)) < shares[:, :, None]
        draws = draw.multinomial(n, np.full(n, 1 / n), 200)
        found = parts_with_intervals(np.ones((4, n), np.bool_), fooled, np.ones((1, n)), draws)
        assert (found["affinity_low"] <= found["affinity_high"])[off].all()
        held.append(((found["affinity_low"] <= planted) & (planted <= found["affinity_high"]))[off])
    assert 0.9 < np.mean(held) < 0.99


def test_an_affinity_is_told_with_its_interval_wherever_it_is_told() -> None:
    nets = {f"net {i}": wrapped(Half(i % 2, i)) for i in range(5)}
    result = measure_transfer(nets, world(*nets.values()), eps=0.05, images=None)
    rows = {row.setting: row for row in result.metrics() if row.metric == "affinity"}
    assert len(rows) == 20
    row = rows["net 0 -> net 2"]
    assert (row.low, row.high) == (result.affinity_low[0, 2], result.affinity_high[0, 2])
    assert row.low < row.high
    told = result.matrices()[1]
    assert told.cells[0][2] == row
    assert told.cells[1][1] is None
    drawn = result.charts()[-1]
    assert len(drawn.rows) == 12
    assert "the 12 of 20 pairs that are furthest from 0" in drawn.protocol
    assert all(one["low"] <= one["high"] for one in drawn.rows)
    before = result.model_dump(exclude={"affinity_low", "affinity_high"})
    old = Transfer(**before)
    assert {row.low for row in old.metrics() if row.metric == "affinity"} == {None}, "as a result was stored before"
    assert len(old.charts()) == 3


def test_shares_of_resamples_count_images_as_often_as_they_were_drawn() -> None:
    clean = np.array([[1, 1, 1, 0], [1, 0, 1, 1]], bool)
    fooled = np.array([[[1, 1, 0, 1], [1, 0, 0, 1]], [[0, 1, 1, 0], [1, 1, 0, 0]]], bool)
    shares = both_right(clean, fooled, np.array([[1, 1, 1, 1], [3, 0, 1, 0], [0, 4, 0, 0]]))
    assert shares[0, 0, 1] == 1 / 2
    assert shares[1, 0, 1] == 3 / 4
    assert np.isnan(shares[2, 0, 1])
    assert shares[0, 1, 0] == 1 / 2


def test_adversarial_pictures_are_kept_under_weights_data_and_attack(tmp_path: Path) -> None:
    one, other = wrapped(Half(0, 0)), wrapped(Half(1, 7))
    split = world(one, other)
    nets = {"one": one, "other": other}
    first = measure_transfer(nets, split, eps=0.03, folder=tmp_path)
    assert len(list(tmp_path.glob("adversarial-*.npy"))) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("priorscope.probes.transfer.showing.run_in_turn", None)
        again = measure_transfer(nets, split, eps=0.03, folder=tmp_path)
    assert again.table() == first.table()
    measure_transfer(nets, split, eps=0.04, folder=tmp_path)
    measure_transfer({"one": one, "third": wrapped(Half(1, 8))}, split, eps=0.03, folder=tmp_path)
    assert len(list(tmp_path.glob("adversarial-*.npy"))) == 5


def test_a_result_is_stored_and_drawn(tmp_path: Path) -> None:
    nets = {f"net {i}": wrapped(Half(i % 2, i)) for i in range(3)}
    result = measure_transfer(nets, world(*nets.values()), eps=0.05, images=None)
    again = load_result(result.save(tmp_path / "t.json"))
    assert isinstance(again, Transfer)
    assert again.table() == result.table()
    assert [figure.name for figure in Transfer.draw([(Subject(name="all", family="other"), again)])] == [
        "transfer-mi-fgsm",
        "transfer-parts-mi-fgsm",
        "transfer-affinity-mi-fgsm",
    ]
    assert (result.strength_low <= result.strength + 1e-9).all()
    assert (result.weakness <= result.weakness_high + 1e-9).all()


def test_titles_rank_what_differs_alone() -> None:
    nets = {name: wrapped(Half(i % 2, i)) for i, name in enumerate("abc")}
    result = measure_transfer(nets, world(*nets.values()), eps=0.05, images=None)

    def titles(*shares: list[float]) -> list[str]:
        n = len(result.clean[0])
        strength, weakness, _ = additive_parts(np.array(shares), n)
        about = {
            "clean": np.ones_like(result.clean),
            "fooled": np.arange(n) / n < np.array(shares)[:, :, None],
            "strength": strength,
            "weakness": weakness,
        }
        return [figure.title for figure in result.model_copy(update=about).charts()][:2]

    never, always = [0.0] * 3, [1.0] * 3
    assert titles(never, never, never) == [
        "What fools one network fools no other",
        "Pictures travel equally far; all are fooled as easily",
    ]
    assert titles(always, always, always)[0] == "What fools one network fools the others: 100%"
    assert titles([1, 1, 0], [1, 1, 0], [0, 0, 1]) == [
        "What fools one network fools another in 0% (c by what fools a, c by what fools b, a by what fools c and b by what "
        "fools c) to 100% (b by what fools a and a by what fools b)",
        "Pictures made for a travel furthest, but not distinguishably from those for b; "
        "a is fooled most easily, but not distinguishably from b",
    ]
    assert titles([1, 0.5, 0.4], [0.3, 1, 0.4], [0.4] * 3)[0] == (
        "What fools one network fools another in 30% (a by what fools b) to 50% (b by what fools a)"
    )


def named_apart(shares: np.ndarray, seed: int, n: int = 100) -> tuple[str, ...]:
    """The two halves of the title about parts, where each picture fools by chance, in these shares of (sources, targets)."""
    fooled = np.random.default_rng(seed).random((*shares.shape, n)) < shares[:, :, None]
    clean = np.ones((len(shares), n), np.bool_)
    parts = parts_with_intervals(clean, fooled, np.ones((1, n)), np.ones((1, n), np.int64))
    names = tuple("abcd"[: len(shares)])
    made = Transfer.model_construct(clean=clean, fooled=fooled, names=names, seed=0, attack="mi-fgsm", **parts)
    return tuple(draw_parts(made).title.split("; "))


def test_nobody_s_pictures_travel_furthest_where_nothing_tells_them_apart() -> None:
    equal = np.full((4, 4), 0.5)
    for seed in range(8):
        assert named_apart(equal, seed) == ("Nobody's pictures surely travel furthest", "nobody is surely fooled most easily")
    strong = np.array([[0.8] * 4, [0.3] * 4, [0.3] * 4, [0.3] * 4])
    for seed in range(8):
        assert named_apart(strong, seed) == ("Pictures made for a travel furthest", "nobody is surely fooled most easily")
        assert named_apart(strong.T, seed)[1] == "a is fooled most easily"


class Stopping(Half):
    """Notes how many pictures it is shown at once, and stops after so many in all."""

    def __init__(self, half: int, seed: int) -> None:
        super().__init__(half, seed)
        self.left, self.seen = 10**9, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        if sum(self.seen) > self.left:
            raise KeyboardInterrupt
        return super().forward(x)


def test_a_stopped_matrix_resumes_within_a_source_and_no_network_meets_more_than_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Stopping(0, 0), wrapped(Half(1, 7))
    nets = {"one": wrapped(one), "other": other}
    split = world(*nets.values())
    asked: dict[str, Any] = {"attack": "pgd", "steps": 20, "eps": 0.02, "images": None}
    undivided = measure_transfer(nets, split, **asked)
    monkeypatch.setattr("priorscope.attacks.victim.BLOCK", 20)
    monkeypatch.setattr("priorscope.attacks.doubts.SAMPLE", 20)
    one.seen.clear()
    whole = measure_transfer(nets, split, **asked)
    steps = sum(one.seen)
    assert max(one.seen) == 20
    for name in ("clean", "fooled", "noise"):
        assert np.array_equal(getattr(whole, name), getattr(undivided, name)), name
    one.left = steps // 2  # in the third of four blocks: about what the other shows to it is left
    one.seen.clear()
    with pytest.raises(KeyboardInterrupt):
        measure_transfer(nets, split, **asked, folder=tmp_path)
    kept = len(list(tmp_path.glob("adversarial-*.npy")))
    assert 0 < kept < 4
    one.left = 10**9
    one.seen.clear()
    again = measure_transfer(nets, split, **asked, folder=tmp_path)
    assert again.table() == whole.table()
    assert sum(one.seen) <= steps - kept * 20 * 20 + 4, "but for four pictures by which it is named once"


def test_random_signs_are_the_same_in_blocks_of_any_size() -> None:
    from priorscope.probes.transfer.showing import signs

    one = wrapped(Half(0, 0))
    made = signs(one, world(one), np.arange(7, N + 7), TransferConfig(eps=0.05))
    whole, parts = (torch.cat([made(rows)[0] for rows in blocks(N, size)]) for size in (N, 32))
    assert torch.equal(parts, whole)


def test_n_is_what_two_networks_get_right_and_few_of_them_are_named() -> None:
    first, second = wrapped(Half(0, 1)), wrapped(Half(1, 2))
    split = world(first, second)
    labels = split.labels.copy()
    labels[12:] = (labels[12:] + 1) % CLASSES  # the first five were wrong before: seven stay right
    asked = Split("made", "test", split.pixels, labels, split.classes)
    result = measure_transfer({"first": first, "second": second}, asked, images=None, eps=1e-6)
    common = int(result.clean.all(0).sum())
    assert result.n == common == 7
    assert (result.value, result.interval.low) == (0.0, 0.0)
    assert result.interval.high > 0.1
    assert any(f"Only {common} images are right for all networks" in caveat for caveat in result.caveats)


def test_a_network_that_is_never_right_has_no_share_of_noise() -> None:
    nets = wrapped(Half(0, 1)), wrapped(Half(0, 1)), wrapped(Half(1, 2))
    split = world(*nets[:2])
    result = measure_transfer(dict(zip("abc", nets, strict=True)), split, images=None, eps=1e-6)
    never = result.model_copy(update={"clean": result.clean * np.array([[1], [1], [0]], np.bool_)})
    assert "nan" not in never.headline()


class Softmax(Half):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Fragile(Half):
    """Answers NaN where any pixel is at the top of its range, as no clean picture's is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.where(x.amax((1, 2, 3)) > 0.7, torch.nan, 1.0)[:, None]


class Noisy(Half):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(len(x), CLASSES)


def test_networks_whose_answers_are_doubtful_are_named() -> None:
    plain = wrapped(Half(0, 0))
    split = world(plain)
    nets = {"plain": plain, "soft": wrapped(Softmax(0, 0)), "fragile": wrapped(Fragile(0, 0)), "noisy": wrapped(Noisy(0, 0))}
    result = measure_transfer(nets, split, eps=0.2, images=None)
    said = [caveat for caveat in result.caveats if caveat.partition(":")[0] in nets]
    assert any(caveat.startswith("soft: Its outputs are probabilities") for caveat in said)
    assert any(caveat.startswith("noisy: Its answers differ between two passes") for caveat in said)
    (broken,) = (caveat for caveat in said if "NaN" in caveat)
    assert broken == "fragile: 320 of its answers to made pictures were NaN or infinite; they count as fooled."
    assert not any(caveat.startswith("plain: Its") for caveat in said)


def test_a_network_that_answers_nan_to_a_clean_picture_is_refused_by_name() -> None:
    one, broken = wrapped(Half(0, 0)), wrapped(Half(0, 0))
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(WorkError, match="broken answers NaN or infinity for 80 of 80 images"):
        measure_transfer({"one": one, "broken": broken}, world(one), images=None)


@pytest.mark.parametrize("attack", ["fab-t", "decision"])
def test_every_picture_is_at_the_whole_budget_whatever_the_attack(attack: str, tmp_path: Path) -> None:
    one, other = wrapped(Half(0, 0)), wrapped(Half(1, 7))
    split = world(one, other)
    measure_transfer({"one": one, "other": other}, split, attack=attack, eps=0.02, steps=20, images=None, folder=tmp_path)
    clean = np.stack([split[i][0] for i in range(N)]).transpose(0, 3, 1, 2) / 255
    kept = sorted(tmp_path.glob("adversarial-*.npy"))
    assert len(kept) == 2
    for path in kept:
        moved = np.abs(np.load(path) - clean).max((1, 2, 3))
        moved = moved[5:]  # the first five were wrong before: the picture itself is the proof
        np.testing.assert_allclose(moved, 0.02, rtol=1e-4)


def test_networks_that_do_not_answer_the_same_question_are_refused() -> None:
    one = wrapped(Half(0, 0))
    with pytest.raises(RequestError, match="1 network was given"):
        measure_transfer({"one": one}, world(one))

    blind = wrapped(Half(0, 0))
    with torch.no_grad():
        next(blind.parameters()).zero_()  # all logits are equal, which is never right
    with pytest.raises(RequestError, match="No image is right for any two of the networks"):
        measure_transfer({"one": one, "blind": blind}, world(one))

    class Wide(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :7]

    with pytest.raises(RequestError, match="one answers 4 classes on images of side 6, wide 7 on 6"):
        measure_transfer({"one": one, "wide": models.wrap(Wide(), image_size=SIDE, classes=7)}, world(one))


def test_a_runs_evidence_keeps_the_pictures_that_were_made_of_it(tmp_path: Path) -> None:
    nets = {"one": wrapped(Half(0, 0)), "other": wrapped(Half(1, 7))}
    split = world(*nets.values())
    evidence = {name: Evidence(net, name, tmp_path / name) for name, net in nets.items()}
    kept = measure_transfer(evidence, split, eps=0.03)
    assert [len(list((tmp_path / name).glob("adversarial-*.npy"))) for name in nets] == [1, 1]
    assert np.array_equal(kept.fooled, measure_transfer(nets, split, eps=0.03).fooled)
