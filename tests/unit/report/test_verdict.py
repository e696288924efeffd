from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from fake_study import write_study
from numpy.typing import NDArray

from priorscope.core.comparison import Difference, difference_of_medians, paired_bootstrap
from priorscope.core.contracts import About, Array, Result, Standing, Subject
from priorscope.core.environment import Environment, Learnt
from priorscope.core.stats import Interval
from priorscope.probes.fewshot import Fewshot
from priorscope.report.claims import answers
from priorscope.report.confounds import limits
from priorscope.report.joined import read_sources
from priorscope.report.recipes import recipe_differences
from priorscope.report.records import Entry, Outcome, Reading, RunRecord
from priorscope.report.settings import setting_said
from priorscope.report.tables import arm_lines, pair_rows
from priorscope.report.verdict import Finding, findings
from priorscope.report.words import amount, difference_said, number, sentence, statement, trusted


class Score(Result):
    probe: ClassVar[str] = "accuracy"
    question: ClassVar[str] = "How good?"
    measure: ClassVar[str] = "score"
    scores: Array | None = None

    def per_image(self) -> NDArray[Any] | None:
        return self.scores


class Cost(Score):
    measure: ClassVar[str] = "cost"
    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    exact: ClassVar[bool] = True


def run(label: str, seed: int, result: Result, data: str = "same", recipe: Mapping[str, Any] | None = None) -> RunRecord:
    subject = Subject(name=f"{label}-s{seed}", family=label, recipe=label, seed=seed)
    outcome = Outcome(result, (subject,), About(data="shapetex", split="test"))
    told = Environment(key=subject.name, data=Learnt(source="planted", fingerprint=data))
    return RunRecord(subject.name, label, label, seed, dict(recipe or {}), told, (), (outcome,))


def reading(runs: Sequence[RunRecord]) -> Reading:
    return Reading("study", "Which?", "", ("study",), tuple(runs), (), ())


def scored(values: NDArray[Any], kind: type[Score] = Score) -> Score:
    mean = float(values.mean())
    return kind(
        value=mean,
        interval=Interval(low=mean - 0.03, high=mean + 0.03, method="Wilson", over="images"),
        n=values.size,
        unit="share of images",
        scores=values,
    )


def right(share: float, n: int = 1000, start: int = 0) -> NDArray[np.bool_]:
    """Right on a share of the images, beginning with image `start`."""
    return np.roll(np.arange(n) < share * n, start)


def only(runs: Sequence[RunRecord]) -> Finding:
    (finding,) = findings(reading(runs))
    return finding


def test_of_two_ways_to_ask_a_probe_the_one_that_the_study_names_first_comes_first_and_answers_its_claims() -> None:
    one, other = run("mlp", 0, scored(right(0.5))), run("cnn", 0, scored(right(0.8)))
    ways: list[dict[str, Any]] = [{"name": "accuracy", "views": "six"}, {"name": "accuracy"}]

    def asked(way: dict[str, Any], share: float, who: RunRecord) -> Outcome:
        return Outcome(scored(right(share)), who.outcomes[0].subjects, who.outcomes[0].about.replace(config=way))

    runs = [
        dataclasses.replace(one, outcomes=tuple(asked(way, 0.5, one) for way in ways)),
        dataclasses.replace(other, outcomes=(asked(ways[0], 0.9, other), asked(ways[1], 0.8, other))),
    ]
    for order, best in ((ways, 0.9), (ways[::-1], 0.8)):
        told = dataclasses.replace(reading(runs), entries=tuple(map(Entry, order)), claims=("cnn > mlp in accuracy",))
        found = findings(told)
        assert [finding.about.config for finding in found] == order
        assert found[0].arms[0].value == pytest.approx(best)
        answer = answers(told, found)[0].sentence
        assert f"{best:.1%} against" in answer
        where = " (views six)" if best == 0.9 else ""
        assert answer.endswith(f" Decided by score{where}, the first of 2 ways in which it was measured.")


# What rule 2 lets be said ---------------------------------------------------------------------------------------------------


def test_one_seed_speaks_of_this_checkpoint_alone() -> None:
    said = sentence(only([run("mlp", 0, scored(right(0.5))), run("cnn", 0, scored(right(0.8)))]))
    assert said.startswith("This checkpoint of cnn has a higher score than this checkpoint of mlp: 80.0% against 50.0%")
    assert "over 1,000 images" in said
    assert said.endswith(" A sentence about a family needs 3 seeds of it; here there is 1.")


def test_three_seeds_speak_of_the_family() -> None:
    runs = [run(label, s, scored(right(share, start=s))) for label, share in (("mlp", 0.5), ("cnn", 0.8)) for s in range(3)]
    said = sentence(only(runs))
    assert said.startswith("cnn has a higher score than mlp: 80.0% against 50.0%, a difference of +30.0 points")
    assert "interval over seeds and 1,000 images" in said
    assert "checkpoint" not in said


def test_two_seeds_compare_nothing_and_say_what_is_missing() -> None:
    runs = [run(label, s, scored(right(share))) for label, share in (("mlp", 0.5), ("cnn", 0.8)) for s in range(2)]
    finding = only(runs)
    assert finding.pairs == ()
    assert sentence(finding) == (
        "Among these checkpoints, score runs from 50.0% (mlp) to 80.0% (cnn); no test was made between them. "
        "A sentence about a family needs 3 seeds of it; here there are 2."
    )


