"""Fingerprints: every aspect on one scale, what was not measured said, what limits a number beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from fake_study import write_study
from numpy.typing import NDArray
from test_verdict import Score, reading, right, run, scored

from priorscope.core.aspects import ASPECTS, AspectName
from priorscope.core.contracts import Metric, Standing
from priorscope.core.stats import Interval
from priorscope.probes import PROBES, result_class
from priorscope.report.fingerprint import Fingerprint, Row, Trait, fingerprint
from priorscope.report.joined import read_sources
from priorscope.report.page import contents, render
from priorscope.report.verdict import findings
from priorscope.report.words import trusted


class Sure(Score):
    """A score that tells an aspect, and says something of itself."""

    aspect: ClassVar[AspectName | None] = "accuracy"
    said: str = "same for all"

    def standing(self) -> Standing:
        return Standing(ground=self.said)


class Local(Score):
    """A result whose value tells nothing of its aspect, and whose other number is there for some alone."""

    measure: ClassVar[str] = "consistency"
    aspect: ClassVar[AspectName | None] = "locality"
    untold: ClassVar[str] = "no run on permuted pixels"
    lost: float | None = None

    def trait(self) -> Metric | None:
        between = Interval(low=0.0, high=0.5, method="planted", over="images")
        return None if self.lost is None else Metric.of("accuracy lost", self.lost, between, 9, "share of images")


def of(*runs: Any) -> Fingerprint:
    read = reading(runs)
    return fingerprint(read, findings(read), {})


def row(shown: Fingerprint, label: str) -> Row:
    return next(row for row in shown.rows if row.label == label)


def trait(shown: Fingerprint, label: str, at: int = 0) -> Trait:
    told = row(shown, label).traits[at]
    assert isinstance(told, Trait)
    return told


def sure(values: NDArray[Any], **more: Any) -> Sure:
    return Sure(**{**scored(values).model_dump(), **more})


def test_each_aspect_is_told_by_some_probe_and_an_order_is_kept() -> None:
    told = {result_class(name).aspect for name in PROBES}
    assert told - {None} == set(ASPECTS)
    assert list(ASPECTS)[:2] == ["accuracy", "robustness"]


def test_places_are_on_one_scale_and_the_best_says_from_whom_it_is_told_apart() -> None:
    shown = of(run("mlp", 0, sure(right(0.5))), run("cnn", 0, sure(right(0.8))), run("vit", 0, sure(right(0.65))))
    (axis,) = shown.axes
    assert (axis.aspect, axis.ends, axis.log) == ("accuracy", ("47.0%", "83.0%"), False)
    assert trait(shown, "vit").at == pytest.approx(50)
    assert trait(shown, "mlp").low == pytest.approx(0)
    assert trait(shown, "cnn").high == pytest.approx(100)
    assert trait(shown, "cnn").notes == ("highest, told apart from all",)
    assert trait(shown, "mlp").notes == ()
    assert trait(shown, "mlp").alone, "one seed is a checkpoint"
    assert shown.few


def test_the_best_is_called_lowest_where_lower_is_better() -> None:
    class Wrong(Sure):
        better: ClassVar[Literal["higher", "lower", "neither"]] = "lower"

    runs = [run(label, 0, Wrong(**sure(right(share)).model_dump())) for label, share in (("mlp", 0.5), ("cnn", 0.8))]
    assert trait(of(*runs), "mlp").notes == ("lowest, told apart from all",)
    assert trait(of(*runs), "cnn").notes == ()


def test_what_the_probe_says_of_all_numbers_stands_in_the_head() -> None:
    both = of(run("mlp", 0, sure(right(0.5))), run("cnn", 0, sure(right(0.8))))
    assert both.axes[0].note == "same for all"
    assert trait(both, "mlp").notes == ()
    apart = of(run("mlp", 0, sure(right(0.5), said="suspect")), run("cnn", 0, sure(right(0.8), said="audited")))
    assert apart.axes[0].note == ""
    assert trait(apart, "mlp").notes == ("suspect",)


def test_missing_aspects_are_said_and_never_zero() -> None:
    local = {"value": 0.9, "interval": None, "n": 9, "unit": "share of images"}
    shown = of(
        run("mlp", 0, Local(**local, lost=0.01)),
        run("vit", 0, Local(**local)),
        run("cnn", 0, Local(**local, lost=0.3)),
    )
    assert [axis.aspect for axis in shown.axes] == ["locality"]
    assert row(shown, "vit").traits == ("no run on permuted pixels",)
    assert shown.axes[0].measure == "accuracy lost"
    assert trait(shown, "cnn").text == "30.0%"
    assert trait(shown, "cnn").notes == (), "the test was of another number"
    assert shown.absent == tuple(aspect for aspect in ASPECTS if aspect != "locality")
    assert of(run("mlp", 0, scored(right(0.5)))).rows == (), "its probe tells no aspect"


def test_caveats_stand_beside_their_number_and_are_listed_with_whom_they_are_about() -> None:
    shown = of(
        run("mlp", 0, sure(right(0.5), caveats=("It is doubted.", "Also."))),
        run("cnn", 0, sure(right(0.8), caveats=("Also.",))),
    )
    assert (trait(shown, "mlp").caveats, trait(shown, "cnn").caveats) == (2, 1)
    assert set(shown.caveats) == {("It is doubted.", "accuracy of mlp"), ("Also.", "accuracy of all")}


def test_numbers_far_apart_have_a_logarithmic_scale() -> None:
    class Dear(Sure):
        aspect: ClassVar[AspectName | None] = "cost"
        exact: ClassVar[bool] = True

    def dear(value: float) -> Dear:
        return Dear(value=value, interval=None, n=1, unit="multiply-adds")

    shown = of(run("a", 0, dear(1e5)), run("b", 0, dear(1e6)), run("c", 0, dear(1e7)))
    assert shown.axes[0].log
    assert trait(shown, "b").at == pytest.approx(50)
    assert trait(shown, "b").text == "1\u00a0M"
    assert not trait(shown, "b").alone, "what is counted needs no seeds"


def test_a_number_that_some_seeds_alone_have_is_not_the_family_s() -> None:
    def local(seed: int, lost: float | None):
        return run("cnn", seed, Local(value=0.5, interval=None, n=9, unit="share of shifts", lost=lost))

    some = trait(of(local(0, 0.3), local(1, None), local(2, None)), "cnn")
    assert some.alone
    assert "of 1 of 3 seeds" in some.notes
    every = trait(of(*(local(seed, 0.3) for seed in range(3))), "cnn")
    assert not every.alone
    assert not every.notes


def test_a_trait_of_several_seeds_is_no_surer_than_the_images_that_they_share() -> None:
    """Three seeds that agree, each known to lie between 0 and 0.5 by its images; with worlds of their own they are surer."""

    def told(*worlds: str) -> Trait:
        lost = (Local(value=0.5, interval=None, n=9, unit="share of shifts", lost=0.25) for _ in worlds)
        return trait(
            of(*(run("cnn", seed, one, world) for seed, (one, world) in enumerate(zip(lost, worlds, strict=True)))), "cnn"
        )

    assert told("same", "same", "same").between == "0.0 to 50.0%"
    assert told("one", "two", "three").between == "25.0 to 25.0%"


def test_the_page_has_it_as_a_table(tmp_path: Path) -> None:
    text = render(contents(read_sources([write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7})])))
    table = text.partition('<table id="fingerprint"')[2].partition("</table>")[0]
    assert "Not in this study: robustness, calibration, locality, cost, data efficiency." in table
    assert '<th scope="row" data-value="mlp">' in table
    assert "highest, told apart from all" in table
    assert "leans more to" not in table


def test_a_line_says_how_far_a_sentence_can_be_trusted() -> None:
    runs = [run("mlp", s, sure(right(0.5, start=s), caveats=("Doubted.",))) for s in range(3)]
    (family,) = findings(reading([*runs, *(run("cnn", s, sure(right(0.8, start=s))) for s in range(3))]))
    assert trusted(family) == "3 seeds each: about these families; n\u00a0=\u00a01,000 images; same for all; caveats on mlp."
    (alone,) = findings(reading([run("mlp", 0, sure(right(0.5)))]))
    assert trusted(alone).startswith("One seed each: about these checkpoints; n")
    (mixed,) = findings(reading([*runs, run("vit", 0, sure(right(0.5)))]))
    assert trusted(mixed).startswith("Numbers of mlp are of families (3 seeds), the others' are of one checkpoint each;")
