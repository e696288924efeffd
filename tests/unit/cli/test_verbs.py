"""Verbs that stand before one function each: what they hand on, and what they say."""

from __future__ import annotations

import errno
import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import priorscope as ps
from priorscope import cli
from priorscope.cli import _at_home, app
from priorscope.core.environment import Environment, NetworkRecord
from priorscope.core.errors import RequestError, WorkError
from priorscope.data.augment import augment_config
from priorscope.fitting import adoption
from priorscope.study.plan import make_plan
from priorscope.study.rates import remember
from priorscope.study.run import StudyOutcome
from priorscope.study.schedule import Failure
from priorscope.study.study import Study


def said(*command: str) -> str:
    done = CliRunner().invoke(app, command, catch_exceptions=False, prog_name="priorscope")
    assert done.exit_code == 0
    return done.stdout


def test_the_version_is_the_package_s():
    assert said("--version") == f"priorscope {version('priorscope')}\n"
    assert ps.__version__ == version("priorscope")


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (["loader"], {}),
        (["loader", "--quick"], {"rounds": 1, "share": 0.1}),
        (["attack", "--images", "5", "--curve-images", "0", "--rounds", "2"], {"images": 5, "curve_images": 0, "rounds": 2}),
        (
            ["train", "--models", "mlp/tiny, vit/tiny", "--batch-size", "4"],
            {"models": ["mlp/tiny", "vit/tiny"], "image_size": None, "batch_size": 4},
        ),
        (["train", "--models", "all", "--image-size", "32"], {"models": "all", "image_size": 32, "batch_size": None}),
        (
            ["infer", "--models", "mlp/tiny", "--batch-sizes", "1, 8"],
            {"models": ["mlp/tiny"], "image_size": None, "batch_sizes": [1, 8]},
        ),
        (["study"], {"name": "quickstart", "settings": [], "budget": None}),
        (
            ["study", "zooming", "--budget", "smoke", "--set", "seeds=[0]"],
            {"name": "zooming", "settings": ["seeds=[0]"], "budget": "smoke"},
        ),
        (["probes", "--kinds", "transform, similarity"], {"kinds": ["similarity", "transform"]}),
    ],
)
def test_a_benchmark_is_asked_for_and_told(tmp_path, monkeypatch, command: list[str], asked: dict[str, Any]):
    room = import_module(f"priorscope.bench.{command[0]}")
    real = inspect.signature(room.run)
    run = create_autospec(room.run, return_value=SimpleNamespace(table=lambda: "a table", plain=lambda: {"cases": []}))
    monkeypatch.setattr(room, "run", run)
    assert said("bench", *command, "--json", str(tmp_path / "told.json")) == "a table\n"
    assert json.loads((tmp_path / "told.json").read_text()) == {"cases": []}
    handed = real.bind(*run.call_args.args, **run.call_args.kwargs).arguments
    assert {name: value for name, value in handed.items() if name != "say"} == asked


def test_published_weights_become_a_run(tmp_path, monkeypatch):
    run = SimpleNamespace(
        path=tmp_path / "run", environment=Environment(key="a", model=NetworkRecord(image_size=8, num_classes=2, parameters=5))
    )
    adopt = create_autospec(adoption.adopt, return_value=run)
    monkeypatch.setattr(adoption, "adopt", adopt)
    told = said("models", "import", "some_weights", "--out", str(tmp_path / "run"), "--data", "cifar10", "--json")
    assert json.loads(told) == {"out": str(tmp_path / "run"), "parameters": 5}
    adopt.assert_called_once_with(Path("some_weights"), tmp_path / "run", "cifar10")


def test_a_published_checkpoint_is_fetched_by_its_name(tmp_path, monkeypatch):
    from priorscope.models import published

    fetch = create_autospec(published.fetch_published, return_value=tmp_path / "weights")
    monkeypatch.setattr(published, "fetch_published", fetch)
    assert json.loads(said("models", "fetch", "some", "--folder", str(tmp_path), "--json")) == {
        "weights": str(tmp_path / "weights")
    }
    fetch.assert_called_once_with("some", tmp_path)
    assert {"checkpoint", "link"} <= set(json.loads(said("models", "fetch", "--json"))[0])


def test_a_source_is_fetched_by_its_name(monkeypatch):
    get = create_autospec(ps.data.get, return_value=("one", "two"))
    monkeypatch.setattr(ps.data, "get", get)
    assert said("data", "get", "cifar10") == "one\ntwo\n"
    get.assert_called_once_with("cifar10")


