from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from fake_study import write_run, write_study

from priorscope.core.errors import RequestError, WorkError
from priorscope.report.curves import Curve, band_rows, curves_figure, family_in, read_curves, training_figures

# Foreign logs, in the layouts that the three predecessors wrote.


def test_reads_a_yaml_log_of_lists(tmp_path: Path) -> None:
    log = tmp_path / "perceiver_medium.yaml"
    log.write_text(
        "minibatch_losses:\n- 2.5\n- 2.25\nnum_params: 1234567\ntest_acc:\n- 0.25\n- 0.5\ntest_loss: [2.0, 1.5e+00]\n"
        "train_acc:\n  - 0.3\n  - 0.6\ntrain_loss:\n- .nan\n- 1.25\n"
    )
    (curve,) = read_curves(log)
    assert curve.family == "perceiver"
    assert curve.along("test", "acc") == ((1, 0.25), (2, 0.5))
    assert curve.along("test", "loss") == ((1, 2.0), (2, 1.5))
    assert curve.along("train", "acc") == ((1, 0.3), (2, 0.6))
    assert curve.along("train", "loss") == ((2, 1.25),)
    assert set(curve.points) == {("test", "acc"), ("test", "loss"), ("train", "acc"), ("train", "loss")}


def test_reads_a_yaml_list_over_several_lines(tmp_path: Path) -> None:
    log = tmp_path / "log.yml"
    log.write_text("test_acc: [0.1, 0.2,\n  0.3, 0.4]\n")
    assert read_curves(log)[0].along("test", "acc") == ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4))


@pytest.mark.parametrize(
    "text", ["test_acc: [0.1, 0.2\n", "test_acc:\n- one\n", "test_acc:\n  nested: {a: 1}\n", "!!python/object:os.system\n"]
)
def test_refuses_yaml_that_is_no_table_of_numbers(tmp_path: Path, text: str) -> None:
    log = tmp_path / "log.yaml"
    log.write_text(text)
    with pytest.raises(RequestError, match="is not understood"):
        read_curves(log)


def test_reads_a_json_log_of_rows_with_percentages(tmp_path: Path) -> None:
    log = tmp_path / "cifar10_tnt_lr0.0002_bs64_nepochs2_patch4_pixel2.json"
    rows = [
        {"epoch": 0, "trn_loss": 2.0, "trn_acc": 20.0, "val_loss": 1.9, "val_acc": 25.5},
        {"epoch": 1, "trn_loss": 1.5, "trn_acc": 40.0, "val_loss": 1.6, "val_acc": 37.5},
    ]
    log.write_text(json.dumps(rows))
    (curve,) = read_curves(log)
    assert curve.family == "tnt"
    assert curve.along("val", "acc") == ((0, 0.255), (1, 0.375))
    assert curve.along("train", "loss") == ((0, 2.0), (1, 1.5))


def test_percentages_are_known_where_the_first_epoch_was_not_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("epoch,val_acc\n1,nan\n2,45.2\n")
    (curve,) = read_curves(path)
    assert curve.along("val", "acc")[-1] == (2.0, pytest.approx(0.452))


def test_reads_a_csv_log_and_leaves_gaps_out(tmp_path: Path) -> None:
    log = tmp_path / "swin_loss.csv"
    log.write_text("epoch,train_loss,val_loss,train_acc,val_acc,lr\n1,2.0,1.8,0.2,0.3,x\n2,1.5,,0.4,0.5,y\n")
    (curve,) = read_curves(log)
    assert curve.family == "swin"
    assert curve.along("val", "loss") == ((1, 1.8),)
    assert curve.along("val", "acc") == ((1, 0.3), (2, 0.5))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "epoch,val_acc\n", "holds a header and no rows"),
        ("a.csv", "epoch,val_acc\n1,much\n", "holds 'much' where a number should stand"),
        ("a.csv", "step,value\n1,2\n", "holds no training curve"),
        ("a.json", "[1, 2]", "is no training log"),
        ("a.txt", "", "is no training log that is known here"),
    ],
)
def test_refuses_what_is_no_log(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RequestError, match=said):
        read_curves(tmp_path / name)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="There is no log"):
        read_curves(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("perceiver_io-lr1", "perceiver_io"),
        ("perceiver-io", "perceiver_io"),
        ("MLP_64", "mlp"),
        ("vital", "other"),
        ("cifar_vit_timm", "vit"),
    ],
)
def test_family_named_in_a_file(name: str, family: str) -> None:
    assert family_in(name) == family


# Ours.


