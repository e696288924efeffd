"""LaTeX tables: what a small reader of LaTeX makes of them, whatever names say. No TeX is needed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from fake_study import accuracy, write_run, write_study

from priorscope.cli import main
from priorscope.core.contracts import About, Metric
from priorscope.probes.transfer import Transfer
from priorscope.report.latex import _digits, all_tables, escaped, write_tables
from priorscope.report.records import Outcome, Reading

HOSTILE = r"""\input{/etc/passwd} $x_1^2$ & 100% #1 ~{}} [2ex] * --- ``'' "q" <a|b>"""


def read_back(text: str) -> str:
    """What escaped text draws: the commands that stand for characters, undone one by one."""
    commands = {
        r"\textbackslash{}": "\\", r"\textasciicircum{}": "^", r"\textasciitilde{}": "~", r"\textless{}": "<",
        r"\textgreater{}": ">", r"\textbar{}": "|", r"{\char34}": '"', r"\textasciigrave{}": "`", "-{}": "-", "{[}": "[",
        "{]}": "]", "{*}": "*", r"\{": "{", r"\}": "}", r"\$": "$", r"\&": "&", r"\#": "#", r"\%": "%", r"\_": "_",
    }  # fmt: skip
    pattern = "|".join(re.escape(command) for command in commands)
    return re.sub(pattern, lambda match: commands[match[0]], text)