def test_not_distinguishable_is_not_called_equal() -> None:
    rng = np.random.default_rng(0)
    runs = [run(label, s, scored(rng.random(400) < 0.6)) for label in ("mlp", "cnn") for s in range(3)]
    said = sentence(only(runs))
    assert "not distinguishable, which does not make them equal" in said
    assert "higher" not in said


def test_identical_networks_are_not_told_apart() -> None:
    said = sentence(only([run("mlp", 0, scored(right(0.6))), run("cnn", 0, scored(right(0.6)))]))
    assert "not distinguishable" in said


def test_comparisons_of_one_table_are_holm_corrected() -> None:
    rng = np.random.default_rng(1)
    runs = [run(label, 0, scored(rng.random(1000) < share)) for label, share in (("a", 0.50), ("b", 0.55), ("c", 0.60))]
    pairs = only(runs).pairs
    assert len(pairs) == 3
    raw = sorted(pair.comparison.difference.p_value for pair in pairs if pair.comparison)
    told = sorted(pair.comparison.p_value for pair in pairs if pair.comparison)
    assert told[0] == pytest.approx(3 * raw[0])
    assert told[1] == pytest.approx(max(3 * raw[0], 2 * raw[1]))


def test_a_table_of_many_names_whom_the_first_is_told_apart_from() -> None:
    rng = np.random.default_rng(2)
    shares = {"a": 0.90, "b": 0.895, "c": 0.5}
    runs = [run(label, s, scored(rng.random(1000) < share)) for label, share in shares.items() for s in range(3)]
    said = sentence(only(runs))
    assert ", but is not distinguishable from b (89." in said
    assert said.endswith("which does not make them equal; told apart from c.")


def test_of_very_many_the_nearest_are_named() -> None:
    rng = np.random.default_rng(3)
    shares = {"a": 0.90, "b": 0.895} | {f"c{i}": 0.7 - 0.05 * i for i in range(13)}
    runs = [run(label, 0, scored(rng.random(1000) < share)) for label, share in shares.items()]
    assert "told apart from c0, c1, c2 and 10 others." in sentence(only(runs))


def test_lower_is_better_puts_the_lowest_first() -> None:
    runs = [
        run(label, s, scored(right(share, start=s), Cost))
        for label, share in (("a", 0.9), ("b", 0.5), ("c", 0.1))
        for s in range(3)
    ]
    finding = only(runs)
    assert [arm.label for arm in finding.arms] == ["c", "b", "a"]
    assert sentence(finding).startswith("c has the lowest cost, 10.0%")


def test_seeds_with_worlds_of_their_own_are_compared_over_seeds() -> None:
    runs = [
        run(label, s, scored(right(share + 0.01 * s)), data=f"world {s}")
        for label, share in (("mlp", 0.5), ("cnn", 0.8))
        for s in range(3)
    ]
    finding = only(runs)
    (pair,) = finding.pairs
    assert pair.comparison is not None
    assert pair.comparison.difference.interval.over == "seeds"
    assert pair.comparison.difference.interval.method == "paired t"
    assert finding.arms[0].interval is not None
    assert finding.arms[0].interval.over == "seeds"


def test_checkpoints_that_saw_other_images_are_not_compared() -> None:
    finding = only([run("mlp", 0, scored(right(0.5)), "one"), run("cnn", 0, scored(right(0.8)), "other")])
    assert finding.pairs == ()


def test_counts_are_exact_and_need_no_test() -> None:
    def counted(value: float) -> Score:
        return Cost(value=value, interval=None, n=1, unit="parameters")

    finding = only([run("mlp", 0, counted(24_000)), run("cnn", 0, counted(21_000))])
    assert sentence(finding) == "cnn has a lower cost than mlp: 21,000 against 24,000, exactly."


def test_a_number_without_an_interval_is_not_exact_for_that() -> None:
    """The calibration error has none near 0, and says nothing of who is better calibrated."""

    def unsure(value: float) -> Score:
        return Score(value=value, interval=None, n=900, unit="probability")

    finding = only([run("mlp", 0, unsure(0.05)), run("cnn", 0, unsure(0.04)), run("vit", 0, unsure(0.3))])
    assert finding.pairs == ()
    assert "no test was made between them" in sentence(finding)


def test_results_of_other_settings_are_not_mixed() -> None:
    first = run("mlp", 0, scored(right(0.5)))
    (outcome,) = first.outcomes
    other = RunRecord(
        *("mlp-s0", "mlp", "mlp", 0, {}, None, ()),
        (outcome, Outcome(outcome.result, outcome.subjects, outcome.about.replace(config={"eps": 0.1}))),
    )
    assert len(findings(reading([other]))) == 2


def test_numbers_from_different_worlds_do_not_stand_in_one_column() -> None:
    def world(cue: str, seed: int) -> dict[str, Any]:
        return {"data": {"source": {"name": "shapetex", "cue": cue, "seed": seed}}}

    both = run("mlp", 0, scored(right(0.5)), recipe=world("both", 0))
    again = run("mlp", 1, scored(right(0.5)), recipe=world("both", 1))
    alone = run("mlp-shape", 0, scored(right(0.8)), recipe=world("shape", 0))
    found = findings(reading([both, again, alone]))
    assert [(finding.measure, [arm.label for arm in finding.arms]) for finding in found] == [
        ("score (cue both)", ["mlp"]),
        ("score (cue shape)", ["mlp-shape"]),
    ]


