"""The verb `train`: what it says at the end, and what every rank refuses before it waits for the others."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

import priorscope as ps
from priorscope import fitting
from priorscope.cli import app
from priorscope.core import folder, layout
from priorscope.core.errors import RequestError

PUBLISHED = """
model = "B_1-Wi_16"
[data]
source = {{name = "shapetex", train = 24, val = 10, test = 10}}
[train]
epochs = 0
[init]
kind = "published"
published = "{weights}"
"""


def test_a_published_network_taken_as_it_is_has_no_epoch_to_tell_of(tmp_path):
    network = ps.models.create("B_1-Wi_16", image_size=32, num_classes=10).network
    torch.save(network.state_dict(), tmp_path / "small_weights")
    about = {"model": "BottleneckMLP", "architecture": "B_1-Wi_16", "normalization": "layer", "crop_resolution": 32}
    (tmp_path / "small_config").write_text(json.dumps(about))
    (tmp_path / "a.toml").write_text(PUBLISHED.format(weights=tmp_path / "small_weights"))
    asked = ["train", str(tmp_path / "a.toml"), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout == f"{tmp_path / 'run'}: the weights as they were published; nothing was trained.\n"
    assert done.stderr == f"what it gets right on test: priorscope probe accuracy {tmp_path / 'run'}\n"
    again = CliRunner().invoke(app, [*asked, "--json"], catch_exceptions=False)
    assert again.stderr == ""
    assert json.loads(again.stdout)["chosen"] is None


def test_a_folder_says_first_what_matters_most(tiny, tmp_path):
    """That somebody is at it, then that it is another's, then that it is not finished."""
    out, asked = tmp_path / "run", ["train", str(tmp_path / "a.toml"), "--out", str(tmp_path / "run")]
    (tmp_path / "a.toml").write_text(tiny.toml())
    done = CliRunner().invoke(app, [*asked, "--resume"], catch_exceptions=False)
    told = f"what it gets right on test: priorscope probe accuracy {out}\n"
    assert done.stderr == f"nothing was begun in {out}: this is its beginning\n{told}"
    assert CliRunner().invoke(app, [*asked, "--resume"], catch_exceptions=False).stderr == told
    (out / layout.ENVIRONMENT).unlink()
    with pytest.raises(RequestError, match="is in use by another process"), folder.locked(out):
        CliRunner().invoke(app, [*asked, "--set", "seed=5"], catch_exceptions=False)
    with pytest.raises(RequestError, match="holds a run of another recipe"):
        CliRunner().invoke(app, [*asked, "--set", "seed=5"], catch_exceptions=False)
    with pytest.raises(RequestError, match="holds an unfinished run"):
        CliRunner().invoke(app, asked, catch_exceptions=False)


@pytest.mark.parametrize("rank", [0, 1])
def test_an_unfinished_run_is_refused_by_every_rank_before_they_meet(tiny, tmp_path, monkeypatch, rank):
    """A rank that went on would wait, until a timeout, for one that has ended."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / layout.STEPS).touch()
    (tmp_path / "a.toml").write_text(tiny.toml())
    monkeypatch.setattr(fitting, "joined", lambda _: pytest.fail("it went to meet the other rank"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    done = CliRunner().invoke(app, ["train", str(tmp_path / "a.toml"), "--out", str(tmp_path / "run")])
    if rank == 0:
        assert isinstance(done.exception, RequestError)
        assert done.exception.came == f"{tmp_path / 'run'} holds an unfinished run."
    else:
        assert done.exit_code == 2
        assert done.output.startswith(f"rank 1: {tmp_path / 'run'} holds an unfinished run.\n")
