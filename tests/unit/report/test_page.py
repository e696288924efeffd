from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fake_study import accuracy, write_run, write_study

from priorscope.core.contracts import Standing, Subject
from priorscope.core.errors import RequestError
from priorscope.probes.accuracy import Accuracy
from priorscope.report import write_report, write_study_page
from priorscope.report.joined import read_sources
from priorscope.report.page import contents, render
from priorscope.report.records import Outcome, Reading
from priorscope.report.sections import joined_command
from priorscope.run import Run

HOSTILE = "<script>alert(1)<!--"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    study = write_study(
        tmp_path_factory.mktemp("study"),
        {"mlp": 0.55, "cnn": 0.78},
        failures=[{"step": "train tnt-s0", "error": "It diverged."}],
    )
    return write_report([study], study / "report.html").read_text()


def payload(page: str) -> dict[str, dict[str, dict[str, str]]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_says_question_answer_limits_caveats_and_failures(page: str) -> None:
    assert "<h1>Does an MLP lean on texture where a CNN leans on shape?</h1>" in page
    assert "cnn has a higher accuracy than mlp: " in page
    assert "A sentence about a family needs 5 seeds of it; here there are 3." in page
    assert "none was tuned for a best of its own" in page
    assert "how fast each cue is learnt was not measured. <small>(all)</small>" in page
    assert "It diverged." in page


def test_every_figure_has_title_n_protocol_command_words_and_data(page: str) -> None:
    figures = payload(page)["figures"]
    assert len(figures) == page.count("<figure ") >= 8
    for id, figure in figures.items():
        block = re.search(rf'<figure id="{id}">(.*?)</figure>', page, re.DOTALL)
        assert block, id
        assert re.search(r"<h3>[^<]+</h3>", block[1])
        assert re.search(r"<figcaption>\s*<p>[^<]*\d[^<]*</p>", block[1]), "n and protocol"
        assert "<code>priorscope " in block[1]
        assert re.search(r'role="img" aria-label="[^"]+"', block[1])
        assert figure["csv"].count("\n") >= 2
        for kind in ("svg", "png", "csv"):
            assert f'data-save="{kind}" data-of="{id}"' in block[1]


def test_the_command_of_a_figure_names_every_run(page: str) -> None:
    found = re.search(r'<figure id="accuracy-1">.*?<code>(.*?)</code>', page, re.DOTALL)
    assert found
    runs = " ".join(f"runs/{family}-s{seed}" for family in ("mlp", "cnn") for seed in range(3))
    assert found[1] == f"priorscope probe accuracy {runs} --out pictures"


def test_runs_that_were_asked_in_one_way_share_a_command() -> None:
    """Wherever they were typed, whatever they are called; what was asked otherwise stands by itself."""
    assert joined_command(
        [
            "priorscope probe cost 'out/my study/runs/a-s0' --device cuda",
            "priorscope probe cost runs/b-s0 --device cuda",
            "priorscope probe cost runs/b-s0",
            "priorscope probe cost 'elsewhere/b s1' --set 'targets=[0.5, 0.6]' --data cifar10 --device cuda",
            "",
        ]
    ).splitlines() == [
        "priorscope probe cost runs/a-s0 runs/b-s0 --device cuda --out pictures",
        "priorscope probe cost runs/b-s0 --out pictures",
        "priorscope probe cost 'elsewhere/b s1' --set 'targets=[0.5, 0.6]' --data cifar10 --device cuda --out pictures",
    ]


def test_nothing_is_fetched(page: str) -> None:
    without_data = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", without_data)
    assert "@import" not in without_data
    assert "url(" not in without_data


def test_the_policy_allows_these_scripts_alone(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy[1]
    script_source = policy[1].split(";")[1]
    assert "unsafe-inline" not in script_source
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 3
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in script_source


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", {"mlp": 0.5}, seeds=(0,), name=HOSTILE, failures=[{"step": HOSTILE, "error": HOSTILE}])
    write_run(study / "runs" / HOSTILE, 'x" onload="alert(1)', 0, {"accuracy": accuracy(0.4, 7)})
    text = write_report([study], tmp_path / "report.html", title=f"{HOSTILE}</title>").read_text()
    assert "<script>alert" not in text
    assert 'onload="alert' not in text
    assert "</title></title>" not in text
    assert "&lt;script&gt;alert(1)&lt;!--" in text
    assert HOSTILE in json.dumps(payload(text)), "the name is whole in the data of the charts"


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", {"mlp": 0.5, "cnn": 0.6}, seeds=(0,))
    assert (
        write_report([study], tmp_path / "a" / "r.html").read_bytes()
        == write_report([study], tmp_path / "b" / "r.html").read_bytes()
    )


def test_the_command_that_a_page_tells_can_be_typed(tmp_path: Path) -> None:
    study = write_study(tmp_path / "my study", {"mlp": 0.5}, seeds=(0,))
    command = contents(read_sources([study]), None, "a page.html", read_sources([study])).command
    assert shlex.split(command) == ["priorscope", "report", "my study", "--out", "a page.html", "--diff", "my study"]


def test_neither_torch_nor_timm_is_imported(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", {"mlp": 0.5}, seeds=(0,))
    code = (
        "import sys; from priorscope.report import write_report; from priorscope.report.tidy import write_tidy; "
        f"write_report([{str(study)!r}], {str(tmp_path / 'r.html')!r}); write_tidy({str(study)!r}); "
        "print([m for m in ('torch', 'timm', 'torchvision') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_single_run_is_a_page_too(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine", "vit", 0, {"accuracy": accuracy(0.6, 3)})
    text = write_report([run], tmp_path / "r.html", title="My run").read_text()
    assert "<h1>My run</h1>" in text
    assert "This checkpoint of mine has an accuracy of 60.0%" in text
    for same in ([Run(run)], Run(run), str(run)):
        assert write_report(same, tmp_path / "r.html", title="My run").read_text() == text


def test_what_is_no_page_and_no_run_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine", "vit", 0, {"accuracy": accuracy(0.6, 3)})
    with pytest.raises(RequestError, match=r"page\.pdf names no page"):
        write_report([run], tmp_path / "page.pdf")
    with pytest.raises(RequestError, match="Accuracy is neither"):
        write_report([accuracy(0.6, 3)], tmp_path / "r.html")
    assert not list(tmp_path.glob("*.pdf"))


def test_a_study_without_results_says_so(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5}, seeds=(0,), probes=())
    assert "No result is stored yet, so there is no answer." in write_report([study], tmp_path / "r.html").read_text()


def test_runs_of_other_worlds_have_curves_of_their_own(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5, "cnn": 0.6}, seeds=(0,), probes=("accuracy",))
    recipe = study / "runs/cnn-s0/recipe.toml"
    recipe.write_text(recipe.read_text().replace('name = "shapetex"', 'name = "shapetex"\ncue = "shape"'))
    mlp = study / "runs/mlp-s0/recipe.toml"
    mlp.write_text(mlp.read_text().replace('name = "shapetex"', 'name = "shapetex"\ncue = "both"'))
    titles = [figure["title"] for figure in payload(render(contents(read_sources([study]))))["figures"].values()]
    assert sum(title.endswith("(cue shape)") for title in titles) == 2
    assert sum(title.endswith("(cue both)") for title in titles) == 2


def test_results_about_pairs_have_a_section() -> None:
    a, b = Subject(name="mlp-s0", family="mlp"), Subject(name="cnn-s0", family="cnn")
    text = render(contents(Reading("s", "q?", "", ("s",), (), (Outcome(accuracy(0.6, 0), (a, b)),), ())))
    assert "It is right on 60.0% of 1,000 images" in text
    assert "mlp-s0 → cnn-s0" in text


def test_a_probe_that_cannot_draw_is_a_failure_of_the_page_not_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> list[object]:
        raise ValueError("no colour left")

    monkeypatch.setattr(Accuracy, "draw", broken)
    text = render(contents(read_sources([write_study(tmp_path, {"mlp": 0.5}, seeds=(0,))])))
    assert "draw accuracy" in text
    assert "ValueError: no colour left" in text
    assert "shape share over the dial" in text


def test_the_page_is_small(page: str) -> None:
    assert len(page) < 1_600_000, "0.9 MB of it are the charting library"


def test_what_lacks_what_its_name_promises_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its section, and stands neither among the first sentences nor in the table of recipes."""
    study = write_study(tmp_path / "study", {"mlp": 0.55, "cnn": 0.78})
    whole = render(contents(read_sources([study])))
    monkeypatch.setattr(Accuracy, "standing", lambda _self: Standing(leads=False))
    partial = render(contents(read_sources([study])))
    assert "cnn has a higher accuracy than mlp" in whole.partition("</section>")[0]
    assert "cnn has a higher accuracy than mlp" not in partial.partition("</section>")[0]
    assert '<section id="accuracy"' in partial


def test_a_study_s_page_is_written_where_it_is_not_of_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changed what is stored, and wherever the writing was cut short; nothing is written where nothing changed."""
    study = write_study(tmp_path, {"mlp": 0.5}, seeds=(0,))

    def anew() -> bool:
        before = page.stat().st_mtime_ns
        return write_study_page(study).stat().st_mtime_ns != before

    page = write_study_page(study)
    assert not anew()
    write_run(study / "runs" / "cnn-s0", "cnn", 0, {"accuracy": accuracy(0.6, 0)})
    assert anew()
    assert "cnn" in page.read_text()
    (study / "study.toml").write_text((study / "study.toml").read_text().replace("Does an MLP", "Will an MLP"))
    assert anew()
    (study / "failures.json").write_text('{"failures": []}')
    assert anew()
    for name in ("results.json", "results.csv"):
        (study / name).unlink()
        assert anew()
    assert not anew()
    monkeypatch.setattr("priorscope.report.version", lambda _: "another")
    assert anew()


def test_one_error_is_said_once_with_all_steps_that_ended_with_it(tmp_path: Path) -> None:
    failures = [{"step": f"train mlp-s{seed}", "error": "The disk is full."} for seed in range(3)]
    failures.append({"step": "train cnn-s0", "error": "It diverged."})
    study = write_study(tmp_path / "s", {"mlp": 0.5}, seeds=(0,), failures=failures)
    text = write_report([study], tmp_path / "report.html").read_text()
    assert text.count("The disk is full.") == 1
    assert "<h3>train mlp-s0, train mlp-s1, train mlp-s2</h3>" in text
    assert "4 steps failed.</a>" in text


def test_a_run_is_named_as_seen_from_its_study_wherever_a_probe_was_typed(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", {"mlp": 0.5}, seeds=(0, 1), probes=("accuracy",))
    (stored,) = (study / "runs/mlp-s1/results/accuracy").glob("*.json")
    stored.write_text(stored.read_text().replace("accuracy runs/mlp-s1", "accuracy out/pets/runs/mlp-s1"))
    text = write_report([study], tmp_path / "report.html").read_text()
    assert "<code>priorscope probe accuracy runs/mlp-s0 runs/mlp-s1 --out pictures</code>" in text