def test_a_dataset_of_ones_own_is_converted(tmp_path, monkeypatch):
    made = [(Image.fromarray(np.full((8, 8, 3), 60 * k, np.uint8)), k % 2) for k in range(4)]
    room = ModuleType("made_for_the_verbs")
    room.mine = lambda: {"train": made[:2], "test": made[2:]}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, room.__name__, room)
    told = json.loads(
        said("data", "convert", "--from", "made_for_the_verbs:mine", str(tmp_path / "a.beton"), "--split", "test", "--json")
    )
    assert [(file["split"], file["count"]) for file in told["files"]] == [("test", 2)]
    assert ps.data.open(tmp_path / "a.beton").split("test").pixels.read(1)[0, 0].tolist() == [180] * 3


def test_two_sources_are_not_converted_into_one_store():
    with pytest.raises(RequestError, match="convert got two sources, 'pets' and --from 'mine:pets'"):
        said("data", "convert", "pets", "a.beton", "--from", "mine:pets")


def test_a_plan_says_what_it_will_take_as_far_as_that_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSCOPE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own.toml").write_text(
        'question = "?"\n[base]\nmodel = {name = "mlp/tiny", width = 17}\ndata = {source = "shapetex"}\n[recipes.a]\n'
        '[recipes.b]\nmodel = "cnn/tiny"\n[[probes]]\nname = "accuracy"\n'
    )

    def last() -> str:
        return said("study", str(tmp_path / "own.toml"), "--plan", "--out", str(tmp_path / "out")).splitlines()[-1]

    assert last() == ("4 of 4 steps to do: nothing like them was ever measured here, so how long they take is not known.")
    plan = make_plan(Study.load(str(tmp_path / "own.toml")), tmp_path / "out")
    for step, seconds in zip(plan.steps[:3], (60.0, 30.0, 5.0), strict=True):
        remember(step, seconds, 2**30)
        seen = last()
    assert seen.startswith("4 of 4 steps to do: at least ")
    assert seen.endswith(", without 1 step whose like was never measured.")
    remember(plan.steps[3], 5.0, 2**30)
    assert "at least" not in last()
    assert last().endswith(" GiB, 0 MiB on disk.")


def test_what_failed_in_a_study_is_told_by_its_step_for_scripts(tmp_path, monkeypatch):
    left_out = "Left out, because it needs 'train a-s0', which failed."
    failed = {"train a-s0": Failure("No disk."), "accuracy of a-s0": Failure(left_out, "train a-s0")}
    monkeypatch.setattr("priorscope.study.run.run_study", lambda *_, **__: StudyOutcome(tmp_path, 3, failed))
    monkeypatch.setattr("priorscope.report.write_study_page", lambda folder: folder / "report.html")
    done = CliRunner().invoke(app, ["study", "quickstart", "--out", str(tmp_path), "--json"])
    told = json.loads(done.stdout)
    assert (told["steps_done"], told["failed"]) == (1, {"train a-s0": "No disk.", "accuracy of a-s0": left_out})
    assert isinstance(done.exception, WorkError)


def test_a_verb_shows_a_setting_that_it_takes():
    assert "e.g. base.optim.lr=0.001;" in " ".join(said("study", "--help").split())
    assert "e.g. optim.lr=0.001;" in " ".join(said("train", "--help").split())
    assert Study.load("scaling", ["base.optim.lr=0.001"]).base["optim"]["lr"] == 0.001


@pytest.mark.parametrize(
    ("command", "came"),
    [
        (["probe", "list", "runs/a"], "probe list came with"),
        (["probe", "list", "--set", "k=3"], "probe list came with"),
        (["probe", "list", "--fresh"], "probe list came with"),
        (["study", "list", "--plan"], "study list came with"),
        (["study", "list", "--budget", "smoke"], "study list came with"),
        (["data", "info", "shapetex", "--split", "val"], "--split came without --sheet"),
        (["data", "info", "shapetex", "--sheet", "a.jpg"], "A contact sheet was to be written to a.jpg."),
        (["data", "info", "no/pictures", "--sheet", "."], r"A contact sheet was to be written to \.\.\n.*\n.*try: +sheet\.png"),
        (["bench", "study", "nope"], "'nope' is not a study."),
        (["bench", "study", "quickstart", "--set", "base.data.source=3"], "In recipe 'mlp' of quickstart: 3 does not name"),
    ],
)
def test_what_a_verb_would_not_read_is_refused(command: list[str], came: str):
    with pytest.raises(RequestError, match=came):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_a_contact_sheet_is_written_where_it_is_said_to_be(tmp_path):
    tiny = '{name = "shapetex", train = 20, val = 10, test = 90}'
    sheet = tmp_path / "a sheet.png"
    assert said("data", "info", tiny, "--sheet", str(sheet)).splitlines()[-1] == str(sheet)
    assert json.loads(said("data", "info", tiny, "--sheet", str(sheet), "--json"))["sheet"] == str(sheet)
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_a_command_that_is_told_can_be_typed(tmp_path):
    place = tmp_path / "my runs" / "a"
    with pytest.raises(RequestError) as caught:
        ps.load(place)
    assert shlex.split(caught.value.do)[-2:] == ["--out", str(place)]
    with pytest.raises(RequestError) as caught:
        CliRunner().invoke(app, ["study", "list", "--plan"], catch_exceptions=False)
    assert caught.value.do == "priorscope study list"
    with pytest.raises(RequestError) as caught:
        CliRunner().invoke(app, ["doctor", str(place / "steps.jsonl")], catch_exceptions=False)
    assert shlex.split(caught.value.do) == ["priorscope", "doctor", str(place)]
    with pytest.raises(RequestError) as caught:
        augment_config("flipp")
    assert caught.value.do == "'flip' (did you mean that?)"