def test_reads_a_run_a_study_and_a_steps_file(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, seeds=(0, 1))
    assert [curve.name for curve in read_curves(study)] == ["mlp-s0", "mlp-s1", "cnn-s0", "cnn-s1"]
    run = study / "runs" / "cnn-s1"
    assert read_curves(run) == read_curves(run / "steps.jsonl")
    (curve,) = read_curves(run)
    assert (curve.label, curve.family, curve.images) == ("cnn", "cnn", {"train": 1000, "val": 1000})
    assert len(curve.along("val", "acc")) == 12


def test_a_run_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """Its curves are not merely missing: its recipe, or its log, is damaged."""
    study = write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, seeds=(0,))
    for name, file in (("mlp-s0", "recipe.toml"), ("cnn-s0", "steps.jsonl")):
        (study / "runs" / name / file).write_text("{ torn")
        with pytest.raises(WorkError) as refused:
            read_curves(study / "runs" / name)
        assert refused.value.came.startswith(f"{study / 'runs' / name / file} is ")
        assert refused.value.do == f"mend {name}/{file}, or leave {study / 'runs' / name} out"
    with pytest.raises(WorkError, match=r"cnn-s0/steps\.jsonl is damaged"):
        read_curves(study)
    write_run(study / "runs" / "vit-s0", "vit", 0, {})
    assert [curve.name for curve in read_curves(study) if curve.points] == ["vit-s0"]


def test_a_run_before_its_first_epoch_has_no_curve_yet(tmp_path: Path) -> None:
    run = write_study(tmp_path, {"mlp": 0.5}, seeds=(0,)) / "runs" / "mlp-s0"
    (run / "steps.jsonl").unlink()
    with pytest.raises(RequestError, match="one of what they hold: no curves\n  try:    let the run end its first epoch"):
        curves_figure(read_curves(run))


def test_the_band_is_from_the_lowest_seed_to_the_highest(tmp_path: Path) -> None:
    for i, values in enumerate([(0.1, 0.5), (0.3, 0.6), (0.2, 0.7)]):
        (tmp_path / f"mlp{i}.csv").write_text("epoch,val_acc\n" + "".join(f"{e},{v}\n" for e, v in enumerate(values, 1)))
    curves = [curve for i in range(3) for curve in read_curves(tmp_path / f"mlp{i}.csv")]
    figure = curves_figure(curves, "acc", "val", ["MLP"] * 3)
    told = [(row["x"], round(row["y"], 9), row["low"], row["high"], row["seeds"]) for row in figure.rows]
    assert told == [(1, 0.2, 0.1, 0.3, 3), (2, 0.6, 0.5, 0.7, 3)]
    assert figure.title == "Val accuracy ends at 60.0% after 2 epochs"
    assert "bands: from the lowest seed to the highest" in figure.protocol


def test_epochs_that_one_seed_lacks_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("epoch,val_acc\n1,0.1\n2,0.2\n")
    (tmp_path / "b.csv").write_text("epoch,val_acc\n2,0.4\n3,0.5\n")
    curves = [*read_curves(tmp_path / "a.csv"), *read_curves(tmp_path / "b.csv")]
    rows = curves_figure(curves, labels=["x", "x"]).rows
    assert [row["x"] for row in rows] == [2]
    assert math.isclose(rows[0]["y"], 0.3)


def test_of_seeds_that_end_at_different_epochs_each_one_s_own_end_is_told(tmp_path: Path) -> None:
    """One ends at 40 % after 2 epochs, the other at 80 % after 4: drawn up to 2, the two end at 60 %."""
    (tmp_path / "a.csv").write_text("epoch,val_acc\n1,0.3\n2,0.4\n")
    (tmp_path / "b.csv").write_text("epoch,val_acc\n1,0.1\n2,0.2\n3,0.7\n4,0.8\n")
    curves = [*read_curves(tmp_path / "a.csv"), *read_curves(tmp_path / "b.csv")]
    figure = curves_figure(curves, labels=["x", "x"])
    assert figure.title == "Val accuracy ends at 60.0% after 2 to 4 epochs"
    assert "A line ends at the last epoch that all of its seeds have: x 2 (of up to 4)." in figure.protocol
    assert "x 0.6." in figure.alt
    assert [round(row["y"], 9) for row in figure.rows] == [0.2, 0.3]


def test_seeds_that_share_no_epoch_are_refused_or_said_to_be_left_out(tmp_path: Path) -> None:
    for name, epoch in (("a", 1), ("b", 2), ("c", 1)):
        (tmp_path / f"{name}.csv").write_text(f"epoch,val_acc\n{epoch},0.5\n")
    curves = [curve for name in "abc" for curve in read_curves(tmp_path / f"{name}.csv")]
    with pytest.raises(RequestError) as refused:
        curves_figure(curves[:2], labels=["x", "x"])
    assert str(refused.value) == (
        "The curves of x share no epoch with acc on val.\n  wanted: a label for seeds of one another alone\n"
        "  try:    --labels a,b"
    )
    figure = curves_figure(curves, labels=["x", "x", "y"])
    assert "Not drawn on val, because their seeds share no epoch: x." in figure.protocol


