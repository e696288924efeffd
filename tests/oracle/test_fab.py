"""FAB's projection onto a plane within the pixels' range, against a general solver."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize

from priorscope.attacks import Norm
from priorscope.attacks.fab import onto_plane


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_projection_onto_a_plane_agrees_with_a_general_solver(norm: Norm) -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        x, w = draw.uniform(0, 1, 6), draw.normal(size=6)
        level = float(w @ draw.uniform(0, 1, 6))
        z = onto_plane(*(torch.from_numpy(a)[None] for a in (x, w)), torch.tensor([level], dtype=torch.float64), norm)[
            0
        ].numpy()
        assert w @ z == pytest.approx(level, abs=1e-6)
        if norm == "linf":
            # minimise t with |z - x| <= t, w z = level, 0 <= z <= 1
            eye, one = np.eye(6), np.ones((6, 1))
            solved = optimize.linprog(
                np.r_[np.zeros(6), 1],
                A_ub=np.block([[eye, -one], [-eye, -one]]),
                b_ub=np.r_[x, -x],
                A_eq=np.r_[w, 0][None],
                b_eq=[level],
                bounds=[(0, 1)] * 6 + [(0, None)],
            )
            assert np.abs(z - x).max() == pytest.approx(solved.fun, abs=1e-5)
        else:
            solved = optimize.minimize(
                lambda z, x=x: ((z - x) ** 2).sum(),
                x,
                bounds=[(0, 1)] * 6,
                constraints={"type": "eq", "fun": lambda z, w=w, level=level: w @ z - level},
                method="SLSQP",
            )
            assert np.linalg.norm(z - x) == pytest.approx(np.sqrt(solved.fun), abs=1e-4)
