"""What torchrun and SLURM say of a process, and what it makes of that."""

from __future__ import annotations

import pytest
import torch

from priorscope.core.errors import WorkError
from priorscope.train.distributed import Ranks, first_host, joined, launch_of, own_device


def test_a_process_that_nobody_placed_is_alone():
    assert launch_of({}) is None
    assert launch_of({"WORLD_SIZE": "1", "RANK": "0"}) is None


def test_torchrun_says_which_rank_this_is():
    launch = launch_of({"WORLD_SIZE": "6", "RANK": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"})
    assert launch is not None
    assert launch.ranks == Ranks(4, 6, 1)
    assert launch.variables == {}


SLURM = {
    "SLURM_JOB_ID": "123456",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
}


def test_srun_says_which_rank_this_is_and_the_ranks_meet_on_the_first_machine():
    launch = launch_of(SLURM)
    assert launch is not None
    assert launch.ranks == Ranks(5, 8, 1)
    assert launch.variables["MASTER_ADDR"] == "gpu03"
    assert 20_000 <= int(launch.variables["MASTER_PORT"]) < 40_000
    other = launch_of({**SLURM, "SLURM_STEP_ID": "1", "SLURM_PROCID": "0"})
    assert other is not None
    assert other.variables["MASTER_PORT"] != launch.variables["MASTER_PORT"]  # two steps of one job do not meet


def test_a_batch_script_s_own_process_is_no_rank():
    """SLURM gives it SLURM_NTASKS and SLURM_PROCID = 0 as well; only what srun starts is a step of several tasks."""
    script = {name: value for name, value in SLURM.items() if not name.startswith("SLURM_STEP")}
    assert launch_of({**script, "SLURM_PROCID": "0"}) is None


def test_torchrun_inside_of_a_slurm_step_is_torchrun():
    launch = launch_of({**SLURM, "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"})
    assert launch is not None
    assert launch.ranks == Ranks(1, 2, 1)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu03", "gpu03"),
        ("gpu[03-06,9],login1", "gpu03"),
        ("gpu[3,5]", "gpu3"),
        ("a,b", "a"),
        ("rack2-node[010-020]-ib", "rack2-node010-ib"),
    ],
)
def test_the_first_of_slurm_s_machines(nodes, first):
    assert first_host(nodes) == first


def test_a_batch_script_that_exports_a_world_size_changes_nothing():
    assert launch_of({"WORLD_SIZE": "8"}) is None
    assert launch_of({**SLURM, "WORLD_SIZE": "8"}) == launch_of(SLURM)


@pytest.mark.parametrize(
    ("seen", "torchrun", "own"),
    [(4, {"LOCAL_RANK": "1"}, "cuda:1"), (4, {}, "cuda:1"), (1, {}, "cuda:0")],
    ids=["torchrun", "srun", "srun --gpus-per-task 1"],
)
def test_a_rank_has_a_gpu_of_its_own(seen, torchrun, own, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for name, value in torchrun.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.device_count", lambda: seen)
    monkeypatch.setattr("torch.cuda.set_device", list[int]().append)
    assert own_device("cuda", Ranks(5, 8, 1)) == own


def test_a_rank_without_a_gpu_says_so(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(WorkError, match="Rank 1 of this machine has no GPU"):
        own_device("cuda", Ranks(1, 2, 1))


def test_in_a_group_for_gpus_processors_talk_over_one_of_their_own(monkeypatch):
    """As `init_process_group(backend="nccl")` leaves it: a sum of tensors on processors finds no backend there."""
    import torch.distributed as dist

    made, over = [], []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "new_group", lambda backend: made.append(backend) or "processors")
    monkeypatch.setattr(dist, "all_reduce", lambda value, group=None: over.append((value.device.type, group)))
    monkeypatch.setattr(dist, "destroy_process_group", over.append)
    with joined("cpu") as ranks:
        assert ranks == Ranks(1, 2, 1)
        ranks.any(True)
        ranks.mean(torch.zeros((), device="meta"))
    assert made == ["gloo"]
    assert over == [("cpu", "processors"), ("meta", None), "processors"]
