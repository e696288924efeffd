"""What stands beside a result: above all the command that makes it again."""

from __future__ import annotations

import shlex
import shutil

import pytest
from in_process import Here

from priorscope import models
from priorscope.core.config import assign
from priorscope.core.contracts import Subject
from priorscope.core.errors import RequestError
from priorscope.core.folder import read_json
from priorscope.data import source_config
from priorscope.models.hub import save_hub
from priorscope.probes import probe_config
from priorscope.study.about import about
from priorscope.study.look import look, pictures
from priorscope.study.networks import network, network_of_run
from priorscope.study.run import run_study
from priorscope.study.study import Study


def test_the_command_can_be_typed_again():
    wanted = probe_config({"name": "accuracy", "views": {"name": "six", "shift": 2}, "split": "val"})
    told = about(wanted, [(Subject(name="a-s0", family="mlp"), "runs/a s0")], source_config("shapetex"), {}, other_data=False)
    words = shlex.split(told["command"])
    assert words[:4] == ["priorscope", "probe", "accuracy", "runs/a s0"]
    table = {"name": "accuracy"}
    for flag, setting in zip(words[4::2], words[5::2], strict=True):
        assert flag == "--set"
        table = assign(table, setting)
    assert probe_config(table) == wanted


@pytest.mark.parametrize(
    "source",
    [
        {"name": "cifar10"},
        {"name": "shapetex", "cue": "texture"},
        {"name": "beton", "path": "some pets.beton"},
        {"name": "folder", "path": "pets", "res": 32},
    ],
)
def test_the_data_can_be_typed_again(source):
    asked_on = source_config(source)
    told = about(probe_config("accuracy"), [(Subject(name="a", family="mlp"), "a")], asked_on, {}, other_data=True)
    *_, flag, typed = shlex.split(told["command"])
    assert flag == "--data"
    assert source_config(typed) == asked_on


def test_published_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    paths: list[str] = []
    for name in ("a", "b"):
        save_hub(models.create("mlp/tiny", image_size=32, num_classes=10), tmp_path / name)
        paths.append(str(tmp_path / name / "model.safetensors"))
    networks = [network(path, None) for path in paths]
    assert [one.name for one in networks] == ["a", "b"]
    (tmp_path / "linked").mkdir()
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "a" / name)
    assert network(str(tmp_path / "linked" / "model.safetensors"), None).name == "linked"
    with pytest.raises(RequestError, match="Two networks are called 'a'"):
        look(probe_config("accuracy"), [networks[0], networks[0]], "shapetex")


ASKED = """question = "Which?"
[base]
model = {name = "mlp/tiny", width = 16, blocks = 1}
train = {epochs = 1, batch_size = 20, threads = 1}
[base.data.source]
name = "shapetex"
train = 40
val = 20
test = 20
[recipes.both]
[recipes.shape]
data = {source = {cue = "shape"}}
[[probes]]
name = "cue_conflict"
salience = [0, 1]
recipes = ["both"]
[[probes]]
name = "cost"
batch_sizes = [1]
repeats = 6
recipes = ["both"]
"""


@pytest.fixture
def study(tmp_path):
    """A study's folder: a run with one that it is held against beside it, and a probe of time."""
    (tmp_path / "asked.toml").write_text(ASKED)
    run_study(Study.load(str(tmp_path / "asked.toml")), tmp_path / "out", executor=Here()).check()
    return tmp_path / "out"


def test_what_a_study_asked_is_answered_again_in_its_place(study):
    """Under the key that the study gave it: the same command twice is not another seed."""
    results = sorted(study.glob("runs/*/results/*/*.json"))
    assert len(results) == 2
    for path in results:
        about = read_json(path)["about"]
        look(probe_config(about["config"]), [network_of_run(study / "runs/both-s0")], None)
        assert read_json(path)["about"]["made_from"] == about["made_from"]
    assert sorted(study.glob("runs/*/results/*/*.json")) == results
    assert read_json(results[1])["about"]["made_from"]["companions"].keys() == {"shape"}


def test_time_is_taken_on_the_threads_of_the_recipe(study, monkeypatch):
    import torch

    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: before)
    look(probe_config({"name": "accuracy"}), [network_of_run(study / "runs/both-s0")], None)
    assert seen[0] == 1
    assert seen[-1] == before


def test_runs_of_one_name_from_different_places_are_two_bars_and_not_two_seeds(study, tmp_path):
    shutil.copytree(study, tmp_path / "later")
    networks = [network_of_run(place / "runs/both-s0") for place in (study, tmp_path / "later")]
    figures = pictures(networks, look(probe_config("accuracy"), networks, None))
    assert {row["subject"] for row in figures[0].rows} == {"out/runs/both-s0", "later/runs/both-s0"}


def test_networks_that_learnt_from_different_data_are_compared_on_named_data_alone(study):
    networks = [network_of_run(study / "runs" / name) for name in ("both-s0", "shape-s0")]
    with pytest.raises(RequestError, match="'similarity' compares 'both-s0' and 'shape-s0', which learnt from different data"):
        look(probe_config("similarity"), networks, None)


def test_networks_that_were_asked_on_other_data_stand_in_pictures_of_their_own(study):
    networks = [network_of_run(study / "runs" / name) for name in ("both-s0", "shape-s0")]
    config = probe_config("accuracy")
    apart = pictures(networks, look(config, networks, None))
    assert {figure.name.rpartition("-")[2] for figure in apart} == {"1", "2"}
    begins = [figure.title.partition(":")[0] for figure in apart]
    assert begins == [f"On what {name} learnt from" for name in ("both-s0", "shape-s0") for _ in range(len(apart) // 2)]
    together = pictures(networks, look(config, networks, "shapetex"), "shapetex")
    assert {row["subject"] for row in together[0].rows} == {"both-s0", "shape-s0"}
