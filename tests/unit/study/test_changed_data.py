"""A study on a user's own files notices that they have changed."""

from __future__ import annotations

import hashlib
import io
import os
import shutil

import numpy as np
import pytest
from in_process import Here
from PIL import Image

import priorscope as ps
from priorscope.core.environment import Environment, Learnt
from priorscope.core.errors import RequestError
from priorscope.core.folder import read_json, write_json
from priorscope.core.stopping import Stopped
from priorscope.data import source_config
from priorscope.data.stamp import data_stamp, files_stamp
from priorscope.fitting.run_folder import data_changed
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


def test_runs_of_one_recipe_and_several_data_are_all_kept_and_come_back(tmp_path, store):
    out, first, changed = tmp_path / "out", tmp_path / "first.beton", tmp_path / "second.beton"
    study = carried_out(STUDY, out, path=store)
    weights = out / "runs/a-s0/weights.safetensors"
    was = weights.read_bytes()

    def trained_on(there, here) -> list[str]:
        for end in ("", ".json"):
            store.with_name(store.name + end).rename(there.with_name(there.name + end))
            here.with_name(here.name + end).rename(store.with_name(store.name + end))
        executor = Here()
        run_study(study, out, executor=executor).check()
        return executor.order

    ps.data.convert({**WORLD, "seed": 1}, changed)
    assert "train a-s0" in trained_on(first, changed)
    then = weights.read_bytes()
    assert "train a-s0" not in trained_on(changed, first)
    assert weights.read_bytes() == was
    shutil.rmtree(out / "runs")
    assert "train a-s0" not in trained_on(first, changed)
    assert weights.read_bytes() == then


ELSEWHERE = """question = "Which?"
[recipes.a]
model = "mlp/tiny"
data = {{source = {{name = "shapetex", train = 40, val = 20, test = 20}}}}
train = {{epochs = 1, batch_size = 20}}
[[probes]]
name = "accuracy"
data = {{name = "beton", path = "{path}"}}
"""


def test_what_is_asked_about_files_that_changed_since_is_asked_about_those_that_are_there(tmp_path, store):
    """A worker keeps its last source open, and this process is one."""

    def measured() -> tuple[float, float]:
        carried_out(ELSEWHERE, tmp_path / "out", path=store)
        (stored,) = (tmp_path / "out/runs/a-s0/results/accuracy").glob("*.json")
        found = read_json(stored)["result"]
        return found["value"], found["loss"]

    first = measured()
    change(store)
    now = measured()
    assert now != first
    there = ps.probes.measure_accuracy(ps.load(tmp_path / "out/runs/a-s0"), ps.data.open(store))
    assert now == (there.value, there.loss)


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


def test_a_stamp_of_a_plain_folder_is_the_one_that_runs_have_stored(tmp_path):
    """Paths in order, sizes and contents; hidden files left out, those in hidden folders not."""
    known = hashlib.sha256()
    for name, content in (("a/b.png", b"22"), ("a b.png", b"1"), ("b/.x/c.png", b"3"), ("b/.hidden", b"4")):
        file = tmp_path / "pets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if not file.name.startswith("."):
            known.update(f"pets/{name}\0{len(content)}\0".encode() + content)
    assert files_stamp(tmp_path / "pets") == known.hexdigest()[:16]


def test_a_stamp_is_of_what_links_lead_to(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path / "data"))
    (tmp_path / "real/cat").mkdir(parents=True)
    (tmp_path / "real/cat/1.png").write_bytes(b"picture")
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets/cat").symlink_to(tmp_path / "real/cat")
    (tmp_path / "pets/loop").symlink_to(tmp_path / "pets")
    before = files_stamp(tmp_path / "pets")
    (tmp_path / "real/cat/1.png").write_bytes(b"Picture")
    assert files_stamp(tmp_path / "pets") != before

    stl10(tmp_path / "tables")
    (tmp_path / "data/stl10").mkdir(parents=True)
    (tmp_path / "data/stl10/tables").symlink_to(tmp_path / "tables")
    before = data_stamp(source_config("stl10"))
    stl10(tmp_path / "tables", side=95)
    assert data_stamp(source_config("stl10")) != before