def asked_on(one: RunRecord, *sources: dict[str, Any]) -> RunRecord:
    """The run with its one result, as it is about each of some sources."""
    (own,) = one.outcomes
    told = (dataclasses.replace(own, about=own.about.replace(made_from={"data": source})) for source in sources)
    return dataclasses.replace(one, outcomes=tuple(told))


def learnt(source: dict[str, Any], subset: int | None = None) -> dict[str, Any]:
    return {"data": {"source": source, **({} if subset is None else {"subset": subset})}}


WORLD: dict[str, Any] = {"name": "shapetex", "cue": "both", "seed": 0}


def test_networks_that_learnt_from_parts_of_one_source_were_asked_about_the_same_images() -> None:
    """What they learnt from has two fingerprints, and the test images are the same."""
    few = run("few", 0, scored(right(0.4)), data="500", recipe=learnt(WORLD, 500))
    many = run("many", 0, scored(right(0.8)), data="5000", recipe=learnt(WORLD, 5000))
    finding = only([asked_on(few, WORLD), asked_on(many, WORLD)])
    assert [pair.differs for pair in finding.pairs] == [True]


def test_networks_that_learnt_in_two_worlds_and_were_asked_about_a_third_are_compared_on_its_images() -> None:
    shape, texture = {**WORLD, "cue": "shape"}, {**WORLD, "cue": "texture"}
    runs = [
        run("a", 0, scored(right(0.4)), data="1", recipe=learnt(shape)),
        run("b", 0, scored(right(0.8)), data="2", recipe=learnt(texture)),
    ]
    assert [pair.differs for pair in only([asked_on(one, WORLD) for one in runs]).pairs] == [True]
    files = [
        dataclasses.replace(one, outcomes=(dataclasses.replace(own, about=about),))
        for one, stamp in zip(runs, ("now", "then"), strict=True)
        for own in one.outcomes
        for about in [own.about.replace(made_from={"data": {"name": "folder", "path": "x"}, "files": stamp})]
    ]
    assert only(files).pairs == (), "a folder whose files have changed in between holds other images"


def test_worlds_that_differ_in_their_seed_alone_are_two_questions() -> None:
    """A network's own world, and another draw of it: no number is lost, and none counts as a second seed."""
    other = {**WORLD, "seed": 7}
    runs = [asked_on(run("mlp", s, scored(right(0.5)), recipe=learnt(WORLD)), WORLD, other) for s in range(3)]
    found = findings(reading(runs))
    assert [(finding.measure, [arm.seeds for arm in finding.arms]) for finding in found] == [
        ("score", [3]),
        ("score (seed 7)", [3]),
    ]
    entries = (Entry({}), Entry({}, data=other))
    assert [[entry.fits(outcome, WORLD) for outcome in runs[0].outcomes] for entry in entries] == [[True, False], [False, True]]


def test_two_seeds_alone_are_two_checkpoints() -> None:
    said = sentence(only([run("mlp", s, scored(right(0.5))) for s in range(2)]))
    assert said.startswith("These 2 checkpoints of mlp have a mean score of 50.0% (")
    assert said.endswith("A sentence about a family needs 3 seeds of it; here there are 2.")


# Limits --------------------------------------------------------------------------------------------------------------------


def test_limits_say_that_one_seed_is_a_checkpoint() -> None:
    read = reading([run("mlp", 0, scored(right(0.5))), run("cnn", 0, scored(right(0.8)))])
    assert limits(read, findings(read))[0] == (
        "Every network was trained once: each statement is about these checkpoints, not about their families."
    )


def test_limits_say_over_what_intervals_of_families_are() -> None:
    """An error of calibration is one number a seed: no image has one."""

    def families(*kinds: type[Score]) -> list[str]:
        runs = seeded({"mlp": 0.5, "cnn": 0.8}, 3)
        for kind in kinds:
            more = [
                dataclasses.replace(r.outcomes[0], result=kind(value=0.1 + r.seed, interval=None, n=9, unit="")) for r in runs
            ]
            runs = [dataclasses.replace(r, outcomes=(*r.outcomes, o)) for r, o in zip(runs, more, strict=True)]
        read = reading(runs)
        return limits(read, findings(read))

    class Error(Score):
        probe: ClassVar[str] = "calibration"
        measure: ClassVar[str] = "error"

    assert families()[0] == "3 seeds a recipe: intervals of families are over seeds and images."
    assert families(Error)[0] == (
        "3 seeds a recipe: intervals of families are over seeds and images, those of error over seeds alone; "
        "what other images would change is not in those of error."
    )


def test_limits_name_where_the_recipes_differ(tmp_path: Path) -> None:
    read = read_sources([write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, lr={"cnn": 0.003})])
    assert recipe_differences(read.runs) == {"optim.lr": {"mlp": "0.001", "cnn": "0.003"}}
    assert "The recipes differ beside the architecture in optim.lr: what is compared is the whole recipe." in limits(
        read, findings(read)
    )


def test_limits_say_when_only_the_model_differs(tmp_path: Path) -> None:
    read = read_sources([write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7})])
    assert "All were trained by the same recipe but for the model; none was tuned for a best of its own." in limits(
        read, findings(read)
    )


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.12345, "share of images", "12.3%"),
        (21_000, "images", "21,000"),
        (3.14159, "ms", "3.14"),
        (31.4159, "ms", "31.4"),
        (0.36, "salience", "0.360"),
        (0.00001234, "nats", "1.2e-05"),
        (float("inf"), "images", "inf"),
        (0, "images", "0.000"),
        (999_999_999, "multiply-adds", "1\u00a0G"),
        (999_400, "multiply-adds", "999\u00a0k"),
    ],
)
def test_numbers_as_they_are_said(value: float, unit: str, said: str) -> None:
    assert number(value, unit) == said


