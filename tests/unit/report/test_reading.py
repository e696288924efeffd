from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_study import accuracy, write_run, write_study

from priorscope.core.contracts import About
from priorscope.core.errors import RequestError, WorkError
from priorscope.report.curves import read_curves
from priorscope.report.joined import read_sources
from priorscope.report.settings import family_of
from priorscope.report.verdict import findings
from priorscope.run import Run


def test_reads_runs_in_the_order_of_the_study(tmp_path: Path) -> None:
    read = read_sources([write_study(tmp_path / "a", {"mlp": 0.5, "cnn": 0.7}, seeds=(0, 1))])
    assert [run.name for run in read.runs] == ["mlp-s0", "mlp-s1", "cnn-s0", "cnn-s1"]
    assert {run.recipe_name for run in read.runs} == {"mlp", "cnn"}
    assert [outcome.probe for outcome in read.runs[0].outcomes] == ["accuracy", "cue_conflict"]
    assert read.question == "Does an MLP lean on texture where a CNN leans on shape?"
    assert len(read.runs[0].history) == 12


def test_cells_of_a_grid_come_as_their_numbers_grow(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5}, seeds=(0,))
    cells = ["mlp-width=32", "mlp-width=128", "mlp-width=1024", "mlp-lr=1e-05", "mlp-lr=0.0003", "mlp-lr=0.002"]
    for cell in sorted(cells):
        write_run(study / "runs" / f"{cell}-s0", "mlp", 0, {})
    assert [run.recipe_name for run in read_sources([study]).runs] == ["mlp", *cells[3:], *cells[:3]]


def test_reads_a_run_alone(tmp_path: Path) -> None:
    read = read_sources([write_run(tmp_path / "mine", "vit", 3, {"accuracy": accuracy(0.6, 3)})])
    assert [(run.name, run.family, run.seed) for run in read.runs] == [("mine", "vit", 3)]


def test_two_studies_with_one_run_name_stay_apart(tmp_path: Path) -> None:
    first = write_study(tmp_path / "a", {"mlp": 0.5}, seeds=(0,), name="first")
    second = write_study(tmp_path / "b", {"mlp": 0.9}, seeds=(0,), name="second")
    read = read_sources([first, second])
    assert [run.name for run in read.runs] == ["first/mlp-s0", "second/mlp-s0"]
    assert [run.recipe_name for run in read.runs] == ["first/mlp", "second/mlp"]
    assert [run.outcomes[0].subject.name for run in read.runs] == ["first/mlp-s0", "second/mlp-s0"]


def test_seeds_of_one_recipe_from_two_studies_are_one_arm_and_those_of_two_recipes_are_two(tmp_path: Path) -> None:
    first = write_study(tmp_path / "a", {"mlp": 0.5}, seeds=(0, 1), name="first")
    second = write_study(tmp_path / "b", {"mlp": 0.9}, seeds=(2, 3), name="second")
    assert {run.recipe_name for run in read_sources([first, second]).runs} == {"mlp"}
    third = write_study(tmp_path / "c", {"mlp": 0.9}, seeds=(2, 3), name="second", lr={"mlp": 0.5})
    read = read_sources([first, third])
    assert [run.recipe_name for run in read.runs] == ["first/mlp"] * 2 + ["second/mlp"] * 2


def test_claims_of_two_studies_are_about_their_own_recipes(tmp_path: Path) -> None:
    """Both have an `mlp`, which are not the same, and a `cnn`, which is."""
    studies = []
    for name, claim, lr in (("first", "cnn > mlp in accuracy", 0.001), ("second", "mlp<cnn in accuracy, margin 0.1", 0.5)):
        study = write_study(tmp_path / name, {"mlp": 0.5, "cnn": 0.8}, seeds=[len(studies)], name=name, lr={"mlp": lr})
        (study / "study.toml").write_text(f'claims = ["{claim}"]\n' + (study / "study.toml").read_text())
        studies.append(study)
    assert read_sources(studies).claims == ("cnn > first/mlp in accuracy", "second/mlp < cnn in accuracy, margin 0.1")
    assert read_sources(studies[1:]).claims == ("mlp<cnn in accuracy, margin 0.1",)


def test_the_folder_in_which_one_stands_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_study(tmp_path / "mine", {"mlp": 0.5}, seeds=(0,))
    monkeypatch.chdir(study)
    assert read_sources([Path()]).sources == ("mine",)
    monkeypatch.chdir(study / "runs/mlp-s0")
    read = read_sources([Path()])
    assert (read.name, read.sources, [run.name for run in read.runs]) == ("mlp-s0", ("mlp-s0",), ["mlp-s0"])
    assert Run(Path()).name == "mlp-s0"


def test_a_study_that_shares_some_seeds_with_another_is_not_torn(tmp_path: Path) -> None:
    first = write_study(tmp_path / "a", {"mlp": 0.5}, seeds=(0,), name="first")
    second = write_study(tmp_path / "b", {"mlp": 0.9}, seeds=(0, 1), name="second")
    assert [run.recipe_name for run in read_sources([first, second]).runs] == ["first/mlp", "second/mlp", "second/mlp"]