def test_a_recipe_is_no_study_and_is_told_its_verb(tmp_path):
    (tmp_path / "mine.toml").write_text('model = "mlp/tiny"\n[data]\nsource = "shapetex"\n', encoding="utf-8")
    with pytest.raises(RequestError, match="is a recipe") as refused:
        Study.load(str(tmp_path / "mine.toml"))
    assert refused.value.do == f"priorscope train {tmp_path / 'mine.toml'}"


def test_what_was_found_before_an_error_is_told_and_written(tmp_path, tiny):
    whole, broken = (str(ps.fit(tiny.replace(seed=seed), tmp_path / f"s{seed}").path) for seed in (0, 1))
    (tmp_path / "s1" / "weights.safetensors").unlink()
    asked = ["probe", "accuracy", whole, broken, "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, asked)
    assert isinstance(done.exception, RequestError)
    assert done.exception.came.endswith("has lost its weights.")
    assert done.stdout.startswith(f"{whole}: ")
    assert done.stdout.splitlines()[-1] == str(tmp_path / "out" / "accuracy.json")
    assert json.loads((tmp_path / "out" / "accuracy.json").read_text())["probe"] == "accuracy"
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert isinstance(done.exception, RequestError)
    assert list(json.loads(done.stdout)) == [whole]
    assert done.stderr.splitlines()[0] == "1 result read as kept, not measured now: --fresh measures again"
    assert "read as kept" not in CliRunner().invoke(app, [*asked, "--fresh"]).stderr


@pytest.mark.parametrize(("typed", "came"), [("{file}", "{file} is a study."), ("quickstart", "quickstart is a study.")])
@pytest.mark.parametrize("verb", ["train", "doctor"])
def test_a_study_is_no_recipe_and_is_told_its_verb(tmp_path, verb, typed, came):
    (tmp_path / "mine.toml").write_text('question = "?"\n[recipes.a]\nmodel = "mlp/tiny"\n')
    typed, came = (text.format(file=tmp_path / "mine.toml") for text in (typed, came))
    with pytest.raises(RequestError) as refused:
        CliRunner().invoke(app, [verb, typed], catch_exceptions=False)
    assert (refused.value.came, refused.value.do) == (came, f"priorscope study {typed}")


def test_a_run_s_log_is_told_whose_folder_doctor_wants(tmp_path):
    (tmp_path / "steps.jsonl").write_text("{}\n")
    with pytest.raises(RequestError) as refused:
        CliRunner().invoke(app, ["doctor", str(tmp_path / "steps.jsonl")], catch_exceptions=False)
    assert refused.value.do == f"priorscope doctor {tmp_path}"


@pytest.mark.parametrize("typed", ["--out={}", "--set=init.run={}", "{}", "data.source={}"])
def test_a_tilde_that_the_shell_left_is_the_home(monkeypatch, typed):
    monkeypatch.setenv("HOME", "/home/me")
    assert _at_home(typed.format("~/a b=~")) == typed.format("/home/me/a b=~")
    assert _at_home("a~b") == "a~b"


def test_labels_are_names(tmp_path, tiny):
    run = str(ps.fit(tiny, tmp_path / "a").path)
    said("plot", "curves", run, run, "--labels", "A, A", "--out", str(tmp_path / "c.csv"))
    assert "A,mlp," in (tmp_path / "c.csv").read_text()
    for labels in ("A,", " "):
        with pytest.raises(RequestError, match="names nothing in one place"):
            said("plot", "curves", run, run, "--labels", labels, "--out", str(tmp_path / "c.csv"))


def test_a_report_says_where_it_has_no_table(tmp_path, tiny):
    run = ps.fit(tiny, tmp_path / "a")
    done = CliRunner().invoke(app, ["report", str(run.path), "--tables", str(tmp_path / "t")], catch_exceptions=False)
    assert (done.stdout, done.stderr.splitlines()[-1]) == (
        "",
        f"nothing was written to {tmp_path / 't'}: there is no result to make a table of",
    )


def test_a_report_says_what_it_left_out(tmp_path, tiny):
    run = ps.fit(tiny, tmp_path / "a")
    (run.path / "steps.jsonl").write_text('{"epoch": 1', encoding="utf-8")
    done = CliRunner().invoke(
        app, ["report", str(run.path), "--out", str(tmp_path / "a.html"), "--json"], catch_exceptions=False
    )
    (failure,) = json.loads(done.stdout)["failures"]
    assert failure.startswith("a/steps.jsonl")
    assert "is damaged" in failure
    assert f"left out of the page: {failure}" in done.stderr


def _commands() -> Iterator[tuple[str, ...]]:
    """Every page of help there is, by the words that lead to it."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(typer.main.get_command(app), ())]
    while waiting:
        command, words = waiting.pop()
        yield words
        waiting += [(below, (*words, name)) for name, below in getattr(command, "commands", {}).items()]


@pytest.mark.parametrize("words", [*_commands()], ids=" ".join)
def test_help_is_whole_and_in_the_words_of_the_pages(words: tuple[str, ...]):
    told = said(*words, "-h")
    assert told == said(*words, "--help")
    assert "..." not in re.sub(r"[A-Z]\.\.\.|COMMAND \[ARGS\]\.\.\.", "", told), "a sentence that is cut"
    assert not re.search(r"[{}]|<list|\[\[|\.{4}", told)


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        ("study", "NAME|FILE"),
        ("probe", "NAME [SUBJECT...]"),
        ("plot curves", "RUN|STUDY|LOG..."),
        ("train", "NAME|FILE"),
        ("recipes show", "NAME|FILE"),
        ("report", "RUN|STUDY..."),
        ("doctor", "[RECIPE|RUN|STUDY|LOG|SCRIPT]"),
        ("data info", "NAME|PATH"),
        ("data get", "NAME"),
        ("data convert", "[SRC] [DST.beton]"),
        ("data verify", "PATH"),
        ("models info", "NAME"),
        ("models import", "WEIGHTS"),
        ("bench study", "[NAME|FILE]"),
    ],
)
def test_a_usage_line_reads_as_the_pages_write_it(words: str, usage: str):
    assert said(*words.split(), "--help").splitlines()[0] == f"Usage: priorscope {words} [OPTIONS] {usage}"


def test_the_first_page_names_exit_statuses_and_variables():
    told = " ".join(said("--help").split())
    assert "Exit status: 0 done, 1 the work failed or doctor found a fault, 2 the request was wrong" in told
    assert "PRIORSCOPE_DATA is the folder of published data sets" in told
    assert "PRIORSCOPE_CACHE that of what can be made again" in told


@pytest.mark.parametrize(
    ("words", "help"),
    [
        ("probe", "Another source than the run's own; networks from elsewhere need one."),
        ("plot curves", "Folders of runs or studies, or logs of the predecessors"),
        ("train", "A shipped recipe (`recipes list` shows them) or a TOML file."),
    ],
)
def test_help_says_what_a_verb_takes(words: str, help: str):
    assert help in " ".join(said(*words.split(), "--help").split())


def test_fresh_says_what_it_deletes():
    assert "Delete its runs, stale runs and results" in " ".join(said("study", "--help").split())


def test_what_fails_is_told_from_what_cannot_be_printed(monkeypatch, capsys):
    """An error of a user's own code keeps its traceback."""

    def fail(error):
        def run(_):
            raise error

        monkeypatch.setattr(cli, "_run", run)
        with pytest.raises(SystemExit, match="1"):
            cli.main([])
        return capsys.readouterr().err.partition("\n")[0]

    assert fail(OSError(errno.EIO, "Input/output error")) == "priorscope: The work failed: [Errno 5] Input/output error."
    assert fail(PermissionError(13, "Permission denied", "a")) == "priorscope: a cannot be read or written: Permission denied."
    own = OSError("mine")
    own.add_note("raised in your own code, my_net:made")
    with pytest.raises(OSError, match="mine"):
        fail(own)


def test_the_version_is_looked_up_when_somebody_asks():
    code = "import sys, priorscope; assert 'importlib.metadata' not in sys.modules; print(priorscope.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == version("priorscope")