# What has a paired test of its own ------------------------------------------------------------------------------------------


class Budget(Score):
    """A median, whose test is image by image and in another unit."""

    measure: ClassVar[str] = "budget"
    leaning: ClassVar[tuple[str, str] | None] = ("is harder to break", "is easier to break")
    best: ClassVar[str | None] = "is hardest to break"
    difference_unit: ClassVar[str | None] = "doublings"

    def paired(self, other: Budget, level: float = 0.95) -> Difference | None:
        return paired_bootstrap(self.scores, other.scores, seed=0, level=level) if self.scores is not None else None

    @classmethod
    def difference_of_values(cls, some: Sequence[Budget], others: Sequence[Budget], level: float) -> Difference | None:
        first, second = (np.exp2([one.scores for one in those if one.scores is not None]) / 255 for those in (some, others))
        return difference_of_medians(first, second, seed=0, level=level)


class Beyond(Budget):
    """Half of the images stand at every budget that was tried."""

    def standing(self) -> Standing:
        return Standing(beyond=True)


def budgets(label: str, doublings: NDArray[Any], value: float, kind: type[Budget] = Budget) -> RunRecord:
    between = Interval(low=value / 2, high=2 * value, method="bootstrap", over="images")
    result = kind(value=value, interval=between, n=doublings.size, unit="L-inf on pixels in [0, 1]", scores=doublings)
    return run(label, 0, result)


def test_checkpoints_are_compared_image_by_image_where_the_probe_can() -> None:
    noise = np.random.default_rng(0).normal(size=200) / 4
    little = np.random.default_rng(1).normal(size=200) / 1000  # without any spread a difference proves nothing
    vit = np.random.default_rng(2).normal(size=200) / 4 + 1
    finding = only([budgets("cnn", noise + 1 + little, 4 / 255), budgets("mlp", noise, 2 / 255), budgets("vit", vit, 3 / 255)])
    assert sentence(finding).startswith(
        "This checkpoint of cnn is hardest to break, but not distinguishably from vit (3.0/255), which does not make them "
        "equal: budget 4.0/255 (2.0 to 8.0/255; n\u00a0=\u00a0200); told apart from mlp. "
    )
    told = next(pair for pair in finding.pairs if pair.second.label == "mlp" and pair.first.label == "cnn")
    assert told.comparison is not None
    assert told.comparison.difference.value == pytest.approx(1, abs=1e-3)
    assert told.unit == "doublings"
    assert difference_said(told.comparison, told.unit).startswith("+1 doublings (+1 to +1; 95% interval over 200 images, p ")


class Common(Budget):
    """Compared on the images that both get right: those at which both have a number."""

    sampled: ClassVar[str] = "images that it gets right"

    def paired(self, other: Common, level: float = 0.95) -> Difference | None:
        assert self.scores is not None
        assert other.scores is not None
        both = np.isfinite(self.scores) & np.isfinite(other.scores)
        return paired_bootstrap(self.scores[both], other.scores[both], seed=0, level=level)


def in_common(images: int) -> Finding:
    """Two networks that get 110 and 100 of 200 images right, and so many of them both."""
    doublings = np.random.default_rng(0).normal(size=(2, 200))
    doublings[0] += 4
    doublings[0, 110:] = np.nan
    doublings[1, : 110 - images] = doublings[1, 210 - images :] = np.nan
    found = [
        Common(value=value, interval=None, n=n, unit="L-inf on pixels in [0, 1]", scores=scores)
        for value, n, scores in zip((4 / 255, 1 / 255), (110, 100), doublings, strict=True)
    ]
    return only([run(label, 0, result) for label, result in zip(("cnn", "mlp"), found, strict=True)])


def test_a_comparison_says_of_how_many_images_it_is() -> None:
    few = in_common(12)
    assert "; 95% interval over 12 images that all get right, p " in sentence(few)
    assert "over 12 images that all get right" in pair_rows(few)[0][2]
    trust = "One seed each: about these checkpoints; n\u00a0=\u00a0100 to 110 images that it gets right; compared on"
    assert trusted(few) == f"{trust} only 12 images that all get right, few for an interval."
    read = reading([arm.runs[0] for arm in few.arms])
    said = "Fewer than 30 images stand behind comparisons on budget, which are few for an interval."
    assert said in limits(read, [few])
    many = in_common(30)
    assert trusted(many) == f"{trust} 30 images that all get right."
    assert said not in limits(read, [many])
    same = only([run("mlp", 0, scored(right(0.5))), run("cnn", 0, scored(right(0.8)))])
    assert "compared on" not in trusted(same), "on the images that it was asked about, which are named already"


def test_limits_say_what_is_corrected_for_being_many() -> None:
    read = reading([run("mlp", 0, scored(right(0.5))), run("cnn", 0, scored(right(0.8)))])
    corrected = "1 comparison was tested; within each table, a probe at one setting, the p-values are Holm-corrected."
    assert corrected in limits(read, findings(read))


class Audited(Budget):
    """A budget with what an audit says of it."""

    audit: Literal["sound", "masked"] = "sound"

    def standing(self) -> Standing:
        trust = "believed" if self.audit == "sound" else "not believed"
        return Standing(ground=self.audit, trust=trust, beyond=self.value >= 32 / 255)


