"""A robustness number held against the transfer matrix: a plainly masked twin of a linear network is found out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from priorscope import models
from priorscope.core.contracts import About, Subject
from priorscope.data.split import ArrayPixels, Split
from priorscope.models.classifier import Classifier
from priorscope.probes.robustness import Robustness, measure_robustness
from priorscope.probes.transfer import Transfer, measure_transfer
from priorscope.report.reading import read_study
from priorscope.report.transferred import above_white_box, held_against

SIDE, CLASSES, N = 6, 4, 60
EPS = 0.03


class Linear(nn.Module):
    """A linear network whose logits are so large, where scaled, that cross-entropy has no gradient."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.last = nn.Linear(3 * SIDE * SIDE, CLASSES, bias=False)
        self.last.weight.data = torch.randn(CLASSES, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(0))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.last((x - 0.5).flatten(1))


def network(scale: float = 1.0) -> Classifier:
    return models.wrap(Linear(scale), image_size=SIDE, classes=CLASSES)


def world(seed: int = 0) -> Split:
    """Noise, labelled by the network itself; the first five labels are wrong."""
    pixels = np.random.default_rng(seed).integers(90, 166, (N, SIDE, SIDE, 3), dtype=np.uint8)
    with torch.no_grad():
        labels = network()(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    labels[:5] = (labels[:5] + 1) % CLASSES
    return Split("made", "test", ArrayPixels(pixels), labels, tuple("abcd"))


@pytest.fixture(scope="module")
def matrix() -> Transfer:
    return measure_transfer({"open": network(), "masked": network(1e5)}, world(), attack="pgd", eps=EPS, images=None)


def robustness(scale: float, attack: str = "pgd", images: int | None = None, split: Split | None = None) -> Robustness:
    return measure_robustness(
        network(scale), split or world(), attack=attack, eps=EPS, budgets=(0.01, EPS, 0.1), images=images, audit_images=20
    )


def test_what_transfer_breaks_joins_the_checks(matrix: Transfer) -> None:
    blind = robustness(1e5).model_copy(update={"verdict": "no sign of overestimation", "checks": ()})
    broken = matrix.fooled[0, 1] & matrix.clean[1] & (blind.stood >= EPS * 0.999)
    assert 20 < int(broken.sum()) <= 55, "PGD left them, and the open twin's pictures break them"
    told = held_against(blind, "masked", [matrix])
    assert isinstance(told, Robustness)
    assert (told.verdict, told.standing().believed) == ("masked", False)
    assert told.checks[0].share == int(broken.sum()) / 55, "of those right without an attack"
    assert told.checks[0].sentence == f"pictures made for open break {int(broken.sum())} of 55 images that pgd left at 7.65/255"


def test_an_honest_number_stays_as_it_is(matrix: Transfer) -> None:
    honest = robustness(1.0)
    told = held_against(honest, "open", [matrix])
    assert isinstance(told, Robustness)
    assert told.verdict == honest.verdict == "no sign of overestimation"
    assert [check.name for check in told.checks[len(honest.checks) :]] == ["transfer"]
    assert told.checks[-1].share == 0.0
    weak = robustness(1e5, "fgsm")
    accused = held_against(weak, "masked", [matrix])
    assert isinstance(accused, Robustness)
    assert accused.verdict == weak.verdict == "weak attack: upper bound only"
    assert accused.checks[-1].finding == "masked", "said all the same"


def test_images_are_matched_by_where_they_stand(matrix: Transfer) -> None:
    """Of 20 of the images alone, the same answers as of all that are the same 20."""
    part = robustness(1e5, images=20)
    found = above_white_box(part, "masked", matrix)
    assert found is not None
    there = part.index
    left = matrix.clean[1, there] & matrix.fooled[0, 1, there] & ~matrix.fooled[1, 1, there]
    assert found.n == int(matrix.clean[1, there].sum()) < 21
    assert round(found.share * found.n) == pytest.approx(int(left.sum()), abs=1)


def test_other_images_say_nothing(matrix: Transfer) -> None:
    elsewhere = robustness(1e5, split=world(7))
    assert above_white_box(elsewhere, "masked", matrix) is None
    assert above_white_box(robustness(1e5), "another", matrix) is None
    stored_before = matrix.model_copy(update={"data": "", "index": np.zeros(0, np.int64)})
    assert above_white_box(robustness(1e5), "masked", stored_before) is None


def test_a_study_is_read_with_its_verdicts_drawn_again(matrix: Transfer, tmp_path: Path) -> None:
    about = {"subjects": [{"name": name, "family": "mlp", "recipe": name, "seed": 0} for name in matrix.names]}
    matrix.save(tmp_path / "joint" / "transfer" / "0123456789abcdef.json", About.parse(about))
    blind = robustness(1e5).model_copy(update={"verdict": "no sign of overestimation", "checks": ()})
    for name in matrix.names:
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "recipe.toml").write_text('seed = 0\nmodel = "mlp/tiny"\n')
        blind.save(
            run / "results" / "robustness" / "0123456789abcdef.json", About(subjects=(Subject(name=name, family="mlp"),))
        )
    (tmp_path / "study.toml").write_text('name = "planted"\nprobes = []\n')
    runs = {run.name: run.outcomes[0].result for run in read_study(tmp_path).runs}
    assert {name: getattr(result, "verdict", "") for name, result in runs.items()} == {
        "masked": "masked",
        "open": "no sign of overestimation",
    }