def test_curves_of_two_recipes_say_where_they_end_and_name_no_winner(tmp_path: Path) -> None:
    curves = read_curves(write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}))
    figure = curves_figure(curves, "acc", "val")
    ends = {row["series"]: row["y"] for row in figure.rows}  # the last epoch's is written last
    assert ends["cnn"] > ends["mlp"]
    assert figure.title == f"At the end, val accuracy runs from {ends['mlp']:.1%} (mlp) to {ends['cnn']:.1%} (cnn)"
    twin = [replace(curve, name=name, label=name) for name in ("a", "b") for curve in curves[:1]]
    assert curves_figure(twin, "acc", "val").title.startswith("Val accuracy of a and b ends at ")
    assert "<svg" in figure.svg()


def test_refuses_what_was_not_tracked_and_names_what_was(tmp_path: Path) -> None:
    curves = read_curves(write_study(tmp_path, {"mlp": 0.5}, seeds=(0,)))
    with pytest.raises(RequestError) as refused:
        curves_figure(curves, "acc", "test")
    assert str(refused.value) == (
        "No log holds acc on test.\n"
        "  wanted: one of what they hold: acc on train, loss on train, acc on val, loss on val\n"
        "  try:    --metric acc --split train"
    )


def test_refuses_a_wrong_number_of_labels(tmp_path: Path) -> None:
    curves = read_curves(write_study(tmp_path, {"mlp": 0.5}))
    with pytest.raises(RequestError, match="2 labels came for 3 curves"):
        curves_figure(curves, labels=["a", "b"])


def test_training_has_a_panel_a_split(tmp_path: Path) -> None:
    figures = training_figures(read_curves(write_study(tmp_path, {"mlp": 0.5, "cnn": 0.7}, seeds=(0,))))
    assert [figure.name for figure in figures.values()] == ["training-accuracy", "training-loss"]
    assert {row["split"] for row in figures["acc"].rows} == {"train", "val"}


def test_a_cell_s_curve_still_says_its_recipe(tmp_path: Path) -> None:
    """The page hides and shows by recipes; a grid's curves are called by what sets its cells apart."""
    study = write_study(tmp_path, {"mlp": 0.5}, seeds=(0,))
    write_run(study / "runs" / "mlp-width=64-s0", "mlp", 0, {})
    curves = [replace(curve, label=curve.grid[1] or curve.label) for curve in read_curves(study)]
    told = {(row["series"], row["recipe"]) for row in band_rows(curves, "acc", "val")}
    assert told == {("mlp", "mlp"), ("width=64", "mlp-width=64")}


def test_curves_that_look_alike_are_named_at_their_ends(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.csv").write_text("epoch,val_acc\n1,0.1\n2,0.2\n")
    curves = [*read_curves(tmp_path / "first.csv"), *read_curves(tmp_path / "second.csv")]
    svg = curves_figure(curves).svg()
    assert [svg.count(f">{name}<") for name in ("first", "second")] == [1, 1]


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("mlp-sizes-width=16-subset=250", ("mlp-sizes", "width=16-subset=250")),
        ("mlp-model=b_6-w=2", ("mlp", "model=b_6-w=2")),
        ("mlp-wide", ("", "")),
    ],
)
def test_a_cell_tells_its_grid(label: str, told: tuple[str, str]) -> None:
    assert Curve("run", label, "mlp", {}, {}).grid == told


def test_one_run_has_no_band(tmp_path: Path) -> None:
    rows = band_rows(read_curves(write_study(tmp_path, {"mlp": 0.5}, seeds=(0,))), "acc", "val")
    assert {(row["low"], row["high"]) for row in rows} == {(None, None)}


@pytest.mark.parametrize(
    ("values", "ends"),
    [((0.42, 1.0), [0.4, 1.0]), ((1.0, 1.0), [0.99, 1.0]), ((0.985, 0.991), [0.98, 1.0]), ((0.0, 0.0), [0.0, 0.01])],
)
def test_an_axis_of_accuracy_ends_at_100_percent(values: tuple[float, float], ends: list[float]) -> None:
    points = {("val", "acc"): tuple(enumerate(map(float, values), 1))}
    spec = json.dumps(curves_figure([Curve("mlp-s0", "mlp", "mlp", points, {})]).spec)
    assert f'"domain": {ends}' in spec


def test_a_study_that_was_not_carried_out_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('question = "?"\n')
    with pytest.raises(RequestError, match="was not carried out there"):
        read_curves(tmp_path)
