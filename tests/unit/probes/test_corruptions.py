"""Accuracy on corrupted pictures of networks whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from priorscope import models
from priorscope.core.contracts import Subject
from priorscope.core.errors import RequestError
from priorscope.data.corruptions import KINDS, corrupt
from priorscope.data.split import ArrayPixels, Split, balanced_order
from priorscope.evidence import Evidence
from priorscope.probes import load_result
from priorscope.probes.corruptions import Corruptions, by_group, measure_corruptions
from priorscope.probes.corruptions.figures import draw_kinds

LABELS = np.arange(40, dtype=np.int64) % 2
PIXELS = np.where(LABELS[:, None, None, None] == 1, 140, 90) + np.random.default_rng(0).integers(-4, 5, (40, 16, 16, 3))
SPLIT = Split("made", "test", ArrayPixels(PIXELS.astype(np.uint8)), LABELS, ("dark", "bright"))


class Brightness(nn.Module):
    """Calls bright what is brighter than the middle on average."""

    def __init__(self, middle: float = 115 / 255) -> None:
        super().__init__()
        self.middle = middle
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        mean = x.mean((1, 2, 3))
        return torch.stack([self.middle - mean, mean - self.middle], 1)


def network(middle: float = 115 / 255):
    return models.wrap(Brightness(middle), image_size=16, classes=("dark", "bright"))


@pytest.fixture(scope="module")
def result() -> Corruptions:
    return measure_corruptions(network(), SPLIT, kinds=("brightness", "contrast", "saturate"))


def test_every_cell_is_the_share_of_right_answers_on_those_very_pictures(result):
    for kind, right in zip(result.kinds, result.right, strict=True):
        for severity, own in zip((1, 2, 3, 4, 5), right, strict=True):
            pictures = corrupt(SPLIT.pixels.array, kind, severity, index=np.arange(40))
            answer = pictures.mean((1, 2, 3)) > 115
            np.testing.assert_array_equal(own, answer == LABELS)


def test_the_mean_is_over_kinds_severities_and_images_and_leaves_the_extra_kinds_out(result):
    assert result.kinds == ("brightness", "contrast", "saturate")
    assert result.counted() == [0, 1]
    assert result.value == pytest.approx(1 - result.right[:2].mean())
    assert result.per_image().mean() == pytest.approx(result.value)
    assert result.interval.contains(result.value)
    assert result.correct.all()
    # Brightness lifts the dark class over the middle from severity 2 (90 + 25 > 115) on: four of five, half of the images.
    assert 1 - result.right[0].mean() == pytest.approx(0.4, abs=0.1)
    assert by_group(result)["digital"] == pytest.approx(1 - result.right[1].mean())


def test_rows_say_each_kind_and_severity(result):
    rows = {(row.metric, row.setting): row for row in result.metrics()}
    assert rows["error without a corruption", ""].value == 0
    assert rows["error added by corruption", ""].value == pytest.approx(result.value)
    assert rows["corruption error", "brightness 5"].value == 0.5
    assert rows["corruption error", "brightness 5"].low < 0.5 < rows["corruption error", "brightness 5"].high
    assert "The mean is over 2 kinds and not over the 15 of the benchmark." in result.caveats
    assert result.protocol().startswith("2 kinds of CIFAR-10-C")
    assert "mean over kinds, severities and 40 images of test, unnormalised" in result.protocol()
    assert result.headline().startswith("It is wrong on ")


def test_what_corruption_adds_leaves_out_what_was_wrong_without_it():
    always_dark = measure_corruptions(network(2.0), SPLIT, kinds=("contrast", "fog"))
    rows = {row.metric: row for row in always_dark.metrics()}
    assert always_dark.value == rows["error without a corruption"].value == 0.5
    added = rows["error added by corruption"]
    assert added.value == 0
    assert added.high == -added.low == pytest.approx(1.96 * 2**0.5 / 42, rel=1e-3)  # Bonett and Price's, without a disagreement


def test_the_headline_names_what_is_worst_among_the_kinds_of_the_mean(result):
    """An extra kind is not in the mean, however bad; of equal kinds none is the worst, and of two worst both are named."""

    def most(kinds: tuple[str, ...], *wrong: float) -> str:
        right = np.arange(40) / 40 >= np.array(wrong)[:, None, None] * np.ones((1, 5, 1))
        return result.model_copy(update={"kinds": kinds, "right": right}).headline().partition("without a corruption on ")[2]

    assert most(("brightness", "contrast", "saturate"), 0.5, 0.2, 1.0) == "0.0%; most on brightness (50.0%)."
    assert most(("brightness", "contrast", "saturate"), 0.5, 0.5, 1.0) == "0.0%."
    assert most(("brightness", "contrast", "fog"), 0.5, 0.2, 0.5) == "0.0%; most on brightness and fog (50.0%)."


def test_fog_is_as_thick_at_every_severity_as_is_published():
    """Fog of up to c scales a white picture down by 1 + c: it stays white where fog is thickest, and is 1 / (1 + c) without."""
    white = np.full((2, 32, 32, 3), 255, np.uint8)
    least = [int(corrupt(white, "fog", severity, index=np.arange(2)).min()) for severity in (1, 2, 3, 4, 5)]
    assert least == [int(255 / (1 + thick)) for thick in (0.2, 0.5, 0.75, 1.0, 1.5)]


def test_what_was_scored_is_kept_and_only_as_right_or_wrong(tmp_path):
    evidence = Evidence(network(), "weights", tmp_path)
    first = measure_corruptions(evidence, SPLIT, kinds=("fog",))
    again = Evidence(network(), "weights", tmp_path)
    second = measure_corruptions(again, SPLIT, kinds=("fog",))
    assert again.model.network.seen == 2 + 3  # the pictures that `wrap` asks about
    np.testing.assert_array_equal(first.right, second.right)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 6 * (40 + 200)


def test_a_part_of_the_images_sees_the_same_pictures_as_the_whole():
    whole = measure_corruptions(network(), SPLIT, kinds=("glass_blur", "fog"))
    part = measure_corruptions(network(), SPLIT, kinds=("glass_blur", "fog"), images=10)
    assert part.n == 10
    chosen = np.sort(balanced_order(LABELS)[:10])
    np.testing.assert_array_equal(part.right, whole.right[:, :, chosen])
    assert not whole.right.all()


def test_all_nineteen_kinds_are_the_default_and_frost_is_named_ours():
    result = measure_corruptions(network(), SPLIT, images=4)
    assert result.kinds == KINDS
    assert len(result.counted()) == 15
    assert "frost procedural" in result.protocol()
    assert any(caveat.startswith("Frost is drawn by a procedure of ours") for caveat in result.caveats)


def nobody_stands_out(error: float) -> str:
    wrong = f"{error:.0%}"
    return f"No network stands out: of corrupted images a answers {wrong} wrong, b {wrong}, and none is distinguishable from a"


def test_the_best_is_compared_with_every_other(result):
    """One of two equal networks errs least beside a worse one; a recipe of several seeds is not compared with them."""
    worse = measure_corruptions(network(100 / 255), SPLIT, kinds=("brightness", "contrast", "saturate"))

    def title(**networks: Corruptions) -> str:
        return Corruptions.draw([(Subject(name=name, family="mlp"), one) for name, one in networks.items()])[0].title

    least = f"a errs least on corrupted images, but not distinguishably from b: {result.value:.0%}"
    assert title(a=result, b=result, c=worse) == least
    assert title(a=result, b=result, c=result).startswith("No network stands out: of corrupted images a answers ")
    other = worse.model_copy(update={"kinds": ("x", "y", "z")})
    assert title(a=result, b=result, c=other) == f"{nobody_stands_out(result.value)}, which was not compared with c"
    assert title(a=result, b=result, c=worse, d=other) == f"{least}; it was not compared with d"


def test_nothing_hurts_most_where_everything_hurts_alike(result):
    def titles(right: np.ndarray) -> list[str]:
        two = [(Subject(name=name, family="mlp"), result.model_copy(update={"right": right})) for name in "ab"]
        return [figure.title for figure in Corruptions.draw(two)[1:]]

    flat = "From severity 1 to 5 no error grows"
    assert titles(np.ones_like(result.right)) == ["0% are wrong under every kind of corruption", flat]
    falls = np.ones_like(result.right)
    falls[0, 4] = False
    assert titles(falls) == [
        "Weather hurts most whatever the network",
        "From severity 1 to 5 the error grows most for a under brightness and for b under brightness: by 100 points",
    ]
    falls[1:, 4] = False
    assert titles(falls) == [
        "20% are wrong under every kind of corruption",
        "From severity 1 to 5 the error grows by 100 points",
    ]


def test_two_networks_are_called_different_only_where_they_are(result):
    same = measure_corruptions(network(), SPLIT, kinds=("brightness", "contrast", "saturate"))
    worse = measure_corruptions(network(100 / 255), SPLIT, kinds=("brightness", "contrast", "saturate"))

    def title(other: Corruptions) -> str:
        return Corruptions.draw([(Subject(name="a", family="mlp"), result), (Subject(name="b", family="cnn"), other)])[0].title

    assert title(same) == nobody_stands_out(result.value)
    assert title(worse) == f"a errs least on corrupted images: {result.value:.0%}"


def test_several_seeds_are_compared_too_and_one_never_with_several(result):
    """Two recipes whose seeds are the same networks; then one with a seed less."""

    def title(*subjects: tuple[str, Corruptions]) -> str:
        named = [
            (Subject(name=f"{name}-s{at}", family=name, recipe=name, seed=at), one) for at, (name, one) in enumerate(subjects)
        ]
        return Corruptions.draw(named)[0].title

    worse = measure_corruptions(network(100 / 255), SPLIT, kinds=("brightness", "contrast", "saturate"))
    twice = [(name, one) for name in ("a", "b") for one in (result, worse)]
    assert title(*twice) == nobody_stands_out((result.value + worse.value) / 2)
    assert title(("a", result), ("b", worse), ("b", worse)).endswith("it was compared with no other")


def test_where_every_answer_is_right_the_interval_keeps_a_width():
    result = measure_corruptions(network(), SPLIT, kinds=("gaussian_noise",))
    assert result.value == 0
    assert result.interval.high == pytest.approx(0.088, abs=0.001)  # Wilson's of 0 in 40


def test_figures_and_storage(result, tmp_path):
    assert [figure.name for figure in result.charts()] == ["corruption-error", "corruption-kinds", "corruption-severity"]
    back = load_result(result.save(tmp_path / "a.json"))
    assert isinstance(back, Corruptions)
    np.testing.assert_array_equal(back.right, result.right)


def test_a_kind_that_there_is_not_is_refused():
    with pytest.raises(RequestError) as error:
        measure_corruptions(network(), SPLIT, kinds=("foggy",))
    assert str(error.value).startswith("'foggy' is not a kind of corruption.\n  wanted: one of: brightness")
    with pytest.raises(RequestError) as error:
        measure_corruptions(network(), SPLIT, kinds=())
    assert str(error.value).startswith("No kind of corruption was asked for.")


@pytest.mark.parametrize(
    ("hardest", "title"),
    [
        ({"mlp": "noise"}, "Noise hurts most"),
        ({"mlp": "noise", "cnn": "noise"}, "Noise hurts most whatever the network"),
        ({"mlp": "weather", "cnn": "noise", "vit": "noise"}, "Noise hurts cnn, vit most, weather mlp"),
        ({"mlp": "weather", "cnn": "noise", "vit": "noise", "tnt": "noise"}, "Noise hurts 3 networks most, weather mlp"),
    ],
)
def test_the_title_says_what_hurts_whom(hardest, title):
    from priorscope.probes.corruptions.figures import _what_hurts

    assert _what_hurts(hardest) == title


def test_what_hurts_most_is_of_all_seeds_together(result):
    kinds = ("gaussian_noise", "defocus_blur")
    seeds = [
        result.model_copy(
            update={"kinds": kinds, "right": np.arange(40) / 40 < np.array(shares)[:, None, None] * np.ones((1, 5, 1))}
        )
        for shares in ((0.5, 0.4), (0.5, 0.9))
    ]
    figure = draw_kinds([(Subject(name=f"a-s{i}", family="mlp", recipe="a", seed=i), one) for i, one in enumerate(seeds)])
    assert figure.title == "Noise hurts most"


def test_one_kind_and_one_image_are_said_as_they_are():
    result = measure_corruptions(network(), SPLIT, kinds=("fog", "saturate"), images=1)
    assert "The mean is over 1 kind and not over the 15 of the benchmark." in result.caveats
    assert result.protocol().startswith("1 kind of CIFAR-10-C")
    assert result.interval is None
    assert result.headline().startswith(f"It is wrong on {result.value:.1%} of corrupted images, without a corruption on ")


def test_the_best_of_five_was_chosen_on_the_images_that_test_it(result):
    """It is right on 8 of 40 images more (p = 2 / 2^8): enough for 4 pairs, and not for the 10 that might have been asked."""
    some, more = (np.broadcast_to(np.arange(40) < right, result.right.shape) for right in (20, 28))
    networks = {"a": more, "b": some, "c": some, "d": some, "e": some}

    def title(**rights: np.ndarray) -> str:
        named = [(Subject(name=n, family="mlp"), result.model_copy(update={"right": own})) for n, own in rights.items()]
        return Corruptions.draw(named)[0].title

    assert title(**networks).startswith("No network stands out: of corrupted images a answers 30% wrong")
    assert title(a=more, b=some) == "a errs least on corrupted images: 30%"
