"""Calibration of planted networks: what is said, what is drawn, what is left out and why."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from priorscope import models
from priorscope.core.comparison import over_seeds_difference
from priorscope.core.contracts import Subject
from priorscope.core.environment import Environment
from priorscope.core.errors import RequestError
from priorscope.core.metrics import softmax
from priorscope.core.seeds import difference_of_families, interval_of_seeds, told_from_chance
from priorscope.data.split import ArrayPixels, Split
from priorscope.evidence import Evidence
from priorscope.probes import load_result
from priorscope.probes.accuracy import Accuracy, measure_accuracy
from priorscope.probes.calibration import Calibration, CalibrationConfig, measure_calibration
from priorscope.probes.calibration.figures import _not_calibrated, _outside
from priorscope.recipe import Recipe

CLASSES = ("a", "b", "c", "d")


class Planted:
    """A source whose labels are drawn from a network's probabilities, and the network, which multiplies its logits."""

    name, classes, origin, caveats = "planted", CLASSES, "", ()

    def __init__(self, sharper: float = 1.0, n: int = 600) -> None:
        self.sharper = sharper
        self.logits_of: dict[str, np.ndarray] = {}
        self.parts = {name: self._part(name, n, seed) for seed, name in enumerate(("val", "test"))}

    def _part(self, name: str, n: int, seed: int) -> Split:
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=(n, 4)) * 2
        labels = np.minimum((rng.random(n)[:, None] >= softmax(logits).cumsum(1)).sum(1), 3).astype(np.int64)
        pixels = ArrayPixels(np.broadcast_to(np.uint8(seed), (n, 4, 4, 3)).copy())
        made = Split("planted", name, pixels, labels, CLASSES)
        self.logits_of[made.fingerprint] = (self.sharper * logits).astype(np.float32)
        return made

    def splits(self) -> tuple[str, ...]:
        return tuple(self.parts)

    def split(self, name: str) -> Split:
        return self.parts[name]

    def evidence(self):
        from priorscope.evidence import Evidence

        evidence = Evidence.__new__(Evidence)
        evidence.check_classes = lambda split: None  # noqa: ARG005
        evidence.logits = lambda split, views=None: self.logits_of[split.fingerprint]  # noqa: ARG005
        return evidence


@pytest.fixture(scope="module")
def over() -> Calibration:
    source = Planted(sharper=2.0)
    return measure_calibration(source.evidence(), source)


def test_an_overconfident_network_is_called_so_and_its_temperature_mends_it(over):
    assert over.headline().endswith("it is overconfident.")
    plain, scaled = over.scores
    assert plain.error.value > plain.error.null_high
    assert scaled.error.value <= scaled.error.null_high
    assert over.temperature == pytest.approx(2.0, rel=0.15)
    assert scaled.temperature == over.temperature
    assert scaled.accuracy == plain.accuracy
    assert scaled.log_loss < plain.log_loss
    assert over.interval is None  # the plug-in error has no valid interval; the squared one without bias has
    assert plain.squared_interval.excludes(0)
    assert "Temperature" in over.protocol()


def test_an_underconfident_network_is_called_so():
    source = Planted(sharper=0.5)
    assert measure_calibration(source.evidence(), source).headline().endswith("it is underconfident.")


def test_a_calibrated_network_shows_no_sign():
    source = Planted()
    result = measure_calibration(source.evidence(), source)
    assert result.headline().endswith("no sign that it is not calibrated.")
    low, high = (float(end) for end in result.standing().ground.removeprefix("by chance ").split(" to "))
    assert low <= round(result.value, 3) <= high
    assert result.scores[0].squared_interval.contains(0)


