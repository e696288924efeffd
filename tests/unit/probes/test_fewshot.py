"""Few-shot accuracy of features that are planted."""

from __future__ import annotations

import numpy as np
import pytest

from priorscope.core.comparison import compare
from priorscope.core.contracts import Subject
from priorscope.core.errors import RequestError
from priorscope.core.stats import seed_by_image
from priorscope.data.split import ArrayPixels, Split
from priorscope.evidence import Evidence
from priorscope.probes import load_result
from priorscope.probes.fewshot import Fewshot, measure_fewshot

CLASSES = ("a", "b", "c", "d")


class Source:
    """Two splits whose pictures hold their own number; features are planted by it."""

    name, classes, origin, caveats = "planted", CLASSES, "", ()

    def __init__(self, train: int = 200, test: int = 120) -> None:
        self.parts = {}
        for first, (name, n) in zip((0, 100), (("train", train), ("test", test)), strict=True):
            pixels = np.zeros((n, 2, 2, 3), np.uint8)
            pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(n) % 256, first
            self.parts[name] = Split("planted", name, ArrayPixels(pixels), np.arange(n, dtype=np.int64) % 4, CLASSES)

    def splits(self):
        return tuple(self.parts)

    def split(self, name):
        return self.parts[name]


class Model:
    name = "planted"
    num_classes = 4

    def taps(self):
        return ["embed/out", "head/in"]

    def tap(self, address):
        return address


class Features(Evidence):
    """Features that tell the class apart by `signal` standard deviations."""

    def __init__(self, signal: float) -> None:
        self.signal = signal
        self.model = Model()
        self.asked: list[int] = []

    def logits(self, split, views=None):
        assert views is None
        self.asked.append(len(split))
        return np.eye(4, dtype=np.float32)[split.labels]

    def features(self, split, tap):  # noqa: ARG002  the same at every tap
        self.asked.append(len(split))
        numbers = split.pixels.array[:, 0, 0]
        noise = np.stack([np.random.default_rng(number.tolist()).normal(size=30) for number in numbers])
        noise[:, :4] += self.signal * np.eye(4)[split.labels]
        return noise.astype(np.float32)


def test_features_that_tell_the_classes_apart_need_few_labels():
    source = Source()
    result = measure_fewshot(Features(12.0), source, shots=5, draws=3)
    assert result.value > 0.99
    assert result.right.shape == (3, 120)
    assert result.interval.over == "draws x images"
    assert result.correct.all()
    assert result.per_image().mean() == pytest.approx(result.value)
    assert result.standing().ground == "5 images a class"
    assert result.headline().startswith("5 labelled images a class make its features right on ")


@pytest.mark.parametrize(("count", "learnt"), [(10, ()), (4, ("w", "x", "y", "z"))])
def test_a_network_of_other_classes_is_not_held_against_these(count, learnt):
    features = Features(12.0)
    features.model.num_classes, features.classes = count, learnt
    result = measure_fewshot(features, Source(), shots=5, draws=2)
    assert result.value > 0.99
    assert not result.correct.size
    assert "the network itself" not in result.headline()


def test_features_without_the_classes_are_at_chance():
    result = measure_fewshot(Features(0.0), Source(), shots=10, draws=6)
    assert result.interval.contains(0.25)
    assert result.value == pytest.approx(0.25, abs=0.06)


def test_more_labels_tell_more_and_draws_differ():
    few, many = (measure_fewshot(Features(2.0), Source(), shots=shots, draws=4) for shots in (2, 20))
    assert few.value < many.value
    assert len({row.tobytes() for row in few.right}) == 4
    again = measure_fewshot(Features(2.0), Source(), shots=2, draws=4)
    np.testing.assert_array_equal(again.right, few.right)


def test_only_labelled_images_are_looked_at():
    features = Features(1.0)
    measure_fewshot(features, Source(), shots=2, draws=2)
    assert max(features.asked) == 120  # the test split; of train at most 2 x 2 x 4 images
    assert sorted(features.asked)[0] <= 16


def test_a_split_or_an_unknown_head_is_refused():
    with pytest.raises(RequestError) as error:
        measure_fewshot(Features(1.0), Source().split("test"))
    assert str(error.value).startswith("fewshot looks at several splits and was given one")
    with pytest.raises(RequestError, match="learns a readout from train and was asked to score it there"):
        measure_fewshot(Features(1.0), Source(), split="train")
    with pytest.raises(RequestError, match=r"^shots = 0 was refused in measure_fewshot\."):
        measure_fewshot(Features(1.0), Source(), shots=0)
    blind = Features(1.0)
    blind.model.taps = lambda: ["embed/out"]
    with pytest.raises(RequestError) as error:
        measure_fewshot(blind, Source())
    assert str(error.value).startswith("planted does not say what its head sees.")