def rows_of(table: str) -> list[list[str]]:
    """The cells of a table that is whole: one environment in another, every row of as many cells as there are columns."""
    lines = [line.strip() for line in table.splitlines()]
    assert lines[0].startswith("% Made by: priorscope report ")
    body = [line for line in lines[1:] if not line.startswith("%")]
    text = re.sub(r"\\[\\{}$&#%_]", "", "\n".join(body))  # what is escaped is no syntax
    depth = 0
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert text.count("$") % 2 == 0
    assert not set("#%~") & set(text)
    assert [line for line in body if line.startswith(("\\begin", "\\end"))][1:] == [
        line for line in body if line.startswith("\\begin{tabular}")
    ] + ["\\end{tabular}", "\\end{table}"]
    for outside_mathematics in re.sub(r"\$[^$]*\$|\\label\{[^}]*\}", "", text).splitlines():
        assert not set("^_") & set(outside_mathematics), outside_mathematics
    columns = next(re.sub(r"p\{[^}]*\{?[^}]*\}?\}", "p", line.split("}{", 1)[1]) for line in body if "begin{tabular}" in line)
    rows = [re.split(r"(?<!\\)&", line.removesuffix("\\\\")) for line in body if line.endswith("\\\\")]
    assert {len(row) for row in rows} == {len(columns.strip("{}"))}
    assert [body.index(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")] == sorted(
        body.index(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")
    )
    return [[cell.strip() for cell in row] for row in rows]


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, str]:
    study = write_study(tmp_path / "out", {"mlp": 0.5, "cnn": 0.7}, seeds=(0, 1, 2))
    return {path.stem: path.read_text() for path in write_tables([study], tmp_path / "tables")}


def test_every_table_is_whole(tables):
    assert list(tables) == ["models", "accuracy", "accuracy-pairs", "cue_conflict"]
    for text in tables.values():
        rows_of(text)


def test_a_recipe_stands_with_its_number_and_its_interval(tables, tmp_path):
    from priorscope.report.reading import read_study
    from priorscope.report.verdict import findings

    (arm, _) = findings(read_study(tmp_path / "out"))[0].arms
    head, first, _ = rows_of(tables["accuracy"])
    assert arm.interval is not None
    assert head == ["recipe", "family", "seeds", "$n$", "accuracy (\\%)", "95\\,\\% interval", "over"]
    ends = f"{100 * arm.interval.low:.1f} to {100 * arm.interval.high:.1f}"
    assert first == ["cnn", "cnn", "3", "1{,}000", "70.0", ends, "seeds x images"]


def test_differences_carry_their_intervals_and_corrected_p(tables):
    (_, row) = rows_of(tables["accuracy-pairs"])
    assert row[:3] == ["cnn", "mlp", "+20"]
    assert row[4:] == ["1{,}000", "$< 0.001$", "higher"]
    assert "$n$ counts the images that they were compared on." in tables["accuracy-pairs"]


def test_few_images_behind_a_comparison_are_a_caveat_of_its_table(tmp_path):
    study = write_study(tmp_path / "out", {"mlp": 0.3, "cnn": 0.7}, seeds=(0, 1, 2), probes=("accuracy",), images=20)
    (pairs,) = (path for path in write_tables([study], tmp_path / "tables") if path.stem == "accuracy-pairs")
    assert "Compared on only 20 images, few for an interval." in pairs.read_text()


def test_too_few_seeds_are_marked_and_the_mark_is_explained(tables):
    assert rows_of(tables["cue_conflict"])[1][0] == "mlp$^\\dagger$"
    assert "$^\\dagger$About these checkpoints, not their family, for which 5 seeds are needed." in tables["cue_conflict"]
    assert "dagger" not in tables["accuracy"]


def test_hostile_names_stay_text(tmp_path):
    name = HOSTILE.replace("/", "-")
    write_run(tmp_path / "out" / "runs" / f"{name}-s0", "mlp", 0, {"accuracy": accuracy(0.5, 0)})
    (tmp_path / "out" / "study.toml").write_text(tomli_w.dumps({"name": name, "question": name, "probes": []}))
    written = write_tables([tmp_path / "out"], tmp_path / "tables")
    rows = rows_of((tmp_path / "tables" / "accuracy.tex").read_text())
    assert read_back(rows[1][0].removesuffix("$^\\dagger$")) == name
    assert [path.stem for path in written] == ["models", "accuracy"]
    rows_of(written[0].read_text())
    assert f"\\caption{{{escaped(name)}: {escaped(name)}. " in written[0].read_text()


def test_claims_have_a_table_of_their_own(tmp_path):
    study = write_study(tmp_path / "out", {"mlp": 0.5, "cnn": 0.7})
    claims = {"claims": ["cnn > mlp in accuracy, margin 0.1", "mlp > cnn in accuracy"]}
    (study / "study.toml").write_text(tomli_w.dumps(claims) + (study / "study.toml").read_text())
    write_tables([study], tmp_path / "tables")
    _, first, second = rows_of((tmp_path / "tables" / "claims.tex").read_text())
    assert first[:2] == ["cnn \\textgreater{} mlp in accuracy, margin 0.1", "supported"]
    assert second[1] == "contradicted"


@pytest.mark.parametrize("text", [HOSTILE, "plain", "a\\\\b", "}{", "%", "-----"])
def test_escaped_text_draws_what_it_was(text):
    assert read_back(escaped(text)) == text


def test_lines_end_and_hidden_characters_go():
    assert escaped("a\nb\u202e\x07c\t d") == "a bc d"


@pytest.mark.parametrize(
    ("number", "drawn"),
    [
        ("2e-05", "$2 \\times 10^{-5}$"),
        ("-1.5e+12", "$-1.5 \\times 10^{12}$"),
        ("-0.25", "$-$0.25"),
        ("+3", "+3"),
        ("1,234,567", "1{,}234{,}567"),
        ("nan", "nan"),
    ],
)
def test_numbers_are_written_as_mathematics(number, drawn):
    assert _digits(number) == drawn


def test_many_probes_go_into_several_tables(tmp_path):
    results = {f"accuracy-{k}": accuracy(0.5, k) for k in range(6)}
    run = write_run(tmp_path / "runs" / "mlp-s0", "mlp", 0, {"accuracy": accuracy(0.5, 0)})
    (stored,) = (run / "results" / "accuracy").glob("*.json")
    for k in range(len(results)):
        copy = stored.read_text().replace('"split": "test"', f'"split": "test{k}"', 1)
        stored.with_name(f"{k:016}.json").write_text(copy)
        stored.with_name(f"{k:016}.npz").write_bytes(stored.with_suffix(".npz").read_bytes())
    names = [path.stem for path in write_tables([tmp_path], tmp_path / "tables")]
    assert names[:2] == ["models", "models-2"]
    assert names[2:] == ["accuracy", *(f"accuracy-{k}" for k in range(2, 8))]


def test_the_command_writes_them_and_names_the_files(tmp_path, capsys):
    study = write_study(tmp_path / "out", {"mlp": 0.5, "cnn": 0.7})
    with pytest.raises(SystemExit) as done:
        main(["report", str(study), "--tables", str(tmp_path / "tables")])
    assert done.value.code == 0
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "tables" / "models.tex")


