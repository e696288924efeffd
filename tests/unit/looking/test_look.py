"""What stands beside a result: above all the command that makes it again."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from unittest.mock import Mock

import pytest
from in_process import Here
from torch.nn import Flatten

import priorscope as ps
from priorscope import models
from priorscope.core import layout
from priorscope.core.config import assign
from priorscope.core.contracts import Subject
from priorscope.core.epoch import read_history, write_history
from priorscope.core.errors import RequestError, WorkError
from priorscope.core.folder import read_json, write_text
from priorscope.core.machine import processor
from priorscope.data import open as open_source
from priorscope.data import source_config
from priorscope.looking import answer as answering
from priorscope.looking.about import about
from priorscope.looking.look import On, figures, look
from priorscope.looking.networks import Network, network, network_of_run, own_network
from priorscope.models.hub import save_hub
from priorscope.probes import probe_config
from priorscope.run import load
from priorscope.study.passing import passing
from priorscope.study.run import run_study
from priorscope.study.study import Study


def test_the_command_can_be_typed_again():
    wanted = probe_config({"name": "accuracy", "views": {"name": "six", "shift": 2}, "split": "val"})
    told = about(
        wanted, [(Subject(name="a-s0", family="mlp"), ("runs/a s0",))], source_config("shapetex"), {}, other_data=False
    )
    words = shlex.split(told.command)
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
    told = about(probe_config("accuracy"), [(Subject(name="a", family="mlp"), ("a",))], asked_on, {}, other_data=True)
    *_, flag, typed = shlex.split(told.command)
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
        list(look(probe_config("accuracy"), [networks[0], networks[0]], On.named("shapetex")))


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
        list(look(probe_config(about["config"]), [network_of_run(study / "runs/both-s0")], again=True))
        assert read_json(path)["about"]["made_from"] == about["made_from"]
    assert sorted(study.glob("runs/*/results/*/*.json")) == results
    assert read_json(results[1])["about"]["made_from"]["companions"].keys() == {"shape"}


def test_time_is_taken_on_the_threads_of_the_recipe(study, monkeypatch):
    import torch

    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: before)
    list(look(probe_config({"name": "accuracy"}), [network_of_run(study / "runs/both-s0")]))
    assert seen[0] == 1
    assert seen[-1] == before


def placed(monkeypatch):
    """Where networks are put to be looked at from now on, on a machine that seems to have a GPU."""
    import torch

    asked = list[str]()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU for {device}")
    put = Network.on
    monkeypatch.setattr(Network, "on", lambda self, device: asked.append(device) or put(self, "cpu"))
    return asked


def learnt_on(device, folder):
    small = {"data": {"source": {"name": "shapetex", "train": 60, "val": 20, "test": 20}}, "model": "mlp/tiny"}
    run = ps.fit(ps.Recipe.of({**small, "train": {"epochs": 1, "batch_size": 20}}), out=folder / device)
    recipe = run.path / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('device = "cpu"', f'device = "{device}"'))
    return load(run.path)


def test_a_network_is_looked_at_where_it_learnt_or_where_somebody_asks(tmp_path, monkeypatch):
    """What has both a run of the processor and one of a GPU is looked at on the processor."""
    on_gpu, on_processor = learnt_on("auto", tmp_path), learnt_on("cpu", tmp_path)
    asked = placed(monkeypatch)
    for run in (on_gpu, on_processor):
        ps.measure(run, "accuracy")
    ps.measure([on_gpu, on_processor], "similarity", images=10, batch=10, depth=False)
    ps.measure(on_processor, "calibration", device="cuda")
    ps.measure(on_gpu, "fewshot", device="cpu", draws=2, shots=2)
    assert asked == ["cuda", "cpu", "cpu", "cpu", "cuda", "cpu"]


def test_time_is_that_of_the_processor_unless_somebody_asks_for_a_gpus(tmp_path, monkeypatch):
    """Whose result is another one, and says by which command it is made again."""
    run = learnt_on("auto", tmp_path)
    said = ps.measure(run, "accuracy", device="cpu")
    monkeypatch.setattr(answering, "measure_of", lambda _: lambda *_: said)
    asked, cost = placed(monkeypatch), probe_config("cost")
    here, there = (next(look(cost, [network_of_run(run.path)], device=device)) for device in (None, "cuda"))
    assert asked == ["cpu", "cuda"]
    assert (there.about.made_from["machine"], here.about.made_from["machine"]) == ("GPU for cuda", processor())
    assert there.about.command.endswith("--device cuda")
    assert "--device" not in here.about.command
    assert here.kept != there.kept


def test_a_gpu_that_is_not_there_is_refused(study):
    with pytest.raises(RequestError, match=r"This machine has no cuda device to look on\.(.|\n)*--device cpu"):
        ps.measure(study / "runs/both-s0", "accuracy", device="cuda")


def test_memory_that_ran_out_on_a_gpu_is_told_with_what_to_do(study, monkeypatch):
    import torch

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    assert placed(monkeypatch) == []
    monkeypatch.setattr(answering, "measure_of", lambda _: full)
    with pytest.raises(WorkError, match=r"Memory ran out while calibration looked at both-s0 on cuda\.(.|\n)*--device cpu"):
        ps.measure(study / "runs/both-s0", "calibration", device="cuda")
    with pytest.raises(torch.OutOfMemoryError):
        ps.measure(study / "runs/both-s0", "calibration")


def test_a_run_that_was_put_on_a_device_is_looked_at_there(tmp_path, monkeypatch):
    run = learnt_on("cpu", tmp_path)
    asked = placed(monkeypatch)
    assert run.on("cpu") is run
    assert (run.on("cuda").device, run.on("cuda").path) == ("cuda", run.path)
    ps.measure(run.on("cuda"), "accuracy")
    assert asked == ["cuda"]


def test_runs_of_one_name_from_different_places_are_two_bars_and_not_two_seeds(study, tmp_path):
    shutil.copytree(study, tmp_path / "later")
    networks = [network_of_run(place / "runs/both-s0") for place in (study, tmp_path / "later")]
    drawn = figures([*look(probe_config("accuracy"), networks)])
    assert {row["subject"] for row in drawn[0].rows} == {"out/runs/both-s0", "later/runs/both-s0"}


def test_networks_that_learnt_from_different_data_are_compared_on_named_data_alone(study):
    networks = [network_of_run(study / "runs" / name) for name in ("both-s0", "shape-s0")]
    with pytest.raises(RequestError, match="'similarity' compares 'both-s0' and 'shape-s0', which learnt from different data"):
        list(look(probe_config("similarity"), networks))


def test_networks_that_were_asked_on_other_data_stand_in_pictures_of_their_own(study):
    networks = [network_of_run(study / "runs" / name) for name in ("both-s0", "shape-s0")]
    config = probe_config("accuracy")
    apart = figures([*look(config, networks)])
    assert {figure.name.rpartition("-")[2] for figure in apart} == {"1", "2"}
    begins = [figure.title.partition(":")[0] for figure in apart]
    assert begins == [f"On what {name} learnt from" for name in ("both-s0", "shape-s0") for _ in range(len(apart) // 2)]
    together = figures([*look(config, networks, On.named("shapetex"))], On.named("shapetex"))
    assert {row["subject"] for row in together[0].rows} == {"both-s0", "shape-s0"}


CHOSE = "Val, which is looked at here, chose the "


def of_val(study, split="val", data=None) -> list[str]:
    """What is said of a choice by val beside an accuracy of the study's first run."""
    config, on = probe_config({"name": "accuracy", "split": split}), On.named(data) if data else None
    (found,) = look(config, [network_of_run(study / "runs/both-s0")], on, again=True)
    return [caveat.removeprefix(CHOSE).partition(":")[0] for caveat in found.result.caveats if caveat.startswith(CHOSE)]