def test_two_runs_of_one_name_from_different_places_stay_apart(tmp_path: Path) -> None:
    places = [write_study(tmp_path / at, {"mlp": right}, seeds=(0,)) / "runs/mlp-s0" for at, right in (("a", 0.5), ("b", 0.9))]
    read = read_sources([*places, places[0]])
    assert len(read.runs) == 2
    assert len({run.name for run in read.runs}) == len({run.recipe_name for run in read.runs}) == 2
    assert all(len(finding.arms) == 2 for finding in findings(read))


def test_one_run_asked_on_two_sets_of_data_is_not_two_seeds(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5}, seeds=(0,))
    (path,) = (study / "runs/mlp-s0/results/accuracy").glob("*.json")
    stored = json.loads(path.read_text())
    for name, source in (("own", {"name": "shapetex", "cue": "both"}), ("other", {"name": "shapetex", "cue": "texture"})):
        stored["about"]["made_from"] = {"data": source}
        path.with_stem(name).write_text(json.dumps(stored))
        shutil.copy(path.with_suffix(".npz"), path.with_stem(name).with_suffix(".npz"))
    path.unlink()
    found = [finding for finding in findings(read_sources([study])) if finding.probe == "accuracy"]
    assert [len(finding.arms[0].results) for finding in found] == [1, 1]
    assert {finding.where for finding in found} == {"cue both", "cue texture"}


def test_a_number_that_a_newer_version_measured_again_does_not_count_twice(tmp_path: Path) -> None:
    """As a study leaves it that is stopped, or looked at, after an update and before its end."""
    study = write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, seeds=(0, 1, 2))
    for path in sorted(study.glob("runs/*/results/accuracy/*.json")):
        for version, right in ((1, 0.2), (2, 0.6)):
            stored = json.loads(path.read_text())
            stored["about"]["made_from"] = {"version": version}
            new = accuracy(right, 0).save(
                path.with_stem(f"{'f' if version == 1 else '0'}{version}"), About.parse(stored["about"])
            )
            assert new.exists()
        path.unlink()
        path.with_suffix(".npz").unlink()
    (found,) = (finding for finding in findings(read_sources([study])) if finding.probe == "accuracy")
    assert [(arm.seeds, arm.value) for arm in found.arms] == [(3, 0.6), (3, 0.6)]


def test_times_of_all_runs_are_those_of_one_machine(tmp_path: Path) -> None:
    """Whatever the names of the files, which are hashes."""
    study = write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, seeds=(0, 1, 2))
    for i, path in enumerate(sorted(study.glob("runs/*/results/accuracy/*.json"))):
        stored = json.loads(path.read_text())
        for machine, right in (("a processor", 0.2), ("b gpu", 0.6)):
            stored["about"]["made_from"] = {"version": 1, "machine": machine}
            accuracy(right, 0).save(path.with_stem(f"{(i + (right > 0.5)) % 2}"), About.parse(stored["about"]))
        path.unlink()
        path.with_suffix(".npz").unlink()
    (found,) = (finding for finding in findings(read_sources([study])) if finding.probe == "accuracy")
    assert [(arm.seeds, arm.value) for arm in found.arms] == [(3, 0.6), (3, 0.6)]


@pytest.mark.parametrize("told", [{"companions": {"shape": "0123"}}, {"machine": "another"}, {"files": {"a": 1}}])
def test_an_answer_that_was_asked_twice_is_not_two_seeds(told: dict[str, Any], tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, seeds=(0, 1, 2))
    for path in sorted(study.glob("runs/*/results/accuracy/*.json")):
        stored = json.loads(path.read_text())
        stored["about"]["made_from"] = {"version": 1, "companions": {}} | told
        accuracy(0.9, 0).save(path.with_stem("twin"), About.parse(stored["about"]))
    (found,) = (finding for finding in findings(read_sources([study])) if finding.probe == "accuracy")
    assert [arm.seeds for arm in found.arms] == [3, 3]
    if "companions" in told:
        assert {arm.value for arm in found.arms} == {0.9}


def test_a_damaged_result_is_a_failure_and_the_rest_is_read(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, seeds=(0,))
    (study / "runs/mlp-s0/results/accuracy/0123456789abcdef.json").write_text("{ torn")
    (study / "runs/mlp-s0/results/accuracy/.tmp-00000000-ab.json").write_text("{ being written")
    (study / "runs/cnn-s0/results/accuracy/0123456789abcdef.npz").unlink()
    read = read_sources([study])
    assert [failure.step for failure in read.failures] == [
        "cnn-s0/accuracy/0123456789abcdef.json",
        "mlp-s0/accuracy/0123456789abcdef.json",
    ]
    assert all("damaged" in failure.error for failure in read.failures)
    assert [len(run.outcomes) for run in read.runs] == [1, 1]