def test_a_number_that_cannot_be_believed_is_named_and_not_ranked() -> None:
    def audited(label: str, value: float, audit: str, seed: int) -> RunRecord:
        scores = np.random.default_rng(seed).normal(size=200) / 4 + np.log2(255 * value)
        return run(label, 0, Audited(value=value, interval=None, n=200, unit="L-inf on pixels", scores=scores, audit=audit))

    blind, weak, strong = (
        audited("a", 32 / 255, "masked", 0),
        audited("b", 2 / 255, "sound", 1),
        audited("c", 4 / 255, "sound", 2),
    )
    said = statement(only([blind, weak, strong]))
    assert said.startswith("This checkpoint of c is harder to break than this checkpoint of b: ")
    assert said.endswith("; left out of this: masked (a).")
    assert (
        statement(only([blind, weak]))
        == "This checkpoint of b has a budget of 2.0/255 (n\u00a0=\u00a0200); left out of this: masked (a)."
    )
    assert statement(only([blind])) == "No budget here can be believed: masked (a)."
    beyond = only([weak, audited("d", 32 / 255, "sound", 3)])
    assert "more than 32/255" in statement(beyond)
    (cells, other) = (line.cells for line in arm_lines(reading([audited("d", 32 / 255, "sound", 3), weak]), [beyond]))
    assert [cell.text for cell in (*cells, *other) if cell] == ["> 32/255", "2.0/255"]


def test_images_that_differ_from_seed_to_seed_are_told_from_to() -> None:
    """A robustness is of the images that a network gets right."""
    seeds = [run("mlp", s, scored(right(0.5, 300 + s))) for s in range(3)]
    assert amount(only(seeds).arms[0], "share of images").endswith("3 seeds, n\u00a0=\u00a0300 to 302 each)")


def test_a_test_that_turns_the_order_of_the_values_is_told() -> None:
    """Medians are over each network's own images, the test is over those that both get right: the two may disagree."""
    noise = np.random.default_rng(0).normal(size=200) / 4
    swap = np.random.default_rng(1).normal(size=200) / 4
    finding = only([budgets("cnn", noise, 4 / 255), budgets("mlp", swap + 1, 3 / 255), budgets("vit", swap - 1, 1 / 255)])
    said = sentence(finding)
    assert said.startswith("This checkpoint of cnn has the highest budget, 4.0/255")
    assert "told apart from vit; but image by image mlp is harder to break than it." in said
    two = sentence(only([budgets("cnn", noise, 4 / 255), budgets("mlp", swap + 1, 3 / 255)]))
    assert two.startswith(
        "This checkpoint of cnn is easier to break than this checkpoint of mlp: budget 4.0/255 against 3.0/255"
    )


def test_families_are_compared_image_by_image_where_the_probe_can() -> None:
    """Three seeds each, a whole doubling apart on every image: told in doublings, though values say the contrary."""
    noise = np.random.default_rng(0).normal(size=(3, 200)) / 10
    runs = [run(label, s, one) for label, more in (("cnn", 1.0), ("mlp", 0.0)) for s, one in enumerate(seeds_of(noise + more))]
    (pair,) = only(runs).pairs
    assert pair.comparison is not None
    assert pair.unit == "doublings"
    assert pair.first.label == "mlp"
    assert pair.comparison.difference.value == pytest.approx(-1, abs=1e-9)
    assert pair.comparison.difference.interval.over == "seeds x images"


def seeds_of(table: NDArray[Any], kind: type[Budget] = Budget) -> list[Budget]:
    """Values that stand the other way round: a median is over a network's own images."""
    between = Interval(low=0.001, high=0.01, method="bootstrap", over="images")
    unit = "L-inf on pixels in [0, 1]"
    return [kind(value=0.01 - one.mean() / 1000, interval=between, n=one.size, unit=unit, scores=one) for one in table]


class Blind(Budget):
    """What an attack without a gradient finds."""

    def standing(self) -> Standing:
        return Standing(ground="masked gradients: do not believe it", trust="not believed")


def test_a_number_that_is_not_believed_decides_no_claim() -> None:
    noise = np.random.default_rng(0).normal(size=(3, 200)) / 10
    for kind, verdict in ((Budget, "supported"), (Blind, "undecided")):
        cnn, mlp = seeds_of(noise + 1, kind), seeds_of(noise)
        read = reading([run(name, s, one) for name, those in (("cnn", cnn), ("mlp", mlp)) for s, one in enumerate(those)])
        (told,) = answers(dataclasses.replace(read, claims=("cnn > mlp in accuracy",)), findings(read))
        assert told.verdict == verdict
        assert ("Masked gradients: do not believe it." in told.confounds) == (kind is Blind)
    assert told.needs == "numbers of cnn that can be believed"


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_margin_of_budgets_is_of_their_median_or_of_their_ratio(seeds: int) -> None:
    """Medians of 2/255 and 1/255: a doubling, and 1/255, apart."""
    noise = np.random.default_rng(0).normal(size=200) / 4
    noise -= np.median(noise)
    own = np.random.default_rng(1).normal(size=(2, seeds, 200)) / 100
    read = reading([
        dataclasses.replace(budgets(name, noise + more + own[at, seed], 2.0**more / 255), seed=seed)
        for at, (name, more) in enumerate((("cnn", 1), ("mlp", 0))) for seed in range(seeds)
    ])  # fmt: skip
    margins = {"0.8/255": "supported", "1.2/255": "contradicted", "0.8 doublings": "supported", "1.2 doublings": "contradicted"}
    claims = tuple(f"cnn > mlp in accuracy, margin {margin}" for margin in margins)
    told = answers(dataclasses.replace(read, claims=claims), findings(read))
    assert [one.verdict for one in told] == list(margins.values())
    assert told[0].sentence.startswith("2.0/255 against 1.0/255: a difference of +1/255 (+0.9")
    assert told[2].sentence.startswith("2.0/255 against 1.0/255: a difference of +1 doublings (")