def test_a_stamp_of_a_store_is_of_its_siblings_and_of_nothing_else(tmp_path, store):
    whole, files = hashlib.sha256(), sorted(tmp_path.glob("mine*"))
    assert {file.name for file in files} > {f"mine{end}.beton{more}" for end in ("", "-val") for more in ("", ".json")}
    for file in files:
        whole.update(f"{file.name}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    before = files_stamp(store)
    assert before == whole.hexdigest()[:16]
    for stray in ("mine.beton.bak", "mine.beton.part", "mine-other.beton"):
        (tmp_path / stray).write_bytes(b"1")
    assert files_stamp(store) == before
    ps.data.convert({**WORLD, "seed": 1}, tmp_path / "mine-val.beton", split="val")
    assert files_stamp(store) != before


def test_names_that_are_not_utf_8_have_a_stamp(tmp_path):
    stamps = set()
    for name in (b"caf\xe9.png", b"caf\xe8.png"):
        folder = tmp_path / name.hex() / "pets"
        folder.mkdir(parents=True)
        (folder / os.fsdecode(name)).write_bytes(b"picture")
        stamps.add(files_stamp(folder))
    assert len(stamps - {None}) == 2


def stl10(folder, side=96, seed=0):
    """STL-10 in the hub's layout: made pictures in tables, 20 to train on and 10 to test."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 20), ("test", 10)):
        rows = []
        for index in range(count):
            content = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(content, "PNG")
            rows.append({"image": {"bytes": content.getvalue(), "path": None}, "label": index % 10})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{part}.parquet")
    return folder


def test_a_run_on_a_named_source_notices_that_the_name_stands_for_other_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path / "data"))
    tables = stl10(tmp_path / "data" / "stl10")
    recipe = Recipe.of({"model": "mlp/tiny", "data": {"source": "stl10"}, "train": {"epochs": 1, "batch_size": 9}})
    run = ps.fit(recipe, tmp_path / "a")
    assert ps.fit(recipe, tmp_path / "a").key == run.key

    def changed() -> bool:
        return data_changed(run.environment, recipe.data.source)

    store = tmp_path / "data" / "stl10.beton"
    ps.data.convert("stl10", store, quality=5)
    assert changed()
    with pytest.raises(RequestError, match="has changed since it was trained"):
        ps.fit(recipe, tmp_path / "a")
    for file in (tmp_path / "data").glob("stl10*.beton*"):
        file.unlink()
    assert not changed()
    (tables / "words.txt").write_text("beside")
    os.utime(tables / "train.parquet", (1, 1))
    assert not changed(), "neither times nor what lies beside the tables is of the pictures"
    (tables / "stl10_binary").mkdir()
    assert changed(), "the authors' own files go before tables"
    (tables / "stl10_binary").rmdir()
    stl10(tables, side=95)
    assert changed()
    tables.rename(tmp_path / "elsewhere")
    assert not changed(), "where nothing is, nobody knows that it has changed"


def test_a_run_from_before_stamps_of_names_is_taken_at_its_word(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path / "data"))
    stl10(tmp_path / "data" / "stl10")
    assert not data_changed(Environment(key="a", data=Learnt(source="stl10")), source_config("stl10"))
    assert not data_changed(Environment(key="a"), source_config("stl10"))
    assert data_stamp(source_config("shapetex")) is None


def test_the_authors_files_are_one_whatever_they_lie_in(tmp_path, monkeypatch):
    stamps = set()
    for number, name in enumerate(("cifar-10-binary.tar.gz", "cifar-10-batches-bin", "cifar-10-batches-py")):
        place = tmp_path / str(number) / "cifar10" / name
        place.parent.mkdir(parents=True)
        place.write_bytes(b"") if name.endswith(".gz") else place.mkdir()
        monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path / str(number)))
        stamps.add(data_stamp(source_config("cifar10")))
    assert len(stamps) == 1
    assert None not in stamps


def test_a_result_on_a_named_source_is_a_function_of_the_store_that_stands_for_it(tmp_path, monkeypatch):
    """Tables and the authors' files are none of a key: a result copied elsewhere keeps it, also where no data is."""
    monkeypatch.setenv("PRIORSCOPE_DATA", str(tmp_path / "data"))
    stl10(tmp_path / "data" / "stl10")
    assert files_stamp(source_config("stl10")) is None
    ps.data.convert("stl10", tmp_path / "data" / "stl10.beton")
    before = files_stamp(source_config("stl10"))
    assert before == files_stamp(tmp_path / "data" / "stl10.beton") is not None
    ps.data.convert("stl10", tmp_path / "data" / "stl10.beton", quality=5)
    assert files_stamp(source_config("stl10")) != before


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


def test_a_study_s_run_whose_record_is_gone_is_still_its_run(tmp_path, store):
    out = tmp_path / "out"
    study = carried_out(STUDY, out, path=store)
    (out / "runs/a-s0/made_from.json").unlink()
    assert not make_plan(study, out).missing
    (out / "runs/a-s0/made_from.json").write_text("{")
    assert not make_plan(study, out).missing
    change(store)
    run_study(study, out, executor=Here()).check()
    assert not make_plan(study, out).missing


class Stopping(Here):
    """Is stopped before its second step ends."""

    def news(self, seconds: float):
        if len(self.order) > 1:
            raise Stopped(2, "out keeps what is done", "the same command again")
        return super().news(seconds)


def test_a_stopped_study_keeps_what_failed_and_forgets_what_was_done(tmp_path, store):
    """A step that failed before and is done now has not failed, and one that was not tried again still has."""
    out = tmp_path / "out"
    study = carried_out(STUDY, out, path=store)
    probe, train = "accuracy of a-s0", "train a-s0"
    shutil.rmtree(out / "runs")
    write_json(out / "failures.json", {"failures": [{"step": step, "error": "disk full"} for step in (train, probe)]})
    with pytest.raises(Stopped):
        run_study(study, out, executor=Stopping())
    assert read_json(out / "failures.json") == {"failures": [{"step": probe, "error": "disk full"}]}
    run_study(study, out, executor=Here()).check()
    assert not (out / "failures.json").exists()
