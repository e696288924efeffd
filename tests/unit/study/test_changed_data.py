"""A study on a user's own files notices that they have changed."""

from __future__ import annotations

import shutil

import pytest
from in_process import Here

import priorscope as ps
from priorscope.core.errors import RequestError
from priorscope.data import source_config
from priorscope.data.stamp import files_stamp
from priorscope.models.hub import save_hub
from priorscope.recipe import Recipe
from priorscope.study.plan import make_plan
from priorscope.study.run import run_study
from priorscope.study.study import Study

WORLD = {"name": "shapetex", "train": 40, "val": 20, "test": 20}
STUDY = """question = "Which?"
[base.data]
source = {{name = "beton", path = "{path}"}}
[base.train]
epochs = 1
batch_size = 20
[recipes.a]
model = "mlp/tiny"
[[probes]]
name = "accuracy"
"""


@pytest.fixture
def store(tmp_path):
    """A user's own pictures."""
    ps.data.convert(WORLD, tmp_path / "mine.beton")
    return tmp_path / "mine.beton"


def change(store):
    """Other pictures under the same name."""
    store.unlink(missing_ok=True)
    ps.data.convert({**WORLD, "seed": 1}, store)


def carried_out(text, out, **settings) -> Study:
    """A study from its text, done in a folder."""
    out.with_suffix(".toml").write_text(text.format(**settings), encoding="utf-8")
    study = Study.load(str(out.with_suffix(".toml")))
    run_study(study, out, executor=Here()).check()
    return study


def test_a_run_whose_data_has_changed_is_not_taken_for_done(tmp_path, store):
    out = tmp_path / "out"
    study = carried_out(STUDY, out, path=store)
    assert not make_plan(study, out).missing
    recipe = Recipe.load(out / "runs/a-s0/recipe.toml")
    assert ps.fit(recipe, out / "runs/a-s0").history

    store.rename(tmp_path / "elsewhere")
    assert not make_plan(study, out).missing, "where the files are gone, nobody knows that they have changed"
    change(store)
    assert make_plan(study, out).missing == {
        "train a-s0": "changed: the files of its data",
        "accuracy of a-s0": "after train a-s0",
    }
    with pytest.raises(RequestError, match="has changed since it was trained"):
        ps.fit(recipe, out / "runs/a-s0")
    run_study(study, out, executor=Here()).check()
    assert not make_plan(study, out).missing
    assert list((out / "stale").iterdir())


TWO = """question = "Which?"
[base]
model = "mlp/tiny"
train = {{epochs = 1, batch_size = 20}}
[recipes.before]
data = {{source = {{name = "beton", path = "{path}"}}}}
[recipes.after]
data = {{source = {{name = "shapetex", train = 40, val = 20, test = 20}}}}
init = {{kind = "recipe", recipe = "before"}}
[[probes]]
name = "similarity"
batch = 10
data = {{name = "shapetex", train = 40, val = 20, test = 20}}
"""


def test_what_began_with_a_run_of_changed_data_is_trained_anew_and_compared_anew(tmp_path, store):
    out = tmp_path / "out"
    study = carried_out(TWO, out, path=store)
    weights = out / "runs/after-s0/weights.safetensors"
    first, (compared,) = weights.read_bytes(), (out / "joint/similarity").glob("*.json")
    told = compared.read_bytes()

    change(store)
    executor = Here()
    run_study(study, out, executor=executor).check()
    assert executor.order == ["train before-s0", "train after-s0", "similarity of all runs (" + compared.stem[:6] + ")"]
    assert weights.read_bytes() != first
    assert compared.read_bytes() != told
    assert not make_plan(study, out).missing

    store.unlink()
    ps.data.convert(WORLD, store)
    (out / "runs/before-s0").rename(tmp_path / "before")
    shutil.copytree(out / "stale" / next(path.name for path in (out / "stale").glob("before-*")), out / "runs/before-s0")
    assert make_plan(study, out).missing["train after-s0"] == "changed: what it begins with"
    run_study(study, out, executor=Here()).check()
    assert weights.read_bytes() == first


BRANCH = """question = "Which?"
[recipes.b]
model = "mlp/tiny"
data = {{source = {{name = "shapetex", train = 40, val = 20, test = 20}}}}
init = {{kind = "run", run = "{run}"}}
train = {{epochs = 1, batch_size = 20}}
"""


