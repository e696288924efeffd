"""The instruments give their known answers, and say so where a probe is broken on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from priorscope.data.split import Split
from priorscope.doctor.instruments import (
    INSTRUMENTS,
    Answer,
    accuracy,
    activation,
    calibration,
    certify,
    corruptions,
    cost,
    cue_conflict,
    fewshot,
    generalisation,
    invariance,
    inversion,
    robustness,
    scaling,
    similarity,
    texture_shape,
    transfer,
    tuning,
)
from priorscope.probes import PROBES


def wrong(answers: list[Answer]) -> list[str]:
    return [answer.question for answer in answers if not answer.ok]


@pytest.mark.parametrize("name", list(INSTRUMENTS))
def test_every_instrument_gives_its_known_answers(name):
    answers = certify(name)
    assert len(answers) >= 2
    assert wrong(answers) == []
    assert {answer.probe for answer in answers} == {name}
    assert name in PROBES


def test_every_probe_has_an_instrument():
    assert set(INSTRUMENTS) == set(PROBES)


def test_an_instrument_that_gives_no_number_is_wrong_and_stops_no_other():
    answer = Answer(probe="a", question="how many?", expected=1.0, got=float("nan"), within=0.1)
    assert answer.got is None
    assert not answer.ok


def test_a_probe_that_drops_the_last_batch_is_caught(monkeypatch):
    measure = accuracy.measure_accuracy
    monkeypatch.setattr(accuracy, "measure_accuracy", lambda who, data, k: measure(who, data.choose(np.arange(192)), k=k))
    assert "right answers of a network, the last partial batch's too" in wrong(certify("accuracy"))


def test_a_dial_that_runs_backwards_is_caught(monkeypatch):
    measure = cue_conflict.measure_cue_conflict

    def backwards(who, world, salience):
        result = measure(who, world, salience=salience)
        return result.model_copy(
            update={"value": 1 - result.value, "point": None if result.point is None else 1 - result.point}
        )

    monkeypatch.setattr(cue_conflict, "measure_cue_conflict", backwards)
    assert len(wrong(certify("cue_conflict"))) == 3


def test_an_attack_that_leaves_its_ball_or_stops_early_is_caught(monkeypatch):
    measure = robustness.measure_robustness
    for factor, caught in ((0.9, "broken below their closed form"), (1.2, "over its closed form")):

        def broken(*args, factor=factor, **settings):
            result = measure(*args, **settings)
            return result.model_copy(update={"smallest": factor * result.smallest})

        monkeypatch.setattr(robustness, "measure_robustness", broken)
        assert any(caught in question for question in wrong(certify("robustness")))


def test_an_audit_that_sees_no_mask_is_caught(monkeypatch):
    measure = robustness.measure_robustness
    monkeypatch.setattr(
        robustness, "measure_robustness", lambda *args, **settings: measure(*args, **{**settings, "audit_images": 0})
    )
    (question,) = wrong(certify("robustness"))
    assert "is called masked" in question


def test_an_attack_that_differs_between_twins_is_caught(monkeypatch):
    measure = transfer.measure_transfer

    def broken(*args, **settings):
        result = measure(*args, **settings)
        return result.model_copy(update={"fooled": result.fooled & (np.arange(60) % 7 > 0) | np.eye(3, dtype=bool)[..., None]})

    monkeypatch.setattr(transfer, "measure_transfer", broken)
    assert "fooled share of a twin, as white-box" in wrong(certify("transfer"))


def test_pictures_that_are_judged_by_the_network_they_were_made_for_are_caught(monkeypatch):
    measure = transfer.measure_transfer

    def broken(*args, **settings):
        result = measure(*args, **settings)
        own = result.fooled[np.arange(3), np.arange(3)]
        return result.model_copy(update={"fooled": np.repeat(own[:, None], 3, axis=1)})

    monkeypatch.setattr(transfer, "measure_transfer", broken)
    assert wrong(certify("transfer")) == ["fooled share of a network that nothing fools"]
    look = activation.measure_activation

    def as_well(*args, **settings):
        result = look(*args, **settings)
        return result.model_copy(update={"probability": np.repeat(result.probability[:1], 3, axis=0)})

    monkeypatch.setattr(activation, "measure_activation", as_well)
    (question,) = wrong(certify("activation"))
    assert question.startswith("probability that a network whose classes are turned round")


def test_pictures_that_are_not_the_ones_asked_for_are_caught(monkeypatch):
    """Clean pictures at every severity, and one setting of the dial at all of them."""
    measure, dial = corruptions.measure_corruptions, cue_conflict.measure_cue_conflict

    def clean(*args, **settings):
        result = measure(*args, **settings)
        return result.model_copy(update={"right": np.broadcast_to(result.correct, result.right.shape)})

    monkeypatch.setattr(corruptions, "measure_corruptions", clean)
    assert "share right of the class that a network gives pictures with noise" in wrong(certify("corruptions"))

    class Stuck:
        def __init__(self, world):
            self._world, self.name = world, world.name

        def split(self, _):
            return self._world.split("conflict@0.5")

    monkeypatch.setattr(
        cue_conflict, "measure_cue_conflict", lambda who, world, salience: dial(who, Stuck(world), salience=salience)
    )
    assert len(wrong(certify("cue_conflict"))) == 2


def test_a_temperature_that_was_fitted_on_test_is_caught(monkeypatch):
    measure = calibration.measure_calibration

    def peeking(who, data, **settings):
        if settings or isinstance(data, Split):
            return measure(who, data, **settings)
        return measure(who, calibration.source_of({"val": data.split("test"), "test": data.split("test")}))

    monkeypatch.setattr(calibration, "measure_calibration", peeking)
    assert wrong(certify("calibration")) == ["logits times 2: the temperature that mends them"]


def test_an_error_without_its_null_level_and_a_temperature_that_is_not_fitted_are_caught(monkeypatch):
    measure = calibration.measure_calibration

    def broken(*args, **settings):
        result = measure(*args, **settings)
        scores = [score.replace(estimates=[e.replace(null_high=0.0) for e in score.estimates]) for score in result.scores]
        return result.model_copy(update={"scores": tuple(scores), "temperature": 1.0})

    monkeypatch.setattr(calibration, "measure_calibration", broken)
    assert wrong(certify("calibration")) == [
        "logits times 1: called off (1: yes)",
        "logits times 2: the temperature that mends them",
    ]


def test_noise_of_another_strength_is_caught(monkeypatch):
    corrupted = corruptions.corrupted
    monkeypatch.setattr(corruptions, "corrupted", lambda split, kind, severity: corrupted(split, kind, min(severity + 1, 5)))
    assert wrong(certify("corruptions")) == [f"deviation of Gaussian noise at severity {severity}" for severity in (1, 3)]


def test_a_transform_after_another_is_caught(monkeypatch):
    measure = texture_shape.measure_texture_shape

    def swapped(*args, **settings):
        result = measure(*args, **settings)
        return result.model_copy(update={"right": result.right[::-1]})

    monkeypatch.setattr(texture_shape, "measure_texture_shape", swapped)
    assert len(wrong(certify("texture_shape"))) == 4


def test_a_biased_similarity_is_caught(monkeypatch):
    """0.20 is what batches of 128 make of independent layers of width 48 without the correction."""
    measure = similarity.measure_similarity

    def biased(*args, **settings):
        result = measure(*args, **settings)
        return result.model_copy(update={"cka": np.maximum(result.cka, 0.2)})

    monkeypatch.setattr(similarity, "measure_similarity", biased)
    assert wrong(certify("similarity")) == ["CKA of a layer with one of other pixels"]


def test_a_count_of_operations_for_multiply_adds_is_caught(monkeypatch):
    measure = cost.measure_cost

    def doubled(*args, **settings):
        result = measure(*args, **settings)
        return result.model_copy(update={"macs": 2 * result.macs})

    monkeypatch.setattr(cost, "measure_cost", doubled)
    assert wrong(certify("cost")) == ["multiply-adds of an MLP"]


def test_a_readout_that_has_seen_the_answers_is_caught(monkeypatch):
    """All test pictures labelled beforehand, more features than pictures: noise is learnt by heart."""
    measure = fewshot.measure_fewshot

    def leaking(who, source, **settings):
        test = source.split("test").choose(np.arange(40))
        return measure(who, fewshot.source_of({"train": test, "test": test}), shots=20, **settings)

    monkeypatch.setattr(fewshot, "measure_fewshot", leaking)
    assert wrong(certify("fewshot")) == ["readout of features that do not tell the classes apart"]


def test_pictures_that_do_not_move_are_caught(monkeypatch):
    measure = invariance.measure_invariance
    monkeypatch.setattr(
        invariance, "measure_invariance", lambda *args, **settings: measure(*args, **settings).model_copy(update={"value": 1.0})
    )
    assert wrong(certify("invariance")) == ["how often the answer of a network that answers at random stays when pictures move"]


def test_a_search_for_favourite_pictures_that_stops_early_is_caught(monkeypatch):
    measure = activation.measure_activation
    monkeypatch.setattr(
        activation, "measure_activation", lambda subjects, split, **how: measure(subjects, split, **{**how, "steps": 3})
    )
    assert len(wrong(certify("activation"))) == 2


def test_an_inversion_that_stops_early_is_caught(monkeypatch):
    """It stays near the mean colour, where a search begins: right for what a layer does not see, wrong for the rest."""
    measure = inversion.measure_inversion
    monkeypatch.setattr(inversion, "measure_inversion", lambda *who, **how: measure(*who, **{**how, "steps": 3}))
    assert "image error from a layer that turns its input" in wrong(certify("inversion"))


def test_a_fit_that_calls_everything_identified_is_caught(monkeypatch):
    """Everything that a curve could be drawn through: half a decade gives none."""
    measure = scaling.measure_scaling

    def sure(*args, **settings):
        result = measure(*args, **settings)
        fits = tuple(fit.model_copy(update={"lacking": ()}) for fit in result.fits)
        return result.model_copy(update={"fits": fits})

    monkeypatch.setattr(scaling, "measure_scaling", sure)
    assert wrong(certify("scaling")) == ["whether noise is"]


def test_a_readout_that_is_scored_on_the_pictures_it_learnt_from_is_caught(monkeypatch):
    measure = generalisation.measure_generalisation

    def leaking(who, source, **settings):
        test = source.split("test")
        return measure(who, generalisation.source_of({"train": test, "test": test}), **settings)

    monkeypatch.setattr(generalisation, "measure_generalisation", leaking)
    caught = wrong(certify("generalisation"))
    assert caught
    assert all("do not tell" in question for question in caught)


def test_a_best_that_is_drawn_with_replacement_is_caught(monkeypatch):
    """Then one may be drawn three times over: of 3 of 9 the best would be 72.2 % on average, where it is 75 %."""
    measure = tuning.measure_tuning

    def replaced(subjects):
        result = measure(subjects)
        (arm,) = result.arms
        ranked, n = sorted(trial.accuracy for trial in arm.trials), len(arm.trials)
        curve = tuple(
            best.model_copy(
                update={"value": sum(x * ((i / n) ** best.k - ((i - 1) / n) ** best.k) for i, x in enumerate(ranked, 1))}
            )
            for best in arm.curve
        )
        return result.model_copy(update={"arms": (arm.model_copy(update={"curve": curve}),)})

    monkeypatch.setattr(tuning, "measure_tuning", replaced)
    assert wrong(certify("tuning")) == ["the best of 3 of 9", "the best of 9 of 9"]