def test_the_picture_and_the_number_are_one(over):
    figure = next(figure for figure in over.charts() if figure.name == "reliability")
    gaps = [row["answers"] * abs(row["right"] - row["confidence"]) for row in figure.rows]
    assert sum(gaps) / sum(row["answers"] for row in figure.rows) == pytest.approx(over.value, abs=1e-12)
    assert over.reliability().error == pytest.approx(over.value, abs=1e-12)
    assert [figure.name for figure in over.charts()] == [
        "reliability",
        "calibration-error",
        "confidences",
        "calibration-conditions",
    ]


def test_several_networks_stand_over_their_own_bands(over):
    source = Planted()
    good = measure_calibration(source.evidence(), source)
    both = [(Subject(name="over", family="cnn"), over), (Subject(name="good", family="mlp"), good)]
    first = Calibration.draw(both)[0]
    assert first.name == "calibration-error"
    assert first.title == f"over is off by {over.value:.1%}, beyond what chance alone makes"
    assert {row["line"]: row["value"] <= row["high"] for row in first.rows} == {"over": False, "good": True}


def judged(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    source = Planted(n=len(labels))
    there = source.split("test")
    source.parts["test"] = Split("planted", "test", there.pixels, labels.astype(np.int64), CLASSES)
    source.logits_of[source.split("test").fingerprint] = logits.astype(np.float32)
    return measure_calibration(source.evidence(), source, temperature=False)


def test_it_is_called_over_or_underconfident_only_where_it_is():
    """Half of the answers at 95 % and 75 % right, half at 60 % and 80 % right: both words would be wrong, whatever the mean."""
    sure = np.repeat([0.95, 0.6], 1000)

    def headline(*shares: float) -> str:
        logits = np.log(np.stack([sure, *[(1 - sure) / 3] * 3], 1))
        return judged(logits, np.concatenate([np.arange(1000) >= 1000 * share for share in shares])).headline()

    for share in (0.79, 0.8, 0.81):
        assert headline(0.75, share).endswith("it is too sure of some answers and not sure enough of others.")
    assert headline(0.75, 0.65).endswith("it is overconfident.")
    assert headline(0.92, 0.8).endswith("it is underconfident.")


def titles(**results: Calibration) -> dict[str, str]:
    named = [(Subject(name=name, family="mlp"), result) for name, result in results.items()]
    return {figure.name: figure.title for figure in Calibration.draw(named)}


def test_titles_tell_of_errors_beyond_their_own_chance_and_name_no_winner():
    """Few unsure answers are off by much by chance alone; sure ones that are right in 98 % are off by little, but surely."""
    few = Planted(n=60)
    unsure = measure_calibration(few.evidence(), few, temperature=False)
    sure = judged(np.log(0.999 / 0.001 * 3) * np.eye(4)[np.zeros(500, int)], np.arange(500) < 10)
    assert unsure.value > 2 * sure.value
    told = titles(unsure=unsure, sure=sure)
    beyond = "beyond what chance alone makes"
    assert told["calibration-error"] == f"sure is off by {sure.value:.1%}, {beyond}"
    assert told["reliability"] == "Of sure, 1 of 1 bins lie outside of chance"
    assert titles(a=sure, b=sure)["calibration-error"] == f"a and b are each off by {sure.value:.1%}, {beyond}"
    assert titles(a=sure, b=sure)["reliability"] == "a and b have the same share of bins outside of chance: 100%"
    same = "a and b have the same share of bins outside of chance: 100%"
    assert titles(a=sure, b=sure, c=unsure)["reliability"] == same
    surer = judged(np.log(0.999 / 0.001 * 3) * np.eye(4)[np.zeros(500, int)], np.arange(500) < 11)
    ends = f"{sure.value:.1%} (sure) to {surer.value:.1%} (surer)"
    assert sure.value < surer.value, "one answer of 500 more is wrong, which says nothing of two networks"
    assert titles(surer=surer, sure=sure)["calibration-error"] == f"B{beyond[1:]}, confidence is off by {ends}"


def test_where_nothing_is_outside_of_chance_nothing_strays_and_no_answer_is_wrong_in_any_way():
    right = judged(12 * np.eye(4)[np.zeros(500, int)], np.zeros(500))
    assert titles(one=right)["reliability"] == "No sign that it is not calibrated"
    told = titles(one=right, two=right)
    assert told["reliability"] == "No sign that any network is not calibrated"
    assert told["confidences"] == "No answer is wrong"
    some = judged(12 * np.eye(4)[np.zeros(500, int)], np.arange(500) < 10)
    figure = Calibration.draw([(Subject(name=n, family="mlp"), r) for n, r in (("all", right), ("some", some))])[-1]
    assert figure.title == "100% of the wrong answers of some come with a confidence above 80 %"
    assert figure.alt == "all: no wrong answer; some: 100% of wrong answers above 80 % confidence"


def test_the_temperature_is_val_s_and_not_the_judged_split_s():
    """Three times as sure on val as on test: the temperature that val asks for does not mend test."""
    source = Planted(n=2000)
    source.logits_of[source.split("val").fingerprint] *= 3
    found = measure_calibration(source.evidence(), source)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.scores[1].error.value > found.scores[1].error.null_high


def test_views_have_a_temperature_of_their_own():
    """Answers over views are twice the plain ones, on val and on test: so is their temperature."""
    source = Planted(n=2000)
    evidence = source.evidence()
    evidence.logits = lambda split, views=None: source.logits_of[split.fingerprint] * (1 if views is None else 2)
    found = measure_calibration(evidence, source, views="flip")
    fitted = {score.condition: score.temperature for score in found.scores if score.temperature != 1}
    assert fitted["2 views"] == pytest.approx(2 * fitted["as it is"], rel=1e-3)


def test_one_split_gives_no_temperature():
    source = Planted()
    result = measure_calibration(source.evidence(), source.split("test"))
    assert result.temperature is None
    assert len(result.scores) == 1
    assert "No temperature: one split was given, and none may be fitted where it is judged." in result.caveats
    judged = measure_calibration(source.evidence(), source, split="val")
    assert "No temperature: val is judged, on which it would be fitted." in judged.caveats


def test_a_source_without_val_is_judged_without_a_temperature():
    source = Planted()
    del source.parts["val"]
    result = measure_calibration(source.evidence(), source)
    assert (result.temperature, len(result.scores)) == (None, 1)
    assert "No temperature: there is no val to fit it on." in result.caveats


def test_images_without_finite_logits_are_left_out_and_counted():
    source = Planted()
    source.logits_of[source.split("test").fingerprint][:7] = np.nan
    result = measure_calibration(source.evidence(), source)
    assert result.n == 593
    assert "7 images got logits that are not finite and are left out." in result.caveats


def test_probabilities_in_place_of_logits_are_named():
    source = Planted()
    for fingerprint, logits in source.logits_of.items():
        source.logits_of[fingerprint] = softmax(logits).astype(np.float32)
    said = "Its outputs are probabilities, not logits (they sum to 1): their softmax is taken again"
    result = measure_calibration(source.evidence(), source)
    assert any(caveat.startswith(said) for caveat in result.caveats)
    plain = Planted()
    assert not any(caveat.startswith(said) for caveat in measure_calibration(plain.evidence(), plain).caveats)


def test_label_smoothing_and_mixing_are_named_as_confounds():
    source = Planted()
    data = {"source": "shapetex", "augment": {"ops": ["flip", "mixup"]}}
    recipe = Recipe.of({"data": data, "model": "mlp/tiny", "train": {"label_smoothing": 0.3}})
    run = SimpleNamespace(name="r", recipe=recipe, evidence=source.evidence(), history=[], environment=Environment(key="r"))
    result = measure_calibration(run, source, temperature=False)
    assert result.label_smoothing == 0.3
    assert any(caveat.startswith("Trained with label smoothing 0.3, which lowers confidence") for caveat in result.caveats)
    assert any(caveat.startswith("Trained with mixup") for caveat in result.caveats)
    unknown = measure_calibration(source.evidence(), source, temperature=False)
    assert any(caveat.startswith("How it was trained is not known") for caveat in unknown.caveats)


def test_what_is_stored_is_read_back(over, tmp_path):
    back = load_result(over.save(tmp_path / "a.json"))
    assert isinstance(back, Calibration)
    assert back.scores == over.scores
    np.testing.assert_array_equal(back.bin_low, over.bin_low)
    assert {metric.metric for metric in back.metrics()} >= {"ECE", "ECE, by chance", "squared ECE, debiased", "Brier score"}


@pytest.mark.parametrize("idle", [{"eps": "4/255"}, {"attack_images": 50}, {"severity": 5}])
def test_settings_of_what_was_not_asked_are_refused(idle):
    with pytest.raises(RequestError, match="changes nothing"):
        CalibrationConfig.parse({"name": "calibration", **idle})


def test_the_same_after_views_under_a_corruption_and_under_attack():
    """A real network: every condition is scored, each as it is and at the temperature of val."""
    source = Planted(n=40)
    rng = np.random.default_rng(0)
    pixels = ArrayPixels(rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8))
    source.parts = {name: Split("p", name, pixels, part.labels, CLASSES) for name, part in source.parts.items()}
    model = models.create("mlp/tiny", image_size=8, num_classes=4)
    result = measure_calibration(model, source, views="flip", corruptions=("contrast",), attack="fgsm", attack_images=12)
    names = ["as it is", "2 views", "contrast 3", "fgsm 1/255"]
    assert [score.condition for score in result.scores] == [name for name in names for _ in range(2)]
    attacked = next(score for score in result.scores if score.condition == "fgsm 1/255")
    assert attacked.n == 12
    assert attacked.log_loss > result.scores[0].log_loss
    temperatures = {score.condition: score.temperature for score in result.scores if score.temperature != 1}
    assert temperatures["contrast 3"] == temperatures["as it is"]  # val's, not the one that would mend it
    assert "40 images say little about calibration: see how wide chance alone reaches." in result.caveats