def test_what_branched_off_a_run_notices_as_well(tmp_path, store):
    first, second = tmp_path / "first", tmp_path / "second"
    study = carried_out(STUDY, first, path=store)
    branch = carried_out(BRANCH, second, run=first / "runs/a-s0")
    assert not make_plan(branch, second).missing
    change(store)
    run_study(study, first, executor=Here()).check()
    assert make_plan(branch, second).missing == {"train b-s0": "changed: what it begins with"}


PUBLISHED = """question = "Which?"
[recipes.p]
model = "mlp/tiny"
data = {{source = {{name = "shapetex", train = 40, val = 20, test = 20}}}}
init = {{kind = "published", published = "{weights}"}}
train = {{epochs = 1, batch_size = 20}}
"""


def test_what_began_with_a_file_of_weights_notices_another_file_in_its_place(tmp_path):
    """Two files of one network have one size and one name."""
    hub, out = tmp_path / "hub", tmp_path / "out"
    for seed in (0, 1):
        recipe = Recipe.of({"model": "mlp/tiny", "data": {"source": WORLD}, "seed": seed, "train": {"epochs": 1}})
        save_hub(ps.fit(recipe, tmp_path / f"seed{seed}").model, tmp_path / f"hub{seed}")
    shutil.copytree(tmp_path / "hub0", hub)
    study = carried_out(PUBLISHED, out, weights=hub)
    assert not make_plan(study, out).missing
    shutil.copytree(tmp_path / "hub1", hub, dirs_exist_ok=True)
    assert make_plan(study, out).missing == {"train p-s0": "changed: what it begins with"}
    with pytest.raises(RequestError, match="began with has changed"):
        ps.fit(Recipe.load(out / "runs/p-s0/recipe.toml"), out / "runs/p-s0")
    hub.rename(tmp_path / "unplugged")
    assert not make_plan(study, out).missing, "a file that is elsewhere makes no run a stranger"


def test_a_run_elsewhere_whose_data_has_changed_is_not_taken(tmp_path, store):
    study = carried_out(STUDY, tmp_path / "first", path=store)
    change(store)
    executor = Here()
    run_study(study, tmp_path / "second", executor=executor, shared=[tmp_path / "first"]).check()
    assert executor.order == ["train a-s0", "accuracy of a-s0"]
    assert not make_plan(study, tmp_path / "second").missing


def test_a_result_is_a_function_of_the_files_that_its_settings_name(tmp_path, store):
    humans = tmp_path / "humans.csv"
    humans.write_text("someone", encoding="utf-8")
    source = {"name": "beton", "path": str(store)}
    probes = [{"name": "generalisation", "sources": [source]}, {"name": "cue_conflict", "humans": str(humans)}]
    study = Study.parse(
        {"name": "made", "question": "?", "recipes": {"a": {"model": "mlp/tiny", "data": {"source": WORLD}}}, "probes": probes}
    )

    def keys() -> list[str]:
        return [step.key for step in make_plan(study, tmp_path / "out").steps[1:]]

    first = keys()
    assert keys() == first
    humans.write_text("someone else", encoding="utf-8")
    second = keys()
    assert second[0] == first[0]
    assert second[1] != first[1]
    change(store)
    assert keys()[0] != second[0]
    assert keys()[1] == second[1]


def test_a_stamp_is_of_names_and_contents_wherever_the_files_lie(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "pets/cat").mkdir(parents=True)
        (tmp_path / folder / "pets/cat/1.png").write_bytes(b"picture")

    def stamp(folder: str) -> str | None:
        return files_stamp(source_config({"name": "folder", "path": str(tmp_path / folder / "pets")}))

    assert stamp("one") == stamp("two") is not None
    (tmp_path / "two/pets/cat/1.png").write_bytes(b"Picture")
    assert stamp("one") != stamp("two")
    assert stamp("three") is None
    assert files_stamp(source_config("shapetex")) is None


def test_a_change_inside_of_a_large_file_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("priorscope.data.stamp.WHOLE", 1 << 20)
    file = tmp_path / "large[64].beton"
    content = bytearray(4 << 20)
    file.write_bytes(content)
    (tmp_path / "large[64].beton.json").write_text("{}")
    before = files_stamp(file)
    (tmp_path / "large[64].beton.json").write_text("[]")
    assert files_stamp(file) != before
    (tmp_path / "large[64].beton.json").write_text("{}")
    assert files_stamp(file) == before
    content[1 << 20 : (1 << 20) + (64 << 10)] = bytes([1]) * (64 << 10)
    file.write_bytes(content)
    assert files_stamp(file) != before