def test_a_median_that_is_only_known_to_be_larger_decides_no_margin() -> None:
    noise = np.random.default_rng(0).normal(size=200) / 4
    read = reading([budgets("cnn", noise + 1, 4 / 255, Beyond), budgets("mlp", noise * 1.1, 2 / 255)])
    (told,) = answers(dataclasses.replace(read, claims=("cnn > mlp in accuracy, margin 1/255",)), findings(read))
    assert (told.verdict, told.needs) == ("undecided", "larger budgets, at which more than half of the images break")
    assert told.sentence == "more than 4.0/255 against 2.0/255."


def test_a_claim_in_another_unit_than_its_test_stays_undecided() -> None:
    noise = np.random.default_rng(0).normal(size=200) / 4
    read = reading([budgets("cnn", noise + 1, 4 / 255), budgets("mlp", noise * 1.1, 2 / 255)])
    (told,) = answers(dataclasses.replace(read, claims=("cnn > mlp in accuracy, margin 1 points",)), findings(read))
    assert told.verdict == "undecided"
    assert told.needs == "a margin in doublings, in which the two are compared: margin M doublings"


def test_a_claim_about_a_norm_is_answered_in_that_norm() -> None:
    noise = np.random.default_rng(0).normal(size=200) / 4
    both: list[RunRecord] = []
    for name, shifts in (("cnn", {"linf": -1.0, "l2": 1.0}), ("mlp", {"linf": 0.0, "l2": 0.0})):
        asked = [budgets(name, noise * (1.1 if shift else 1) + shift, 0.01) for shift in shifts.values()]
        told = [
            dataclasses.replace(one.outcomes[0], about=one.outcomes[0].about.replace(config={"norm": norm}))
            for norm, one in zip(shifts, asked, strict=True)
        ]
        both.append(dataclasses.replace(asked[0], outcomes=tuple(told)))
    read = reading(both)
    found = [dataclasses.replace(one, probe="robustness") for one in findings(read)]
    claims = ("cnn > mlp in minimal_linf", "cnn > mlp in minimal_l2")
    said = answers(dataclasses.replace(read, claims=claims), found)
    assert [one.verdict for one in said] == ["contradicted", "supported"]


def test_what_was_not_tested_is_said() -> None:
    runs = [run(label, s, scored(right(share, start=s))) for label, share in (("mlp", 0.5), ("cnn", 0.8)) for s in range(3)]
    said = sentence(only([*runs, run("vit", 0, scored(right(0.6)))]))
    assert said.startswith("cnn has the highest score, 80.0%")
    assert "told apart from mlp; not tested against vit (1 seed each)." in said


def seeded(shares: Mapping[str, float], seeds: int, start: int = 0) -> list[RunRecord]:
    """Some seeds of each, right on its share of the images, each on others of them."""
    return [
        run(label, s, scored(right(share, start=start * s + i)))
        for i, (label, share) in enumerate(shares.items())
        for s in range(seeds)
    ]


def test_who_was_not_tested_is_not_called_undistinguished() -> None:
    """Both families are right on 80 %, whichever the images; of how they compare with the others nothing is known."""
    families = seeded({"a": 0.8, "b": 0.8}, 3, start=311)
    for last, begun, besides in ((0.78, "Nothing stands out on score: ", ""), (0.2, "On score, ", "; but c is higher than d")):
        said = statement(only([*families, *seeded({"c": 0.78, "d": last}, 1)]))
        assert said.startswith(f"{begun}from a, 80.0% (")
        assert said.endswith(
            f"to b, 80.0%, none is distinguishable from the highest, which does not make them equal{besides}; "
            "a was not tested against c and d (1 seed each)."
        )


def test_what_stands_out_among_the_others_is_said() -> None:
    """The first is undecided against both; the seeds of the second and third hardly differ."""
    rng = np.random.default_rng(0)
    a = [scored(right(share, start=s)) for s, share in enumerate((0.99, 0.2, 0.9))]
    b, c = ([scored(rng.permutation(right(share))) for _ in range(3)] for share in (0.6, 0.5))
    runs = [run(label, s, result) for label, those in (("a", a), ("b", b), ("c", c)) for s, result in enumerate(those)]
    said = statement(only(runs))
    assert said.startswith("On score, from a, 69.7% (")
    assert said.endswith(", which does not make them equal; but b is higher than c.")


def test_the_others_were_tested_where_the_best_was_not() -> None:
    others = seeded({"a": 0.8, "b": 0.5}, 3, start=7)
    assert statement(only([run("top", 0, scored(right(0.9))), *others])) == (
        "Among these families and checkpoints, score runs from 50.0% (b) to 90.0% (top); the highest was not tested (1 seed); "
        "of those that were, a is higher than b."
    )
    alike = seeded({"a": 0.8, "b": 0.8}, 3, start=311)
    assert statement(only([run("top", 0, scored(right(0.9))), *alike])).endswith("none is told apart from another.")


