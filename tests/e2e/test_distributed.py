"""Runs on several ranks (gloo, on processors): the numbers of one rank, whole after any death, going on with more or fewer.

The ranks are forked from a process that has imported everything (`zygote.py`).
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import priorscope as ps
from priorscope.core import layout

KILLS = int(os.environ.get("PRIORSCOPE_KILLS", "20"))

BASE = {
    "data": {"source": {"name": "shapetex", "train": 330, "val": 41, "test": 90}},
    "model": {"name": "mlp/tiny", "width": 16, "blocks": 2},
    "train": {"steps": 50, "batch_size": 33, "precision": "fp32", "choose": "last"},
    "optim": {"lr": 0.003},
}


def recipe(**changes):
    """The base with tables laid over its own."""
    made = copy.deepcopy(BASE)
    for name, table in changes.items():
        made[name] = {**made[name], **table} if isinstance(table, dict) and name in made else table
    return made


class Zygote:
    """A process whose forks carry out runs."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py")), str(folder)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def _answer(self):
        return json.loads(self._process.stdout.readline())

    def __call__(self, ranks, asked, out, **events):
        request = {"ranks": ranks, "recipe": asked, "out": str(out), **events}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    zygote = Zygote(tmp_path_factory.mktemp("answers"))
    yield zygote
    zygote.close()


def done(answers):
    assert [answer["status"] for answer in answers] == [0] * len(answers), answers
    return answers[0]["losses"]


def weights_of(run: Path) -> bytes:
    return (run / layout.WEIGHTS).read_bytes()


SHARDED = {"train": {"shard": True}}
IN_CHUNKS = {"data": {"shuffle": "chunks", "augment": "mixup"}}
"""Two chunks, of 170 pictures and of 160."""
CASES = {
    "plain": {},
    "in chunks, mixed": IN_CHUNKS,
    "in shares": SHARDED,
    "accumulated, smoothed, clipped, mixed": {
        "train": {"accumulate": 2, "label_smoothing": 0.1},
        "optim": {"clip": 0.5, "warmup": 1},
        "data": {"augment": "mixup"},
    },
    "in shares, accumulated, clipped, lion": {
        "train": {"accumulate": 2, "shard": True},
        "optim": {"name": "lion", "lr": 0.0003, "clip": 0.5},
    },
    "in shares, of a network whose blocks are lists": {"model": "tnt/tiny", **SHARDED},
    "sharpness-aware, averaged": {"optim": {"sam": {}}, "train": {"ema": 0.9}},
    "a head alone, of a network with batch statistics": {"model": "cnn/tiny", "train": {"finetune": {"mode": "head"}}},
}


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_take_the_steps_of_one(ranks, tmp_path, case):
    """Batches of 33 pictures: 17 on one rank, 16 on the other. Losses agree to 1e-5 over 50 steps, and so do the epochs."""
    asked = recipe(**CASES[case])
    one, two = done(ranks(1, asked, tmp_path / "one")), done(ranks(2, asked, tmp_path / "two"))
    assert len(one) == len(two) == 50
    assert two == pytest.approx(one, rel=1e-5)
    first, second = ps.load(tmp_path / "one"), ps.load(tmp_path / "two")
    assert second.environment.ranks == 2
    for one, other in zip(first.history, second.history, strict=True):
        assert other.images == one.images
        assert other.flops == one.flops
        assert other.val.accuracy == one.val.accuracy
        assert other.val.n == 41
        assert other.val.loss == pytest.approx(one.val.loss, rel=1e-4)


def test_every_rank_draws_its_own_dropout_and_the_same_each_time(ranks, tmp_path):
    asked = recipe(model={"dropout": 0.5}, train={"steps": 6})
    runs = [done(ranks(size, asked, tmp_path / name)) for name, size in (("a", 2), ("b", 2), ("c", 1))]
    assert runs[0] == runs[1]
    assert weights_of(tmp_path / "a") == weights_of(tmp_path / "b")
    assert runs[0] != pytest.approx(runs[2], rel=1e-3)


@pytest.mark.parametrize(
    "changes", [{}, SHARDED, IN_CHUNKS, {"optim": {"schedule": "plateau", "plateau": {"patience": 0, "threshold": 0.5}}}]
)
def test_a_run_of_two_ranks_goes_on_with_two_bit_for_bit_and_with_one_or_three(ranks, tmp_path, changes):
    asked = recipe(**{**changes, "train": {"steps": 20, **changes.get("train", {})}})
    whole = done(ranks(2, asked, tmp_path / "whole"))
    for size in (2, 1, 3):
        out = tmp_path / f"on-{size}"
        cut = ranks(2, asked, out, cut=13, save_every=0.0)
        assert [answer["status"] for answer in cut] == [3, 3]
        rest = done(ranks(size, asked, out))
        assert len(rest) == 20 - 12  # the checkpoint stands before the step whose report failed
        assert rest == pytest.approx(whole[12:], rel=1e-5)
        if size == 2:
            assert rest == whole[12:]
            assert weights_of(out) == weights_of(tmp_path / "whole")


def test_a_rank_that_is_killed_ends_the_others_in_words_and_the_run_goes_on(ranks, tmp_path):
    asked = recipe(train={"steps": 20})
    done(ranks(2, asked, tmp_path / "whole"))
    for rank in (0, 1):
        out = tmp_path / f"without-{rank}"
        answers = ranks(2, asked, out, kill={"rank": rank, "step": 9}, save_every=0.0)
        assert answers[rank]["status"] == -9
        other = answers[1 - rank]
        assert other["status"] == 1
        assert other["said"].startswith("Another rank of this run has ended (")
        assert other["said"].endswith(
            "see what that rank said; the same command again (train: with --resume) goes on from the last checkpoint"
        )
        kept = torch.load(out / layout.CHECKPOINT, weights_only=True)
        assert kept["position"] in ((0, 8), (0, 9))
        assert not (out / layout.ENVIRONMENT).exists()
        done(ranks(2, asked, out))
        assert weights_of(out) == weights_of(tmp_path / "whole")