class Stopping(nn.Module):
    """Counts the pictures that it is shown, and stops after so many."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3 * 8 * 8, 4)
        self.left, self.seen = 10**9, 0

    def forward(self, x):
        self.seen += len(x)
        if self.seen > self.left:
            raise KeyboardInterrupt
        return self.last(x.flatten(1))


def test_a_stopped_attack_resumes_with_the_next_block(tmp_path, monkeypatch):
    monkeypatch.setattr("priorscope.attacks.victim.BLOCK", 10)
    rng = np.random.default_rng(0)
    pixels = ArrayPixels(rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8))
    split = Split("p", "test", pixels, np.arange(40) % 4, CLASSES)
    net = Stopping()
    model = models.wrap(net, image_size=8, classes=CLASSES)

    def measured(folder, left=10**9):
        net.left, net.seen = left, 0
        evidence = Evidence(model, "key" if folder else None, folder)
        return measure_calibration(evidence, split, attack="pgd", attack_images=40)

    whole = measured(None)
    needed, block = net.seen - 40, 10 * 21  # twenty steps and a look at the end
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, left=40 + needed * 5 // 8)  # in the third of four blocks
    assert measured(tmp_path).table() == whole.table()
    assert 2 * block <= net.seen <= needed - 2 * block
    assert measured(tmp_path).table() == whole.table()
    assert net.seen == 0


def test_views_are_read_from_a_name_or_a_table():
    assert CalibrationConfig.parse({"views": "six"}).views.sentence().startswith("6 views")
    assert CalibrationConfig.parse({"views": {"name": "crops", "n": 8}}).views.n == 8


def test_no_title_accuses_one_of_eight_calibrated_networks():
    """Of all their bins one lies outside of what a calibrated network's alone shows in 95 % of cases."""
    draw = np.random.default_rng(0)
    calibrated: dict[str, Calibration] = {}
    for name in "abcdefgh":
        logits = draw.normal(size=(400, 4)) * 1.5
        labels = np.minimum((draw.random(400)[:, None] >= softmax(logits).cumsum(1)).sum(1), 3)
        calibrated[name] = judged(logits, labels)
    assert any(_outside(each).any() for each in calibrated.values())
    told = titles(**calibrated)
    assert told["reliability"] == "No sign that any network is not calibrated"
    assert told["calibration-error"] == "No network's error can be told from what chance alone makes of a calibrated one's"


