"""A run as a folder for the hub: it opens with equal logits, and its card says what is stored."""

from __future__ import annotations

import json
import re

import pytest
import timm
import torch
import yaml

import priorscope as ps
from priorscope.cli import app
from priorscope.core.contracts import About
from priorscope.core.errors import RequestError
from priorscope.data import open as source
from priorscope.fitting.adoption import adopt
from priorscope.looking.networks import network
from priorscope.models.hub import load_hub


def front_matter(folder) -> dict:
    found = re.match(r"---\n(.*?)\n---\n", (folder / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert found
    return yaml.safe_load(found[1])


RECIPE = {
    "data": {"source": {"name": "shapetex", "train": 96, "val": 40, "test": 90}},
    "model": {"name": "vit/tiny", "depth": 1, "width": 16, "patch": 8},
    "train": {"epochs": 2, "batch_size": 32, "keep": 1},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A ViT, which timm has, with two stored results."""
    run = ps.fit(ps.Recipe.of(RECIPE), tmp_path_factory.mktemp("runs") / "vit-s0")
    accuracy = ps.probes.measure_accuracy(run.evidence, run.source)
    accuracy.save(run.path / "results" / "accuracy" / "k.json", About(data="shapetex", split="test"))
    robustness = ps.probes.measure_robustness(run.evidence, run.source, images=20, audit_images=0)
    robustness.save(run.path / "results" / "robustness" / "k.json")
    return run


def test_the_folder_opens_with_equal_logits(run, tmp_path):
    folder = run.export(tmp_path / "hub")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    x = torch.rand(3, 3, 32, 32)
    peer = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    told = timm.data.resolve_model_data_config(peer)
    mean, std = (torch.tensor(told[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        wanted = run.model(x)
        assert torch.equal(load_hub(folder).eval()(x), wanted)
        torch.testing.assert_close(peer((x - mean) / std), wanted)


def test_the_cards_numbers_are_the_stored_ones(run, tmp_path):
    told = front_matter(run.export(tmp_path / "hub"))
    assert told["library_name"] == "timm"
    stored = [
        json.loads((run.path / "results" / probe / "k.json").read_text())["result"] for probe in ("accuracy", "robustness")
    ]
    rows = [row["metrics"][0] for row in told["model-index"][0]["results"]]
    assert [row["value"] for row in rows] == [result["value"] for result in stored]
    assert [row["args"]["n"] for row in rows] == [result["n"] for result in stored]
    assert [row["args"].get("low") for row in rows] == [(result.get("interval") or {}).get("low") for result in stored]
    text = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    for result in (result for results in run.results.values() for result in results):
        assert result.caveats or result.probe == "accuracy"
        for caveat in result.caveats:
            assert re.sub(r"[^a-z]", "", caveat.lower()) in re.sub(r"[^a-z]", "", text.lower())
    assert str(run.environment.key) in text
    assert run.recipe.toml().strip() in text


def test_a_snapshot_carries_no_results_of_the_finished_run(run, tmp_path):
    early = run.at(step=run.snapshots[0])
    folder = early.export(tmp_path / "early")
    assert "model-index" not in front_matter(folder)
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_hub(folder).eval()(x), early.model(x))


def test_a_folder_that_holds_something_is_refused(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my words")
    with pytest.raises(
        RequestError, match=r"(?s)mine holds something already.*an empty folder.*choose another folder with --out"
    ):
        run.export(tmp_path / "mine")
    assert (tmp_path / "mine" / "README.md").read_text() == "my words"


def test_the_command(run, tmp_path, capsys):
    app(["models", "export", str(run.path), "--out", str(tmp_path / "a"), "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert said == {"out": str(tmp_path / "a"), "files": ["README.md", "config.json", "model.safetensors"]}
    app(["models", "export", str(run.path), "--out", str(tmp_path / "b")], standalone_mode=False)
    assert capsys.readouterr().out.endswith("The card leaves the licence to you.\n")
    assert (tmp_path / "a" / "README.md").read_bytes() == (tmp_path / "b" / "README.md").read_bytes()


def test_a_folder_that_was_exported_becomes_a_run_again(run, tmp_path):
    """Somebody else's, say: the folder has no training to read, and the data must be named."""
    folder = run.export(tmp_path / "hub")
    with pytest.raises(RequestError, match="does not say what it was trained on"):
        adopt(folder, tmp_path / "again")
    again = adopt(folder, tmp_path / "again", data="shapetex")
    assert (again.recipe.model, again.model.statistics) == (run.recipe.model, run.model.statistics)
    seen = network(str(folder), source("shapetex"))
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.model(x), run.model(x))
        assert torch.equal(seen.evidence.model.eval()(x), run.model(x))


def test_what_people_wrote_or_a_study_made_is_not_made_a_run(run, tmp_path):
    weights = run.export(tmp_path / "hub")
    for name, came in (("recipe.toml", r"recipe\.toml was written by no run"), ("study.toml", "holds a study")):
        mine = tmp_path / name.partition(".")[0] / name
        mine.parent.mkdir()
        mine.write_text("seed = 3\n")
        with pytest.raises(RequestError, match=came):
            adopt(weights, mine.parent, data="shapetex")
        assert [path.name for path in mine.parent.iterdir()] == [name]
        assert mine.read_text() == "seed = 3\n"


def test_weights_are_weights_though_runs_lie_beside_them(run, tmp_path):
    folder = run.export(tmp_path / "hub")
    (folder / "runs").mkdir()
    assert network(str(folder), source("shapetex")).run is None


def test_home_is_found_wherever_a_path_is_given(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run.export("~/hub") == tmp_path / "hub"
    assert adopt("~/hub", "~/again", data="shapetex").path == tmp_path / "again"
    result = run.results["accuracy"][0]
    assert result.save("~/kept.json") == tmp_path / "kept.json"
    assert type(result).load("~/kept.json").headline() == result.headline()
    assert ps.write_report("~/again", "~/page.html") == tmp_path / "page.html"
    assert ps.load("~/again").path == tmp_path / "again"
    with pytest.raises(RequestError, match="~no-such-user/run holds no run"):
        ps.load("~no-such-user/run")


def test_a_folder_of_nobodys_name_or_making_is_refused(run, tmp_path):
    folder = run.export(tmp_path / "hub")
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    with pytest.raises(RequestError) as refused:
        adopt(folder, tmp_path / "again", data="shapetex")
    assert str(refused.value) == (
        f"{folder} is no network that is known here: its name is not published, and its config.json is not ours.\n"
        "  wanted: a folder of the name of resnet18_cifar10, resnet34_cifar10, resnet50_cifar10, ..., "
        "or one that priorscope wrote\n"
        f"  try:    priorscope probe accuracy timm/local-dir:{folder} --data NAME, if timm wrote it"
    )