def test_a_test_of_too_few_images_says_that_it_could_find_nothing() -> None:
    """Of 6 images the smallest p-value is 2 / 2^6 = 0.031: enough for two networks, too much after three comparisons."""

    def said(*labels: str) -> str:
        return statement(only([budgets(label, np.arange(1.0, 7) * (i + 1), i + 1.0) for i, label in enumerate(labels)]))

    assert said("a", "b", "c").endswith("; with so few images 3 comparisons could not have found any difference.")
    assert "could not have found" not in said("a", "b")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2 / 255, "2/255"),
        (0.25 / 255, "0.25/255"),
        ("0.00784313725490196", "2/255"),
        (0.0125, "0.0125"),
        (1 / 3, "0.3333"),
        ("quick", "quick"),
        ("v1.2.x", "v1.2.x"),
        (3, "3"),
        ([], "none"),
        ([0.5, 1 / 255], "0.5, 1/255"),
    ],
)
def test_settings_are_said_as_people_write_them(value: object, said: str) -> None:
    assert setting_said(value) == said


def test_counts_that_are_the_same_are_called_so() -> None:
    """A count is not sampled: of three networks two of one size are equal, not undistinguished."""

    def costs(*counts: int) -> str:
        runs = [
            run(name, 0, Cost(value=n, interval=None, n=1, unit="multiply-adds")) for name, n in zip("abc", counts, strict=True)
        ]
        return sentence(only(runs))

    said = costs(100, 100, 300)
    assert "exactly as b; told apart from c" in said
    assert "does not make them equal" not in said
    assert costs(100, 100, 100) == "All have the same cost: 100, exactly."


def test_networks_that_got_the_same_labelled_images_are_compared_over_these_draws_too() -> None:
    """Five draws move both families alike and each of its networks: their number is no surer for many seeds."""
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 0.05, 5)

    def shown(share: float) -> Fewshot:
        answered = rng.random((5, 500)) < (share + draws)[:, None]
        return Fewshot(value=float(answered.mean()), interval=None, n=500, unit="share of images", split="test", shots=10,
                       classes=4, tap="head/in", seed=0, strengths=(1.0,) * 5, right=answered, correct=answered[0])  # fmt: skip

    finding = only([run(label, s, shown(share)) for label, share in (("mlp", 0.5), ("cnn", 0.7)) for s in range(3)])
    best = finding.arms[0].interval
    assert best is not None
    assert best.over == "seeds x draws x images"
    assert best.width > 2 * 2.776 * np.std(draws, ddof=1) / 5**0.5 * 0.9
    (pair,) = finding.pairs
    assert pair.comparison is not None
    assert pair.comparison.difference.interval.over == "seeds x draws x images"
    assert pair.comparison.difference.interval.width < best.width, "the draws are paired"


def test_of_one_probe_on_two_worlds_the_study_s_order_leads_whatever_files_are_called() -> None:
    (made,) = (run("mlp", 0, scored(right(0.5))),)
    way = {"name": "accuracy"}
    worlds = [{"name": "shapetex", "cue": cue} for cue in ("shape", "texture")]
    told = [
        Outcome(scored(right(share)), made.outcomes[0].subjects, About(config=way, made_from={"data": world}))
        for world, share in zip(worlds, (0.4, 0.6), strict=True)
    ]
    entries = tuple(Entry(way, world) for world in worlds)
    for stored in (told, told[::-1]):
        there = reading([dataclasses.replace(made, outcomes=tuple(stored))])
        for order, values in ((entries, [0.4, 0.6]), (entries[::-1], [0.6, 0.4]), ((), [0.4, 0.6])):
            found = findings(dataclasses.replace(there, entries=order))
            assert [finding.arms[0].value for finding in found] == pytest.approx(values)


class Error(Score):
    """An error that is small beside its spread over seeds."""

    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    surely: bool = True

    def standing(self) -> Standing:
        return Standing(chance=0.0 if self.surely else 1.0)


def errors(values: Sequence[float], label: str, *, surely: bool = True) -> list[RunRecord]:
    told = (Error(value=value, interval=None, n=9, unit="probability", surely=surely) for value in values)
    return [run(label, seed, result) for seed, result in enumerate(told)]


def test_an_interval_of_a_family_ends_where_values_can_be() -> None:
    between = only(errors([0.02, 0.03, 0.08], "mlp")).arms[0].interval
    assert between is not None
    assert between.low == 0
    assert between.high == pytest.approx(0.123, abs=0.001)
    assert Error.bounded(between.replace(low=-3.0, high=-2.0)).high == 0


class Summary(Score):
    """One number a seed, a median say, with its interval over the images that all seeds saw."""


def summaries(label: str, rng: np.random.Generator, shared: float, data: str = "same") -> list[RunRecord]:
    """Three seeds whose numbers deviate from 0.5 by what the shared images do to all of them, and by little of their own."""
    found: list[RunRecord] = []
    for seed in range(3):
        value = 0.5 + 0.02 * shared + 0.002 * rng.normal()
        between = Interval(low=value - 1.96 * 0.02, high=value + 1.96 * 0.02, method="bootstrap", over="images")
        found.append(run(label, seed, Summary(value=value, interval=between, n=9, unit="salience"), data))
    return found


