"""A study on a user's own files notices that they have changed."""

from __future__ import annotations

import pytest
from in_process import Here

import priorscope as ps
from priorscope.core.errors import RequestError
from priorscope.data import source_config
from priorscope.data.stamp import files_stamp
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


def test_a_run_whose_data_has_changed_is_not_taken_for_done(tmp_path):
    store, out = tmp_path / "mine.beton", tmp_path / "out"
    ps.data.convert(WORLD, store)
    (tmp_path / "mine.toml").write_text(STUDY.format(path=store), encoding="utf-8")
    study = Study.load(str(tmp_path / "mine.toml"))
    run_study(study, out, executor=Here()).check()
    assert not make_plan(study, out).missing
    recipe = Recipe.load(out / "runs/a-s0/recipe.toml")
    assert ps.fit(recipe, out / "runs/a-s0").history

    store.rename(tmp_path / "elsewhere")
    assert not make_plan(study, out).missing, "where the files are gone, nobody knows that they have changed"
    ps.data.convert({**WORLD, "seed": 1}, store)
    assert make_plan(study, out).missing == {
        "train a-s0": "changed: the files of its data",
        "accuracy of a-s0": "after train a-s0",
    }
    with pytest.raises(RequestError, match="has changed since it was trained"):
        ps.fit(recipe, out / "runs/a-s0")
    run_study(study, out, executor=Here()).check()
    assert not make_plan(study, out).missing
    assert list((out / "stale").iterdir())


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