def test_val_that_chose_the_epoch_or_the_settings_is_told_beside_what_it_says(study):
    assert of_val(study) == []  # one epoch, no trials: nothing was chosen
    run = study / "runs/both-s0"
    write_history(run, read_history(run) * 2)
    assert of_val(study) == ["epoch"]
    assert of_val(study, "test") == []
    assert of_val(study, data='{name = "shapetex", train = 40, val = 30, test = 20}') == []
    assert of_val(study, data='{name = "shapetex", train = 50, val = 20, test = 20}') == ["epoch"]  # the same val
    write_text(study / "tuning/other-t1" / layout.RECIPE, "")
    assert of_val(study) == ["epoch"]
    write_text(study / "tuning/both-t1" / layout.RECIPE, "")
    assert of_val(study) == ["epoch and the settings"]


def test_what_is_written_says_whom_and_what_it_is_about(study, tmp_path, monkeypatch):
    (tmp_path / "told_apart.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = '{name = "shapetex", train = 40, val = 20, test = 20}'
    own = own_network("told_apart:net", None, open_source(data))
    asked = probe_config({"name": "accuracy", "k": 3})
    found = [*look(asked, [network_of_run(study / "runs/both-s0"), own], On.named(data))]
    assert [looked.name for looked in found] == [str(study / "runs/both-s0"), "net"]
    run, other = (read_json(looked.save(tmp_path / "told.json"))["about"] for looked in found)
    assert (run["subject"]["name"], run["data"], run["split"], run["config"]["k"]) == ("both-s0", "shapetex", "test", 3)
    assert run["made_from"]["weights"] == load(study / "runs/both-s0").key
    assert other["subject"] == {"name": "net", "family": "other", "recipe": "", "seed": 0}
    assert shlex.split(other["command"])[:5] == ["priorscope", "probe", "accuracy", "--model", "told_apart:net"]
    assert source_config(shlex.split(other["command"])[-1]) == source_config(data)
    printed = found[1].plain()
    assert {"subject", "data", "split", "command", "config", "headline", "protocol", "caveats", "metrics"} == set(printed)
    assert printed["metrics"][0]["n"] == 20


def test_what_a_run_keeps_is_not_measured_again(study, monkeypatch):
    """As `fit` does not train again what is there; other settings are another question."""
    run = load(study / "runs/both-s0")
    first = ps.measure(run, "accuracy", k=3)
    assert ps.measure(run.path, "accuracy", k=3).metrics() == first.metrics()
    (stored,) = [path for path in (run.path / "results/accuracy").glob("*.json") if "k" in read_json(path)["about"]["config"]]
    (looked,) = look(probe_config({"name": "accuracy", "k": 3}), [network_of_run(run.path)])
    assert looked.kept is not None
    assert looked.kept.resolve() == stored.resolve(), "the command keeps it under the same key"
    monkeypatch.setattr("priorscope.looking.look.answer", Mock(side_effect=InterruptedError("asked")))
    (again,) = look(probe_config({"name": "accuracy", "k": 3}), [network_of_run(run.path)])
    assert (again.read, looked.read, again.name, again.kept) == (True, True, looked.name, looked.kept)
    with pytest.raises(InterruptedError, match="asked"):
        list(look(probe_config({"name": "accuracy", "k": 3}), [network_of_run(run.path)], again=True))
    assert ps.measure(run, "accuracy", k=3).per_image().tolist() == first.per_image().tolist()
    with pytest.raises(InterruptedError, match="asked"):
        ps.measure(run, "accuracy", k=4)


def deleting(found):
    return passing(one.kept for one in found if one.kept)


def test_what_a_run_cannot_keep_is_told_all_the_same(study, monkeypatch, capsys):
    """Its folder may be somebody else's, or its disk read-only or full: an hour of measuring is not lost for that."""
    before = {path for path in study.rglob("*") if path.is_file()}

    def read_only(_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", read_only)
        asked = probe_config({"name": "cue_conflict", "salience": [0, 0.5]})
        found = [*look(asked, [network_of_run(study / "runs/both-s0")])]
        measured = ps.measure(study / "runs/both-s0", "accuracy", k=3)
    assert {path for path in study.rglob("*") if path.is_file()} == before
    assert deleting(found) == []
    assert found[0].name == str(study / "runs/both-s0")
    told = capsys.readouterr().err.splitlines()
    results = study / "runs/both-s0/results"
    assert [line.rpartition("/")[0] for line in told if str(results) in line] == [
        f"not kept: Cannot write {results / probe}" for probe in ("cue_conflict", "accuracy")
    ]
    assert all(line.endswith(": the disk is read-only.") for line in told)
    assert measured.metrics() == ps.measure(study / "runs/both-s0", "accuracy", k=3).metrics()


def test_a_run_as_it_was_is_asked_as_it_was(tmp_path):
    """What lies in its folder is about the finished weights, and stays so."""
    source = {"name": "shapetex", "train": 200, "val": 20, "test": 60}
    recipe = {
        "data": {"source": source},
        "model": "mlp/tiny",
        "optim": {"lr": 0.01},
        "train": {"epochs": 3, "keep": 3, "batch_size": 50},
    }
    run = ps.fit(ps.Recipe.of(recipe), tmp_path / "run")
    last, first = ps.measure(run, "accuracy"), ps.measure(run.at(epoch=1), "accuracy")
    assert first.loss != last.loss
    assert first.loss == pytest.approx(ps.probes.measure_accuracy(run.at(epoch=1).model, run.source).loss)
    assert [result.loss for result in run.results["accuracy"]] == [last.loss]
    alike = ps.measure({"then": run.at(epoch=1), "now": run}, "similarity", images=40, batch=20)
    assert alike.value < 0.999
    both = ps.measure([run.at(epoch=1), run.at(epoch=2), run], "similarity", images=40, batch=20)
    assert both.names == ("run@4", "run@8", "run")


def test_networks_are_compared_by_the_names_that_they_are_given(study):
    runs = {"one": load(study / "runs/both-s0"), "other": load(study / "runs/shape-s0")}
    result = ps.measure(runs, "transfer", data="shapetex", images=4, eps="4/255")
    assert result.names == ("one", "other")
    folders = [study / "runs/both-s0", str(study / "runs/shape-s0")]
    asked = {"data": "shapetex", "images": 4, "eps": "4/255"}
    by_name = ps.measure(dict(zip(runs, folders, strict=True)), "transfer", **asked)
    assert [metric.plain() for metric in by_name.metrics()] == [metric.plain() for metric in result.metrics()]
    assert ps.measure(folders, "transfer", **asked).names == ("both-s0", "shape-s0")
    with pytest.raises(RequestError, match="transfer compares networks and was given one run"):
        ps.measure(runs["one"], "transfer")
    with pytest.raises(RequestError, match="accuracy looks at one run and was given a table"):
        ps.measure(runs, "accuracy")


@pytest.mark.parametrize(
    ("subject", "probe", "said", "do"),
    [
        ({}, "transfer", "transfer compares networks and was given none.", "ps.measure({"),
        ([], "transfer", "transfer compares networks and was given none.", "ps.measure({"),
        (
            ["a", "b"],
            "accuracy",
            "accuracy looks at one run and was given a list.",
            '[ps.measure(run, "accuracy") for run in runs]',
        ),
        (Flatten(), "accuracy", "ps.measure was given a Flatten.", "ps.probes.measure_accuracy(model, data) for"),
        (
            {"a": Flatten()},
            "transfer",
            "ps.measure was given a Flatten.",
            "ps.probes.measure_transfer(model, data) for",
        ),
        (None, "accuracy", "ps.measure was given a NoneType.", "ps.probes.measure_accuracy"),
    ],
)
def test_what_is_no_run_is_told_what_to_pass(subject, probe, said, do):
    with pytest.raises(RequestError) as caught:
        ps.measure(subject, probe)
    assert caught.value.came == said
    assert caught.value.do.startswith(do)


def test_opened_data_are_told_to_be_named(study):
    source = ps.data.open("shapetex")
    for opened in (source, source.split("test")):
        with pytest.raises(RequestError, match=f"data came as a {type(opened).__name__}") as caught:
            ps.measure(study / "runs/both-s0", "accuracy", data=opened)
        assert "ps.probes.measure_accuracy(run.model, data)" in caught.value.do


def test_results_are_drawn_and_tested_side_by_side(study):
    runs = {"one": load(study / "runs/both-s0"), "other": load(study / "runs/shape-s0")}
    found = {name: ps.measure(run, "accuracy", data="shapetex") for name, run in runs.items()}
    assert {row["subject"] for row in ps.draw(found)[0].rows} == {"one", "other"}
    assert {row["family"] for row in ps.draw(found)[0].rows} == {"other"}, (
        "names that are no families look alike, and are written"
    )
    comparison = found["one"].against(found["other"])
    assert comparison.difference.value == pytest.approx(found["one"].value - found["other"].value)
    with pytest.raises(RequestError, match="No test compares these two results of accuracy"):
        found["one"].against(ps.measure(runs["one"], "accuracy", data='{name = "shapetex", test = 7}'))
    with pytest.raises(RequestError, match="Results of accuracy and calibration came to be drawn side by side"):
        ps.draw({**found, "more": ps.measure(runs["one"], "calibration", data="shapetex")})


def test_what_is_said_of_several_names_them_all(study):
    networks = [network_of_run(study / "runs" / name) for name in ("both-s0", "shape-s0")]
    config = probe_config({"name": "similarity", "images": 20, "batch": 10})
    (found,) = look(config, networks, On.named("shapetex"))
    assert [one.name for one in found.about.subjects] == ["both-s0", "shape-s0"]
    assert found.about.made_from["weights"] == {one.name: load(study / "runs" / one.name).key for one in networks}


def test_a_result_that_the_study_will_delete_is_told_of(study, tmp_path):
    networks = [network_of_run(study / "runs/both-s0")]
    asked = read_json(next(study.glob("runs/*/results/cue_conflict/*.json")))["about"]["config"]
    assert deleting(look(probe_config(asked), networks)) == []
    found = [*look(probe_config("accuracy"), networks)]
    assert deleting(found) == [study.resolve()]
    kept = found[0].kept
    assert kept is not None
    assert kept.exists()
    run_study(Study.load(str(study / "study.toml")), study, executor=Here()).check()
    assert not kept.exists()
    (study / "study.toml").write_text(ASKED)  # as people write one: no study was carried out there
    assert deleting(found) == []
    shutil.copytree(study / "runs/both-s0", tmp_path / "alone")
    assert deleting(look(probe_config("accuracy"), [network_of_run(tmp_path / "alone")])) == []
