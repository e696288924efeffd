"""Surfaces over two settings: found in the recipes, their best cell named, and whether it stands at the edge."""

from __future__ import annotations

from typing import Any

import pytest
from test_verdict import Cost, Score, reading, right, run, scored

from priorscope.report.records import RunRecord
from priorscope.report.surfaces import edges, grids, surfaces
from priorscope.report.verdict import findings


def cell(lr: float, blocks: int, share: float, kind: type[Score] = Score, **more: Any) -> RunRecord:
    recipe = {"optim": {"lr": lr}, "model": {"name": "mlp/tiny", "blocks": blocks}, **more}
    name = f"mlp-lr={lr}-blocks={blocks}" + "".join(f"-{value}" for value in more.values())
    return run(name, 0, scored(right(share), kind), recipe=recipe)


def grid(best: tuple[float, int], **more: Any) -> list[RunRecord]:
    return [cell(lr, blocks, 0.5 + 0.3 * ((lr, blocks) == best), **more) for lr in (0.001, 0.003, 0.01) for blocks in (1, 2, 4)]


def drawn(runs: list[RunRecord]) -> list[Any]:
    (finding,) = findings(reading(runs))
    return list(surfaces(finding, runs))


def test_the_best_cell_inside_the_grid_is_named() -> None:
    (figure,) = drawn([*grid((0.003, 2)), *(run("cnn", seed, scored(right(0.5))) for seed in range(3))])
    assert figure.n.startswith("9 cells of 1 seed, n = ")
    assert figure.title == "Score is highest, 80.0%, at lr 0.003 and blocks 2"
    assert [(row["x"], row["y"]) for row in figure.rows][:2] == [("0.001", "4"), ("0.003", "4")], "rising to the right and up"
    assert len(figure.rows) == 9
    assert "chooses nothing" in figure.protocol


@pytest.mark.parametrize(("best", "said"), [((0.01, 2), "in lr"), ((0.003, 4), "in blocks"), ((0.001, 1), "in lr and blocks")])
def test_a_best_cell_at_the_edge_is_said_to_be_there(best: tuple[float, int], said: str) -> None:
    (figure,) = drawn(grid(best))
    assert figure.title.endswith(f", at the edge of the grid {said}")


def test_two_values_have_no_inside_and_no_edge_is_told() -> None:
    runs = [cell(lr, blocks, 0.5) for lr in (0.1, 0.2) for blocks in (1, 2)]
    (found,) = grids(runs)
    assert edges(found, (0.1, 1)) == []


def test_cells_that_no_test_tells_from_the_best_are_counted() -> None:
    """Of 1,000 images: of 700 and 698 right answers two differ, and of 700 and 400 three hundred."""
    shares = {(0.1, 1): 0.7, (0.1, 2): 0.698, (0.2, 1): 0.4, (0.2, 2): 0.4}
    (figure,) = drawn([cell(lr, blocks, share) for (lr, blocks), share in shares.items()])
    assert figure.title == "Score is highest, 70.0%, at lr 0.1 and blocks 1, not told apart from 1 of 3 others"


def test_lower_is_better_turns_the_best() -> None:
    runs = [cell(lr, blocks, 0.9 - 0.4 * (lr == 0.1), Cost) for lr in (0.1, 0.2) for blocks in (1, 2)]
    assert drawn(runs)[0].title.startswith("Cost is lowest, 50.0%, at lr 0.1")


def test_missing_cells_are_counted_and_a_line_of_cells_is_no_surface() -> None:
    (figure,) = drawn(grid((0.003, 2))[:-1])
    assert figure.protocol.startswith("1 combinations are missing.")
    assert drawn([cell(lr, 1, 0.5) for lr in (0.1, 0.2, 0.3, 0.4)]) == []


def test_settings_that_were_changed_one_at_a_time_are_not_a_surface() -> None:
    """Four cells that meet in a corner; with the one across from it they hold a grid of two by two."""
    corner = [cell(lr, blocks, 0.5) for lr, blocks in ((0.001, 1), (0.003, 1), (0.01, 1), (0.001, 2))]
    assert drawn(corner) == []
    (figure,) = drawn([*corner, cell(0.003, 2, 0.5)])
    assert figure.protocol.startswith("1 combinations are missing.")


def test_other_settings_make_grids_of_their_own() -> None:
    runs = [*grid((0.003, 2)), *grid((0.003, 2), data={"augment": "flip"})]
    first, second = drawn(runs)
    assert not first.title.endswith(")")
    assert second.title.endswith("(augment flip)")
    assert len(first.rows) == len(second.rows) == 9


def test_one_of_the_two_may_be_a_word() -> None:
    """Dropout by augmentation, as recipes are stored: an augmentation is a list of operations there."""
    from priorscope.data.augment import PRESETS

    shares = {("flip-crop", 0.0): 0.5, ("flip-crop", 0.2): 0.6, ("none", 0.0): 0.7, ("none", 0.2): 0.4}
    runs = [
        run(f"{name}-{rate}", 0, scored(right(share)), recipe={
            "model": {"name": "perceiver/tiny", "dropout": rate}, "data": {"augment": PRESETS[name].plain()},
        })
        for (name, rate), share in shares.items()
    ]  # fmt: skip
    (figure,) = drawn(runs)
    assert figure.title == "Score is highest, 70.0%, at dropout 0 and augment none"
    assert {(row["y"], row["x"]): row["value"] for row in figure.rows} == {
        (name, f"{rate:g}"): pytest.approx(share, abs=0.01) for (name, rate), share in shares.items()
    }


def test_two_words_are_no_surface() -> None:
    runs = [
        run(f"{name}-{schedule}", 0, scored(right(0.5)), recipe={"optim": {"name": name, "schedule": schedule}})
        for name in ("sgd", "adam") for schedule in ("cosine", "linear")
    ]  # fmt: skip
    assert grids(runs) == []


def test_grids_of_two_networks_bear_their_names() -> None:
    runs = [
        run(f"{name}-{lr}-{size}", 0, scored(right(0.5)), recipe={
            "model": {"name": name, "depth": depth}, "optim": {"lr": lr}, "train": {"batch_size": size},
        })
        for name, depth in (("mixer/tiny", 2), ("tnt/tiny", 3)) for lr in (0.1, 0.2) for size in (8, 16)
    ]  # fmt: skip
    assert [found.fixed for found in grids(runs)] == ["mixer/tiny", "tnt/tiny"]
