"""Recipes side by side: which settings confound a comparison of families, on planted recipes whose answer is known."""

from __future__ import annotations

import dataclasses
from typing import Any

from test_verdict import reading, right, run, scored

from priorscope.core.environment import Environment, NetworkRecord
from priorscope.report.confounds import limits
from priorscope.report.recipes import Setting, SideBySide, recipe_differences, side_by_side
from priorscope.report.records import Reading, RunRecord
from priorscope.report.verdict import findings
from priorscope.report.words import augmentation_said


def one(name: str, family: str, recipe: dict[str, Any], **told: Any) -> RunRecord:
    made = run(name, 0, scored(right(0.5)), recipe={"model": {"name": f"{family}/tiny"}, **recipe})
    return dataclasses.replace(made, family=family, environment=Environment(key=name, **told))


def shown(*runs: RunRecord, tuned: tuple[str, ...] = ()) -> SideBySide | None:
    read = dataclasses.replace(reading(runs), tuned=tuned)
    return side_by_side(read, findings(read))


def setting(beside: SideBySide | None, name: str) -> Setting:
    assert beside is not None
    return next(one for one in beside.settings if one.name == name)


def lr(value: float) -> dict[str, Any]:
    return {"optim": {"lr": value, "name": "adamw"}}


def test_what_each_family_has_for_itself_confounds() -> None:
    beside = shown(one("mlp", "mlp", lr(0.1)), one("cnn", "cnn", lr(0.2)))
    told = setting(beside, "optim.lr")
    assert told.confounds == (("mlp", "cnn"),)
    assert told.verdict == "confounds"
    assert told.values == ("0.1", "0.2")
    assert beside is not None
    assert beside.same == (("optim.name", "adamw"),)
    assert beside.said() == (
        "What differs between families beside the architecture, and may explain what sets them apart: optim.lr."
    )


def test_what_is_a_grid_in_both_confounds_nothing() -> None:
    runs = [one(f"{family}-{value}", family, lr(value)) for family in ("mlp", "cnn") for value in (0.1, 0.2)]
    beside = shown(*runs)
    assert setting(beside, "optim.lr").verdict == "no confound"
    assert beside is not None
    assert "nothing confounds" in beside.said()


def test_an_odd_family_is_named() -> None:
    beside = shown(one("mlp", "mlp", lr(0.1)), one("cnn", "cnn", lr(0.1)), one("vit", "vit", lr(0.3)))
    assert setting(beside, "optim.lr").verdict == "confounds vit against 2 others"


def test_within_one_family_nothing_confounds_architectures() -> None:
    beside = shown(one("a", "mlp", lr(0.1)), one("b", "mlp", lr(0.2)))
    assert setting(beside, "optim.lr").verdict == ""
    assert beside is not None
    assert "all are of one family" in beside.said()


def test_counts_confound_where_they_are_far_apart() -> None:
    def size(parameters: int, flops: float) -> dict[str, Any]:
        return {"model": NetworkRecord(image_size=32, num_classes=10, parameters=parameters), "flops": round(flops)}

    beside = shown(
        one("mlp", "mlp", lr(0.1), **size(100_000, 1e9)),
        one("cnn", "cnn", lr(0.1), **size(140_000, 4e9)),
        one("cnn-wide", "cnn", lr(0.1), **size(900_000, 9e9)),
    )
    assert setting(beside, "parameters").verdict == "no confound", "some CNN is about as large as the MLP"
    assert setting(beside, "training arithmetic (FLOPs)").verdict == "confounds"
    assert setting(beside, "parameters").values == ("100\u00a0k", "140\u00a0k", "900\u00a0k")


def test_what_a_family_lacks_equals_what_is_off() -> None:
    def dropped(family: str, **model: Any) -> RunRecord:
        return one(family, family, {"model": {"name": f"{family}/tiny", "width": len(family), **model}})

    assert shown(dropped("mlp", dropout=0.0), dropped("cnn")) is None, "width is the architecture, no dropout is none"
    assert setting(shown(dropped("mlp", dropout=0.2), dropped("cnn")), "model.dropout").verdict == "confounds"


def test_what_a_network_is_shown_and_how_it_is_regularised_is_a_difference_of_recipes() -> None:
    def made(family: str, **model: Any) -> RunRecord:
        return one(family, family, {"model": {"name": f"{family}/tiny", "width": len(family), **model}})

    alike = [made("mlp", dropout=0.0), made("mixer")]
    assert recipe_differences(alike) == {}, "width is the architecture, no dropout is none"
    others = [made("mlp", input_size=64, dropout=0.3), made("mixer")]
    assert recipe_differences(others) == {
        "model.dropout": {"mlp": "0.3", "mixer": "not set"},
        "model.input_size": {"mlp": "64", "mixer": "not set"},
    }
    read = reading(others)
    (said,) = (one for one in limits(read, findings(read)) if "recipe" in one and "differ" in one)
    assert said.startswith("The recipes differ beside the architecture in model.dropout and model.input_size")


def test_companions_of_which_nothing_is_asked_are_no_recipes_compared() -> None:
    beside = one("mlp-shape", "mlp", lr(9.0))
    read = reading([one("mlp", "mlp", lr(0.1)), one("cnn", "cnn", lr(0.1)), dataclasses.replace(beside, outcomes=())])
    assert side_by_side(read, findings(read)) is None
    assert "All were trained by the same recipe but for the model; none was tuned for a best of its own." in limits(
        read, findings(read)
    )


def test_what_equal_trials_chose_is_no_confound() -> None:
    runs = (one("mlp", "mlp", lr(0.1)), one("cnn", "cnn", lr(0.2)))
    assert setting(shown(*runs, tuned=("optim.lr",)), "optim.lr").verdict == "chosen by trials on val"
    read: Reading = dataclasses.replace(reading(runs), tuned=("optim.lr",))
    assert "All were trained by the same recipe but for the model, each tuned by as many trials on val (optim.lr)." in limits(
        read, findings(read)
    )


def test_an_augmentation_is_said_by_its_name_or_one_by_one() -> None:
    from priorscope.data.augment import PRESETS, augment_config

    assert {augmentation_said(preset.plain()["ops"]) for preset in PRESETS.values()} == set(PRESETS) - {"rrc-area"}
    own = augment_config({"ops": [{"op": "pad-crop", "pad": 3}, {"op": "choose", "k": [1, 1], "ops": [{"op": "flip"}]}]})
    assert augmentation_said(own.plain()["ops"]) == "pad-crop (pad 3), choose (k [1, 1]; of flip (p 0.5; axis horizontal))"
    assert augmentation_said([{"op": "of-another-version", "p": 0.3}]) == "of-another-version (p 0.3)"
