"""Accuracy of deciders whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from priorscope import models
from priorscope.core.contracts import About, Subject
from priorscope.core.errors import RequestError
from priorscope.core.metrics import top_k_correct
from priorscope.core.stats import wilson
from priorscope.data.split import ArrayPixels, Split
from priorscope.evidence import Evidence
from priorscope.probes import load_result
from priorscope.probes.accuracy import Accuracy, measure_accuracy, real_accuracy
from priorscope.views import Views

from .planted import Planted

LABELS = np.arange(200, dtype=np.int64) % 4
SPLIT = Split("made", "test", ArrayPixels(np.zeros((200, 4, 4, 3), np.uint8)), LABELS, ("a", "b", "c", "d"))


def wrong_on_c(split: Split) -> np.ndarray:
    return np.where(split.labels == 2, 0, split.labels)


@pytest.fixture
def result() -> Accuracy:
    return measure_accuracy(Planted(wrong_on_c), SPLIT, k=2)


def test_every_image_counts_once(result):
    assert result.value == 0.75
    assert result.n == 200
    assert result.interval.contains(0.75)
    np.testing.assert_array_equal(result.per_image(), LABELS != 2)
    assert result.confusion.tolist() == [[50, 0, 0, 0, 0], [0, 50, 0, 0, 0], [50, 0, 0, 0, 0], [0, 0, 0, 50, 0]]
    assert result.confidence_right.sum() == 150
    assert result.confidence_wrong.sum() == 50
    assert result.headline() == "It is right on 75.0% of 200 images (68.6% to 80.5%)."


def test_the_loss_is_the_mean_of_its_closed_form(result):
    """Logits lie 1 apart: where it is right log(1 + 3/e), where it is wrong 1 more."""
    assert result.loss == pytest.approx(np.log1p(3 / np.e) + 0.25, rel=1e-6)


@pytest.mark.parametrize(
    ("learnt", "count", "why"),
    [((), 5, "which has 4 classes, and tells 5 apart"), (("a", "c", "b", "d"), 4, "knows 'c' at another place")],
)
def test_classes_that_the_network_has_not_learnt_are_refused(learnt, count, why):
    """CIFAR-10 and STL-10 share nine names, in other orders: by position a third of the answers would be judged wrongly."""
    evidence = Evidence(models.create("mlp/tiny", image_size=4, num_classes=count), classes=learnt)
    with pytest.raises(RequestError, match=why):
        measure_accuracy(evidence, SPLIT)


def test_classes_by_other_names_are_compared_by_their_places():
    network = models.create("mlp/tiny", image_size=4, num_classes=4)
    of_english = measure_accuracy(Evidence(network, classes=("ant", "bee", "cat", "dog")), SPLIT)
    assert of_english.value == measure_accuracy(network, SPLIT).value


def test_ties_do_not_help(result):
    """All but the first logit are equal: the second guess is not known, and is not counted as right."""
    assert result.top_k == 0.75


def test_more_guesses_than_classes_is_said():
    """Of four classes, too, four guesses are always right."""
    for k in (9, 4):
        result = measure_accuracy(Planted(wrong_on_c), SPLIT, k=k)
        assert result.k == 3
        assert result.top_k == top_k_correct(Planted(wrong_on_c).logits(SPLIT), SPLIT.labels, 3).mean()
        assert result.caveats == (f"Top-{k} of 4 classes is always right: top-3 is shown instead.",)
    two = Split("made", "test", SPLIT.pixels, SPLIT.labels % 2, ("a", "b"))
    result = measure_accuracy(models.create("mlp/tiny", image_size=4, num_classes=2), two)
    assert result.caveats == ("Top-5 of 2 classes is always right: it is left out.",)
    assert [row.metric for row in result.metrics()].count("top-1 accuracy") == 1


def test_logits_that_are_not_finite_count_as_wrong():
    class Broken(Planted):
        def logits(self, split, views=None):
            logits = super().logits(split, views)
            logits[:10] = np.nan
            return logits

    result = measure_accuracy(Broken(lambda split: split.labels), SPLIT, k=2)
    assert result.value == 0.95
    assert result.confusion[:, 4].sum() == 10
    assert sum(right for _, right, _ in result.class_accuracy()) == 190
    assert sum(asked for _, _, asked in result.class_accuracy()) == 200
    assert "10 images got logits that are not finite" in result.caveats[0]


def test_what_is_stored_is_read_back(result, tmp_path):
    path = result.save(tmp_path / "a.json", About(data="made"))
    back = load_result(path)
    assert isinstance(back, Accuracy)
    assert back.model_dump(exclude={"correct", "confusion", "confidence_right", "confidence_wrong"}) == result.model_dump(
        exclude={"correct", "confusion", "confidence_right", "confidence_wrong"}
    )
    for name, values in result.arrays().items():
        np.testing.assert_array_equal(back.arrays()[name], values)
    assert result.save(tmp_path / "b.json", About(data="made")).read_bytes() == path.read_bytes()


def test_seeds_of_a_recipe_are_drawn_as_one_with_an_interval_over_seeds_and_images():
    seeds = [measure_accuracy(Planted(lambda split, s=s: (split.labels + (split.labels < s)) % 4), SPLIT) for s in range(3)]
    subjects = [Subject(name=f"m-s{s}", family="mlp", recipe="m", seed=s) for s in range(3)]
    figure = Accuracy.draw(list(zip(subjects, seeds, strict=True)))[0]
    (row,) = figure.rows
    assert row["subject"] == "m"
    assert row["value"] == pytest.approx((1 + 0.75 + 0.5) / 3)
    assert row["low"] < 0.5
    assert row["high"] > 0.9
    assert [figure.name for figure in seeds[0].charts()] == ["accuracy", "accuracy-by-class", "confidence", "confusion"]


def counted(confusion: list[list[int]], classes: tuple[str, ...] = ("a", "b", "c")) -> Accuracy:
    """A result with this confusion matrix: label by answer, and no answer that is no one class."""
    counts = np.hstack([np.array(confusion), np.zeros((len(confusion), 1), int)])
    n, right = int(counts.sum()), int(np.trace(counts))
    return Accuracy(
        value=right / n,
        interval=wilson(right, n),
        n=n,
        unit="share of images",
        split="test",
        classes=classes,
        k=1,
        top_k=right / n,
        top_k_interval=wilson(right, n),
        correct=np.arange(n) < right,
        confusion=counts,
        confidence_right=np.full(20, right // 20),
        confidence_wrong=np.full(20, (n - right) // 20),
    )


def titles(**results: Accuracy) -> list[str]:
    return [figure.title for figure in Accuracy.draw([(Subject(name=n, family="mlp"), r) for n, r in results.items()])]


def test_titles_rank_what_differs_alone():
    right, wrong = counted([[100, 0, 0], [0, 100, 0], [0, 0, 100]]), counted([[0, 50, 50], [50, 0, 50], [50, 50, 0]])
    assert titles(one=right, two=right) == [
        "No network stands out: of the test images one answers 100.0% right, two 100.0%, and none is distinguishable from one",
        "100% of each class is classified correctly",
        "No answer is wrong",
        "one takes no class for another",
    ]
    assert titles(one=wrong) == [
        "0.0% of the test images are answered right",
        "0% of each class is classified correctly",
        "20% of the wrong answers come with a confidence above 80 %",
        "one takes every class for every other equally often: 50% each",
    ]
    some = counted([[90, 10, 0], [0, 100, 0], [0, 10, 90]])
    assert titles(one=some, two=right, three=right) == [
        "two is right most often, but not distinguishably from three: 100.0% of the test images",
        "The hardest cases are a for one and c for one: 90% right",
        "20% of the wrong answers of one come with a confidence above 80 %",
        "one most often takes a for b and c for b: 10% each",
    ]
    assert titles(one=some, two=some)[2].endswith(" of the wrong answers of one and two come with a confidence above 80 %")


def test_a_title_names_a_winner_only_where_a_test_tells_it_apart():
    """Three networks at chance, 9 to 8 % right on 300 images; then one that is right on every image."""
    chance = counted([[10, 45, 45], [45, 10, 45], [45, 45, 10]])

    def right_on(rows: np.ndarray) -> Accuracy:
        return chance.model_copy(update={"correct": rows, "value": float(rows.mean())})

    rng = np.random.default_rng(0)
    a, b, c = (right_on(rng.permutation(300) < count) for count in (28, 27, 24))
    assert titles(a=a, b=b, c=c)[0] == (
        "No network stands out: of the test images a answers 9.3% right, c 8.0%, and none is distinguishable from a"
    )
    assert titles(a=a, b=right_on(np.ones(300, bool)))[0] == "b is right most often: 100.0% of the test images"
    other = a.model_copy(update={"split": "val"})
    assert titles(a=a, b=other)[0] == "Of the test images a answers 9.3% right; it was compared with no other"

    def of_seeds(**recipes: list[Accuracy]) -> str:
        named = [
            (Subject(name=f"{r}-s{s}", family="mlp", recipe=r, seed=s), one)
            for r, of in recipes.items()
            for s, one in enumerate(of)
        ]
        return Accuracy.draw(named)[0].title

    better = [right_on(np.arange(300) < count) for count in (288, 290, 292)]
    assert of_seeds(low=[a, b, c], high=better) == "high is right most often: 96.7% of the test images"
    assert of_seeds(low=[a, b, c], also=[c, a, b]).startswith(
        "No network stands out: of the test images low answers 8.8% right"
    )
    assert of_seeds(low=[a, b, c], one=[better[0]]).endswith("it was compared with no other")


def test_networks_of_other_classes_stand_under_the_names_of_their_own():
    one, other = counted([[90, 10], [0, 100]], ("airplane", "car")), counted([[50, 50, 0], [0, 40, 60], [0, 0, 100]])
    figure = Accuracy.draw([(Subject(name=n, family="mlp"), r) for n, r in (("x", one), ("y", other))])[1]
    assert {(row["y"], row["x"]): row["value"] for row in figure.rows} == {
        ("x", "airplane"): 0.9,
        ("x", "car"): 1.0,
        ("y", "a"): 0.5,
        ("y", "b"): 0.4,
        ("y", "c"): 1.0,
    }
    assert figure.title == "The hardest case is b for y: 40% right"


REAL = np.full((200, 3), -1, np.int64)
REAL[:, 0] = LABELS
REAL[LABELS == 2, :2] = (2, 0)  # c may also be called a, which is what the network calls it
REAL[:20] = -1
"""The first 20 images have no label."""


def test_a_picture_says_all_of_the_views(result):
    views = Views(name="six")
    figure = result.model_copy(update={"views": views}).charts()[0]
    assert f"{views.sentence()}, every image scored once; 95 % intervals" in figure.protocol


def test_real_labels_forgive_and_images_without_one_are_left_out():
    split = Split("made", "test", SPLIT.pixels, LABELS, SPLIT.classes, {"real": REAL})
    result = measure_accuracy(Planted(wrong_on_c), split, k=2)
    assert result.value == 0.75
    assert (result.real.accuracy, result.real.n) == (1.0, 180)
    assert result.real.of_all == 0.9
    rows = [(row.metric, row.setting, row.n) for row in result.metrics() if row.metric == "ReaL accuracy"]
    assert rows == [("ReaL accuracy", "", 180), ("ReaL accuracy", "images without a label counted as wrong", 200)]


def test_a_tie_is_no_answer_to_real_either():
    tied = np.array([[1.0, 1.0], [0.0, 1.0], [np.nan, 1.0]])
    assert real_accuracy(tied, np.array([[0, 1], [0, 1], [1, -1]])).accuracy == pytest.approx(1 / 3)
    with pytest.raises(RequestError) as error:
        real_accuracy(tied, np.full((3, 1), -1))
    assert str(error.value) == "No image has a ReaL label.\n  wanted: some that have\n  try:    check real.json"


def test_a_class_without_images_has_no_shares():
    """Three images of class a, none of b: its line in the table of answers is empty and not a line of zeros."""
    split = Split("made", "test", ArrayPixels(np.zeros((3, 4, 4, 3), np.uint8)), np.zeros(3, np.int64), ("a", "b"))
    (confusion,) = [f for f in measure_accuracy(Planted(lambda _: split.labels), split).charts() if f.name == "confusion"]
    assert {(row["y"], row["x"]): row["value"] for row in confusion.rows} == {
        ("a", "a"): 1.0,
        ("a", "b"): 0.0,
        ("b", "a"): None,
        ("b", "b"): None,
    }


def test_of_many_classes_the_pictures_show_the_hardest_and_the_most_mistaken():
    """Of 100 classes 6 is always taken for 7, and 8 half of the time for 9; all others are right."""
    labels = np.repeat(np.arange(100), 4)
    split = Split(
        "made", "test", ArrayPixels(np.zeros((400, 4, 4, 3), np.uint8)), labels, tuple(f"c{i:02}" for i in range(100))
    )
    answered = np.where(labels == 6, 7, np.where((labels == 8) & (np.arange(400) % 2 == 0), 9, labels))
    figures = {figure.name: figure for figure in measure_accuracy(Planted(lambda _: answered), split).charts()}
    by_class, mistaken = figures["accuracy-by-class"], figures["confusion"]
    assert len(by_class.rows) == 40
    assert {"c06", "c08"} <= {row["x"] for row in by_class.rows}
    assert "the 40 hardest of 100 classes" in by_class.protocol
    assert {"c06", "c07", "c08", "c09"} <= {row["y"] for row in mistaken.rows}
    assert len({row["y"] for row in mistaken.rows}) <= 40
    assert "most mistaken of 100 classes" in mistaken.protocol
    assert mistaken.title.endswith("takes c06 for c07: 100% of c06")


def test_two_classes_of_one_name_are_two():
    """The first crane is never right, the second always."""
    result = counted([[0, 50, 50], [0, 100, 0], [0, 0, 100]], ("crane", "dog", "crane"))
    figures = {figure.name: figure for figure in result.charts()}
    by_class, mistaken = figures["accuracy-by-class"], figures["confusion"]
    assert {row["x"]: row["value"] for row in by_class.rows} == {"crane (0)": 0.0, "dog": 1.0, "crane (2)": 1.0}
    assert by_class.title == "The hardest case is crane (0) for this model: 0% right"
    assert len(mistaken.rows) == len({(row["x"], row["y"]) for row in mistaken.rows}) == 9
    assert mistaken.title.endswith("takes crane (0) for dog and crane (0) for crane (2): 50% each")
    told = {row.setting: row.value for row in result.metrics() if row.metric == "class accuracy"}
    assert told == {"crane (0)": 0.0, "dog": 1.0, "crane (2)": 1.0}


def test_wrong_answers_without_a_confidence_are_wrong_answers():
    half = Planted(lambda split: np.where(np.arange(len(split)) % 2 == 0, -1, split.labels))
    figure = next(figure for figure in measure_accuracy(half, SPLIT, k=2).charts() if figure.name == "confidence")
    assert figure.title == "0% of the wrong answers come with a confidence above 80 %"
    assert sum(row["y"] for row in figure.rows) == pytest.approx(1)  # of the right answers; no wrong one has a confidence
    assert "; answers without a confidence, which stand in neither: 100; " in figure.protocol


def test_a_column_of_numbers_that_is_called_real_is_no_list_of_labels():
    split = Split("made", "test", SPLIT.pixels, LABELS, SPLIT.classes, {"real": LABELS})
    assert measure_accuracy(Planted(wrong_on_c), split, k=2).real is None