def test_shared_images_are_in_a_family_s_interval_and_test_where_no_image_has_a_score() -> None:
    """Seeds that err alike on the same images agree with each other, and not with the truth."""
    rng, covered, apart = np.random.default_rng(0), 0, 0
    for _ in range(100):
        mlp, cnn = (summaries(label, rng, rng.normal()) for label in ("mlp", "cnn"))
        finding = only([*mlp, *cnn])
        interval = finding.arms[0].interval
        assert interval is not None
        assert interval.over == "seeds x images"
        covered += interval.contains(0.5)
        apart += finding.pairs[0].differs
    assert covered >= 90
    assert apart <= 8
    far = only([*summaries("mlp", rng, 0.0), *summaries("cnn", rng, 8.0)])
    assert far.pairs[0].differs
    own = only([one for s in range(3) for one in summaries("mlp", rng, 0.0, f"world {s}")[s : s + 1]])
    assert own.arms[0].interval is not None
    assert own.arms[0].interval.over == "seeds"


class Plugged(Score):
    """An error that chance alone makes 0.03 in this family, and 0.005 in that; `square` has no bias."""

    better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"
    bounds: ClassVar[tuple[float, float]] = (0, 1)
    leaning: ClassVar[tuple[str, str] | None] = ("is worse", "is better")
    best: ClassVar[str | None] = "is best"
    biased: ClassVar[bool] = True
    difference_unit: ClassVar[str | None] = "squared error"
    square: float
    p: float = 1.0

    def standing(self) -> Standing:
        return Standing(chance=self.p)

    def compared(self) -> tuple[float, Interval | None] | None:
        end = 1.96 * 0.0002
        between = Interval(low=self.square - end, high=self.square + end, method="planted", over="images")
        return self.square, between


def plugged(label: str, value: float, square: float, p: float = 0.0) -> list[RunRecord]:
    return [
        run(label, s, Plugged(value=value + x / 1000, interval=None, n=9, unit="probability", square=square + x / 1e4, p=p))
        for s, x in enumerate((-1, 0, 1))
    ]


def test_a_number_with_a_bias_of_its_own_is_compared_by_one_without() -> None:
    """Equal but for what chance makes of them, two families are not told apart; where they are, by the other number."""
    alike, apart = plugged("mlp", 0.005, 0.0), plugged("cnn", 0.03, 0.0)
    finding = only([*alike, *apart])
    assert not finding.pairs[0].differs
    assert finding.arms[0].interval is None
    value, interval = finding.arms[1].unbiased or (1.0, Interval(low=1, high=1, method="", over=""))
    assert value == pytest.approx(0, abs=1e-9)
    assert (interval.low, interval.over) == (0, "seeds x images")
    turned = [*plugged("mlp", 0.02, 0.04), *plugged("cnn", 0.03, 0.0)]
    said = sentence(only(turned))
    assert said.startswith("mlp is worse than cnn: score 0.020 against 0.030, a difference of +0.04 in squared error (")
    assert "interval over seeds and images" in said
    several = sentence(only([*turned, *plugged("vit", 0.5, 0.3)]))
    assert several.startswith("mlp has the lowest score, 0.020 (squared error: 0.040, 0.040 to 0.040; 3 seeds, ")
    assert several.endswith(", told apart from vit; but cnn is better than it; compared by squared error.")
    told = dataclasses.replace(reading(turned), claims=("mlp > cnn in accuracy", "mlp > cnn in accuracy, margin 0.01",
                                                        "mlp > cnn in accuracy, margin 0.01 squared"))  # fmt: skip
    first, probability, squared = answers(told, findings(told))
    assert (first.verdict, probability.verdict, squared.verdict) == ("supported", "undecided", "supported")
    assert "a difference of +0.04 in squared error" in first.sentence


def test_chance_is_asked_of_all_seeds_of_a_table_at_once() -> None:
    """Of 24 calibrated networks one lies above the 97.5 % point of its own chance in nearly every other table."""
    many = [one for i in range(8) for one in plugged(f"n{i}", 0.03, 0.0, p=0.01)]
    finding = only(many)
    assert finding.by_chance
    assert finding.pairs == ()
    assert not only(plugged("mlp", 0.03, 0.0, p=0.01)).by_chance
    surely = only([*many, *plugged("vit", 0.5, 0.1, p=0.0001)])
    assert [arm.label for arm in surely.arms if arm.told_from_chance] == ["vit"]
    claims = dataclasses.replace(reading(many), claims=("n0 < n1 in accuracy",))
    assert answers(claims, findings(claims))[0].needs.endswith("beyond what chance alone gives")


def test_what_is_left_of_rounding_is_written_as_0() -> None:
    assert number(9.4e-16, "probability") == "0.000"
    assert number(-1e-9, "share of images") == "0.0%"
    assert number(2e-6, "probability") == "2e-06"
    assert number(9.4e-16, "exponent") == "9.4e-16"


def test_numbers_of_which_none_is_beyond_chance_are_not_ranked_and_decide_no_claim() -> None:
    low, high = [0.001, 0.002, 0.0015], [0.101, 0.102, 0.1015]
    for surely in (True, False):
        runs = [*errors(low, "mlp", surely=surely), *errors(high, "cnn", surely=surely)]
        told = dataclasses.replace(reading(runs), claims=("cnn > mlp in accuracy",))
        (finding,) = findings(told)
        verdict = answers(told, [finding])[0].verdict
        assert (verdict, len(finding.pairs)) == (("supported", 1) if surely else ("undecided", 0))
        said = statement(finding)
        assert said.startswith("mlp has a lower score" if surely else "No score here is beyond what chance alone gives")
    assert "0.002 (mlp) to 0.101 (cnn)" in said