def test_figures_and_storage(tmp_path):
    result = measure_fewshot(Features(3.0), Source(), shots=3, draws=2)
    (figure,) = result.charts()
    assert figure.title == f"With 3 labelled images a class its features are right on {result.value:.1%}"
    back = load_result(result.save(tmp_path / "a.json"))
    assert isinstance(back, Fewshot)
    assert back.strengths == result.strengths


def made(right: np.ndarray, shots: int = 10) -> Fewshot:
    return Fewshot(
        value=float(right.mean()),
        interval=None,
        n=right.shape[1],
        unit="share of images",
        split="test",
        shots=shots,
        classes=4,
        tap="head/in",
        seed=0,
        strengths=(1.0,) * len(right),
        right=right,
        correct=right[0],
    )


def test_two_networks_that_differ_by_their_draws_alone_are_seldom_told_apart():
    """Each draw moves each network by points of its own, and both are equally good: at 5 % a twentieth is told apart."""
    rng = np.random.default_rng(0)

    def one() -> Fewshot:
        return made(rng.random((5, 1000)) < 0.5 + rng.normal(0, 0.03, (5, 1)))

    told = [one().paired(one()) for _ in range(200)]
    assert np.mean([each.p_value < 0.05 for each in told]) < 0.1
    assert {told[0].interval.over, told[0].inner.over} == {"draws x images"}
    said = compare(told[0]).sentence("cnn", "mlp")
    assert "checkpoint of cnn" in said
    assert "seed" not in said
    assert one().paired(made(one().right, shots=5)) is None


def test_features_that_tell_nothing_are_read_out_at_chance():
    """As every readout does, it names the first of equals."""
    constant = Features(0.0)
    constant.features = lambda split, tap: np.zeros((len(split), 4), np.float32)  # noqa: ARG005
    assert measure_fewshot(constant, Source(), shots=3, draws=2).value == 0.25


def family(rng: np.random.Generator, seeds: int = 3, draws: int = 5, images: int = 400) -> list[Fewshot]:
    """Networks that are right on six in ten, but for what the labelled images add, which are the same for all of them."""
    share = 0.6 + rng.normal(0, 0.03, (1, draws)) + rng.normal(0, 0.003, (seeds, 1))
    return [made(rng.random((draws, images)) < own[:, None]) for own in share]


def test_a_familys_interval_holds_which_images_were_labelled():
    """Over seeds x images alone, as if each network had images of its own labelled, it covers half as often as it says."""
    rng = np.random.default_rng(0)
    families = [family(rng) for _ in range(200)]
    whole = [seed_by_image(Fewshot.side_by_side(own)) for own in families]
    without = [seed_by_image(np.stack([one.per_image() for one in own])) for own in families]
    assert np.mean([each.contains(0.6) for each in whole]) > 0.92
    assert np.mean([each.contains(0.6) for each in without]) < 0.85
    assert whole[0].over == "seeds x draws x images"


def test_a_picture_says_what_each_interval_is_over():
    seeds = family(np.random.default_rng(1))
    several = [(Subject(name=f"m-s{at}", family="mlp", recipe="m", seed=at), one) for at, one in enumerate(seeds)]
    (figure,) = Fewshot.draw([*several, (Subject(name="alone", family="cnn"), seeds[0])])
    own = seed_by_image(np.stack([one.right for one in seeds]))
    assert [(row["subject"], row["seeds"]) for row in figure.rows] == [("m", 3), ("alone", 1)]
    assert (figure.rows[0]["low"], figure.rows[0]["high"]) == (own.low, own.high)
    assert figure.protocol.endswith("95 % intervals over seeds x draws x images; of one checkpoint, over draws x images.")


def test_a_title_names_whose_features_tell_more_only_where_a_test_does():
    rng = np.random.default_rng(0)

    def title(**networks: Fewshot) -> str:
        return Fewshot.draw([(Subject(name=name, family="mlp"), one) for name, one in networks.items()])[0].title

    a, b = (made(np.arange(200) < np.array([count, count + 2])[:, None]) for count in (100, 98))
    mixed = made(b.right[:, rng.permutation(200)])
    assert title(a=a, b=mixed) == (
        "No network stands out: with 10 labelled images a class the features of a are right on 50.5%, those of b on 49.5%, and "
        "none is distinguishable from a"
    )
    more = made(np.arange(200) < np.array([[180], [182]]))
    assert title(a=a, more=more) == "With 10 labelled images a class the features of more are right most often: 90.5%"
    others = more.model_copy(update={"seed": 1})
    assert title(a=a, more=others).endswith("the features of more are right on 90.5%; it was compared with no other")


def test_draws_that_label_other_images_are_no_draws_in_common():
    one, other = family(np.random.default_rng(2), seeds=2)
    assert Fewshot.side_by_side([one, other]).shape == (2, 5, 400)
    assert Fewshot.side_by_side([one, other.model_copy(update={"seed": 1})]).shape == (2, 400)
