"""The command line, as a user types it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest


def files(folder):
    """Every file of a finished study but locks, with its time of change."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in found}


@pytest.fixture
def copied(studied, tmp_path):
    """The studied folder, free to be damaged."""
    shutil.copytree(studied.folder, tmp_path / "copy")
    return type(studied)(tmp_path / "copy")


def test_a_study_leaves_what_it_promises(studied):
    found = set(files(studied.folder / "out"))
    assert {"report.html", "results.json", "results.parquet", "results.csv", "study.toml"} <= found
    assert {f"runs/{run}-s0/weights.safetensors" for run in ("mlp", "cnn")} <= found
    (joint,) = (studied.folder / "out" / "joint" / "transfer").glob("*.json")
    told = json.loads(joint.read_text())["about"]
    assert [subject["name"] for subject in told["subjects"]] == ["mlp-s0", "cnn-s0"]
    assert told["command"] == "priorscope probe transfer runs/mlp-s0 runs/cnn-s0 --set images=20"
    rows = pq.read_table(studied.folder / "out" / "results.parquet").to_pylist()
    columns = "study run recipe other_run family seed probe config setting data split metric value low high n unit caveats"
    assert " ".join(rows[0]) == columns
    top = [row for row in rows if row["metric"] == "top-1 accuracy"]
    assert [(row["run"], row["family"], row["n"]) for row in top] == [("mlp-s0", "mlp", 90), ("cnn-s0", "cnn", 90)]
    assert rows == json.loads((studied.folder / "out" / "results.json").read_text())


def test_run_again_it_does_nothing(studied):
    before = files(studied.folder / "out")
    assert studied("study", "small.toml", "--out", "out").startswith("0 steps done")
    assert files(studied.folder / "out") == before


def test_one_deleted_result_is_measured_again_and_nothing_else(copied):
    out = copied.folder / "out"
    (gone,) = (out / "runs/mlp-s0/results/accuracy").glob("*.json")
    before = gone.read_bytes()
    gone.unlink()
    assert "accuracy of mlp-s0" in copied("study", "small.toml", "--out", "out", "--plan")
    weights = (out / "runs/mlp-s0/weights.safetensors").stat().st_mtime_ns
    assert copied("study", "small.toml", "--out", "out").startswith("1 steps done")
    assert gone.read_bytes() == before
    assert (out / "runs/mlp-s0/weights.safetensors").stat().st_mtime_ns == weights


def test_a_damaged_result_is_measured_again(copied):
    (damaged,) = (copied.folder / "out/runs/cnn-s0/results/accuracy").glob("*.json")
    before = damaged.read_bytes()
    damaged.write_bytes(before[:100])
    assert copied("study", "small.toml", "--out", "out").startswith("1 steps done")
    assert damaged.read_bytes() == before


def test_another_setting_of_a_probe_recomputes_that_probe_alone(copied):
    plan = copied("study", "small.toml", "--out", "out", "--plan", "--set", "probes.accuracy.k=3", "--json")
    why = {step["step"]: step["why"] for step in json.loads(plan)["steps"]}
    assert {name for name, reason in why.items() if reason != "done"} == {
        name for name in why if name.startswith("accuracy of")
    }
    assert copied("study", "small.toml", "--out", "out", "--set", "probes.accuracy.k=3").startswith("2 steps done")


def test_another_recipe_sets_the_run_aside_and_gets_it_back(copied):
    weights = copied.folder / "out/runs/mlp-s0/weights.safetensors"
    before, written = weights.read_bytes(), weights.stat().st_mtime_ns
    copied("study", "small.toml", "--out", "out", "--set", "recipes.mlp.optim.lr=0.01")
    assert weights.read_bytes() != before
    copied("study", "small.toml", "--out", "out")
    assert weights.read_bytes() == before
    assert weights.stat().st_mtime_ns == written, "it was moved back, and not trained again"