def test_calibrated_recipes_are_equal_however_sure_they_are_and_an_overconfident_one_is_told_from_them():
    """Chance makes a larger ECE of unsure answers than of sure ones, in every seed: over seeds the two ECEs differ."""
    draw = np.random.default_rng(0)

    def recipe(low: float, high: float, wrong: float = 0.0) -> list[Calibration]:
        """Three seeds, right less often than they say by `wrong`."""
        seeds = []
        for _ in range(3):
            sure = draw.uniform(low, high, 1000)
            logits = np.log(np.stack([sure, *[(1 - sure) / 3] * 3], 1))
            seeds.append(judged(logits, np.where(draw.random(1000) < sure - wrong, 0, 1)))
        return seeds

    unsure, sure, over = recipe(0.4, 0.8), recipe(0.96, 0.999), recipe(0.6, 0.95, 0.25)
    assert over_seeds_difference(*([seed.value for seed in seeds] for seeds in (unsure, sure))).p_value < 0.05
    assert interval_of_seeds(unsure) is None
    told = difference_of_families(unsure, sure)
    assert told.interval.contains(0)
    assert told.interval.over == "seeds x images"
    far = difference_of_families(over, sure)
    assert far.interval.contains(0.25**2)
    assert far.p_value < 0.05
    assert difference_of_families(over, unsure).value > 0
    assert Calibration.difference_unit == next(m.metric for m in sure[0].metrics() if m.unit == "probability^2")
    assert told_from_chance([*unsure, *sure, *over]) == over