def test_a_report_of_nothing_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        main(["report", str(tmp_path)])
    assert done.value.code == 2
    assert capsys.readouterr().err == (
        "priorscope: report got none of --out, --diff and --tables.\n"
        "  wanted: at least one of them\n"
        "  try:    --out report.html\n"
    )


def joint(folder, result, names):
    about = {"subjects": [{"name": name, "family": name[:3], "recipe": name[:3], "seed": 0} for name in names]}
    result.save(folder / "joint" / result.probe / "0123456789abcdef.json", About.parse(about))


def test_who_fools_whom_has_a_table(tmp_path):
    fooled = np.zeros((2, 2, 10), bool)
    fooled[0, 1, :5] = fooled[0, 0] = fooled[1, 1] = True
    small = {
        name: np.zeros(0) for name in ("strength", "weakness", "strength_low", "strength_high", "weakness_low", "weakness_high")
    }
    result = Transfer(
        value=0.25, interval=None, n=20, unit="share of images", caveats=("Few images.",), names=("mlp_s0", "cnn-s0"),
        split="test", attack="mi-fgsm", attacks=("mi-fgsm, 10 steps",), norm="linf", eps=8 / 255, seed=0,
        clean=np.ones((2, 10), bool), fooled=fooled, noise=np.zeros((2, 10), bool), affinity=np.zeros((0, 0)), **small,
    )  # fmt: skip
    study = write_study(tmp_path / "out", {"mlp": 0.5, "cnn": 0.7}, seeds=(0,))
    joint(study, result, result.names)
    write_tables([study], tmp_path / "tables")
    text = (tmp_path / "tables" / "transfer.tex").read_text()
    head, first, second, noise = rows_of(text)
    assert head == ["source, by target", "mlp\\_s0", "cnn-s0"]
    assert first == ["mlp\\_s0", "100.0 (72.2 to 100.0)", "50.0 (23.7 to 76.3)"], "Wilson's intervals of 10 of 10 and 5 of 10"
    assert second[1].startswith("0.0 (0.0 to ")
    assert noise[0] == "random signs"
    assert "that both get right. In \\%. Intervals" in text
    assert "Few images." in text


def test_a_joint_result_without_a_matrix_lists_its_first_numbers(monkeypatch):
    monkeypatch.setattr(Transfer, "matrices", lambda _self: [])
    planted = [Metric(metric=f"number {i}", value=i / 100, n=9, unit="share of images") for i in range(60)]
    monkeypatch.setattr(Transfer, "metrics", lambda _self: planted)
    monkeypatch.setattr(Transfer, "protocol", lambda _self: "As planted.")
    reading = Reading("s", "q?", "", ("s",), (), (Outcome(Transfer.model_construct(caveats=()), ()),), ())
    rows = rows_of(all_tables(reading)["transfer"])
    assert rows[0][:3] == ["number", "of", "value (95\\,\\% interval)"]
    assert rows[1] == ["number 0", "--", "0.0", "9", "\\%"], "as the number is written"
    assert len(rows) == 41
    assert "The first 40 of 60 numbers." in all_tables(reading)["transfer"]


def test_a_caption_of_runs_without_a_question_is_whole_sentences(tmp_path):
    run = write_run(tmp_path / "mlp-s0", "mlp", 0, {"accuracy": accuracy(0.5, 0)})
    write_tables([run], tmp_path / "tables")
    assert r"\caption{mlp-s0. Intervals at 95\,\%." in (tmp_path / "tables" / "models.tex").read_text()


def test_a_claim_says_its_unit_once_and_minus_as_mathematics(tmp_path):
    study = write_study(tmp_path / "out", {"mlp": 0.5, "cnn": 0.7})
    (study / "study.toml").write_text('claims = ["mlp > cnn in accuracy"]\n' + (study / "study.toml").read_text())
    write_tables([study], tmp_path / "tables")
    said = rows_of((tmp_path / "tables" / "claims.tex").read_text())[1][2]
    assert said.count("points") == 1
    assert re.search(r"a difference of \$-\$20\.0 points \(\$-\$[\d.]+ to \$-\$[\d.]+; 95\\% interval", said)