def test_a_signal_to_one_rank_stops_all_at_the_same_step(ranks, tmp_path):
    asked = recipe(train={"steps": 20})
    answers = ranks(2, asked, tmp_path / "a", signal={"rank": 1, "step": 7})
    assert [answer["status"] for answer in answers] == [143, 143]
    assert [len(answer["losses"]) for answer in answers] == [7, 7]
    assert "is saved after 35% of its steps" in answers[0]["said"]
    assert len(done(ranks(1, asked, tmp_path / "a"))) == 13


@pytest.mark.parametrize("changes", [{}, SHARDED])
def test_ranks_with_a_folder_each_do_not_resume_at_different_steps(ranks, tmp_path, changes):
    """Rank 0 alone has the checkpoint: it would resume at step 8, the other begin at the first, and both wait for ever."""
    asked = recipe(**{**changes, "train": {"steps": 20, **changes.get("train", {})}})
    ranks(2, asked, tmp_path / "a", own=True, cut=8, save_every=0.0)
    before = (tmp_path / "a" / "0" / layout.CHECKPOINT).read_bytes()
    answers = ranks(2, asked, tmp_path / "a", own=True)
    assert [answer["status"] for answer in answers] == [2, 2]
    assert all(answer["said"].startswith("The ranks of this run do not see one folder: ") for answer in answers), answers
    assert (tmp_path / "a" / "0" / layout.CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "cnn/tiny"}, "cnn/tiny normalises by batch statistics, and came with 2 ranks on the device cpu"),
        ({"train": {"batch_size": 1}}, "A batch of 1 pictures came with 2 ranks."),
        ({"train": {"compile": "always"}}, "train.compile = 'always' came with 2 ranks."),
        ({"train": {"shard": True}, "optim": {"name": "muon"}}, "train.shard came with optim.name = 'muon', which is not made"),
        (
            {"train": {"shard": True, "batch_size": 9, "accumulate": 5}},
            "A batch of 9 pictures came with 2 ranks that would send it through in 4 and 5 parts.",
        ),
        ({"train": {"shard": True, "ema": 0.9}}, "train.shard came with train.ema, which is not made for weights in shares."),
    ],
)
def test_what_ranks_cannot_honour_is_refused_by_each(ranks, tmp_path, changes, said):
    answers = ranks(2, recipe(**changes), tmp_path / "a")
    assert [answer["status"] for answer in answers] == [2, 2]
    assert all(answer["said"].startswith(said) for answer in answers), answers


def test_a_folder_of_another_recipe_is_refused_on_ranks_as_on_one(ranks, tmp_path):
    done(ranks(1, recipe(train={"steps": 2}), tmp_path / "a"))
    answers = ranks(2, recipe(train={"steps": 2}, seed=5), tmp_path / "a")
    assert [answer["status"] for answer in answers] == [2, 2], "each refuses before they meet: none waits for the other"
    assert all("holds a run of another recipe" in answer["said"] for answer in answers)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_a_run_killed_at_twenty_random_moments_of_its_way_ends_bit_for_bit_the_same(ranks, tmp_path, size):
    """The kills come from outside, at any instant: in a step, in a look at val, in the middle of a save."""
    asked = recipe(train={"steps": 400, "ema": 0.9, "choose": "best"}, model={"dropout": 0.2})
    began = time.monotonic()
    done(ranks(size, asked, tmp_path / "whole"))
    took = time.monotonic() - began
    moments, out = random.Random(os.environ.get("PRIORSCOPE_KILL_SEED", "0")), tmp_path / "killed"
    hit, gone_on = 0, 0
    while hit < KILLS:
        gone_on += (out / layout.CHECKPOINT).exists()
        ranks(size, asked, out, moment=moments.uniform(0, 0.8 * took), save_every=0.0)
        if (out / layout.ENVIRONMENT).exists():  # it was faster than the kill: another one begins
            assert weights_of(out) == weights_of(tmp_path / "whole")
            shutil.rmtree(out)
        else:
            hit += 1
    assert gone_on > KILLS // 4
    done(ranks(size, asked, out, save_every=0.0))
    assert weights_of(out) == weights_of(tmp_path / "whole")


@pytest.mark.slow
def test_a_worker_of_a_study_that_is_killed_is_named_and_its_run_goes_on(tmp_path):
    from priorscope.study.executors import Ended, Going, LocalExecutor, Resources
    from priorscope.study.work import TrainWork

    asked = ps.Recipe.of(recipe(train={"steps": 3000}))
    executor = LocalExecutor(cores=1, memory=2**33)
    news = []

    def wait_for(kind):
        until = time.monotonic() + 120
        while time.monotonic() < until and not any(isinstance(each, kind) for each in news):
            news.extend(executor.news(0.5))

    try:
        executor.start("train a", TrainWork(asked, tmp_path / "a", None), Resources(1))
        wait_for(Going)
        (worker,) = executor._workers
        os.kill(worker.process.pid, signal.SIGKILL)
        wait_for(Ended)
    finally:
        executor.stop()
    (ended,) = [each for each in news if isinstance(each, Ended)]
    assert ended.error.startswith("Its process was ended by SIGKILL. The system does that when memory runs out.")
    assert not (tmp_path / "a" / layout.ENVIRONMENT).exists()
    assert ps.fit(asked, tmp_path / "a").history[-1].step == 3000