def test_of_a_hundred_networks_that_are_not_calibrated_every_one_is_accused(over):
    """The p-value of 1,000 draws is 1 in 1,001 at the least, a hundred times which would be 0.1."""
    many = [(Subject(name=f"n{at}", family="mlp"), over) for at in range(100)]
    assert over.scores[0].error.p_value > 0.0009
    assert len(_not_calibrated(many)) == 100


def test_equal_logits_are_no_answer_and_chance_gives_none_either():
    """Half of the images have four equal logits: never right, as for accuracy, and a calibrated network's would not be."""
    logits = np.random.default_rng(0).normal(size=(400, 4))
    labels = np.minimum((np.random.default_rng(1).random(400)[:, None] >= softmax(logits).cumsum(1)).sum(1), 3)
    logits[:200] = 0.0
    tied = judged(logits, labels)
    assert tied.scores[0].accuracy == (logits[200:].argmax(1) == labels[200:]).mean() / 2
    assert tied.value > 0.1
    assert "no sign that it is not calibrated" in tied.headline()


def test_accuracy_and_calibration_count_the_same_sure_wrong_answers(over):
    source = Planted(sharper=2.0)
    accuracy = measure_accuracy(source.evidence(), source.split("test"), k=2)
    first, second = (
        next(figure.title for figure in result.charts() if figure.name in ("confidence", "confidences"))
        for result in (accuracy, over)
    )
    assert isinstance(accuracy, Accuracy)
    assert first == second
    assert re.fullmatch(r"[1-9]\d*% of the wrong answers come with a confidence above 80 %", first)


def test_one_image_has_no_interval():
    (score,) = judged(np.array([[2.0, 0, 0, 0]]), np.array([0])).scores
    assert (score.log_loss_interval, score.brier_interval) == (None, None)