@pytest.mark.parametrize("kept", [0, 1, 100, -30])
def test_a_result_whose_arrays_are_cut_off_is_a_failure(kept: int, tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5}, seeds=(0,))
    arrays = study / "runs/mlp-s0/results/accuracy/0123456789abcdef.npz"
    arrays.write_bytes(arrays.read_bytes()[:kept])
    (failure,) = read_sources([study]).failures
    assert "is damaged" in failure.error


def test_damaged_curves_and_recipes_are_failures(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, seeds=(0,))
    (study / "runs/mlp-s0/steps.jsonl").write_text('{"epoch": 1}\n{"epo')
    (study / "runs/cnn-s0/recipe.toml").write_text("seed = = 1")
    read = read_sources([study])
    assert [run.name for run in read.runs] == ["mlp-s0"]
    assert read.runs[0].history == ()
    assert sorted(failure.step for failure in read.failures) == ["cnn-s0/recipe.toml", "mlp-s0/steps.jsonl"]


def test_what_cannot_be_read_is_a_failure_and_the_rest_is_read(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, seeds=(0,))
    for name in ("steps.jsonl", "environment.json", "results/accuracy/0123456789abcdef.json"):
        (study / "runs/mlp-s0" / name).unlink()
        (study / "runs/mlp-s0" / name).mkdir()
    (study / "runs/cnn-s0/steps.jsonl").write_text("3\n")
    read = read_sources([study])
    assert [run.name for run in read.runs] == ["mlp-s0", "cnn-s0"]
    assert len(read.failures) == 4
    assert sum("Is a directory" in failure.error for failure in read.failures) == 3


def test_a_result_of_an_unknown_probe_is_a_failure(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5}, seeds=(0,))
    path = study / "runs/mlp-s0/results/accuracy/0123456789abcdef.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"probe": "astrology"}))
    (failure,) = read_sources([study]).failures
    assert "'astrology' is not a probe" in failure.error


def test_failures_of_the_study_are_told(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5}, failures=[{"step": "train tnt-s0", "error": "The loss is not finite."}])
    (failure,) = read_sources([study]).failures
    assert (failure.step, failure.error) == ("train tnt-s0", "The loss is not finite.")


def test_a_folder_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"There is no folder '.*gone'"):
        read_sources([tmp_path / "gone"])


def test_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as refused:
        read_sources([tmp_path])
    assert str(refused.value) == (
        f"{tmp_path} holds neither a study nor a run.\n"
        "  wanted: a folder with study.toml or recipe.toml\n"
        "  try:    priorscope study NAME --out FOLDER"
    )


def test_of_a_study_that_people_wrote_the_runs_beside_it_are_read(tmp_path: Path) -> None:
    """A project: what was trained lies in `runs`, and what is to be studied stands beside it."""
    written = 'question = "Which?"\n[recipes.a]\n[recipes.b]\n[[probes]]\nname = "accuracy"\nk = 3\n'
    (tmp_path / "study.toml").write_text(written)
    with pytest.raises(RequestError) as refused:
        read_sources([tmp_path])
    assert str(refused.value) == (
        f"The study in {tmp_path} was not carried out there.\n"
        "  wanted: the folder of a study that was\n"
        f"  try:    priorscope study {tmp_path / 'study.toml'} --out FOLDER, then name that folder"
    )
    write_run(tmp_path / "runs" / "mine", "mlp", 0, {"accuracy": accuracy(0.5, 0)})
    read = read_sources([tmp_path])
    assert ([run.name for run in read.runs], read.question, read.entries, read.lacking) == (["mine"], "", (), ())
    assert [curve.name for curve in read_curves(tmp_path)] == ["mine"]


def test_refuses_nothing() -> None:
    with pytest.raises(RequestError, match="No folder was given"):
        read_sources([])


@pytest.mark.parametrize(
    ("model", "family"), [("mlp/b12-w1024", "mlp"), ({"name": "swin/tiny", "depth": 2}, "swin"), ({}, "other"), (None, "other")]
)
def test_family_of_a_recipe(model: object, family: str) -> None:
    assert family_of({"model": model}) == family


def test_what_trials_chose_for_all_recipes_is_told_and_they_are_not_compared(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5}, seeds=(0,))
    write_run(study / "tuning" / "mlp-t1", "mlp", 1000, {})
    text = (study / "study.toml").read_text()
    tune = '\n[tune]\ntrials = 2\n[tune.over."optim.lr"]\nlog = [1e-4, 1e-2]\n'
    (study / "study.toml").write_text(text + tune)
    read = read_sources([study])
    assert [run.name for run in read.runs] == ["mlp-s0"]
    assert read.tuned == ("optim.lr",)
    (study / "study.toml").write_text(text + tune + "[recipes.cnn.tune]\noff = true\n")
    assert read_sources([study]).tuned == (), "one was left as it is written"


def test_what_stands_beside_a_result_may_be_damaged_too(tmp_path: Path) -> None:
    path = accuracy(0.5, 0).save(tmp_path / "a.json")
    path.write_text(path.read_text().replace('"about": {}', '"about": {"subject": 3}'))
    with pytest.raises(WorkError, match=r"The result .*a\.json is damaged: .*subjects"):
        About.read(path)