def test_a_failed_step_does_not_stop_the_others(shell):
    wild = ("--set", "recipes.mlp.optim.lr=1e30", "--set", "recipes.mlp.optim.name=sgd")
    said = shell("study", "small.toml", "--out", "out", *wild, status=1)
    assert "1 of 6 steps failed: train mlp-s0; left out because of this: 3 more." in said
    assert "The loss became nan" in said
    assert list((shell.folder / "out/runs/cnn-s0/results/accuracy").glob("*.json"))
    failures = json.loads((shell.folder / "out/failures.json").read_text())["failures"]
    assert [each["step"].partition(" (")[0] for each in failures] == [
        "train mlp-s0",
        "accuracy of mlp-s0",
        "cue_conflict of mlp-s0",
        "transfer of all runs",
    ]
    assert "The loss became nan" in (shell.folder / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("study quikstart", "'quickstart' (did you mean that?)"),
        ("study small.toml --set base.trian.epochs=1", "did you mean"),
        ("study small.toml --set recipes.cnn.model=cnnn/tiny", "'cnn/tiny' (did you mean that?)"),
        ("study small.toml --set base.train.epochs=0", "train.epochs = 0 trains nothing"),
        ("study small.toml --set base.train.epochs=-1", "greater than or equal to 0"),
        ("study small.toml --set recipes.mlp.model.widht=3", "width"),
        ("study small.toml --set base.data.source.name=cifar", "cifar10"),
        ("study missing.toml", "There is no file"),
        ("recipes show ./", "name the recipe.toml or study.toml in it"),
        ("train mlpp", "recipes list"),
        ("probe acuracy nowhere", "'accuracy' (did you mean that?)"),
        ("probe accuracy nowhere", "'nowhere' is no network to look at"),
        ("probe accuracy", "No network was named"),
        ("probe accuracy --weights w.pt", "--model package.module:function"),
        ("probe accuracy --model nowhere:net --data shapetex", "'nowhere:net' is not found"),
        ("schema recipes", "recipe or study"),
        ("report nowhere --out page.html", "nowhere"),
        ("plot curves nowhere", "nowhere"),
        ("studdy quickstart", "study"),
    ],
)
def test_a_wrong_request_ends_with_2_and_the_nearest_valid_name(shell, command, said):
    assert said in shell(*command.split(), status=2)


def test_the_same_folder_twice_at_once_is_refused(shell):
    first = shell.start("study", "small.toml", "--out", "out")
    lock = shell.folder / "out" / ".lock"
    while not (lock.exists() and lock.read_text()):
        assert first.poll() is None, "it has ended"
        time.sleep(0.01)
    assert "is in use by another process" in shell("study", "small.toml", "--out", "out", status=2)
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate()
    assert first.returncode == 143, err
    assert "the same command again goes on" in err


def test_a_folder_that_cannot_be_made_is_named(shell):
    (shell.folder / "file").write_text("")
    assert "a part of the path is a file" in shell("study", "small.toml", "--out", "file/out", status=2)


def test_probe_plot_report_and_lists_work_on_what_is_stored(studied, tmp_path):
    said = studied("probe", "accuracy", "out/runs/mlp-s0", "--set", "split=val", "--json")
    told, end = json.JSONDecoder().raw_decode(said)
    assert (told["out/runs/mlp-s0"]["split"], told["out/runs/mlp-s0"]["metrics"][0]["n"]) == ("val", 40)
    assert said[end:].strip().endswith("is run again: it is not in its [[probes]]")
    two = ("out/runs/mlp-s0", "out/runs/cnn-s0")
    assert "curves" in studied("plot", "curves", *two, "--labels", "a,b", "--out", str(tmp_path / "curves.svg"))
    assert (tmp_path / "curves.svg").read_text().startswith("<svg")
    drawn = studied("probe", "similarity", *two, "--set", "images=40", "--set", "batch=10", "--out", str(tmp_path / "drawn"))
    made = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert {"similarity.json", "similarity.npz"} < made
    assert all(f"{Path(name).stem}.csv" in made for name in made if name.endswith(".svg"))
    assert str(tmp_path / "drawn" / "similarity.json") in drawn
    studied("probe", "accuracy", *two, "--set", "split=val", "--out", str(tmp_path / "side"))
    assert "mlp-s0,mlp," in (tmp_path / "side" / "accuracy.csv").read_text()
    studied("report", "out/runs/mlp-s0", "--out", str(tmp_path / "one.html"))
    assert "<html" in (tmp_path / "one.html").read_text()
    assert "quickstart" in studied("study", "list")
    assert {"mlp/tiny", "cnn/tiny"} <= {row["model"] for row in json.loads(studied("models", "list", "--json"))}
    assert "shapetex" in studied("data", "list")
    assert json.loads(studied("schema"))["title"] == "Recipe"


def test_a_recipe_is_trained_and_stopped_and_resumed(shell):
    (shell.folder / "r.toml").write_text(
        'model = {name = "mlp/tiny", width = 16}\n[train]\nepochs = 400\nbatch_size = 40\n'
        '[data]\nsource = {name = "shapetex", train = 400, val = 40}\n'
    )
    process = shell.start("train", "r.toml", "--out", "a")
    while not (shell.folder / "a" / "steps.jsonl").exists():
        assert process.poll() is None, "it has ended"
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 143, err
    assert "the same command again (train: with --resume) goes on where it stopped" in err
    assert "add --resume" in shell("train", "r.toml", "--out", "a", status=2)
    assert (shell.folder / "a" / "checkpoint.pt").exists()


@pytest.mark.parametrize("verb", ["recipes list", "schema", "models list --json"])
def test_output_that_cannot_be_written_is_an_error_in_words(verb):
    """Less than the buffer of standard output, which is written at the very end, and more."""
    command = [sys.executable, "-m", "priorscope.cli", *verb.split()]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("priorscope: What is to be printed cannot be written: No space left on device.\n")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("verb", [("models", "list"), ("schema",)])
def test_a_reader_that_goes_away_is_no_error(shell, verb):
    """What `| head -1` does, with output that fits the pipe's buffer and with more."""
    with shell.start(*verb) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
